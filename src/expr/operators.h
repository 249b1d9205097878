// Operators on single values, and the arithmetic that they share with the column kernels.
#pragma once

#include <cmath>
#include <compare>
#include <cstdint>
#include <limits>
#include <span>

#include "expr/functions.h"
#include "expr/tree.h"
#include "expr/value.h"

namespace headwater::expr {

// The outcome of a node whose operands are known: all but names, variables and macros. Null
// operands give null and errors give errors, but for the operators that take them (`&&`, `?:`, `==
// null`, …).
Value apply(const Tree& tree, const Node& node, std::span<const Value* const> args);

// CEL's ==: numbers by value across int and double, lists by element, different types are unequal.
bool values_equal(const Value& a, const Value& b);
// Of two values that are int or double.
std::partial_ordering compare_numbers(const Value& a, const Value& b);

// As in CEL: the int as the nearest double.
inline std::partial_ordering compare_int_double(std::int64_t a, double b) {
  return static_cast<double>(a) <=> b;
}

// NaN stays NaN; with low above high the result is low.
inline double clamp_number(double value, double low, double high) {
  const double below = value > high ? high : value;
  return below < low ? low : below;
}

// NaN if either is; of equals (0.0 and -0.0) the first.
inline double min_number(double a, double b) {
  return b < a || std::isnan(b) ? b : a;
}
inline double max_number(double a, double b) {
  return b > a || std::isnan(b) ? b : a;
}

inline double sign_number(double value) {
  return value > 0 ? 1.0 : (value < 0 ? -1.0 : value);
}

// kAbs, kSign, kSqrt, kLog, kLog10, kExp, kRound, kCeil, kFloor, kTrunc of a double.
double number_function(Fn fn, double value);

// Integer arithmetic of CEL. Return true when the result does not fit (out is then 0).
inline bool add_overflows(std::int64_t a, std::int64_t b, std::int64_t& out) {
  return __builtin_add_overflow(a, b, &out);
}
inline bool subtract_overflows(std::int64_t a, std::int64_t b, std::int64_t& out) {
  return __builtin_sub_overflow(a, b, &out);
}
inline bool multiply_overflows(std::int64_t a, std::int64_t b, std::int64_t& out) {
  return __builtin_mul_overflow(a, b, &out);
}
inline bool divide_fails(std::int64_t a, std::int64_t b, std::int64_t& out) {
  const bool bad = b == 0 || (b == -1 && a == std::numeric_limits<std::int64_t>::min());
  out = bad ? 0 : a / b;
  return bad;
}
inline bool modulo_fails(std::int64_t a, std::int64_t b, std::int64_t& out) {
  const bool bad = b == 0 || (b == -1 && a == std::numeric_limits<std::int64_t>::min());
  out = bad ? 0 : a % b;
  return bad;
}

}  // namespace headwater::expr
