// The functions of the language: one table of overloads, and what each does to single values. A new
// function is a row in kSignatures, a case in call() and, when it must be fast, a kernel.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "expr/value.h"

namespace headwater::expr {

enum class Fn : std::uint8_t {
  // text
  kSize,
  kStartsWith,
  kEndsWith,
  kContains,
  kMatches,
  kLower,
  kUpper,
  kTrim,
  // numbers
  kAbs,
  kSign,
  kMin,
  kMax,
  kClamp,
  kSqrt,
  kLog,
  kLog10,
  kExp,
  kPow,
  kRound,
  kCeil,
  kFloor,
  kTrunc,
  kIsNan,
  kIsInf,
  kIsFinite,
  kBitAnd,
  kBitOr,
  kBitXor,
  kBitNot,
  kShiftLeft,
  kShiftRight,
  // time
  kFullYear,
  kMonth,
  kDate,
  kDayOfMonth,
  kDayOfWeek,
  kDayOfYear,
  kHours,
  kMinutes,
  kSeconds,
  kMilliseconds,
  // conversions
  kToInt,
  kToDouble,
  kToString,
  kToBool,
  kToTimestamp,
  kToDuration,
  kTypeOf,
  kDyn,
};

enum class Form : std::uint8_t { kFunction, kMethod, kBoth };

struct Signature {
  std::string_view name;
  Form form = Form::kFunction;
  Fn fn = Fn::kSize;
  Type result = Type::kDyn;  // kDyn: that of the elements of operand 0
  std::uint8_t count = 0;
  bool variadic = false;  // one or more of args[0]
  std::array<Type, 3> args = {};

  bool takes(std::size_t operands, bool method) const {
    return (variadic ? operands >= 1 : operands == count) &&
           (form == Form::kBoth || (form == Form::kMethod) == method);
  }
  Type arg(std::size_t index) const { return variadic ? args[0] : args[index]; }
};

// All overloads; those of one name lie together.
std::span<const Signature> signatures();
// Index of the first overload of that name; signatures().size() when there is none.
std::size_t find_signature(std::string_view name);
// The overloads from `first` on that have its name.
std::span<const Signature> overloads(std::size_t first);

// Operands have the types of the signature, none is null or an error.
Value call(Fn fn, std::span<const Value* const> args);

// Shared with the column kernels.
std::int64_t count_code_points(std::string_view text);
// Truncates; false when NaN or outside the ints.
bool to_int(double value, std::int64_t& out);
// Of a timestamp, without a zone.
std::int64_t time_part(Fn fn, Timestamp at);
// Of a duration: kHours … kMilliseconds.
std::int64_t duration_part(Fn fn, std::int64_t ns);
char lower_ascii(char c);
char upper_ascii(char c);
constexpr std::size_t kMaxStringBytes = 1024 * 1024;  // of one string that an operation makes

// A pattern in RE2's syntax: linear time, no back references. Immutable, any thread.
class Pattern {
 public:
  virtual ~Pattern() = default;
  // True when any part of the text matches; anchor with ^ and $ for the whole.
  virtual bool matches(std::string_view text) const = 0;
  static Result<std::shared_ptr<const Pattern>> compile(std::string_view pattern);
};

}  // namespace headwater::expr
