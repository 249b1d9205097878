// The admin listener's routes: /api/v1/status and /api/v1/tap.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "api/tap.h"
#include "base/result.h"
#include "protocol/http/router.h"

namespace headwater::api {

struct AdminOptions {
  // Called on the server's thread for each GET /api/v1/status; returns a JSON object; quick, no
  // blocking.
  std::function<std::string()> status = {};
  TapHub* tap = nullptr;   // outlives the server; null: no tap route
  std::string token = {};  // "" is no authentication
};

// GET /api/v1/status
// GET /api/v1/tap?pipeline=NAME&kind=readings|alerts&limit=N&rate=EVENTS_PER_SECOND
Status add_admin_routes(http::Router& router, AdminOptions options);

// An admin listener beyond loopback needs TLS and a token; the error says which is missing.
Status check_admin_exposure(std::string_view address, bool tls, bool token);

}  // namespace headwater::api
