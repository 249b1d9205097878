// Our own parsing of what a client sends: targets, queries, accept and tag lists; and patterns
// against paths. Beast's parser has its own fuzzers.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "protocol/http/message.h"
#include "protocol/http/router.h"
#include "protocol/http/server.h"
#include "protocol/http/static_page.h"

namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace headwater::http;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);

  if (const auto target = parse_target(text)) {
    require(target->path.starts_with('/'));
    require(target->path.find('\0') == std::string::npos);
    require(target->path.find("/../") == std::string::npos);
    require(target->query.size() <= kMaxQueryFields);
    // What was decoded survives another trip.
    require(percent_decode(percent_encode(target->path)).value() == target->path);
  }
  if (const auto query = parse_query(text)) {
    std::string again;
    for (const auto& [name, value] : *query) {
      again += again.empty() ? "" : "&";
      again += percent_encode(name) + "=" + percent_encode(value);
    }
    require(parse_query(again).value() == *query);
  }
  (void)accepts_gzip(text);
  (void)etag_matches(text, "\"tag\"");
  (void)is_loopback(text);
  // An event's text never breaks out of its data lines.
  const auto event = format_event(text, text, text);
  require(event.find("\n\n") == event.size() - 2);

  // The first line is a pattern, the rest a path.
  const auto split_at = text.find('\n');
  if (split_at != std::string_view::npos) {
    Router router;
    if (router.add("GET", text.substr(0, split_at), [](Request&&, const Responder&) {})) {
      const auto match = router.match("GET", text.substr(split_at + 1));
      if (match.handler != nullptr) {
        for (const auto& [name, value] : match.params) {
          require(!name.empty());
        }
      }
    }
  }
  return 0;
}
