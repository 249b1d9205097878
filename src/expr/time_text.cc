#include "expr/time_text.h"

#include <array>
#include <chrono>
#include <limits>

namespace headwater::expr {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDaySeconds = 86'400;
constexpr std::int64_t kMinSeconds = -62'135'596'800;  // 0001-01-01T00:00:00Z
constexpr std::int64_t kMaxSeconds = 253'402'300'799;  // 9999-12-31T23:59:59Z

std::int64_t floor_div(WideNanos value, std::int64_t by) {
  const WideNanos quotient = value / by;
  return static_cast<std::int64_t>(value % by < 0 ? quotient - 1 : quotient);
}

struct Cursor {
  std::string_view text;

  bool take(char c) {
    if (text.empty() || text.front() != c) {
      return false;
    }
    text.remove_prefix(1);
    return true;
  }
  bool number(std::size_t digits, int& value) {
    if (text.size() < digits) {
      return false;
    }
    value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      if (text[i] < '0' || text[i] > '9') {
        return false;
      }
      value = value * 10 + (text[i] - '0');
    }
    text.remove_prefix(digits);
    return true;
  }
};

// Digits after a point, as nanoseconds; those past the ninth are cut.
bool take_fraction(Cursor& in, std::int64_t& ns) {
  std::int64_t scale = kSecond / 10;
  bool any = false;
  while (!in.text.empty() && in.text.front() >= '0' && in.text.front() <= '9') {
    ns += (in.text.front() - '0') * scale;
    scale /= 10;
    any = true;
    in.text.remove_prefix(1);
  }
  return any;
}

