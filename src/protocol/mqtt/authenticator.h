// Authenticator: checks passwords on a thread of its own, so that a slow hash never stalls a loop,
// and remembers for a while which pairs were right.
//
// The memory holds keyed digests (HMAC-SHA256 with a key of this process), not passwords. Wrong
// pairs are not remembered. Loop thread only, but for the thread inside.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/loop.h"
#include "protocol/mqtt/password_file.h"

namespace headwater::mqtt {

class Authenticator {
 public:
  using Done = std::function<void(bool right)>;

  Authenticator(PasswordFile file, io::Loop& loop);
  ~Authenticator();
  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;

  enum class Answer : std::uint8_t {
    kRight,  // known from before
    kLater,  // `done` is called on the loop's thread
    kBusy,   // too many are waiting: refuse as busy
  };
  Answer check(std::string user, std::string password, Done done);

 private:
  struct Question {
    std::string user;
    std::string password;
    std::string digest;
    Done done;
  };
  struct Gate;

  void work();
  std::string digest(std::string_view user, std::string_view password) const;
  void remember(const std::string& digest);

  const PasswordFile file_;
  io::Loop& loop_;
  std::string key_;  // empty when there is no randomness: nothing is remembered then
  std::unordered_map<std::string, MonoTime> known_;  // digest → good until; at most kMaxKnown
  std::shared_ptr<Gate> gate_;  // closed when the Authenticator ends: late answers are dropped

  std::mutex mutex_;  // guards questions_ and ending_
  std::condition_variable asked_;
  std::vector<Question> questions_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace headwater::mqtt
