#include "uplink/catalogue.h"

#include <array>
#include <vector>

#include "base/strings.h"
#include "config/find_kind.h"
#include "config/parse.h"
#include "store/lane.h"

namespace headwater {
namespace {

std::string where_of(const FileTargetOptions& options) {
  return options.dir.text;
}
// Without its query, which may hold a key.
std::string where_of(const HttpTargetOptions& options) {
  return options.url.substr(0, options.url.find('?'));
}

template <class Options, std::unique_ptr<UplinkTarget> (*make)(const Options&, const config::Node&,
                                                               config::Diagnostics&)>
constexpr TargetKind target(std::string_view kind) {
  return {kind, &config::view<Options>,
          [](const config::Node& node, config::Diagnostics& diagnostics) {
            Options options;
            MadeUplink made;
            if (config::parse(node, options, diagnostics)) {
              made.target = make(options, node, diagnostics);
              made.options = options.uplink;
              made.where = where_of(options);
            }
            return made;
          }};
}

// One line a kind.
// clang-format off
constexpr std::array kTargets = {
    target<FileTargetOptions, make_file_target>("file"),
    target<HttpTargetOptions, make_http_target>("http"),
};
// clang-format on

}  // namespace

std::span<const TargetKind> target_kinds() {
  return kTargets;
}

const TargetKind* find_target_kind(std::string_view kind, const config::Place& at,
                                   config::Diagnostics& diagnostics) {
  return config::find_kind(target_kinds(), "uplink", kind, at, diagnostics);
}

Status UplinkOptions::validate() const {
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    if (!parse_lane(lanes[i])) {
      std::vector<std::string_view> names;
      for (const Lane lane : kAllLanes) {
        names.push_back(lane_name(lane));
      }
      const std::string_view nearest = nearest_name(lanes[i], names);
      return nearest.empty()
                 ? Error::invalid("lanes: no lane '{}'; there are {}", lanes[i],
                                  fmt::join(names, ", "))
                 : Error::invalid("lanes: no lane '{}', did you mean '{}'?", lanes[i], nearest);
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (lanes[i] == lanes[j]) {
        return Error::invalid("lanes: '{}' stands there twice", lanes[i]);
      }
    }
  }
  HW_TRY(parse_budget(budget).with("budget"));
  return {};
}

Result<std::uint64_t> parse_budget(std::string_view text) {
  if (text.empty()) {
    return std::uint64_t{0};
  }
  if (!text.ends_with("/s")) {
    return Error::invalid("expected a size per second like 256KiB/s, got '{}'", text);
  }
  const std::uint64_t bytes = HW_TRY(parse_size(text.substr(0, text.size() - 2)));
  if (bytes == 0) {
    return Error::invalid("'{}' would let nothing through", text);
  }
  return bytes;
}

}  // namespace headwater
