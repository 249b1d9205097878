#include "compute/event_time.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "base/strings.h"
#include "compute/json_number.h"

namespace headwater {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr double kMaxNs = 9.2e18;  // below 2^63: year 2261

constexpr std::array<std::pair<std::string_view, TimeFormat>, 6> kNames = {
    {{"auto", TimeFormat::kAuto},
     {"rfc3339", TimeFormat::kRfc3339},
     {"epoch_s", TimeFormat::kEpochS},
     {"epoch_ms", TimeFormat::kEpochMs},
     {"epoch_us", TimeFormat::kEpochUs},
     {"epoch_ns", TimeFormat::kEpochNs}}};

TimeFormat by_magnitude(double magnitude) {
  if (magnitude < 1e11) {
    return TimeFormat::kEpochS;
  }
  if (magnitude < 1e14) {
    return TimeFormat::kEpochMs;
  }
  return magnitude < 1e17 ? TimeFormat::kEpochUs : TimeFormat::kEpochNs;
}

std::int64_t unit_ns(TimeFormat format) {
  switch (format) {
    case TimeFormat::kEpochMs:
      return 1'000'000;
    case TimeFormat::kEpochUs:
      return 1'000;
    case TimeFormat::kEpochNs:
      return 1;
    default:
      return kSecond;
  }
}

// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (H. Hinnant, "chrono-
// compatible low-level date algorithms").
std::int64_t days_from_civil(int year, int month, int day) {
  year -= month <= 2 ? 1 : 0;
  const int era = (year >= 0 ? year : year - 399) / 400;
  const int of_era = year - era * 400;
  const int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
  return std::int64_t{era} * 146097 + day_of_era - 719468;
}

int two(const char* at) {
  return (at[0] - '0') * 10 + (at[1] - '0');
}

bool digits(const char* at, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (at[i] < '0' || at[i] > '9') {
      return false;
    }
  }
  return true;
}

// The form nearly all devices send, "2013-12-02T21:15:00[.fraction]Z", years 1970 to 2199. Anything
// else is left to parse_rfc3339. `date` and `days` remember the last date.
class FastRfc3339 {
 public:
  bool read(std::string_view text, std::int64_t& ns) {
    if (text.size() < 20 || text.size() > 30 || text.back() != 'Z') {
      return false;
    }
    const char* const at = text.data();
    if (std::memcmp(at, date_, 10) != 0 && !read_date(at)) {
      return false;
    }
    const auto clock = load<std::uint64_t>(at + 11);  // "21:15:00"
    if (at[10] != 'T' || (clock & kColonPlaces) != kColons ||
        (json_number_detail::other_bytes(clock) & ~kColonPlaces) != 0) {
      return false;
    }
    const int hour = two(at + 11);
    const int minute = two(at + 14);
    const int second = two(at + 17);
    if (hour > 23 || minute > 59 || second > 59) {
      return false;
    }
    std::int64_t fraction = 0;
    if (text.size() > 20) {
      const std::size_t count = text.size() - 21;
      if (at[19] != '.' || count == 0 || !digits(at + 20, count)) {
        return false;
      }
      for (std::size_t i = 0; i < count; ++i) {
        fraction = fraction * 10 + (at[20 + i] - '0');
      }
      fraction *= kFractionUnit[count];
    }
    ns = (days_ * 86400 + hour * 3600 + minute * 60 + second) * kSecond + fraction;
    return true;
  }

 private:
  static constexpr std::uint64_t kColonPlaces = 0x0000FF0000FF0000;
  static constexpr std::uint64_t kColons = 0x00003A00003A0000;
  // Nanoseconds of the last of so many digits.
  static constexpr std::int64_t kFractionUnit[] = {
      1'000'000'000, 100'000'000, 10'000'000, 1'000'000, 100'000, 10'000, 1'000, 100, 10, 1};

  bool read_date(const char* at) {
    if (!digits(at, 4) || at[4] != '-' || !digits(at + 5, 2) || at[7] != '-' ||
        !digits(at + 8, 2)) {
      return false;
    }
    const int year = two(at) * 100 + two(at + 2);
    const int month = two(at + 5);
    const int day = two(at + 8);
    constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || year > 2199 || month < 1 || month > 12 || day < 1 ||
        day > kDays[month - 1] + (month == 2 && leap ? 1 : 0)) {
      return false;
    }
    std::memcpy(date_, at, 10);
    days_ = days_from_civil(year, month, day);
    return true;
  }

  char date_[10] = {};
  std::int64_t days_ = 0;
};

std::optional<WallTime> number_from_text(std::string_view text, TimeFormat format) {
  const auto number = parse_number(trim(text));
  if (!number) {
    return std::nullopt;
  }
  return number->is_integer ? time_from_integer(number->integer, format)
                            : time_from_number(number->value, format);
}

}  // namespace

std::optional<TimeFormat> time_format_from_name(std::string_view name) {
  for (const auto& [known, format] : kNames) {
    if (known == name) {
      return format;
    }
  }
  return std::nullopt;
}

