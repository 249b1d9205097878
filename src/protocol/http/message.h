// HTTP requests and responses as handlers see them, and the parsing that is ours: request targets,
// query strings, route patterns. Everything here is plain values; no socket, no thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace headwater::http {

using Fields = std::vector<std::pair<std::string, std::string>>;

// "%41" → "A"; with `plus_is_space` also "+" → " ". Refuses a broken escape and NUL.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
std::string percent_encode(std::string_view text);

// "a=1&b=x%20y&flag" → {a: 1}, {b: "x y"}, {flag: ""}; order and repeats are kept, at most
// kMaxQueryFields.
inline constexpr std::size_t kMaxQueryFields = 64;
Result<Fields> parse_query(std::string_view text);

// A field name (RFC 9110 section 5.1: a token), and a value without control characters but tabs.
bool is_header_name(std::string_view name);
bool is_header_value(std::string_view value);

struct Target {
  std::string path;  // decoded, begins with "/"
  Fields query;
};
// The request target in origin form ("/path?query") or absolute form ("http://host/path").
// Refuses what does not begin with "/", control characters and "." or ".." segments.
Result<Target> parse_target(std::string_view target);

struct Request {
  std::string method;  // "GET"
  std::string path;    // decoded
  Fields query;
  Fields params;   // of the route pattern
  Fields headers;  // as received
  std::string body;
  std::string peer;  // "127.0.0.1:51234"

  // The first of that name; header names compare without case.
  std::optional<std::string_view> query_value(std::string_view name) const;
  std::optional<std::string_view> header(std::string_view name) const;
  // "" if the pattern has no such parameter.
  std::string_view param(std::string_view name) const;
  // A whole number from the query within [min, max], or `fallback` when absent.
  Result<std::int64_t> query_number(std::string_view name, std::int64_t fallback, std::int64_t min,
                                    std::int64_t max) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Fields headers = {};  // more headers; names and values with CR, LF or NUL are left out

  static Response json(std::string body, int status = 200);
  static Response text(std::string body, int status = 200);
  // {"error":{"code":"not_found","text":"…"}} with the status of the code.
  static Response error(const Error& error);
  static Response error(int status, std::string_view code, std::string_view text);
  // 503 with Retry-After: the same request may do later.
  static Response unavailable(std::string_view text);
};

std::string_view reason_phrase(int status);

// One server-sent event as it goes on the wire: "id: 7\nevent: alert\ndata: …\n\n". Newlines in
// `data` become several data lines; `event` and `id` are cut at a newline.
std::string format_event(std::string_view data, std::string_view event = {},
                         std::string_view id = {});

}  // namespace headwater::http
