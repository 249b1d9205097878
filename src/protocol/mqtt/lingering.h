// Lingering: closes connections so that the last packet arrives. Closing a socket with unread bytes
// resets the connection and may take our DISCONNECT with it; so we end our side, read on for a
// moment and then close.
//
// Loop thread only. Bounded: beyond kMost, connections are closed at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/time.h"
#include "io/loop.h"
#include "io/socket.h"

namespace headwater::mqtt {

class Lingering {
 public:
  static constexpr std::size_t kMost = 256;

  explicit Lingering(io::Loop& loop) : loop_(loop) {}
  ~Lingering();
  Lingering(const Lingering&) = delete;
  Lingering& operator=(const Lingering&) = delete;

  // Writes `last` as far as the socket takes it, and closes. The stream must not be watched.
  void close(io::Stream stream, std::string_view last);

 private:
  void discard(std::uint64_t id);
  void end(std::uint64_t id);

  struct One {
    io::Stream stream;
    io::TimerId timer = 0;
  };
  io::Loop& loop_;
  std::unordered_map<std::uint64_t, One> streams_;
  std::uint64_t next_ = 1;
};

}  // namespace headwater::mqtt
