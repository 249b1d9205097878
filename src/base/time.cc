#include "base/time.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace headwater {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDaySeconds = 86'400;

// Reads exactly `digits` digits at `at`.
bool take_number(std::string_view text, std::size_t& at, int digits, int& value) {
  if (at + static_cast<std::size_t>(digits) > text.size()) {
    return false;
  }
  value = 0;
  for (int i = 0; i < digits; ++i) {
    const char c = text[at + static_cast<std::size_t>(i)];
    if (c < '0' || c > '9') {
      return false;
    }
    value = value * 10 + (c - '0');
  }
  at += static_cast<std::size_t>(digits);
  return true;
}

bool take_char(std::string_view text, std::size_t& at, char wanted) {
  if (at < text.size() && text[at] == wanted) {
    ++at;
    return true;
  }
  return false;
}

void append_padded(std::string& out, std::int64_t value, int digits) {
  char buffer[20];
  for (int i = digits - 1; i >= 0; --i) {
    buffer[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
  out.append(buffer, static_cast<std::size_t>(digits));
}

struct Unit {
  std::string_view name;
  std::int64_t ns;
};
constexpr std::array<Unit, 7> kUnits = {{{"d", kDaySeconds* kSecond},
                                         {"h", 3600 * kSecond},
                                         {"m", 60 * kSecond},
                                         {"s", kSecond},
                                         {"ms", 1'000'000},
                                         {"us", 1'000},
                                         {"ns", 1}}};

// A decimal number in two parts, so that whole counts stay exact.
struct Amount {
  std::int64_t whole = 0;
  double fraction = 0;  // [0, 1)
};

// Takes digits with an optional fraction off the front of `text`.
std::optional<Amount> take_amount(std::string_view& text) {
  Amount amount;
  const char* const end = text.data() + text.size();
  if (text.empty() || text.front() < '0' || text.front() > '9') {
    return std::nullopt;
  }
  auto [at, error] = std::from_chars(text.data(), end, amount.whole);
  if (error != std::errc{}) {
    return std::nullopt;
  }
  if (at != end && *at == '.') {
    double scale = 1;
    for (++at; at != end && *at >= '0' && *at <= '9'; ++at) {
      scale /= 10;
      amount.fraction += (*at - '0') * scale;
    }
  }
  text.remove_prefix(static_cast<std::size_t>(at - text.data()));
  return amount;
}

}  // namespace

Result<WallTime> parse_rfc3339(std::string_view text, int default_offset_minutes) {
  const auto bad = [&] {
    return Error::invalid("'{}' is not a time such as 2013-12-02T21:15:00Z", text.substr(0, 64));
  };
  std::size_t at = 0;
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  std::int64_t fraction = 0;
  if (!take_number(text, at, 4, year) || !take_char(text, at, '-') ||
      !take_number(text, at, 2, month) || !take_char(text, at, '-') ||
      !take_number(text, at, 2, day)) {
    return bad();
  }
  if (at < text.size()) {
    if (!(take_char(text, at, 'T') || take_char(text, at, 't') || take_char(text, at, ' ')) ||
        !take_number(text, at, 2, hour) || !take_char(text, at, ':') ||
        !take_number(text, at, 2, minute)) {
      return bad();
    }
    if (take_char(text, at, ':') && !take_number(text, at, 2, second)) {
      return bad();
    }
    if (take_char(text, at, '.')) {
      std::int64_t scale = kSecond / 10;
      const std::size_t begin = at;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        fraction += (text[at] - '0') * scale;
        scale /= 10;  // digits past the ninth are cut
      }
      if (at == begin) {
        return bad();
      }
    }
  }
  int offset = default_offset_minutes;
  if (at < text.size()) {
    if (take_char(text, at, 'Z') || take_char(text, at, 'z')) {
      offset = 0;
    } else {
      const bool west = text[at] == '-';
      int hours = 0;
      int minutes = 0;
      if (!(take_char(text, at, '+') || take_char(text, at, '-')) ||
          !take_number(text, at, 2, hours)) {
        return bad();
      }
      (void)take_char(text, at, ':');
      if (!take_number(text, at, 2, minutes) || hours > 23 || minutes > 59) {
        return bad();
      }
      offset = (hours * 60 + minutes) * (west ? -1 : 1);
    }
  }
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (at != text.size() || !date.ok() || hour > 23 || minute > 59 || second > 60 || year < 1678 ||
      year > 2261) {
    return bad();
  }
  const std::int64_t days = std::chrono::sys_days{date}.time_since_epoch().count();
  const std::int64_t seconds =
      days * kDaySeconds + hour * 3600 + minute * 60 + second - std::int64_t{offset} * 60;
  return WallTime{seconds * kSecond + fraction};
}

void append_rfc3339(std::string& out, WallTime at) {
  std::int64_t seconds = at.ns / kSecond;
  std::int64_t fraction = at.ns % kSecond;
  if (fraction < 0) {
    fraction += kSecond;
    --seconds;
  }
  std::int64_t days = seconds / kDaySeconds;
  std::int64_t rest = seconds % kDaySeconds;
  if (rest < 0) {
    rest += kDaySeconds;
    --days;
  }
  const std::chrono::year_month_day date{
      std::chrono::sys_days{std::chrono::days{static_cast<int>(days)}}};
  append_padded(out, static_cast<int>(date.year()), 4);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.month()), 2);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.day()), 2);
  out += 'T';
  append_padded(out, rest / 3600, 2);
  out += ':';
  append_padded(out, rest / 60 % 60, 2);
  out += ':';
  append_padded(out, rest % 60, 2);
  if (fraction != 0) {
    out += '.';
    if (fraction % 1'000'000 == 0) {
      append_padded(out, fraction / 1'000'000, 3);
    } else if (fraction % 1'000 == 0) {
      append_padded(out, fraction / 1'000, 6);
    } else {
      append_padded(out, fraction, 9);
    }
  }
  out += 'Z';
}

std::string format_rfc3339(WallTime at) {
  std::string out;
  append_rfc3339(out, at);
  return out;
}

Result<Nanos> parse_duration(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error::invalid("'{}' is not a duration such as 250ms, 30s or 1h30m: {}",
                          text.substr(0, 64), why);
  };
  if (text.empty()) {
    return bad("it is empty");
  }
  std::int64_t total = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto amount = take_amount(rest);
    if (!amount) {
      return bad("expected a number");
    }
    std::size_t letters = 0;
    while (letters < rest.size() && rest[letters] >= 'a' && rest[letters] <= 'z') {
      ++letters;
    }
    const std::string_view name = rest.substr(0, letters);
    rest.remove_prefix(letters);
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits) {
      if (candidate.name == name) {
        unit = &candidate;
      }
    }
    if (unit == nullptr) {
      return name.empty() ? bad("the unit is missing") : bad("units are ns us ms s m h d");
    }
    std::int64_t part = 0;
    if (__builtin_mul_overflow(amount->whole, unit->ns, &part) ||
        __builtin_add_overflow(total, part, &total) ||
        __builtin_add_overflow(
            total, std::llround(amount->fraction * static_cast<double>(unit->ns)), &total)) {
      return bad("it is longer than 292 years");
    }
  }
  return Nanos{total};
}

std::string format_duration(Nanos value) {
  std::int64_t rest = value.count();
  if (rest <= 0) {
    return "0s";
  }
  std::string out;
  for (const Unit& unit : kUnits) {
    if (rest >= unit.ns) {
      out += std::to_string(rest / unit.ns);
      out += unit.name;
      rest %= unit.ns;
    }
  }
  return out;
}

}  // namespace headwater
