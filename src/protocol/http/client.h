// A small blocking HTTP/1.1 client for `headwater top` and `tap` and for tests: one request per
// connection, plain or TLS, server-sent events. What must not block uses posts.h. With https the
// process must ignore SIGPIPE (OpenSSL writes to the socket itself).
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/http/message.h"

namespace headwater::http {

struct ClientOptions {
  std::string method = "GET";
  std::string body = {};
  Fields headers = {};
  std::string token = {};                    // sent as "Authorization: Bearer …"
  std::chrono::milliseconds timeout{5'000};  // whole request; for streams: until the headers
  std::size_t max_body = 16 * 1024 * 1024;
  std::string host = {};     // the Host header; "" is the URL's
  std::string ca_file = {};  // https: PEM of the trusted certificates; "" means the system's
};

struct ClientResponse {
  int status = 0;
  Fields headers = {};
  std::string body = {};
  std::optional<std::string_view> header(std::string_view name) const;
};

// "http://127.0.0.1:8080/livez" or "https://…". Any status is a value; unavailable: no connection,
// time out, cut short; invalid: the URL or the answer is malformed.
Result<ClientResponse> fetch(std::string_view url, const ClientOptions& options = {});

struct Event {
  std::string event;  // "" means "message"
  std::string data;
  std::string id;
};

// Reads one event stream. One thread.
class EventReader {
 public:
  // An answer other than 200 text/event-stream is an error that carries the status and the text.
  static Result<std::unique_ptr<EventReader>> open(std::string_view url,
                                                   const ClientOptions& options = {});
  ~EventReader();

  // The next event; nothing when `wait` passed without one; unavailable when the stream ended.
  Result<std::optional<Event>> next(std::chrono::milliseconds wait);

 private:
  struct Connection;
  explicit EventReader(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> connection_;
};

}  // namespace headwater::http
