#include "io/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <mutex>
#include <thread>

#include "io/tls.h"

namespace headwater::io {
namespace {

void set_option(int fd, int level, int name, int value) {
  // Best effort: a socket without the option still works.
  (void)setsockopt(fd, level, name, &value, sizeof value);
}

sockaddr_storage storage_of(const SocketAddress& address) {
  sockaddr_storage storage{};
  std::memcpy(&storage, address.bytes.data(), std::min(address.bytes.size(), sizeof storage));
  return storage;
}

SocketAddress address_of(const void* from, std::size_t size) {
  const auto* begin = static_cast<const unsigned char*>(from);
  return {std::vector<unsigned char>(begin, begin + size)};
}

std::vector<SocketAddress> addresses_of(const addrinfo* list) {
  std::vector<SocketAddress> addresses;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    addresses.push_back(address_of(at->ai_addr, at->ai_addrlen));
  }
  return addresses;
}

Result<std::vector<SocketAddress>> look_up(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string service = std::to_string(port);
  const int rc = getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &list);
  if (rc != 0) {
    if (rc == EAI_NONAME && (flags & AI_NUMERICHOST) != 0) {
      return Error::invalid("'{}' is not a numeric address", host);
    }
    return Error::unavailable("look up '{}': {}", host, gai_strerror(rc));
  }
  auto addresses = addresses_of(list);
  freeaddrinfo(list);
  return addresses;
}

}  // namespace

void Fd::reset() {
  if (fd_ >= 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

Result<HostPort> parse_host_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Error::invalid("'{}' has no port; write HOST:PORT", text);
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return Error::invalid("'{}': write an IPv6 address in brackets, [::1]:1883", text);
  }
  HostPort result{std::string(host), 0};
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), result.port);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    return Error::invalid("'{}' has no valid port (0 to 65535) after its last ':'", text);
  }
  return result;
}

std::string SocketAddress::text() const {
  const sockaddr_storage storage = storage_of(*this);
  std::array<char, NI_MAXHOST> host{};
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&storage), static_cast<socklen_t>(bytes.size()),
                  host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) {
    return "?";
  }
  return storage.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port())
                                       : fmt::format("{}:{}", host.data(), port());
}

bool SocketAddress::is_loopback() const {
  const sockaddr_storage storage = storage_of(*this);
  if (storage.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&storage);
    return (ntohl(in->sin_addr.s_addr) >> 24) == 127;
  }
  if (storage.ss_family == AF_INET6) {
    const in6_addr& ip = reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&ip) || (IN6_IS_ADDR_V4MAPPED(&ip) && ip.s6_addr[12] == 127);
  }
  return false;
}

std::uint16_t SocketAddress::port() const {
  const sockaddr_storage storage = storage_of(*this);
  if (storage.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  }
  if (storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  }
  return 0;
}

Result<SocketAddress> numeric_address(std::string_view host, std::uint16_t port) {
  auto found = HW_TRY(look_up(std::string(host), port, AI_NUMERICHOST));
  if (found.empty()) {
    return Error::invalid("'{}' is not a numeric address", host);
  }
  return std::move(found.front());
}

Result<Fd> listen_tcp(const HostPort& at, int backlog) {
  SocketAddress address;
  if (at.host.empty()) {
    address = HW_TRY(numeric_address("::", at.port));
  } else if (at.host == "localhost") {
    address = HW_TRY(numeric_address("127.0.0.1", at.port));
  } else {
    auto numeric = numeric_address(at.host, at.port);
    if (!numeric) {
      return std::move(numeric).error().with("listen on '{}:{}'", at.host, at.port);
    }
    address = *std::move(numeric);
  }
  sockaddr_storage storage = storage_of(address);
  auto length = static_cast<socklen_t>(address.bytes.size());
  Fd fd(socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd && at.host.empty()) {  // a kernel without IPv6
    address = HW_TRY(numeric_address("0.0.0.0", at.port));
    storage = storage_of(address);
    length = static_cast<socklen_t>(address.bytes.size());
    fd = Fd(socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  if (!fd) {
    return Error::from_errno(errno, "open a socket");
  }
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (storage.ss_family == AF_INET6) {
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, at.host.empty() ? 0 : 1);
  }
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 ||
      listen(fd.get(), backlog) != 0) {
    return Error::from_errno(errno, fmt::format("listen on {}", address.text()));
  }
  return fd;
}

