// Timestamps and durations as CEL writes and takes apart, with the wide range of Timestamp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "expr/value.h"

namespace headwater::expr {

// RFC 3339, years 1 to 9999. As elsewhere in Headwater the T may be a space, and seconds and zone
// may be missing (UTC).
std::optional<Timestamp> parse_timestamp(std::string_view text);
// UTC with 0, 3, 6 or 9 digits of fraction: "2009-02-13T23:31:30Z".
std::string format_timestamp(Timestamp at);
bool in_range(Timestamp at);

// "1h30m", "-1.5s", "250ms"; units ns us µs ms s m h, and d as an extension; "0" alone is allowed.
std::optional<Duration> parse_duration_text(std::string_view text);
// In seconds: "5400s", "-1.5s".
std::string format_seconds(Duration value);

struct CivilTime {
  std::int64_t year = 1970;
  int month = 1;        // 1 to 12
  int day = 1;          // 1 to 31
  int day_of_week = 0;  // 0 is Sunday
  int day_of_year = 0;  // 0 is January 1st
  int hour = 0;
  int minute = 0;
  int second = 0;
  int millisecond = 0;
};
CivilTime civil(Timestamp at);
inline CivilTime civil_ns(std::int64_t ns) {
  return civil(Timestamp{ns});
}

// A time zone: a fixed offset ("+02:00", "-09:30", "02:00", "UTC", "Z") or a name of the system's
// zone database ("Europe/Berlin"). Immutable; safe from any thread.
class Zone {
 public:
  virtual ~Zone() = default;
  // Seconds east of UTC at that moment.
  virtual std::int64_t offset_at(std::int64_t unix_seconds) const = 0;

  // Cached for the life of the process.
  static Result<std::shared_ptr<const Zone>> find(std::string_view name);
};
Timestamp shifted(Timestamp at, const Zone& zone);

}  // namespace headwater::expr
