// HTTP requests without blocking: libcurl's multi interface driven by a Loop.
//
// The program is not linked to libcurl: libcurl.so.4 (Debian package libcurl4) is opened when the
// first Posts is, so an edge that posts nothing does not carry it. Proxies come from the
// environment as with curl (https_proxy, no_proxy). Redirects are not followed; answers are read up
// to a bound and dropped; connections are kept for the next request.
//
// Thread rule: everything on the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/loop.h"

namespace headwater::http {

struct Post {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string_view body;             // must live until the answer or the end of Posts
  bool fresh = false;                // on a new connection, not on one that was kept
};

struct Answer {
  int status = 0;         // 0: none came
  bool whole = false;     // the answer came to its end, or was cut by us because it is large
  bool hopeless = false;  // no such request can ever be sent (its URL is wrong)
  bool silent = false;    // it was connected, and nothing moved for `stall`
  Nanos retry_after{};    // 0: the receiver did not say
  std::string error;      // in words, when not whole
};

struct PostOptions {
  Nanos timeout = std::chrono::seconds(10);  // of a whole request
  // Gives up when no byte moves, or no connection comes about, for so long. 0: no limit.
  Nanos stall{};
  std::string ca;  // PEM file; "": the system's
  std::string certificate;
  std::string key;
  bool verify = true;
};

class Posts {
 public:
  static constexpr std::size_t kMaxAnswerBytes = 64 * 1024;
  using Done = std::function<void(Answer)>;

  // kUnavailable, naming the package, where libcurl is not installed.
  static Result<std::unique_ptr<Posts>> open(io::Loop& loop, PostOptions options);
  virtual ~Posts() = default;

  // Calls `done` once, from the loop and never from within post(). Not after the end of Posts.
  virtual Status post(Post request, Done done) = 0;
};

}  // namespace headwater::http
