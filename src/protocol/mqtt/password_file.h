// Password files in the format of mosquitto_passwd: one "user:$7$ITERATIONS$SALT$HASH" a line, salt
// and hash in base64, hash = PBKDF2-HMAC-SHA512. The older "$6$SALT$HASH" (one salted SHA-512) is
// read too; a line without a hash is refused.
//
// Immutable once read; matches() may be called from any thread. It costs what the file asks for:
// 101 iterations (mosquitto's default) take about 0.1 ms, 100,000 about 60 ms. Call it off the
// loop.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headwater::mqtt {

class PasswordFile {
 public:
  // Errors name the line. Lines that are empty or begin with '#' are skipped.
  static Result<PasswordFile> parse(std::string_view text);
  static Result<PasswordFile> read(const std::string& path);

  // Compares in constant time. An unknown user costs as much as the first known one, so that
  // answers do not tell which users exist.
  bool matches(std::string_view user, std::string_view password) const;
  std::size_t users() const { return entries_.size(); }

  // A line for `user`, with a random salt.
  static Result<std::string> make_line(std::string_view user, std::string_view password,
                                       int iterations = 210'000);

 private:
  struct Entry {
    int iterations = 0;  // 0: "$6$", a single SHA-512 over password and salt
    std::string salt;
    std::string hash;
  };
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace headwater::mqtt
