#include "expr/functions.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "expr/operators.h"
#include "expr/time_text.h"

namespace headwater::expr {
namespace {

double number_of(const Value& value) {
  return value.type() == Type::kInt ? static_cast<double>(value.as_int()) : value.as_double();
}

// The least or greatest of numbers of either type. A NaN wins: it must not get lost.
Value extreme(std::span<const Value* const> args, bool greatest) {
  const Value* best = nullptr;
  for (const Value* const candidate : args) {
    const Type type = candidate->type();
    if (type != Type::kInt && type != Type::kDouble) {
      return Value::error(
          fmt::format("no such overload: {} of {}", greatest ? "max" : "min", type_name(type)));
    }
    if (type == Type::kDouble && std::isnan(candidate->as_double())) {
      return *candidate;
    }
    if (best == nullptr) {
      best = candidate;
      continue;
    }
    const std::partial_ordering order = compare_numbers(*candidate, *best);
    if (greatest ? order > 0 : order < 0) {
      best = candidate;
    }
  }
  if (best == nullptr) {
    return Value::error("min and max of an empty list");
  }
  return *best;
}

Value extreme_of(std::span<const Value* const> args, bool greatest) {
  if (args.size() != 1 || args[0]->type() != Type::kList) {
    return extreme(args, greatest);
  }
  std::vector<const Value*> elements;
  for (const Value& element : args[0]->as_list()) {
    elements.push_back(&element);
  }
  return extreme(elements, greatest);
}

Value clamp(std::span<const Value* const> args) {
  if (args[0]->type() == Type::kInt) {
    const std::int64_t low = args[1]->as_int();
    const std::int64_t high = args[2]->as_int();
    return Value::integer(std::max(low, std::min(high, args[0]->as_int())));
  }
  return Value::number(
      clamp_number(args[0]->as_double(), args[1]->as_double(), args[2]->as_double()));
}

Value int_of(const Value& value) {
  switch (value.type()) {
    case Type::kDouble: {
      std::int64_t out = 0;
      if (!to_int(value.as_double(), out)) {
        return Value::error(
            fmt::format("int: {} is outside the range of an int", value.as_double()));
      }
      return Value::integer(out);
    }
    case Type::kString: {
      std::string_view text = value.as_string();
      if (text.size() > 1 && text.front() == '+' && text[1] != '-') {
        text.remove_prefix(1);
      }
      std::int64_t out = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
      if (error != std::errc{} || end != text.data() + text.size()) {
        return Value::error(fmt::format("int: '{}' is no int", value.as_string().substr(0, 64)));
      }
      return Value::integer(out);
    }
    case Type::kTimestamp: {
      const WideNanos ns = value.as_timestamp().ns;
      constexpr WideNanos kSecond = 1'000'000'000;
      return Value::integer(static_cast<std::int64_t>(ns / kSecond - (ns % kSecond < 0 ? 1 : 0)));
    }
    default:
      return value;
  }
}

Value double_of(const Value& value) {
  if (value.type() == Type::kInt) {
    return Value::number(static_cast<double>(value.as_int()));
  }
  if (value.type() == Type::kString) {
    std::string_view text = value.as_string();
    if (text.size() > 1 && text.front() == '+' && text[1] != '-') {
      text.remove_prefix(1);
    }
    double out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc{} || end != text.data() + text.size()) {
      return Value::error(
          fmt::format("double: '{}' is no number", value.as_string().substr(0, 64)));
    }
    return Value::number(out);
  }
  return value;
}

Value string_of(const Value& value) {
  switch (value.type()) {
    case Type::kInt:
      return Value::string(fmt::format("{}", value.as_int()));
    case Type::kDouble: {
      const double number = value.as_double();
      if (std::isnan(number)) {
        return Value::string("NaN");
      }
      if (std::isinf(number)) {
        return Value::string(number > 0 ? "+Inf" : "-Inf");
      }
      char buffer[32];
      const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
      return Value::string(std::string(buffer, result.ptr));
    }
    case Type::kBool:
      return Value::string(value.as_bool() ? "true" : "false");
    case Type::kTimestamp:
      return Value::string(format_timestamp(value.as_timestamp()));
    case Type::kDuration:
      return Value::string(format_seconds(value.as_duration()));
    default:
      return value;
  }
}

Value bool_of(const Value& value) {
  if (value.type() != Type::kString) {
    return value;
  }
  const std::string& text = value.as_string();
  for (const std::string_view yes : {"1", "t", "T", "true", "True", "TRUE"}) {
    if (text == yes) {
      return Value::boolean(true);
    }
  }
  for (const std::string_view no : {"0", "f", "F", "false", "False", "FALSE"}) {
    if (text == no) {
      return Value::boolean(false);
    }
  }
  return Value::error(fmt::format("bool: '{}' is no bool", text.substr(0, 64)));
}

Value timestamp_of(const Value& value) {
  if (value.type() == Type::kString) {
    const auto at = parse_timestamp(value.as_string());
    if (!at) {
      return Value::error(fmt::format("timestamp: '{}' is no time such as 2013-12-02T21:15:00Z",
                                      value.as_string().substr(0, 64)));
    }
    return Value::timestamp(*at);
  }
  if (value.type() == Type::kInt) {
    const Timestamp at{WideNanos{value.as_int()} * 1'000'000'000};
    if (value.as_int() > 1'000'000'000'000 || value.as_int() < -1'000'000'000'000 ||
        !in_range(at)) {
      return Value::error(
          fmt::format("timestamp: {} s is outside the years 1 to 9999", value.as_int()));
    }
    return Value::timestamp(at);
  }
  return value;
}

Value duration_of(const Value& value) {
  if (value.type() != Type::kString) {
    return value;
  }
  const auto duration = parse_duration_text(value.as_string());
  if (!duration) {
    return Value::error(
        fmt::format("duration: '{}' is no duration such as 1h30m or 250ms, or "
                    "longer than 292 years",
                    value.as_string().substr(0, 64)));
  }
  return Value::duration(*duration);
}

Value time_value(Fn fn, std::span<const Value* const> args) {
  if (args[0]->type() == Type::kDuration) {
    return Value::integer(duration_part(fn, args[0]->as_duration().ns));
  }
  Timestamp at = args[0]->as_timestamp();
  if (args.size() == 2) {
    auto zone = Zone::find(args[1]->as_string());
    if (!zone) {
      return Value::error(zone.error().text());
    }
    at = shifted(at, **zone);
  }
  return Value::integer(time_part(fn, at));
}

Value changed(const std::string& text, char (*change)(char)) {
  std::string out = text;
  for (char& c : out) {
    c = change(c);
  }
  return Value::string(std::move(out));
}

Value matches(const std::string& text, const std::string& pattern) {
  // One pattern per thread is remembered: rows bring the same one again and again.
  thread_local std::string last;
  thread_local std::shared_ptr<const Pattern> compiled;
  if (compiled == nullptr || last != pattern) {
    auto result = Pattern::compile(pattern);
    if (!result) {
      return Value::error(result.error().text());
    }
    compiled = std::move(*result);
    last = pattern;
  }
  return Value::boolean(compiled->matches(text));
}

// Unicode's white space, as UTF-8.
std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces[] = {
      " ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\u0085", "\u00a0", "\u1680",
      "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008",
      "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view space : kSpaces) {
      if (text.starts_with(space)) {
        text.remove_prefix(space.size());
        again = true;
      }
      if (text.ends_with(space)) {
        text.remove_suffix(space.size());
        again = true;
      }
    }
  }
  return text;
}

