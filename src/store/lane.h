// Lanes: tags in the one log, each with its own sequence (from 1), cursors and limits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace headwater {

enum class Lane : std::uint8_t { kAlerts, kReadings, kSamples, kDeadLetter, kDebug };
inline constexpr std::size_t kLanes = 5;
inline constexpr std::array<Lane, kLanes> kAllLanes = {
    Lane::kAlerts, Lane::kReadings, Lane::kSamples, Lane::kDeadLetter, Lane::kDebug};

constexpr std::size_t index_of(Lane lane) {
  return static_cast<std::size_t>(lane);
}
// "alerts", "readings", "samples", "dead_letter", "debug".
std::string_view lane_name(Lane lane);
std::optional<Lane> parse_lane(std::string_view name);

}  // namespace headwater
