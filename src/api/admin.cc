#include "api/admin.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "protocol/http/auth.h"
#include "protocol/http/server.h"

namespace headwater::api {
namespace {

constexpr double kMaxRate = 1'000;
constexpr std::int64_t kMaxLimit = 1'000'000'000;

// A page of another site can make a browser resolve its own name to this machine (DNS rebinding)
// and so read answers; it cannot forge the Host header, which then names that site. Without a token
// only an address or `localhost` is taken.
bool is_local_host(std::string_view host) {
  if (host.starts_with('[')) {
    return true;
  }
  host = host.substr(0, host.rfind(':'));
  return host == "localhost" ||
         (!host.empty() && host.find_first_not_of("0123456789.") == std::string_view::npos);
}

http::Handler guarded(const std::string& token, http::Handler inner) {
  if (!token.empty()) {
    return http::require_bearer(token, std::move(inner));
  }
  return [inner = std::move(inner)](http::Request&& request, http::Responder responder) {
    const auto host = request.header("Host");
    if (host && !is_local_host(*host)) {
      responder.send(http::Response::error(
          403, "invalid", "without a token the host must be an address or localhost"));
      return;
    }
    inner(std::move(request), std::move(responder));
  };
}

Result<TapOptions> tap_options(const http::Request& request) {
  TapOptions out;
  for (const auto& [name, value] : request.query) {
    if (name != "pipeline" && name != "kind" && name != "limit" && name != "rate") {
      return Error::invalid("unknown parameter '{}': use pipeline, kind, limit, rate", name);
    }
  }
  out.pipeline = request.query_value("pipeline").value_or(std::string_view{});
  const auto kind = request.query_value("kind").value_or("readings");
  if (kind == "alerts") {
    out.kind = TapKind::kAlerts;
  } else if (kind != "readings") {
    return Error::invalid("kind: '{}' is not readings or alerts", kind);
  }
  out.limit = static_cast<std::uint64_t>(HW_TRY(request.query_number("limit", 0, 0, kMaxLimit)));
  if (const auto rate = request.query_value("rate")) {
    const auto [end, failed] = std::from_chars(rate->data(), rate->data() + rate->size(), out.rate);
    if (failed != std::errc{} || end != rate->data() + rate->size() || !(out.rate > 0) ||
        out.rate > kMaxRate) {
      return Error::invalid("rate: '{}' is not a number above 0 and up to {} events/s", *rate,
                            kMaxRate);
    }
  }
  return out;
}

}  // namespace

Status add_admin_routes(http::Router& router, AdminOptions options) {
  if (options.status) {
    HW_TRY(router.add("GET", "/api/v1/status",
                      guarded(options.token, [status = std::move(options.status)](
                                                 http::Request&&, const http::Responder& r) {
                        r.send(http::Response::json(status()));
                      })));
  }
  if (options.tap != nullptr) {
    HW_TRY(router.add("GET", "/api/v1/tap",
                      guarded(options.token, [tap = options.tap](http::Request&& request,
                                                                 const http::Responder& responder) {
                        auto wanted = tap_options(request);
                        if (!wanted) {
                          responder.send(http::Response::error(wanted.error()));
                        } else if (!tap->has_room()) {
                          responder.send(http::Response::error(
                              Error::exhausted("{} taps are open already", TapHub::kMaxListeners)));
                        } else {
                          tap->add(std::move(wanted).value(), responder.stream());
                        }
                      })));
  }
  return {};
}

Status check_admin_exposure(std::string_view address, bool tls, bool token) {
  if (http::is_loopback(address) || (tls && token)) {
    return {};
  }
  return Error::invalid("admin address '{}' is reachable from elsewhere and has no {}", address,
                        tls     ? "token"
                        : token ? "TLS"
                                : "TLS and no token");
}

}  // namespace headwater::api