struct DurationUnit {
  std::string_view name;
  std::int64_t ns;
};
// Longer names before their beginnings.
constexpr std::array<DurationUnit, 9> kDurationUnits = {{{"ns", 1},
                                                         {"us", 1'000},
                                                         {"µs", 1'000},
                                                         {"μs", 1'000},
                                                         {"ms", 1'000'000},
                                                         {"s", kSecond},
                                                         {"m", 60 * kSecond},
                                                         {"h", 3'600 * kSecond},
                                                         {"d", kDaySeconds* kSecond}}};

}  // namespace

std::optional<Timestamp> parse_timestamp(std::string_view text) {
  Cursor in{text};
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  std::int64_t fraction = 0;
  if (!in.number(4, year) || !in.take('-') || !in.number(2, month) || !in.take('-') ||
      !in.number(2, day)) {
    return std::nullopt;
  }
  if (!in.text.empty()) {
    if (!(in.take('T') || in.take('t') || in.take(' ')) || !in.number(2, hour) || !in.take(':') ||
        !in.number(2, minute)) {
      return std::nullopt;
    }
    if (in.take(':')) {
      if (!in.number(2, second) || (in.take('.') && !take_fraction(in, fraction))) {
        return std::nullopt;
      }
    }
  }
  std::int64_t offset = 0;
  if (!in.text.empty() && !in.take('Z') && !in.take('z')) {
    const bool west = in.text.front() == '-';
    int hours = 0;
    int minutes = 0;
    if (!(in.take('+') || in.take('-')) || !in.number(2, hours) || !in.take(':') ||
        !in.number(2, minutes) || hours > 23 || minutes > 59) {
      return std::nullopt;
    }
    offset = (hours * 60 + minutes) * (west ? -60 : 60);
  }
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!in.text.empty() || !date.ok() || hour > 23 || minute > 59 || second > 59) {
    return std::nullopt;
  }
  const std::int64_t days = std::chrono::sys_days{date}.time_since_epoch().count();
  const std::int64_t seconds = days * kDaySeconds + hour * 3600 + minute * 60 + second - offset;
  const Timestamp at{WideNanos{seconds} * kSecond + fraction};
  return in_range(at) ? std::optional(at) : std::nullopt;
}

bool in_range(Timestamp at) {
  const std::int64_t seconds = floor_div(at.ns, kSecond);
  return seconds >= kMinSeconds && seconds <= kMaxSeconds;
}

CivilTime civil(Timestamp at) {
  const std::int64_t seconds = floor_div(at.ns, kSecond);
  const std::int64_t fraction = static_cast<std::int64_t>(at.ns - WideNanos{seconds} * kSecond);
  const std::int64_t days = floor_div(seconds, kDaySeconds);
  const int rest = static_cast<int>(seconds - days * kDaySeconds);
  const std::chrono::sys_days day{std::chrono::days{static_cast<int>(days)}};
  const std::chrono::year_month_day date{day};
  CivilTime out;
  out.year = static_cast<int>(date.year());
  out.month = static_cast<int>(static_cast<unsigned>(date.month()));
  out.day = static_cast<int>(static_cast<unsigned>(date.day()));
  out.day_of_week = static_cast<int>(std::chrono::weekday{day}.c_encoding());
  out.day_of_year = static_cast<int>(
      (day - std::chrono::sys_days{date.year() / std::chrono::January / 1}).count());
  out.hour = rest / 3600;
  out.minute = rest / 60 % 60;
  out.second = rest % 60;
  out.millisecond = static_cast<int>(fraction / 1'000'000);
  return out;
}

std::string format_timestamp(Timestamp at) {
  const CivilTime parts = civil(at);
  const std::int64_t fraction =
      static_cast<std::int64_t>(at.ns - WideNanos{floor_div(at.ns, kSecond)} * kSecond);
  std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", parts.year, parts.month,
                                parts.day, parts.hour, parts.minute, parts.second);
  if (fraction != 0) {
    if (fraction % 1'000'000 == 0) {
      out += fmt::format(".{:03}", fraction / 1'000'000);
    } else if (fraction % 1'000 == 0) {
      out += fmt::format(".{:06}", fraction / 1'000);
    } else {
      out += fmt::format(".{:09}", fraction);
    }
  }
  out += 'Z';
  return out;
}

std::optional<Duration> parse_duration_text(std::string_view text) {
  Cursor in{text};
  const bool negative = in.take('-');
  if (!negative) {
    (void)in.take('+');
  }
  if (in.text == "0") {
    return Duration{0};
  }
  if (in.text.empty()) {
    return std::nullopt;
  }
  WideNanos total = 0;
  while (!in.text.empty()) {
    WideNanos whole = 0;
    bool any = false;
    while (!in.text.empty() && in.text.front() >= '0' && in.text.front() <= '9') {
      whole = whole * 10 + (in.text.front() - '0');
      any = true;
      in.text.remove_prefix(1);
      if (whole > std::numeric_limits<std::int64_t>::max()) {
        return std::nullopt;
      }
    }
    std::int64_t fraction = 0;  // in units of 1e-9
    if (in.take('.')) {
      any = take_fraction(in, fraction) || any;
    }
    const DurationUnit* unit = nullptr;
    for (const DurationUnit& candidate : kDurationUnits) {
      if (in.text.substr(0, candidate.name.size()) == candidate.name) {
        unit = &candidate;
        break;
      }
    }
    if (!any || unit == nullptr) {
      return std::nullopt;
    }
    in.text.remove_prefix(unit->name.size());
    total += whole * unit->ns + WideNanos{fraction} * unit->ns / kSecond;
    if (total > WideNanos{std::numeric_limits<std::int64_t>::max()} + 1) {
      return std::nullopt;
    }
  }
  if (negative) {
    total = -total;
  } else if (total > std::numeric_limits<std::int64_t>::max()) {
    return std::nullopt;
  }
  return Duration{static_cast<std::int64_t>(total)};
}

std::string format_seconds(Duration value) {
  const bool negative = value.ns < 0;
  const std::uint64_t magnitude =
      negative ? 0 - static_cast<std::uint64_t>(value.ns) : static_cast<std::uint64_t>(value.ns);
  constexpr std::uint64_t kUnit = kSecond;
  std::string out = fmt::format("{}{}", negative ? "-" : "", magnitude / kUnit);
  if (magnitude % kUnit != 0) {
    out += fmt::format(".{:09}", magnitude % kUnit);
    out.erase(out.find_last_not_of('0') + 1);
  }
  out += 's';
  return out;
}

Timestamp shifted(Timestamp at, const Zone& zone) {
  const std::int64_t seconds = floor_div(at.ns, kSecond);
  return Timestamp{at.ns + WideNanos{zone.offset_at(seconds)} * kSecond};
}

}  // namespace headwater::expr
