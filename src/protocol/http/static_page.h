// Answers for an embedded file: entity tag, 304, gzip. Used by Router::page.
#pragma once

#include "protocol/http/router.h"

namespace headwater::http {

Handler static_page_handler(StaticPage page);

// Whether the If-None-Match value `header` names `etag` (weak comparison, RFC 9110 §13.1.2).
bool etag_matches(std::string_view header, std::string_view etag);

// Whether an Accept-Encoding value takes gzip: named, or "*", and not with q=0.
bool accepts_gzip(std::string_view header);

}  // namespace headwater::http
