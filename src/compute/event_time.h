// Event time: where a reading's time comes from (`time: {field, format, zone}`) and how texts and
// numbers become times.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "data/batch.h"

namespace headwater {

enum class TimeFormat : std::uint8_t {
  kAuto,     // strings: RFC 3339, else a number; numbers: unit by magnitude (see below)
  kRfc3339,  // "2013-12-02T21:15:00.25+01:00", as base/time.h reads it
  kEpochS,   // since 1970-01-01T00:00:00Z; a number, or a string that holds one
  kEpochMs,
  kEpochUs,
  kEpochNs,
};

// "auto", "rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns".
std::optional<TimeFormat> time_format_from_name(std::string_view name);
std::string_view time_format_name(TimeFormat format);

// Minutes east of UTC of "Z", "UTC", "+01:00", "-0330", "+01"; up to 18 hours. Named zones
// ("Europe/Berlin") are refused: their rules change.
Result<int> parse_zone_offset(std::string_view text);

// Nothing where the text or number is no time of that format, or outside the years 1678 to 2261.
//
// kAuto on numbers: |v| below 1e11 is seconds, below 1e14 milliseconds, below 1e17 microseconds,
// else nanoseconds (each right for the years 1973 to 5138 in its unit). float64 seconds and
// milliseconds are rounded to the microsecond, which is what a float64 can hold; nanoseconds in a
// float64 are good to 128 ns only: declare such a field int64.
std::optional<WallTime> time_from_text(std::string_view text, TimeFormat format,
                                       int default_offset_minutes = 0);
std::optional<WallTime> time_from_number(double value, TimeFormat format);
std::optional<WallTime> time_from_integer(std::int64_t value, TimeFormat format);

struct EventTimeOptions {
  std::string field{};  // column that holds the time; empty: the time of arrival
  TimeFormat format = TimeFormat::kAuto;
  int zone_offset_minutes = 0;                  // of texts without a zone
  Nanos max_future = std::chrono::minutes(10);  // beyond the arrival
};

struct EventTimeStats {
  std::uint64_t missing = 0;  // null, or no such column
  std::uint64_t invalid = 0;  // a value that is no time
  std::uint64_t future = 0;
};

// Sets Row::time of the selected rows. Without a usable value it is the arrival, with
// kRowTimeMissing (also when no field is configured; then `stats` does not count it). Beyond
// max_future after the arrival the time is kept, with kRowTimeFuture.
class EventTime {
 public:
  explicit EventTime(EventTimeOptions options) : options_(std::move(options)) {}
  void resolve(Batch& batch, EventTimeStats& stats) const;

 private:
  EventTimeOptions options_;
};

}  // namespace headwater
