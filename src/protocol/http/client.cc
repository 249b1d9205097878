#include "protocol/http/client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/strings.h"

namespace headwater::http {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxHead = 64 * 1024;
constexpr std::size_t kMaxEvent = 16 * 1024 * 1024;

struct Url {
  bool tls = false;
  std::string host;
  std::string port;
  std::string target;
  std::string authority;
};

Result<Url> parse_url(std::string_view text) {
  Url out;
  const auto whole = text;
  if (text.starts_with("http://")) {
    text.remove_prefix(7);
    out.port = "80";
  } else if (text.starts_with("https://")) {
    text.remove_prefix(8);
    out.tls = true;
    out.port = "443";
  } else {
    return Error::invalid("url '{}': must begin with http:// or https://", whole);
  }
  const auto slash = std::min(text.find_first_of("/?"), text.size());
  out.authority = std::string(text.substr(0, slash));
  out.target = std::string(text.substr(slash));
  if (out.target.empty() || out.target.front() != '/') {
    out.target.insert(0, "/");
  }
  std::string_view host = out.authority;
  const auto colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
    out.port = std::string(host.substr(colon + 1));
    host = host.substr(0, colon);
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  const bool clean = std::ranges::all_of(whole, [](char c) { return c > ' ' && c < 0x7F; });
  if (host.empty() || out.port.empty() || !clean || host.find('@') != std::string_view::npos) {
    return Error::invalid("url '{}': expected http://HOST:PORT/PATH without credentials", whole);
  }
  out.host = std::string(host);
  return out;
}

// A connected socket, plain or TLS, whose reads and writes have deadlines.
class Wire {
 public:
  Wire() = default;
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  ~Wire() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }

  Status connect(const Url& url, const ClientOptions& options, SteadyClock::time_point deadline) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int failed = ::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found);
        failed != 0) {
      return Error::unavailable("resolve '{}': {}", url.host, ::gai_strerror(failed));
    }
    Status last = Error::unavailable("'{}' has no address", url.host);
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      last = connect_to(*at, deadline);
      if (last) {
        break;
      }
    }
    ::freeaddrinfo(found);
    HW_TRY(std::move(last).with("connect to {}", url.authority));
    return url.tls ? start_tls(url, options, deadline) : Status{};
  }

  Status write(std::string_view bytes, SteadyClock::time_point deadline) {
    while (!bytes.empty()) {
      const auto size =
          ssl_ != nullptr
              ? static_cast<ssize_t>(SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())))
              : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(size));
        continue;
      }
      if (!HW_TRY(wait(static_cast<int>(size), POLLOUT, deadline))) {
        return Error::unavailable("connection closed while sending");
      }
    }
    return {};
  }

  // Appends what has arrived; false at the end of the connection; cancelled when the deadline has
  // passed.
  Result<bool> read(std::string& into, SteadyClock::time_point deadline) {
    std::array<char, 16 * 1024> buffer;
    while (true) {
      const auto size =
          ssl_ != nullptr
              ? static_cast<ssize_t>(SSL_read(ssl_, buffer.data(), static_cast<int>(buffer.size())))
              : ::recv(fd_, buffer.data(), buffer.size(), 0);
      if (size > 0) {
        into.append(buffer.data(), static_cast<std::size_t>(size));
        return true;
      }
      if (ssl_ == nullptr && size == 0) {
        return false;
      }
      if (!HW_TRY(wait(static_cast<int>(size), POLLIN, deadline))) {
        return false;
      }
    }
  }

 private:
  Status connect_to(const addrinfo& to, SteadyClock::time_point deadline) {
    if (fd_ >= 0) {
      ::close(fd_);
    }
    fd_ = ::socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0) {
      return Error::from_errno(errno, "open a socket");
    }
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd_, to.ai_addr, to.ai_addrlen) != 0) {
      if (errno != EINPROGRESS) {
        return Error::unavailable("{}", ::strerrordesc_np(errno));
      }
      HW_TRY(poll_for(POLLOUT, deadline));
      int failed = 0;
      socklen_t size = sizeof failed;
      ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &failed, &size);
      if (failed != 0) {
        return Error::unavailable("{}", ::strerrordesc_np(failed));
      }
    }
    return {};
  }

  Status start_tls(const Url& url, const ClientOptions& options, SteadyClock::time_point deadline) {
    context_ = SSL_CTX_new(TLS_client_method());
    if (context_ == nullptr) {
      return Error::internal("no TLS context");
    }
    SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    const int trusted = options.ca_file.empty()
                            ? SSL_CTX_set_default_verify_paths(context_)
                            : SSL_CTX_load_verify_file(context_, options.ca_file.c_str());
    if (trusted != 1) {
      return Error::invalid("CA file '{}' cannot be used", options.ca_file);
    }
    ssl_ = SSL_new(context_);
    if (ssl_ == nullptr || SSL_set_fd(ssl_, fd_) != 1) {
      return Error::internal("no TLS session");
    }
    // An address is checked against the certificate's addresses, a name against its names.
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), url.host.c_str()) != 1) {
      SSL_set1_host(ssl_, url.host.c_str());
      SSL_set_tlsext_host_name(ssl_, url.host.c_str());
    }
    while (true) {
      const int done = SSL_connect(ssl_);
      if (done == 1) {
        return {};
      }
      const auto more = wait(done, POLLIN, deadline);
      if (!more || !*more) {
        const long verified = SSL_get_verify_result(ssl_);
        return Error::unavailable("TLS with {}: {}", url.authority,
                                  verified != X509_V_OK ? X509_verify_cert_error_string(verified)
                                  : more                ? "connection closed"
                                                        : more.error().text());
      }
    }
  }

  // After a call that gave `outcome` <= 0: waits until it can be repeated. False at the end of the
  // connection.
  Result<bool> wait(int outcome, short plain_events, SteadyClock::time_point deadline) {
    short events = plain_events;
    if (ssl_ != nullptr) {
      const int error_number = errno;
      switch (SSL_get_error(ssl_, outcome)) {
        case SSL_ERROR_WANT_READ:
          events = POLLIN;
          break;
        case SSL_ERROR_WANT_WRITE:
          events = POLLOUT;
          break;
        case SSL_ERROR_ZERO_RETURN:
          return false;
        case SSL_ERROR_SYSCALL:
          if (error_number == 0) {
            return false;
          }
          return Error::from_errno(error_number, "TLS connection");
        default: {
          const auto code = ERR_get_error();
          const char* reason = ERR_reason_error_string(code);
          return Error::unavailable("TLS: {}", reason != nullptr ? reason : "unknown error");
        }
      }
    } else if (errno == EINTR) {
      return true;
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
      return Error::unavailable("{}", ::strerrordesc_np(errno));
    }
    HW_TRY(poll_for(events, deadline));
    return true;
  }

  Status poll_for(short events, SteadyClock::time_point deadline) const {
    while (true) {
      const auto left = std::chrono::ceil<milliseconds>(deadline - SteadyClock::now()).count();
      pollfd watched{fd_, events, 0};
      const int ready =
          ::poll(&watched, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000)));
      if (ready > 0) {
        return {};
      }
      if (ready == 0 && left <= 0) {
        return Error::cancelled("timed out");
      }
      if (ready < 0 && errno != EINTR) {
        return Error::from_errno(errno, "poll");
      }
    }
  }

  int fd_ = -1;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
};

