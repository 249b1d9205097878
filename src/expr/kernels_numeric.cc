// Kernels on doubles, ints, timestamps, durations and bools. They compute all rows, null or not,
// and settle the masks afterwards.
#include <algorithm>
#include <cmath>
#include <functional>

#include "expr/operators.h"
#include "expr/registers.h"

namespace headwater::expr {
namespace {

template <class In, class Out, class F>
void loop(const Register& a, const Register& b, Out* out, std::size_t rows, F f) {
  const In* const x = a.values<In>();
  const In* const y = b.values<In>();
  if (a.constant) {
    const In left = x[0];
    for (std::size_t row = 0; row < rows; ++row) {
      out[row] = static_cast<Out>(f(left, y[row]));
    }
  } else if (b.constant) {
    const In right = y[0];
    for (std::size_t row = 0; row < rows; ++row) {
      out[row] = static_cast<Out>(f(x[row], right));
    }
  } else {
    for (std::size_t row = 0; row < rows; ++row) {
      out[row] = static_cast<Out>(f(x[row], y[row]));
    }
  }
}

template <class In, class Out, class F>
void binary(Context& context, const Step& step) {
  Register& out = context.out(step);
  Out* const values = out.prepare<Out>(context.rows);
  loop<In>(context.arg(step, 0), context.arg(step, 1), values, context.rows, F{});
  strict_masks(context, step, out);
  if constexpr (std::is_same_v<Out, std::uint8_t>) {
    zero_invalid(context, out);
  }
}

using IntOp = bool (*)(std::int64_t, std::int64_t, std::int64_t&);

// Ints that may overflow: the rows that do become errors.
template <IntOp kOp>
void checked(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Register& a = context.arg(step, 0);
  const Register& b = context.arg(step, 1);
  auto* const values = out.prepare<std::int64_t>(context.rows);
  const auto* const x = a.values<std::int64_t>();
  const auto* const y = b.values<std::int64_t>();
  const std::size_t x_step = a.constant ? 0 : 1;
  const std::size_t y_step = b.constant ? 0 : 1;
  strict_masks(context, step, out);
  context.failed.assign(context.words, 0);
  for (std::size_t word = 0; word < context.words; ++word) {
    const std::size_t begin = word * 64;
    const std::size_t end = std::min(begin + 64, context.rows);
    std::uint64_t failed = 0;
    for (std::size_t row = begin; row < end; ++row) {
      const bool bad = kOp(x[row * x_step], y[row * y_step], values[row]);
      failed |= std::uint64_t{bad} << (row - begin);
    }
    context.failed[word] = failed;
  }
  add_errors(context, out, context.failed);
}

template <Op kOp>
bool holds(std::partial_ordering order) {
  switch (kOp) {
    case Op::kEq:
      return order == 0;
    case Op::kNe:
      return order != 0;
    case Op::kLt:
      return order < 0;
    case Op::kLe:
      return order <= 0;
    case Op::kGt:
      return order > 0;
    default:
      return order >= 0;
  }
}

// int with double. kSwapped: the double is on the left.
template <Op kOp, bool kSwapped>
void compare_mixed(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Register& ints = context.arg(step, kSwapped ? 1 : 0);
  const Register& doubles = context.arg(step, kSwapped ? 0 : 1);
  auto* const values = out.prepare<std::uint8_t>(context.rows);
  const auto* const x = ints.values<std::int64_t>();
  const auto* const y = doubles.values<double>();
  for (std::size_t row = 0; row < context.rows; ++row) {
    std::partial_ordering order =
        compare_int_double(x[ints.constant ? 0 : row], y[doubles.constant ? 0 : row]);
    if constexpr (kSwapped) {
      order = 0 <=> order;
    }
    values[row] = holds<kOp>(order) ? 1 : 0;
  }
  strict_masks(context, step, out);
  zero_invalid(context, out);
}

template <class T>
Kernel compare(Op op) {
  switch (op) {
    case Op::kEq:
      return binary<T, std::uint8_t, std::equal_to<T>>;
    case Op::kNe:
      return binary<T, std::uint8_t, std::not_equal_to<T>>;
    case Op::kLt:
      return binary<T, std::uint8_t, std::less<T>>;
    case Op::kLe:
      return binary<T, std::uint8_t, std::less_equal<T>>;
    case Op::kGt:
      return binary<T, std::uint8_t, std::greater<T>>;
    case Op::kGe:
      return binary<T, std::uint8_t, std::greater_equal<T>>;
    default:
      return nullptr;
  }
}

template <bool kSwapped>
Kernel compare_mixed_by(Op op) {
  switch (op) {
    case Op::kEq:
      return compare_mixed<Op::kEq, kSwapped>;
    case Op::kNe:
      return compare_mixed<Op::kNe, kSwapped>;
    case Op::kLt:
      return compare_mixed<Op::kLt, kSwapped>;
    case Op::kLe:
      return compare_mixed<Op::kLe, kSwapped>;
    case Op::kGt:
      return compare_mixed<Op::kGt, kSwapped>;
    case Op::kGe:
      return compare_mixed<Op::kGe, kSwapped>;
    default:
      return nullptr;
  }
}

template <class In, class Out, class F>
void unary(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Register& a = context.arg(step, 0);
  Out* const values = out.prepare<Out>(context.rows);
  const In* const x = a.values<In>();
  const std::size_t x_step = a.constant ? 0 : 1;
  const F f{step.fn};
  for (std::size_t row = 0; row < context.rows; ++row) {
    values[row] = static_cast<Out>(f(x[row * x_step]));
  }
  strict_masks(context, step, out);
  if constexpr (std::is_same_v<Out, std::uint8_t>) {
    zero_invalid(context, out);
  }
}

template <class In, bool (*kOp)(In, std::int64_t&)>
void checked_unary(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Register& a = context.arg(step, 0);
  auto* const values = out.prepare<std::int64_t>(context.rows);
  const In* const x = a.values<In>();
  const std::size_t x_step = a.constant ? 0 : 1;
  strict_masks(context, step, out);
  context.failed.assign(context.words, 0);
  for (std::size_t row = 0; row < context.rows; ++row) {
    const bool bad = kOp(x[row * x_step], values[row]);
    context.failed[row / 64] |= std::uint64_t{bad} << (row % 64);
  }
  add_errors(context, out, context.failed);
}

bool negate_int(std::int64_t value, std::int64_t& out) {
  return subtract_overflows(0, value, out);
}
bool abs_int(std::int64_t value, std::int64_t& out) {
  if (value < 0) {
    return subtract_overflows(0, value, out);
  }
  out = value;
  return false;
}
bool int_of_double(double value, std::int64_t& out) {
  out = 0;
  return !to_int(value, out);
}

struct NegateDouble {
  Fn fn;
  double operator()(double value) const { return -value; }
};
struct NotBool {
  Fn fn;
  std::uint8_t operator()(std::uint8_t value) const { return static_cast<std::uint8_t>(value ^ 1); }
};
struct NumberFunction {
  Fn fn;
  double operator()(double value) const { return number_function(fn, value); }
};
struct AbsDouble {
  Fn fn;
  double operator()(double value) const { return std::fabs(value); }
};
struct SqrtDouble {
  Fn fn;
  double operator()(double value) const { return std::sqrt(value); }
};
struct NumberFunctionOfInt {
  Fn fn;
  double operator()(std::int64_t value) const {
    return number_function(fn, static_cast<double>(value));
  }
};
struct SameInt {
  Fn fn;
  std::int64_t operator()(std::int64_t value) const { return value; }
};
struct SignOfInt {
  Fn fn;
  std::int64_t operator()(std::int64_t value) const {
    return (value > 0 ? 1 : 0) - (value < 0 ? 1 : 0);
  }
};
struct SameDouble {
  Fn fn;
  double operator()(double value) const { return value; }
};
struct DoubleOfInt {
  Fn fn;
  double operator()(std::int64_t value) const { return static_cast<double>(value); }
};
struct Classify {
  Fn fn;
  bool operator()(double value) const {
    return fn == Fn::kIsNan   ? std::isnan(value)
           : fn == Fn::kIsInf ? std::isinf(value)
                              : std::isfinite(value);
  }
};
struct TimePart {
  Fn fn;
  std::int64_t operator()(std::int64_t ns) const { return time_part(fn, Timestamp{ns}); }
};
struct DurationPart {
  Fn fn;
  std::int64_t operator()(std::int64_t ns) const { return duration_part(fn, ns); }
};
struct SecondsOfTime {
  Fn fn;
  std::int64_t operator()(std::int64_t ns) const {
    constexpr std::int64_t kSecond = 1'000'000'000;
    return ns / kSecond - (ns % kSecond < 0 ? 1 : 0);
  }
};

double power(double a, double b) {
  return std::pow(a, b);
}
std::int64_t min_int(std::int64_t a, std::int64_t b) {
  return std::min(a, b);
}
std::int64_t max_int(std::int64_t a, std::int64_t b) {
  return std::max(a, b);
}

// min, max, pow: from left to right over any number of operands.
template <class T, T (*kOp)(T, T)>
void reduce(Context& context, const Step& step) {
  Register& out = context.out(step);
  T* const values = out.prepare<T>(context.rows);
  for (std::size_t index = 0; index < step.args.size(); ++index) {
    const Register& a = context.arg(step, index);
    const T* const x = a.values<T>();
    const std::size_t x_step = a.constant ? 0 : 1;
    for (std::size_t row = 0; row < context.rows; ++row) {
      values[row] = index == 0 ? x[row * x_step] : kOp(values[row], x[row * x_step]);
    }
  }
  strict_masks(context, step, out);
}

template <class T>
T clamp_value(T value, T low, T high) {
  if constexpr (std::is_same_v<T, double>) {
    return clamp_number(value, low, high);
  } else {
    return std::max(low, std::min(high, value));
  }
}

template <class T>
void clamp(Context& context, const Step& step) {
  Register& out = context.out(step);
  T* const values = out.prepare<T>(context.rows);
  const T* in[3];
  std::size_t stride[3];
  for (std::size_t index = 0; index < 3; ++index) {
    in[index] = context.arg(step, index).values<T>();
    stride[index] = context.arg(step, index).constant ? 0 : 1;
  }
  for (std::size_t row = 0; row < context.rows; ++row) {
    values[row] =
        clamp_value(in[0][row * stride[0]], in[1][row * stride[1]], in[2][row * stride[2]]);
  }
  strict_masks(context, step, out);
}

Kernel int_arithmetic(Op op) {
  switch (op) {
    case Op::kAdd:
      return checked<add_overflows>;
    case Op::kSub:
      return checked<subtract_overflows>;
    case Op::kMul:
      return checked<multiply_overflows>;
    case Op::kDiv:
      return checked<divide_fails>;
    case Op::kMod:
      return checked<modulo_fails>;
    default:
      return nullptr;
  }
}

Kernel double_arithmetic(Op op) {
  switch (op) {
    case Op::kAdd:
      return binary<double, double, std::plus<double>>;
    case Op::kSub:
      return binary<double, double, std::minus<double>>;
    case Op::kMul:
      return binary<double, double, std::multiplies<double>>;
    case Op::kDiv:
      return binary<double, double, std::divides<double>>;
    default:
      return nullptr;
  }
}

Kernel of_double(Fn fn) {
  switch (fn) {
    case Fn::kAbs:
      return unary<double, double, AbsDouble>;
    case Fn::kSqrt:
      return unary<double, double, SqrtDouble>;
    case Fn::kSign:
    case Fn::kLog:
    case Fn::kLog10:
    case Fn::kExp:
    case Fn::kRound:
    case Fn::kCeil:
    case Fn::kFloor:
    case Fn::kTrunc:
      return unary<double, double, NumberFunction>;
    case Fn::kIsNan:
    case Fn::kIsInf:
    case Fn::kIsFinite:
      return unary<double, std::uint8_t, Classify>;
    case Fn::kToInt:
      return checked_unary<double, int_of_double>;
    case Fn::kToDouble:
      return unary<double, double, SameDouble>;
    default:
      return nullptr;
  }
}

Kernel of_int(Fn fn) {
  switch (fn) {
    case Fn::kAbs:
      return checked_unary<std::int64_t, abs_int>;
    case Fn::kSign:
      return unary<std::int64_t, std::int64_t, SignOfInt>;
    case Fn::kSqrt:
    case Fn::kLog:
    case Fn::kLog10:
    case Fn::kExp:
      return unary<std::int64_t, double, NumberFunctionOfInt>;
    case Fn::kRound:
    case Fn::kCeil:
    case Fn::kFloor:
    case Fn::kToInt:
      return unary<std::int64_t, std::int64_t, SameInt>;
    case Fn::kToDouble:
      return unary<std::int64_t, double, DoubleOfInt>;
    default:
      return nullptr;
  }
}

bool is_time_part(Fn fn) {
  return fn >= Fn::kFullYear && fn <= Fn::kMilliseconds;
}

}  // namespace

Kernel numeric_kernel(Op op, const Shape& a, const Shape& b) {
  if (a.rep == Rep::kF64 && b.rep == Rep::kF64) {
    const Kernel kernel = double_arithmetic(op);
    return kernel != nullptr ? kernel : compare<double>(op);
  }
  if (a.rep == Rep::kBool && b.rep == Rep::kBool) {
    return compare<std::uint8_t>(op);
  }
  if (a.rep == Rep::kI64 && b.rep == Rep::kF64) {
    return a.type == Type::kInt ? compare_mixed_by<false>(op) : nullptr;
  }
  if (a.rep == Rep::kF64 && b.rep == Rep::kI64) {
    return b.type == Type::kInt ? compare_mixed_by<true>(op) : nullptr;
  }
  if (a.rep != Rep::kI64 || b.rep != Rep::kI64) {
    return nullptr;
  }
  if (a.type == b.type) {
    if (const Kernel kernel = compare<std::int64_t>(op); kernel != nullptr) {
      return kernel;
    }
  }
  // The checker has let through only what has a meaning: ints, or times with durations.
  const bool times = a.type != Type::kInt || b.type != Type::kInt;
  return times && op != Op::kAdd && op != Op::kSub ? nullptr : int_arithmetic(op);
}

Kernel unary_kernel(Op op, const Shape& a) {
  if (op == Op::kNot) {
    return a.rep == Rep::kBool ? unary<std::uint8_t, std::uint8_t, NotBool> : nullptr;
  }
  if (a.rep == Rep::kF64) {
    return unary<double, double, NegateDouble>;
  }
  return a.rep == Rep::kI64 && a.type == Type::kInt ? checked_unary<std::int64_t, negate_int>
                                                    : nullptr;
}

Kernel number_call_kernel(Fn fn, std::span<const Shape> args) {
  const auto all = [&](Type type) {
    return std::all_of(args.begin(), args.end(), [&](const Shape& arg) {
      return arg.type == type && arg.rep == rep_of(type);
    });
  };
  const bool doubles = all(Type::kDouble);
  if (!args.empty() && (doubles || all(Type::kInt))) {
    switch (fn) {
      case Fn::kMin:
        return doubles ? Kernel(reduce<double, min_number>) : Kernel(reduce<std::int64_t, min_int>);
      case Fn::kMax:
        return doubles ? Kernel(reduce<double, max_number>) : Kernel(reduce<std::int64_t, max_int>);
      case Fn::kPow:
        return doubles ? Kernel(reduce<double, power>) : nullptr;
      case Fn::kClamp:
        return doubles ? Kernel(clamp<double>) : Kernel(clamp<std::int64_t>);
      default:
        if (args.size() == 1) {
          return doubles ? of_double(fn) : of_int(fn);
        }
        return nullptr;
    }
  }
  if (args.size() != 1 || args[0].rep != Rep::kI64) {
    return nullptr;
  }
  if (args[0].type == Type::kTimestamp) {
    if (is_time_part(fn)) {
      return unary<std::int64_t, std::int64_t, TimePart>;
    }
    return fn == Fn::kToInt         ? Kernel(unary<std::int64_t, std::int64_t, SecondsOfTime>)
           : fn == Fn::kToTimestamp ? Kernel(unary<std::int64_t, std::int64_t, SameInt>)
                                    : nullptr;
  }
  return is_time_part(fn)        ? Kernel(unary<std::int64_t, std::int64_t, DurationPart>)
         : fn == Fn::kToDuration ? Kernel(unary<std::int64_t, std::int64_t, SameInt>)
                                 : nullptr;
}

}  // namespace headwater::expr