Value on_text(Fn fn, std::span<const Value* const> args) {
  if (fn == Fn::kSize && args[0]->type() == Type::kList) {
    return Value::integer(static_cast<std::int64_t>(args[0]->as_list().size()));
  }
  const std::string& text = args[0]->as_string();
  const std::string_view view = text;
  switch (fn) {
    case Fn::kSize:
      return Value::integer(count_code_points(text));
    case Fn::kStartsWith:
      return Value::boolean(view.starts_with(args[1]->as_string()));
    case Fn::kEndsWith:
      return Value::boolean(view.ends_with(args[1]->as_string()));
    case Fn::kContains:
      return Value::boolean(view.find(args[1]->as_string()) != view.npos);
    case Fn::kMatches:
      return matches(text, args[1]->as_string());
    case Fn::kLower:
      return changed(text, lower_ascii);
    case Fn::kUpper:
      return changed(text, upper_ascii);
    default:
      return Value::string(std::string(trimmed(text)));
  }
}

Value on_ints(Fn fn, std::span<const Value* const> args) {
  const std::int64_t a = args[0]->as_int();
  const std::int64_t b = args.size() > 1 ? args[1]->as_int() : 0;
  const std::uint64_t bits = static_cast<std::uint64_t>(a);
  switch (fn) {
    case Fn::kBitAnd:
      return Value::integer(a & b);
    case Fn::kBitOr:
      return Value::integer(a | b);
    case Fn::kBitXor:
      return Value::integer(a ^ b);
    case Fn::kBitNot:
      return Value::integer(~a);
    default:
      break;
  }
  if (b < 0) {
    return Value::error("shift by a negative count");
  }
  if (b > 63) {
    return Value::integer(0);
  }
  return Value::integer(static_cast<std::int64_t>(fn == Fn::kShiftLeft ? bits << b : bits >> b));
}