Result<SocketAddress> local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return Error::from_errno(errno, "read a socket's address");
  }
  return address_of(&storage, size);
}

Result<Fd> accept_tcp(int listening, SocketAddress* peer) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  const int fd = accept4(listening, reinterpret_cast<sockaddr*>(&storage), &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    switch (errno) {
      case EAGAIN:
        return Fd();
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return Error::exhausted("accept a connection: {}", std::strerror(errno));
      default:
        return Error::unavailable("accept a connection: {}", std::strerror(errno));
    }
  }
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // A peer that lost its power is found in about two minutes, whatever its protocol says.
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  *peer = address_of(&storage, size);
  return Fd(fd);
}

Result<Fd> connect_tcp(const SocketAddress& to) {
  const sockaddr_storage storage = storage_of(to);
  Fd fd(socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return Error::from_errno(errno, "open a socket");
  }
  set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&storage),
              static_cast<socklen_t>(to.bytes.size())) != 0 &&
      errno != EINPROGRESS) {
    return Error::unavailable("connect to {}: {}", to.text(), std::strerror(errno));
  }
  return fd;
}

Status connect_result(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
    error = errno;
  }
  if (error != 0) {
    return Error::unavailable("connect: {}", std::strerror(error));
  }
  return {};
}

// Lives until both the helper thread and the Resolution are done with it.
struct Resolution::Shared {
  Fd wake;
  std::mutex mutex;  // guards answer
  Result<std::vector<SocketAddress>> answer = std::vector<SocketAddress>{};
};

Resolution::Resolution(Loop& loop, std::shared_ptr<Shared> shared)
    : loop_(loop), shared_(std::move(shared)) {}

Resolution::~Resolution() {
  loop_.unwatch(shared_->wake.get());
}

Result<std::unique_ptr<Resolution>> Resolution::start(Loop& loop, std::string host,
                                                      std::uint16_t port, Done done) {
  auto shared = std::make_shared<Shared>();
  shared->wake = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!shared->wake) {
    return Error::from_errno(errno, "look up a host");
  }
  auto finish = [shared, done = std::move(done), &loop](std::uint32_t) {
    loop.unwatch(shared->wake.get());
    Result<std::vector<SocketAddress>> answer = std::vector<SocketAddress>{};
    {
      const std::lock_guard lock(shared->mutex);
      answer = std::move(shared->answer);
    }
    const Done call = done;  // `done` may destroy the Resolution, and this function with it
    call(std::move(answer));
  };
  HW_TRY(loop.watch(shared->wake.get(), EPOLLIN, std::move(finish)));
  const auto publish = [](Shared& to, Result<std::vector<SocketAddress>> answer) {
    {
      const std::lock_guard lock(to.mutex);
      to.answer = std::move(answer);
    }
    const std::uint64_t one = 1;
    (void)!write(to.wake.get(), &one, sizeof one);
  };
  if (auto numeric = numeric_address(host, port)) {
    publish(*shared, std::vector<SocketAddress>{*std::move(numeric)});
  } else {
    // A name server may take half a minute to fail; nobody waits for this thread.
    std::thread([shared, host = std::move(host), port, publish] {
      publish(*shared, look_up(host, port, AI_ADDRCONFIG));
    }).detach();
  }
  return std::unique_ptr<Resolution>(new Resolution(loop, std::move(shared)));
}

Stream::Stream(Fd fd, ssl_st* ssl) : fd_(std::move(fd)), ssl_(ssl) {}

Stream::Stream(Stream&& other) noexcept
    : fd_(std::move(other.fd_)),
      ssl_(std::exchange(other.ssl_, nullptr)),
      error_(std::move(other.error_)) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::move(other.fd_);
    ssl_ = std::exchange(other.ssl_, nullptr);
    error_ = std::move(other.error_);
  }
  return *this;
}

Stream::~Stream() {
  close();
}

void Stream::shutdown_write() {
  if (ssl_ != nullptr && SSL_is_init_finished(ssl_) != 0 && error_.empty()) {
    ERR_clear_error();
    (void)SSL_shutdown(ssl_);
    ERR_clear_error();
    SSL_set_quiet_shutdown(ssl_, 1);  // close() has nothing more to say
  }
  (void)::shutdown(fd_.get(), SHUT_WR);
}

