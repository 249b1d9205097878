// Bearer tokens (RFC 6750) in the Authorization header. No cookies, so a page of another site
// cannot make a browser act for a user.
#pragma once

#include <string_view>

#include "protocol/http/message.h"
#include "protocol/http/router.h"

namespace headwater::http {

// Equal texts? In a time that depends on neither content nor common prefix (both are hashed first).
bool equal_secret(std::string_view a, std::string_view b);

// Whether the request shows `token`. An empty token matches nothing.
bool has_bearer(const Request& request, std::string_view token);

// `inner`, for requests that show the token; 401 with WWW-Authenticate for the others. With an
// empty token: `inner` itself (no authentication configured).
Handler require_bearer(std::string token, Handler inner);

}  // namespace headwater::http
