// For tests: a socket that sends exactly these bytes, and a server to send them to.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "protocol/http/server.h"

namespace headwater::http {

inline constexpr std::chrono::seconds kTestDeadline{20};

class TestSocket {
 public:
  explicit TestSocket(std::uint16_t port, int receive_buffer = 0)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  }
  TestSocket(TestSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  TestSocket& operator=(TestSocket&&) = delete;
  ~TestSocket() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }

  // False when the server has closed.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const auto size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<std::size_t>(size));
    }
    return true;
  }
  void half_close() const { ::shutdown(fd_, SHUT_WR); }

  // Everything until the server closes; fails the test when it does not. `reset` tells whether the
  // end was a reset.
  std::string read_to_end(bool* reset = nullptr) const {
    std::string out;
    EXPECT_TRUE(read_while([] { return true; }, out, reset)) << "the server did not close";
    return out;
  }
  // Until `text` has arrived, which the result ends behind or after.
  std::string read_until(std::string_view text) const {
    std::string out;
    read_while([&] { return out.find(text) == std::string::npos; }, out, nullptr);
    EXPECT_NE(out.find(text), std::string::npos) << "got: " << out;
    return out;
  }

 private:
  // True at the end of the connection; stops early when `more` is false.
  template <class More>
  bool read_while(More more, std::string& out, bool* reset) const {
    const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
    std::array<char, 4096> buffer;
    while (more() && std::chrono::steady_clock::now() < deadline) {
      pollfd watched{fd_, POLLIN, 0};
      if (::poll(&watched, 1, 100) <= 0) {
        continue;
      }
      const auto size = ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (size <= 0) {
        if (reset != nullptr) {
          *reset = size < 0;
        }
        return true;
      }
      out.append(buffer.data(), static_cast<std::size_t>(size));
    }
    return false;
  }

  int fd_;
};

inline std::unique_ptr<Server> open_server(Router router, ServerOptions options = {}) {
  auto server = Server::open(std::move(options), std::move(router));
  EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().text());
  return std::move(server).value();
}

// Polls with a deadline.
inline bool eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

inline std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace headwater::http