// Headers that end in an empty line: status line and fields. Nothing when more is needed.
struct Head {
  int status = 0;
  Fields headers;
};
Result<std::optional<Head>> take_head(std::string& bytes) {
  const auto end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (bytes.size() > kMaxHead) {
      return Error::invalid("the answer's header is larger than {} bytes", kMaxHead);
    }
    return std::optional<Head>();
  }
  Head out;
  bool first = true;
  for (auto line : split(std::string_view(bytes).substr(0, end), '\n')) {
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (first) {
      first = false;
      if (!line.starts_with("HTTP/1.") || line.size() < 12 ||
          std::from_chars(line.data() + 9, line.data() + 12, out.status).ptr != line.data() + 12) {
        return Error::invalid("not an HTTP/1.1 answer");
      }
      continue;
    }
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) {
      return Error::invalid("the answer has a header line without ':'");
    }
    out.headers.emplace_back(std::string(trim(line.substr(0, colon))),
                             std::string(trim(line.substr(colon + 1))));
  }
  bytes.erase(0, end + 4);
  return std::optional<Head>(std::move(out));
}

std::optional<std::string_view> header_of(const Fields& headers, std::string_view name) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  for (const auto& [key, value] : headers) {
    if (std::ranges::equal(key, name, {}, lower, lower)) {
      return value;
    }
  }
  return std::nullopt;
}

std::string request_text(const Url& url, const ClientOptions& options) {
  std::string out =
      fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", options.method, url.target,
                  options.host.empty() ? url.authority : options.host);
  if (!options.token.empty()) {
    out += fmt::format("Authorization: Bearer {}\r\n", options.token);
  }
  for (const auto& [name, value] : options.headers) {
    out += fmt::format("{}: {}\r\n", name, value);
  }
  if (!options.body.empty() || options.method == "POST" || options.method == "PUT") {
    out += fmt::format("Content-Length: {}\r\n", options.body.size());
  }
  out += "\r\n";
  out += options.body;
  return out;
}

// Sends the request and reads up to the end of the answer's header.
Result<Head> exchange(Wire& wire, std::string& bytes, const Url& url, const ClientOptions& options,
                      SteadyClock::time_point deadline) {
  HW_TRY(wire.connect(url, options, deadline));
  HW_TRY(wire.write(request_text(url, options), deadline));
  while (true) {
    auto head = HW_TRY(take_head(bytes));
    if (head && head->status >= 200) {
      return std::move(*head);
    }
    if (!head && !HW_TRY(wire.read(bytes, deadline))) {
      return Error::unavailable("the connection closed before the answer");
    }
  }
}

