// Router: which handler answers which method and path.
//
//   Router router;
//   router.add("GET", "/api/v1/alerts/{id}", [](Request&& request, Responder responder) {
//     responder.send(Response::json(alert_json(request.param("id"))));
//   });
//
// A pattern is literal segments and `{name}` for one whole segment; `{name...}` last takes the rest
// (one segment or more). Literal segments win over parameters, whatever the order of registration.
// GET handlers answer HEAD too: the server leaves the body out.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/http/message.h"

namespace headwater::http {

class Responder;
using Handler = std::function<void(Request&& request, Responder responder)>;

struct RouteOptions {
  std::size_t max_body = 0;  // bytes; a request with more is answered 413 before it is read
};

// A file of the pages, usually embedded in the program: views that live as long as the router.
// One of the two bodies may be empty; a client that does not accept gzip gets the gzip body only if
// there is no other.
struct StaticPage {
  std::string_view content_type;  // "text/html; charset=utf-8"
  std::string_view body = {};
  std::string_view gzip_body = {};
  std::string_view etag = {};                   // with quotes; "" makes one from the content
  std::string_view cache_control = "no-cache";  // or "public, max-age=31536000, immutable"
};

class Router {
 public:
  // A bad pattern or a second handler for the same method and pattern is invalid.
  Status add(std::string_view method, std::string_view pattern, Handler handler,
             RouteOptions options = {});
  Status page(std::string_view pattern, StaticPage page);

  struct Match {
    const Handler* handler = nullptr;  // null: no such path, or (with `allow`) no such method
    const RouteOptions* options = nullptr;
    Fields params;
    std::string allow;  // "GET, HEAD, POST" when the path exists with other methods
  };
  Match match(std::string_view method, std::string_view path) const;

 private:
  struct Segment {
    enum class Kind : std::uint8_t { kLiteral, kParam, kRest };
    Kind kind = Kind::kLiteral;
    std::string text;
    bool operator==(const Segment&) const = default;
  };
  struct Route {
    std::string method;
    std::vector<Segment> segments;
    Handler handler;
    RouteOptions options;
  };
  static Result<std::vector<Segment>> parse_pattern(std::string_view pattern);
  static bool matches(const Route& route, const std::vector<std::string_view>& parts);

  std::vector<Route> routes_;
};

}  // namespace headwater::http
