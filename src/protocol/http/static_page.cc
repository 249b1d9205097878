#include "protocol/http/static_page.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "base/crc32c.h"
#include "base/strings.h"
#include "protocol/http/server.h"

namespace headwater::http {
namespace {

std::string make_etag(const StaticPage& page) {
  if (!page.etag.empty()) {
    return std::string(page.etag);
  }
  const auto content = page.body.empty() ? page.gzip_body : page.body;
  return fmt::format("\"{:08x}-{:x}\"", crc32c(content), content.size());
}

}  // namespace

bool etag_matches(std::string_view header, std::string_view etag) {
  if (trim(header) == "*") {
    return true;
  }
  for (auto one : split(header, ',')) {
    one = trim(one);
    if (one.starts_with("W/")) {
      one.remove_prefix(2);
    }
    if (one == etag) {
      return true;
    }
  }
  return false;
}

bool accepts_gzip(std::string_view header) {
  bool any = false;
  for (const auto part : split(header, ',')) {
    const auto pieces = split(part, ';');
    const auto coding = trim(pieces.front());
    bool refused = false;
    for (std::size_t i = 1; i < pieces.size(); ++i) {
      const auto weight = trim(pieces[i]);
      refused = refused || (weight.starts_with("q=0") &&
                            weight.find_first_of("123456789", 3) == std::string_view::npos);
    }
    if (coding == "gzip" || coding == "x-gzip") {
      return !refused;
    }
    any = any || (coding == "*" && !refused);
  }
  return any;
}

Handler static_page_handler(StaticPage page) {
  return [page, etag = make_etag(page)](Request&& request, Responder responder) {
    Response response;
    response.content_type = page.content_type;
    response.headers.emplace_back("ETag", etag);
    response.headers.emplace_back("Cache-Control", page.cache_control);
    if (!page.gzip_body.empty()) {
      response.headers.emplace_back("Vary", "Accept-Encoding");
    }
    if (const auto known = request.header("If-None-Match"); known && etag_matches(*known, etag)) {
      response.status = 304;
      responder.send(std::move(response));
      return;
    }
    const bool gzip =
        !page.gzip_body.empty() &&
        (page.body.empty() ||
         accepts_gzip(request.header("Accept-Encoding").value_or(std::string_view{})));
    if (gzip) {
      response.headers.emplace_back("Content-Encoding", "gzip");
    }
    response.body = gzip ? page.gzip_body : page.body;
    responder.send(std::move(response));
  };
}

}  // namespace headwater::http
