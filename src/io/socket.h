// TCP sockets without blocking: addresses, listening, connecting, and Stream, a connection that is
// plain or TLS. Everything is non-blocking, close-on-exec and has TCP_NODELAY; nothing raises
// SIGPIPE.
//
// Not thread-safe; a Stream may move to another thread while nobody uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/loop.h"

struct ssl_st;

namespace headwater::io {

// Owns a descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

struct HostPort {
  std::string host;  // "" is every address
  std::uint16_t port = 0;
};
// "host:1883", "127.0.0.1:0", "[::1]:1883", ":1883".
Result<HostPort> parse_host_port(std::string_view text);

// One numeric address with its port, as bind and connect take it.
struct SocketAddress {
  std::vector<unsigned char> bytes;  // a sockaddr
  std::string text() const;          // "127.0.0.1:1883", "[::1]:1883"
  bool is_loopback() const;
  std::uint16_t port() const;
};

// Numeric hosts only, without asking a name server.
Result<SocketAddress> numeric_address(std::string_view host, std::uint16_t port);

// Binds and listens. The host is numeric or "localhost"; "" binds every IPv6 and IPv4 address.
Result<Fd> listen_tcp(const HostPort& at, int backlog = 1024);
Result<SocketAddress> local_address(int fd);

// One waiting connection, ready for Stream; an Fd without a descriptor when none waits. Errors:
// kExhausted when the process or system is out of descriptors or memory (back off), kUnavailable
// for a connection that died in the queue (go on).
Result<Fd> accept_tcp(int listening, SocketAddress* peer);

// Begins to connect; the socket is writable when it is done, then connect_result() tells how.
Result<Fd> connect_tcp(const SocketAddress& to);
Status connect_result(int fd);

// Resolves a host name on a helper thread, or at once if it is numeric, and calls `done` on the
// loop's thread, never from within start(). Destroying it cancels.
class Resolution {
 public:
  using Done = std::function<void(Result<std::vector<SocketAddress>>)>;
  static Result<std::unique_ptr<Resolution>> start(Loop& loop, std::string host, std::uint16_t port,
                                                   Done done);
  ~Resolution();
  Resolution(const Resolution&) = delete;
  Resolution& operator=(const Resolution&) = delete;

 private:
  struct Shared;
  Resolution(Loop& loop, std::shared_ptr<Shared> shared);
  Loop& loop_;
  std::shared_ptr<Shared> shared_;
};

enum class IoState : std::uint8_t {
  kOk,         // `bytes` were moved
  kWantRead,   // wait for the socket to be readable
  kWantWrite,  // wait for it to be writable
  kClosed,     // the peer has ended its side
  kFailed,     // the connection is broken; Stream::error() says why
};
struct IoResult {
  IoState state = IoState::kOk;
  std::size_t bytes = 0;
};

class Stream {
 public:
  Stream() = default;
  explicit Stream(Fd fd) : fd_(std::move(fd)) {}
  // TLS over `fd`; takes over `ssl` (TlsContext makes it).
  Stream(Fd fd, ssl_st* ssl);
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  int fd() const { return fd_.get(); }
  bool is_open() const { return static_cast<bool>(fd_); }
  bool is_tls() const { return ssl_ != nullptr; }
  ssl_st* ssl() const { return ssl_; }

  // TLS: go on with the handshake until kOk. Plain: kOk.
  IoResult handshake();
  // As much as fits in `size` bytes; kOk with fewer bytes than `size` means the socket is drained
  // (epoll will tell of more), with all of them that more may be waiting here.
  IoResult read(char* to, std::size_t size);
  IoResult write(std::string_view bytes);
  // Bytes decrypted and not yet read: epoll does not tell of them.
  bool has_pending() const;
  // Common name of the peer's verified certificate, "" if it has none.
  std::string peer_common_name() const;
  std::string error() const { return error_; }
  // Ends our side (TLS close_notify, then FIN) and leaves the reading side open.
  void shutdown_write();
  // TLS close_notify without waiting, then closes.
  void close();

 private:
  IoResult ssl_result(int rc, const char* what);

  Fd fd_;
  ssl_st* ssl_ = nullptr;
  std::string error_;
};

}  // namespace headwater::io
