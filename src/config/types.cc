#include "config/types.h"

#include <charconv>

namespace headwater::config {

std::string Endpoint::text() const {
  const bool bracketed = host.find(':') != std::string::npos;
  return bracketed ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error::invalid("'{}' is not an address such as 127.0.0.1:1884: {}", text.substr(0, 64),
                          why);
  };
  if (text.find("://") != std::string_view::npos) {
    return bad("no URL; leave out what stands before the host");
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return bad("the port is missing");
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) {
    return bad("the port is a number from 0 to 65535");
  }
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (host.find(':') == std::string_view::npos) {
      return bad("brackets are for IPv6 addresses");
    }
  } else if (host.find(':') != std::string_view::npos) {
    return bad("an IPv6 address stands in brackets: [::1]:1884");
  }
  for (const char c : host) {
    if (c == '/' || c == '[' || c == ']' || c == '@' || static_cast<unsigned char>(c) <= ' ') {
      return bad("the host is a name or an IP address");
    }
  }
  return Endpoint{std::string(host), port};
}

}  // namespace headwater::config
