// Value: one value of an expression, on its own. Columns never hold it; it serves literals,
// `headwater expr`, tests and the few operations without a column kernel.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/time.h"
#include "data/schema.h"

namespace headwater::expr {

enum class Type : std::uint8_t {
  kNull,
  kBool,
  kInt,     // int64
  kDouble,  // float64; float32 columns widen
  kString,  // UTF-8
  kTimestamp,
  kDuration,
  kList,
  kType,   // what type(x) gives
  kBytes,  // columns of bytes and frames: only has() and comparison with null
  kDyn,    // not known before evaluation
};

// "null", "bool", "int", "double", "string", "timestamp", "duration", "list", "type", "bytes",
// "dyn".
std::string_view type_name(Type type);
// As type(x) shows it: "null_type", "google.protobuf.Timestamp", …
std::string_view cel_type_name(Type type);
Type from_column_type(headwater::Type type);

// Timestamps on their own have the range that CEL demands, years 1 to 9999; a column holds 64 bits
// of nanoseconds, years 1678 to 2261. Durations have 64 bits everywhere (±292 years).
__extension__ using WideNanos = __int128;

struct Timestamp {
  WideNanos ns = 0;  // since 1970-01-01T00:00:00Z
  friend bool operator==(Timestamp, Timestamp) = default;
};
struct Duration {
  std::int64_t ns = 0;
  friend bool operator==(Duration, Duration) = default;
};

class Value {
 public:
  using List = std::vector<Value>;

  Value() = default;  // null
  static Value boolean(bool value) { return Value(Rep(std::in_place_index<1>, value)); }
  static Value integer(std::int64_t value) { return Value(Rep(std::in_place_index<2>, value)); }
  static Value number(double value) { return Value(Rep(std::in_place_index<3>, value)); }
  static Value string(std::string value) {
    return Value(Rep(std::in_place_index<4>, std::move(value)));
  }
  static Value timestamp(Timestamp value) { return Value(Rep(std::in_place_index<5>, value)); }
  static Value timestamp(WallTime value) { return timestamp(Timestamp{value.ns}); }
  static Value duration(Duration value) { return Value(Rep(std::in_place_index<6>, value)); }
  static Value duration(Nanos value) { return duration(Duration{value.count()}); }
  static Value list(List elements);
  static Value type_value(Type type) { return Value(Rep(std::in_place_index<8>, type)); }
  // The outcome of a failed operation; never leaves evaluate_scalar(), which returns an Error.
  static Value error(std::string text) {
    return Value(Rep(std::in_place_index<9>, Failure{std::move(text)}));
  }

  bool is_null() const { return rep_.index() == 0; }
  bool is_error() const { return rep_.index() == 9; }
  // kDyn for an error.
  Type type() const;

  // Each requires its type.
  bool as_bool() const { return *std::get_if<1>(&rep_); }
  std::int64_t as_int() const { return *std::get_if<2>(&rep_); }
  double as_double() const { return *std::get_if<3>(&rep_); }
  const std::string& as_string() const { return *std::get_if<4>(&rep_); }
  Timestamp as_timestamp() const { return *std::get_if<5>(&rep_); }
  Duration as_duration() const { return *std::get_if<6>(&rep_); }
  const List& as_list() const;
  // Levels of lists: 0 for what is no list, 1 for [1, 2].
  std::uint32_t depth() const;
  Type as_type() const { return *std::get_if<8>(&rep_); }
  const std::string& as_error() const { return std::get_if<9>(&rep_)->text; }

  // Same type and same value (NaN is not itself); for tests. CEL's == is an operator of the
  // language.
  friend bool operator==(const Value& a, const Value& b);

 private:
  struct Failure {
    std::string text;
    friend bool operator==(const Failure&, const Failure&) = default;
  };
  struct Elements;
  using Rep = std::variant<std::monostate, bool, std::int64_t, double, std::string, Timestamp,
                           Duration, std::shared_ptr<const Elements>, Type, Failure>;
  explicit Value(Rep rep) : rep_(std::move(rep)) {}

  Rep rep_;
};

using Bindings = std::map<std::string, Value, std::less<>>;

// {"type":"bool","value":true}. Timestamps in RFC 3339, durations in seconds ("1.5s"), NaN and
// infinities as strings ("NaN", "Infinity", "-Infinity"), a list as an array of plain values.
std::string to_json(const Value& value);
// Only the value part.
void append_json_value(std::string& out, const Value& value);

}  // namespace headwater::expr
