#include "protocol/http/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/strings.h"
#include "protocol/http/server.h"
#include "protocol/http/static_page.h"

namespace headwater::http {
namespace {

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

std::vector<std::string_view> path_parts(std::string_view path) {
  return split(path.substr(1), '/');
}

}  // namespace

Result<std::vector<Router::Segment>> Router::parse_pattern(std::string_view pattern) {
  if (pattern.empty() || pattern.front() != '/') {
    return Error::invalid("route '{}' must begin with '/'", pattern);
  }
  std::vector<Segment> out;
  std::vector<std::string_view> names;
  for (auto part : path_parts(pattern)) {
    if (!out.empty() && out.back().kind == Segment::Kind::kRest) {
      return Error::invalid("route '{}': '...' must be the last segment", pattern);
    }
    if (part.find_first_of("{}") == std::string_view::npos) {
      out.push_back({Segment::Kind::kLiteral, std::string(part)});
      continue;
    }
    if (part.size() < 2 || part.front() != '{' || part.back() != '}') {
      return Error::invalid("route '{}': a parameter is a whole segment: {{name}}", pattern);
    }
    part = part.substr(1, part.size() - 2);
    const bool rest = part.ends_with("...");
    if (rest) {
      part.remove_suffix(3);
    }
    if (!is_name(part) || std::ranges::find(names, part) != names.end()) {
      return Error::invalid("route '{}': bad or repeated parameter name '{}'", pattern, part);
    }
    names.push_back(part);
    out.push_back({rest ? Segment::Kind::kRest : Segment::Kind::kParam, std::string(part)});
  }
  return out;
}

Status Router::add(std::string_view method, std::string_view pattern, Handler handler,
                   RouteOptions options) {
  Route route{std::string(method), HW_TRY(parse_pattern(pattern)), std::move(handler), options};
  for (const auto& other : routes_) {
    // Parameters of other names are the same route.
    const bool same =
        other.method == route.method &&
        std::ranges::equal(other.segments, route.segments, [](const Segment& a, const Segment& b) {
          return a.kind == b.kind && (a.kind != Segment::Kind::kLiteral || a.text == b.text);
        });
    if (same) {
      return Error::invalid("route '{} {}' is there already", method, pattern);
    }
  }
  routes_.push_back(std::move(route));
  // Literal before parameter before rest, segment by segment, so the first match is the best.
  std::ranges::stable_sort(routes_, [](const Route& a, const Route& b) {
    return std::ranges::lexicographical_compare(
        a.segments, b.segments, [](const Segment& x, const Segment& y) { return x.kind < y.kind; });
  });
  return {};
}

Status Router::page(std::string_view pattern, StaticPage page) {
  return add("GET", pattern, static_page_handler(page));
}

bool Router::matches(const Route& route, const std::vector<std::string_view>& parts) {
  for (std::size_t i = 0; i < route.segments.size(); ++i) {
    const auto& segment = route.segments[i];
    if (i >= parts.size()) {
      return false;
    }
    if (segment.kind == Segment::Kind::kRest) {
      return true;
    }
    if (segment.kind == Segment::Kind::kLiteral ? parts[i] != segment.text : parts[i].empty()) {
      return false;
    }
  }
  return parts.size() == route.segments.size();
}

Router::Match Router::match(std::string_view method, std::string_view path) const {
  Match out;
  if (path.empty() || path.front() != '/') {
    return out;
  }
  const auto parts = path_parts(path);
  std::vector<std::string_view> allowed;
  for (const auto& route : routes_) {
    if (!matches(route, parts)) {
      continue;
    }
    const bool head = method == "HEAD" && route.method == "GET";
    if (route.method != method && !head) {
      allowed.push_back(route.method);
      if (route.method == "GET") {
        allowed.push_back("HEAD");
      }
      continue;
    }
    out.handler = &route.handler;
    out.options = &route.options;
    for (std::size_t i = 0; i < route.segments.size(); ++i) {
      const auto& segment = route.segments[i];
      if (segment.kind == Segment::Kind::kParam) {
        out.params.emplace_back(segment.text, parts[i]);
      } else if (segment.kind == Segment::Kind::kRest) {
        out.params.emplace_back(
            segment.text, path.substr(static_cast<std::size_t>(parts[i].data() - path.data())));
      }
    }
    return out;
  }
  std::ranges::sort(allowed);
  allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
  out.allow = fmt::format("{}", fmt::join(allowed, ", "));
  return out;
}

}  // namespace headwater::http