void Stream::close() {
  if (ssl_ != nullptr) {
    if (SSL_is_init_finished(ssl_) != 0 && error_.empty()) {
      ERR_clear_error();
      (void)SSL_shutdown(ssl_);
      ERR_clear_error();
    }
    SSL_free(ssl_);
    ssl_ = nullptr;
  }
  fd_.reset();
}

IoResult Stream::ssl_result(int rc, const char* what) {
  switch (SSL_get_error(ssl_, rc)) {
    case SSL_ERROR_WANT_READ:
      return {IoState::kWantRead, 0};
    case SSL_ERROR_WANT_WRITE:
      return {IoState::kWantWrite, 0};
    case SSL_ERROR_ZERO_RETURN:
      return {IoState::kClosed, 0};
    case SSL_ERROR_SYSCALL:
      if (ERR_peek_error() == 0) {
        error_ = errno == 0 ? fmt::format("{}: connection closed", what)
                            : fmt::format("{}: {}", what, std::strerror(errno));
        return {IoState::kFailed, 0};
      }
      [[fallthrough]];
    default:
      error_ = fmt::format("{}: {}", what, openssl_error());
      if (const long verdict = SSL_get_verify_result(ssl_); verdict != X509_V_OK) {
        error_ = fmt::format("{}: certificate refused: {}", what,
                             X509_verify_cert_error_string(verdict));
      }
      return {IoState::kFailed, 0};
  }
}

IoResult Stream::handshake() {
  if (ssl_ == nullptr) {
    return {};
  }
  ERR_clear_error();
  errno = 0;
  const int rc = SSL_do_handshake(ssl_);
  return rc == 1 ? IoResult{} : ssl_result(rc, "TLS handshake");
}

IoResult Stream::read(char* to, std::size_t size) {
  if (ssl_ == nullptr) {
    while (true) {
      const ssize_t got = recv(fd_.get(), to, size, 0);
      if (got > 0) {
        return {IoState::kOk, static_cast<std::size_t>(got)};
      }
      if (got == 0) {
        return {size == 0 ? IoState::kOk : IoState::kClosed, 0};
      }
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return {IoState::kWantRead, 0};
      }
      if (errno != EINTR) {
        error_ = fmt::format("read: {}", std::strerror(errno));
        return {IoState::kFailed, 0};
      }
    }
  }
  std::size_t filled = 0;
  while (filled < size) {
    ERR_clear_error();
    errno = 0;
    const int got = SSL_read(ssl_, to + filled,
                             static_cast<int>(std::min<std::size_t>(size - filled, INT_MAX)));
    if (got <= 0) {
      if (filled > 0) {
        break;  // what ended it comes up again at the next read
      }
      return ssl_result(got, "read");
    }
    filled += static_cast<std::size_t>(got);
  }
  return {IoState::kOk, filled};
}

IoResult Stream::write(std::string_view bytes) {
  if (bytes.empty()) {
    return {};
  }
  if (ssl_ == nullptr) {
    while (true) {
      const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        return {IoState::kOk, static_cast<std::size_t>(sent)};
      }
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return {IoState::kWantWrite, 0};
      }
      if (errno != EINTR) {
        error_ = fmt::format("write: {}", std::strerror(errno));
        return {IoState::kFailed, 0};
      }
    }
  }
  ERR_clear_error();
  errno = 0;
  const int sent =
      SSL_write(ssl_, bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), INT_MAX)));
  if (sent <= 0) {
    return ssl_result(sent, "write");
  }
  return {IoState::kOk, static_cast<std::size_t>(sent)};
}

bool Stream::has_pending() const {
  return ssl_ != nullptr && SSL_has_pending(ssl_) == 1;
}

std::string Stream::peer_common_name() const {
  if (ssl_ == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) {
    return "";
  }
  X509* const certificate = SSL_get1_peer_certificate(ssl_);
  if (certificate == nullptr) {
    return "";
  }
  std::string name;
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) {
    unsigned char* utf8 = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size > 0) {
      name.assign(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
    }
    OPENSSL_free(utf8);
  }
  X509_free(certificate);
  // A NUL inside a name is how certificates lie about who they are for.
  return name.find('\0') == std::string::npos ? name : "";
}

}  // namespace headwater::io