Value on_numbers(Fn fn, std::span<const Value* const> args) {
  if (args[0]->type() == Type::kInt && fn != Fn::kSqrt && fn != Fn::kLog && fn != Fn::kLog10 &&
      fn != Fn::kExp) {
    const std::int64_t value = args[0]->as_int();
    if (fn == Fn::kAbs) {
      if (value == std::numeric_limits<std::int64_t>::min()) {
        return Value::error("overflow in abs");
      }
      return Value::integer(value < 0 ? -value : value);
    }
    if (fn == Fn::kSign) {
      return Value::integer((value > 0 ? 1 : 0) - (value < 0 ? 1 : 0));
    }
    return *args[0];  // round, ceil, floor
  }
  const double value = number_of(*args[0]);
  switch (fn) {
    case Fn::kIsNan:
      return Value::boolean(std::isnan(value));
    case Fn::kIsInf:
      return Value::boolean(std::isinf(value));
    case Fn::kIsFinite:
      return Value::boolean(std::isfinite(value));
    case Fn::kPow:
      return Value::number(std::pow(value, args[1]->as_double()));
    default:
      return Value::number(number_function(fn, value));
  }
}

}  // namespace

Value call(Fn fn, std::span<const Value* const> args) {
  switch (fn) {
    case Fn::kSize:
    case Fn::kStartsWith:
    case Fn::kEndsWith:
    case Fn::kContains:
    case Fn::kMatches:
    case Fn::kLower:
    case Fn::kUpper:
    case Fn::kTrim:
      return on_text(fn, args);
    case Fn::kMin:
      return extreme_of(args, false);
    case Fn::kMax:
      return extreme_of(args, true);
    case Fn::kClamp:
      return clamp(args);
    case Fn::kAbs:
    case Fn::kSign:
    case Fn::kSqrt:
    case Fn::kLog:
    case Fn::kLog10:
    case Fn::kExp:
    case Fn::kPow:
    case Fn::kRound:
    case Fn::kCeil:
    case Fn::kFloor:
    case Fn::kTrunc:
    case Fn::kIsNan:
    case Fn::kIsInf:
    case Fn::kIsFinite:
      return on_numbers(fn, args);
    case Fn::kBitAnd:
    case Fn::kBitOr:
    case Fn::kBitXor:
    case Fn::kBitNot:
    case Fn::kShiftLeft:
    case Fn::kShiftRight:
      return on_ints(fn, args);
    case Fn::kFullYear:
    case Fn::kMonth:
    case Fn::kDate:
    case Fn::kDayOfMonth:
    case Fn::kDayOfWeek:
    case Fn::kDayOfYear:
    case Fn::kHours:
    case Fn::kMinutes:
    case Fn::kSeconds:
    case Fn::kMilliseconds:
      return time_value(fn, args);
    case Fn::kToInt:
      return int_of(*args[0]);
    case Fn::kToDouble:
      return double_of(*args[0]);
    case Fn::kToString:
      return string_of(*args[0]);
    case Fn::kToBool:
      return bool_of(*args[0]);
    case Fn::kToTimestamp:
      return timestamp_of(*args[0]);
    case Fn::kToDuration:
      return duration_of(*args[0]);
    case Fn::kTypeOf:
      return Value::type_value(args[0]->type());
    case Fn::kDyn:
      break;
  }
  return *args[0];
}

std::int64_t count_code_points(std::string_view text) {
  std::int64_t count = 0;
  for (const char c : text) {
    count += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  }
  return count;
}

bool to_int(double value, std::int64_t& out) {
  // Both bounds are refused, as in CEL: at them the double may stand for an int outside.
  if (!(value > -0x1p63 && value < 0x1p63)) {
    return false;
  }
  out = static_cast<std::int64_t>(value);
  return true;
}

std::int64_t time_part(Fn fn, Timestamp at) {
  const CivilTime parts = civil(at);
  switch (fn) {
    case Fn::kFullYear:
      return parts.year;
    case Fn::kMonth:
      return parts.month - 1;
    case Fn::kDate:
      return parts.day;
    case Fn::kDayOfMonth:
      return parts.day - 1;
    case Fn::kDayOfWeek:
      return parts.day_of_week;
    case Fn::kDayOfYear:
      return parts.day_of_year;
    case Fn::kHours:
      return parts.hour;
    case Fn::kMinutes:
      return parts.minute;
    case Fn::kSeconds:
      return parts.second;
    default:
      return parts.millisecond;
  }
}

std::int64_t duration_part(Fn fn, std::int64_t ns) {
  switch (fn) {
    case Fn::kHours:
      return ns / 3'600'000'000'000;
    case Fn::kMinutes:
      return ns / 60'000'000'000;
    case Fn::kSeconds:
      return ns / 1'000'000'000;
    default:
      return ns / 1'000'000 % 1'000;  // of the second, as in CEL
  }
}

char lower_ascii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

char upper_ascii(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}

}  // namespace headwater::expr
