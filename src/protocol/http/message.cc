#include "protocol/http/message.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/strings.h"

namespace headwater::http {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, ascii_lower, ascii_lower);
}

std::string_view first_line(std::string_view text) {
  return text.substr(0, text.find_first_of("\r\n"));
}

}  // namespace

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return Error::invalid("broken percent escape at {}", i);
      }
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    if (c == '\0') {
      return Error::invalid("NUL before {}", i);
    }
    out += c;
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Result<Fields> parse_query(std::string_view text) {
  Fields out;
  while (!text.empty()) {
    const auto end = text.find('&');
    const auto part = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (part.empty()) {
      continue;
    }
    if (out.size() >= kMaxQueryFields) {
      return Error::invalid("more than {} query fields", kMaxQueryFields);
    }
    const auto equals = part.find('=');
    auto name = HW_TRY(percent_decode(part.substr(0, equals), true));
    auto value = equals == std::string_view::npos
                     ? std::string()
                     : HW_TRY(percent_decode(part.substr(equals + 1), true));
    out.emplace_back(std::move(name), std::move(value));
  }
  return out;
}

bool is_header_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_header_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

Result<Target> parse_target(std::string_view target) {
  // Absolute form (RFC 9112 §3.2.2): a server must accept it; the authority does not matter here.
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() > scheme.size() && same_name(target.substr(0, scheme.size()), scheme)) {
      target.remove_prefix(scheme.size());
      const auto slash = target.find_first_of("/?");
      if (slash == std::string_view::npos) {
        target = "/";
      } else if (target[slash] == '/') {
        target.remove_prefix(slash);
      } else {
        return Error::invalid("request target without a path");
      }
      break;
    }
  }
  if (target.empty() || target.front() != '/') {
    return Error::invalid("request target must begin with '/'");
  }
  target = target.substr(0, target.find('#'));
  const auto question = target.find('?');
  Target out;
  out.path = HW_TRY(percent_decode(target.substr(0, question)));
  for (const char c : out.path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      return Error::invalid("control character in the path");
    }
  }
  for (const auto segment : split(out.path, '/')) {
    if (segment == "." || segment == "..") {
      return Error::invalid("'.' or '..' in the path");
    }
  }
  if (question != std::string_view::npos) {
    out.query = HW_TRY(parse_query(target.substr(question + 1)));
  }
  return out;
}

std::optional<std::string_view> Request::query_value(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) {
      return value;
    }
  }
  return std::nullopt;
}

std::optional<std::string_view> Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (same_name(key, name)) {
      return value;
    }
  }
  return std::nullopt;
}

std::string_view Request::param(std::string_view name) const {
  for (const auto& [key, value] : params) {
    if (key == name) {
      return value;
    }
  }
  return {};
}

Result<std::int64_t> Request::query_number(std::string_view name, std::int64_t fallback,
                                           std::int64_t min, std::int64_t max) const {
  const auto text = query_value(name);
  if (!text) {
    return fallback;
  }
  std::int64_t value = 0;
  const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (failed != std::errc{} || end != text->data() + text->size() || value < min || value > max) {
    return Error::invalid("{}: '{}' is not a whole number from {} to {}", name, *text, min, max);
  }
  return value;
}

Response Response::json(std::string body, int status) {
  return {.status = status, .content_type = "application/json", .body = std::move(body)};
}

Response Response::text(std::string body, int status) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(body)};
}

Response Response::error(const Error& error) {
  return Response::error(http_status(error.code()), code_name(error.code()), error.text());
}

Response Response::error(int status, std::string_view code, std::string_view text) {
  std::string body = "{\"error\":{\"code\":";
  append_json_string(body, code);
  body += ",\"text\":";
  append_json_string(body, text);
  body += "}}\n";
  return json(std::move(body), status);
}

Response Response::unavailable(std::string_view text) {
  Response response = error(503, "unavailable", text);
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 507:
      return "Insufficient Storage";
    default:
      return "Status";
  }
}

std::string format_event(std::string_view data, std::string_view event, std::string_view id) {
  std::string out;
  if (!id.empty()) {
    out += "id: ";
    out += first_line(id);
    out += '\n';
  }
  if (!event.empty()) {
    out += "event: ";
    out += first_line(event);
    out += '\n';
  }
  while (true) {
    const auto end = data.find_first_of("\r\n");
    out += "data: ";
    out += data.substr(0, end);
    out += '\n';
    if (end == std::string_view::npos) {
      break;
    }
    const bool pair = data[end] == '\r' && end + 1 < data.size() && data[end + 1] == '\n';
    data.remove_prefix(end + (pair ? 2 : 1));
  }
  out += '\n';
  return out;
}

}  // namespace headwater::http
