// Time: two clocks that must not be mixed, and the texts that readings and configs carry.
//
// MonoTime counts nanoseconds of this boot (CLOCK_MONOTONIC): durations, timers, ages. WallTime
// counts nanoseconds since 1970-01-01T00:00:00Z (believed; may jump): event times and what people
// read. The clock itself is io::Clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headwater {

using Nanos = std::chrono::nanoseconds;

struct MonoTime {
  std::int64_t ns = 0;
  friend auto operator<=>(const MonoTime&, const MonoTime&) = default;
  friend MonoTime operator+(MonoTime at, Nanos by) { return {at.ns + by.count()}; }
  friend MonoTime operator-(MonoTime at, Nanos by) { return {at.ns - by.count()}; }
  friend Nanos operator-(MonoTime a, MonoTime b) { return Nanos{a.ns - b.ns}; }
};

struct WallTime {
  std::int64_t ns = 0;
  friend auto operator<=>(const WallTime&, const WallTime&) = default;
  friend WallTime operator+(WallTime at, Nanos by) { return {at.ns + by.count()}; }
  friend WallTime operator-(WallTime at, Nanos by) { return {at.ns - by.count()}; }
  friend Nanos operator-(WallTime a, WallTime b) { return Nanos{a.ns - b.ns}; }
};

// "2013-12-02T21:15:00Z", "2013-12-02 21:15:00.25+01:00", "2013-12-02T21:15": RFC 3339 with a space
// allowed for the T and the seconds and zone optional (no zone: `default_offset_minutes` east of
// UTC). Years 1678 to 2261 (64-bit nanoseconds).
Result<WallTime> parse_rfc3339(std::string_view text, int default_offset_minutes = 0);

// UTC, with 0, 3, 6 or 9 fraction digits: the fewest that lose nothing. "2013-12-02T21:15:00Z".
std::string format_rfc3339(WallTime at);
void append_rfc3339(std::string& out, WallTime at);

// Durations as configs write them: "250ms", "30s", "5m", "1h30m", "2d"; units ns us ms s m h d, a
// number without a unit is an error. Never negative.
Result<Nanos> parse_duration(std::string_view text);
// The same notation, largest units first: "1h30m", "250ms", "0s".
std::string format_duration(Nanos value);

}  // namespace headwater
