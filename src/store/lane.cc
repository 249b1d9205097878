#include "store/lane.h"

#include "store/records.h"

namespace headwater {
namespace {

constexpr std::array<std::string_view, kLanes> kLaneNames = {"alerts", "readings", "samples",
                                                             "dead_letter", "debug"};
constexpr std::array<std::string_view, 4> kReasonNames = {"shed", "expired", "corrupt", "operator"};

}  // namespace

std::string_view lane_name(Lane lane) {
  return kLaneNames[index_of(lane)];
}

std::optional<Lane> parse_lane(std::string_view name) {
  for (const Lane lane : kAllLanes) {
    if (lane_name(lane) == name) {
      return lane;
    }
  }
  return std::nullopt;
}

std::string_view gap_reason_name(GapReason reason) {
  return kReasonNames[static_cast<std::size_t>(reason)];
}

}  // namespace headwater
