// Kernels on strings. They visit selected, valid rows only: a view of another row may be stale.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "expr/operators.h"
#include "expr/registers.h"

namespace headwater::expr {
namespace {

template <class Out, class F>
void each(Context& context, const Step& step, F&& visit) {
  Register& out = context.out(step);
  Out* const values = out.prepare<Out>(context.rows);
  std::memset(out.buffer.get(), 0, context.rows * sizeof(Out));
  strict_masks(context, step, out);
  context.for_each_row([&](std::size_t row) {
    if (out.is_valid(row)) {
      values[row] = visit(row);
    }
  });
}

struct Texts {
  const std::string_view* values;
  std::size_t stride;
  explicit Texts(const Register& source)
      : values(source.values<std::string_view>()), stride(source.constant ? 0 : 1) {}
  std::string_view operator[](std::size_t row) const { return values[row * stride]; }
};

template <class F>
void predicate(Context& context, const Step& step) {
  const Texts a(context.arg(step, 0));
  const Texts b(context.arg(step, 1));
  each<std::uint8_t>(context, step, [&](std::size_t row) {
    return static_cast<std::uint8_t>(F{}(a[row], b[row]) ? 1 : 0);
  });
}

struct StartsWith {
  bool operator()(std::string_view a, std::string_view b) const { return a.starts_with(b); }
};
struct EndsWith {
  bool operator()(std::string_view a, std::string_view b) const { return a.ends_with(b); }
};
struct Contains {
  bool operator()(std::string_view a, std::string_view b) const { return a.find(b) != a.npos; }
};

void join(Context& context, const Step& step) {
  const Texts a(context.arg(step, 0));
  const Texts b(context.arg(step, 1));
  context.failed.assign(context.words, 0);
  each<std::string_view>(context, step, [&](std::size_t row) -> std::string_view {
    const std::size_t bytes = a[row].size() + b[row].size();
    if (bytes > kMaxStringBytes) {
      context.failed[row / 64] |= std::uint64_t{1} << (row % 64);
      return {};
    }
    char* const joined = context.arena->allocate(bytes);
    std::copy(a[row].begin(), a[row].end(), joined);
    std::copy(b[row].begin(), b[row].end(), joined + a[row].size());
    return {joined, bytes};
  });
  add_errors(context, context.out(step), context.failed);
}

void size(Context& context, const Step& step) {
  const Texts a(context.arg(step, 0));
  each<std::int64_t>(context, step, [&](std::size_t row) { return count_code_points(a[row]); });
}

template <char (*kChange)(char)>
void change(Context& context, const Step& step) {
  const Texts a(context.arg(step, 0));
  each<std::string_view>(context, step, [&](std::size_t row) -> std::string_view {
    char* const changed = context.arena->allocate(a[row].size());
    std::transform(a[row].begin(), a[row].end(), changed, kChange);
    return {changed, a[row].size()};
  });
}

void matches(Context& context, const Step& step) {
  const Texts a(context.arg(step, 0));
  each<std::uint8_t>(context, step, [&](std::size_t row) {
    return static_cast<std::uint8_t>(step.pattern->matches(a[row]) ? 1 : 0);
  });
}

// Few elements are looked through, many are searched.
constexpr std::size_t kLinear = 8;

template <class T, class In>
bool holds(const std::vector<T>& sorted, In value) {
  if (sorted.size() <= kLinear) {
    return std::find(sorted.begin(), sorted.end(), value) != sorted.end();
  }
  const auto at = std::lower_bound(sorted.begin(), sorted.end(), value);
  return at != sorted.end() && *at == value;
}

void text_in(Context& context, const Step& step) {
  const Texts a(context.arg(step, 0));
  each<std::uint8_t>(context, step, [&](std::size_t row) {
    return static_cast<std::uint8_t>(holds(step.texts, a[row]) ? 1 : 0);
  });
}

template <class T>
void number_in(Context& context, const Step& step) {
  const Register& a = context.arg(step, 0);
  const T* const x = a.values<T>();
  each<std::uint8_t>(context, step, [&](std::size_t row) {
    const T value = x[a.constant ? 0 : row];
    if constexpr (std::is_same_v<T, double>) {
      return static_cast<std::uint8_t>(!std::isnan(value) && holds(step.numbers, value) ? 1 : 0);
    } else {
      return static_cast<std::uint8_t>(holds(step.ints, value) ? 1 : 0);
    }
  });
}

}  // namespace

Kernel text_kernel(Op op, const Shape& a, const Shape& b) {
  if (a.type != Type::kString || b.type != Type::kString || a.rep != Rep::kText ||
      b.rep != Rep::kText) {
    return nullptr;
  }
  switch (op) {
    case Op::kAdd:
      return join;
    case Op::kEq:
      return predicate<std::equal_to<>>;
    case Op::kNe:
      return predicate<std::not_equal_to<>>;
    case Op::kLt:
      return predicate<std::less<>>;
    case Op::kLe:
      return predicate<std::less_equal<>>;
    case Op::kGt:
      return predicate<std::greater<>>;
    case Op::kGe:
      return predicate<std::greater_equal<>>;
    default:
      return nullptr;
  }
}

Kernel text_call_kernel(Fn fn, std::span<const Shape> args, bool constant_pattern) {
  for (const Shape& arg : args) {
    if (arg.type != Type::kString || arg.rep != Rep::kText) {
      return nullptr;
    }
  }
  switch (fn) {
    case Fn::kSize:
      return size;
    case Fn::kStartsWith:
      return predicate<StartsWith>;
    case Fn::kEndsWith:
      return predicate<EndsWith>;
    case Fn::kContains:
      return predicate<Contains>;
    case Fn::kMatches:
      return constant_pattern ? matches : nullptr;
    case Fn::kLower:
      return change<lower_ascii>;
    case Fn::kUpper:
      return change<upper_ascii>;
    default:
      return nullptr;
  }
}

Kernel in_kernel(const Shape& a, const Value::List& list, Step& step) {
  const bool doubles = a.rep == Rep::kF64;
  const bool ints = a.rep == Rep::kI64 && a.type == Type::kInt;
  for (const Value& element : list) {
    if (a.rep == Rep::kText && element.type() == Type::kString) {
      step.texts.push_back(element.as_string());
    } else if (doubles && element.type() == Type::kInt) {
      step.numbers.push_back(static_cast<double>(element.as_int()));
    } else if (ints && element.type() == Type::kInt) {
      step.ints.push_back(element.as_int());
    } else if (doubles && element.type() == Type::kDouble) {
      if (!std::isnan(element.as_double())) {  // a NaN equals nothing
        step.numbers.push_back(element.as_double());
      }
    } else if (ints && element.type() == Type::kDouble) {
      // Below 2^53 an int is its own double, so equality is that of the ints; above, row by row.
      constexpr double kExact = 0x1p53;
      const double value = element.as_double();
      std::int64_t whole = 0;
      if (std::fabs(value) >= kExact) {
        return nullptr;
      }
      if (to_int(value, whole) && static_cast<double>(whole) == value) {
        step.ints.push_back(whole);
      }
    } else {
      return nullptr;
    }
  }
  std::sort(step.texts.begin(), step.texts.end());
  std::sort(step.numbers.begin(), step.numbers.end());
  std::sort(step.ints.begin(), step.ints.end());
  return a.rep == Rep::kText ? Kernel(text_in)
         : doubles           ? Kernel(number_in<double>)
         : ints              ? Kernel(number_in<std::int64_t>)
                             : nullptr;
}

}  // namespace headwater::expr