std::string_view time_format_name(TimeFormat format) {
  return kNames[static_cast<std::size_t>(format)].first;
}

Result<int> parse_zone_offset(std::string_view text) {
  if (text == "Z" || text == "z" || text == "UTC") {
    return 0;
  }
  const auto wrong = [&] {
    return Error::invalid("'{}' is no zone: write an offset from UTC like \"+01:00\", or \"UTC\"",
                          text);
  };
  if (text.size() < 3 || (text[0] != '+' && text[0] != '-') || !digits(text.data() + 1, 2)) {
    return wrong();
  }
  std::string_view rest = text.substr(3);
  if (!rest.empty() && rest[0] == ':') {
    rest.remove_prefix(1);
    if (rest.empty()) {
      return wrong();
    }
  }
  int minutes = 0;
  if (!rest.empty()) {
    if (rest.size() != 2 || !digits(rest.data(), 2)) {
      return wrong();
    }
    minutes = two(rest.data());
  }
  const int offset = two(text.data() + 1) * 60 + minutes;
  if (minutes > 59 || offset > 18 * 60) {
    return wrong();
  }
  return text[0] == '-' ? -offset : offset;
}

std::optional<WallTime> time_from_integer(std::int64_t value, TimeFormat format) {
  if (format == TimeFormat::kRfc3339) {
    return std::nullopt;
  }
  if (format == TimeFormat::kAuto) {
    format = by_magnitude(std::fabs(static_cast<double>(value)));
  }
  std::int64_t ns = 0;
  if (__builtin_mul_overflow(value, unit_ns(format), &ns) ||
      std::fabs(static_cast<double>(ns)) > kMaxNs) {
    return std::nullopt;
  }
  return WallTime{ns};
}

std::optional<WallTime> time_from_number(double value, TimeFormat format) {
  if (format == TimeFormat::kRfc3339 || !std::isfinite(value)) {
    return std::nullopt;
  }
  if (format == TimeFormat::kAuto) {
    format = by_magnitude(std::fabs(value));
  }
  const auto unit = static_cast<double>(unit_ns(format));
  if (std::fabs(value) > kMaxNs / unit) {
    return std::nullopt;
  }
  const double whole = std::floor(value);
  // Seconds and milliseconds of our time leave about a quarter of a microsecond of a float64.
  const double grain = format == TimeFormat::kEpochS || format == TimeFormat::kEpochMs ? 1e3 : 1.0;
  const double part = std::round((value - whole) * unit / grain) * grain;
  return WallTime{static_cast<std::int64_t>(whole) * unit_ns(format) +
                  static_cast<std::int64_t>(part)};
}

std::optional<WallTime> time_from_text(std::string_view text, TimeFormat format,
                                       int default_offset_minutes) {
  if (format == TimeFormat::kAuto || format == TimeFormat::kRfc3339) {
    if (auto time = parse_rfc3339(text, default_offset_minutes)) {
      return *time;
    }
    if (format == TimeFormat::kRfc3339) {
      return std::nullopt;
    }
  }
  return number_from_text(text, format);
}

void EventTime::resolve(Batch& batch, EventTimeStats& stats) const {
  const Column* const column = options_.field.empty() ? nullptr : batch.find(options_.field);
  const bool wanted = !options_.field.empty();
  const TimeFormat format = options_.format;
  FastRfc3339 fast;
  const auto at = [&](std::size_t index) -> std::optional<WallTime> {
    switch (column->type()) {
      case Type::kTimestamp:
        return WallTime{column->values<std::int64_t>()[index]};
      case Type::kString: {
        const std::string_view text = column->values<std::string_view>()[index];
        std::int64_t ns = 0;
        if ((format == TimeFormat::kAuto || format == TimeFormat::kRfc3339) &&
            fast.read(text, ns)) {
          return WallTime{ns};
        }
        return time_from_text(text, format, options_.zone_offset_minutes);
      }
      case Type::kInt64:
        return time_from_integer(column->values<std::int64_t>()[index], format);
      case Type::kFloat64:
      case Type::kFloat32:
        return time_from_number(column->as_double(index), format);
      default:
        return std::nullopt;
    }
  };
  for (const std::uint32_t index : batch.selection()) {
    Row& row = batch.row(index);
    std::optional<WallTime> time;
    if (column != nullptr && column->valid(index)) {
      time = at(index);
      stats.invalid += time ? 0 : 1;
    } else {
      stats.missing += wanted ? 1 : 0;
    }
    if (!time) {
      row.time = row.received;
      row.flags |= kRowTimeMissing;
      continue;
    }
    row.time = *time;
    // As a difference, so that neither end of the range overflows.
    std::int64_t ahead = 0;
    if (!__builtin_sub_overflow(time->ns, row.received.ns, &ahead) &&
        ahead > options_.max_future.count()) {
      row.flags |= kRowTimeFuture;
      ++stats.future;
    }
  }
}

}  // namespace headwater