// The caller's time ran out: to whom asked for a whole answer that is "try again later".
Error as_unavailable(Error error, std::string_view url) {
  return Error(error.code() == Code::kCancelled ? Code::kUnavailable : error.code(),
               fmt::format("{}: {}", url, error.text()));
}

Result<ClientResponse> fetch_whole(const Url& url, const ClientOptions& options) {
  const auto deadline = SteadyClock::now() + options.timeout;
  Wire wire;
  std::string bytes;
  auto head = HW_TRY(exchange(wire, bytes, url, options, deadline));
  ClientResponse out{.status = head.status, .headers = std::move(head.headers), .body = {}};
  if (options.method == "HEAD" || out.status == 204 || out.status == 304) {
    return out;
  }
  if (out.header("Transfer-Encoding")) {
    return Error::invalid("chunked answers are not read by this client");
  }
  std::optional<std::size_t> length;
  if (const auto text = out.header("Content-Length")) {
    std::size_t value = 0;
    const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (failed != std::errc{} || end != text->data() + text->size()) {
      return Error::invalid("Content-Length '{}' is not a number", *text);
    }
    length = value;
  }
  if (length && *length > options.max_body) {
    return Error::exhausted("the answer is larger than {} bytes", options.max_body);
  }
  while (!length || bytes.size() < *length) {
    if (bytes.size() > options.max_body) {
      return Error::exhausted("the answer is larger than {} bytes", options.max_body);
    }
    if (!HW_TRY(wire.read(bytes, deadline))) {
      if (length) {
        return Error::unavailable("the answer was cut short");
      }
      break;
    }
  }
  out.body = std::move(bytes);
  if (length) {
    out.body.resize(*length);
  }
  return out;
}

}  // namespace

std::optional<std::string_view> ClientResponse::header(std::string_view name) const {
  return header_of(headers, name);
}

Result<ClientResponse> fetch(std::string_view url, const ClientOptions& options) {
  auto out = fetch_whole(HW_TRY(parse_url(url)), options);
  if (!out) {
    return as_unavailable(std::move(out).error(), url);
  }
  return out;
}

struct EventReader::Connection {
  Wire wire;
  std::string bytes;
  bool ended = false;
};

EventReader::EventReader(std::unique_ptr<Connection> connection)
    : connection_(std::move(connection)) {}
EventReader::~EventReader() = default;

Result<std::unique_ptr<EventReader>> EventReader::open(std::string_view url,
                                                       const ClientOptions& options) {
  const auto deadline = SteadyClock::now() + options.timeout;
  auto connection = std::make_unique<Connection>();
  const auto parsed = HW_TRY(parse_url(url));
  auto head = exchange(connection->wire, connection->bytes, parsed, options, deadline);
  if (!head) {
    return as_unavailable(std::move(head).error(), url);
  }
  const auto type = header_of(head->headers, "Content-Type");
  if (head->status != 200 || !type || !type->starts_with("text/event-stream")) {
    // The body of a refusal is short, and says why.
    while (connection->bytes.size() < kMaxHead) {
      const auto more = connection->wire.read(connection->bytes, deadline);
      if (!more || !*more) {
        break;
      }
    }
    return Error(head->status >= 500 ? Code::kUnavailable : Code::kInvalid,
                 fmt::format("{}: status {}: {}", url, head->status,
                             trim(std::string_view(connection->bytes).substr(0, 500))));
  }
  return std::unique_ptr<EventReader>(new EventReader(std::move(connection)));
}

Result<std::optional<Event>> EventReader::next(milliseconds wait) {
  const auto deadline = SteadyClock::now() + wait;
  auto& bytes = connection_->bytes;
  while (true) {
    // Blocks end in an empty line; those without data (comments, retry) are skipped.
    for (auto end = bytes.find("\n\n"); end != std::string::npos; end = bytes.find("\n\n")) {
      Event event;
      bool has_data = false;
      for (const auto line : split(std::string_view(bytes).substr(0, end), '\n')) {
        const auto colon = line.find(':');
        const auto name = line.substr(0, colon);
        auto value = colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1);
        if (value.starts_with(' ')) {
          value.remove_prefix(1);
        }
        if (name == "data") {
          event.data += has_data ? "\n" : "";
          event.data += value;
          has_data = true;
        } else if (name == "event") {
          event.event = value;
        } else if (name == "id") {
          event.id = value;
        }
      }
      bytes.erase(0, end + 2);
      if (has_data) {
        return std::optional<Event>(std::move(event));
      }
    }
    if (bytes.size() > kMaxEvent) {
      return Error::exhausted("an event is larger than {} bytes", kMaxEvent);
    }
    if (connection_->ended) {
      return Error::unavailable("the event stream ended");
    }
    auto more = connection_->wire.read(bytes, deadline);
    if (!more) {
      if (more.error().code() == Code::kCancelled) {
        return std::optional<Event>();
      }
      return std::move(more).error();
    }
    connection_->ended = !*more;
  }
}

}  // namespace headwater::http
