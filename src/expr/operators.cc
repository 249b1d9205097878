#include "expr/operators.h"

#include "expr/time_text.h"

namespace headwater::expr {
namespace {

constexpr std::uint32_t kMaxListDepth = 300;  // comparing and printing lists recurse

Value no_overload(const Node& node, std::span<const Value* const> args) {
  std::string types;
  for (const Value* const arg : args) {
    types += types.empty() ? "" : ", ";
    types += type_name(arg->type());
  }
  return Value::error(fmt::format("no such overload: '{}' of ({})", op_text(node.op), types));
}

Value arithmetic(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool failed = false;
  switch (op) {
    case Op::kAdd:
      failed = add_overflows(a, b, out);
      break;
    case Op::kSub:
      failed = subtract_overflows(a, b, out);
      break;
    case Op::kMul:
      failed = multiply_overflows(a, b, out);
      break;
    case Op::kDiv:
      if (b == 0) {
        return Value::error("divide by zero");
      }
      failed = divide_fails(a, b, out);
      break;
    default:
      if (b == 0) {
        return Value::error("modulus by zero");
      }
      failed = modulo_fails(a, b, out);
  }
  return failed ? Value::error(fmt::format("overflow: {} {} {}", a, op_text(op), b))
                : Value::integer(out);
}

Value arithmetic(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Value::number(a + b);
    case Op::kSub:
      return Value::number(a - b);
    case Op::kMul:
      return Value::number(a * b);
    default:
      return Value::number(a / b);
  }
}

Value moved(Timestamp at, WideNanos by) {
  const Timestamp to{at.ns + by};
  return in_range(to) ? Value::timestamp(to)
                      : Value::error("timestamp outside the years 1 to 9999");
}

Value span_of(WideNanos ns) {
  if (ns > std::numeric_limits<std::int64_t>::max() ||
      ns < std::numeric_limits<std::int64_t>::min()) {
    return Value::error("duration outside its range of 292 years");
  }
  return Value::duration(Duration{static_cast<std::int64_t>(ns)});
}

Value time_arithmetic(const Node& node, std::span<const Value* const> args) {
  const Type a = args[0]->type();
  const Type b = args[1]->type();
  const int sign = node.op == Op::kSub ? -1 : 1;
  if (node.op == Op::kAdd || node.op == Op::kSub) {
    if (a == Type::kTimestamp && b == Type::kDuration) {
      return moved(args[0]->as_timestamp(), sign * WideNanos{args[1]->as_duration().ns});
    }
    if (a == Type::kDuration && b == Type::kDuration) {
      return span_of(args[0]->as_duration().ns + sign * WideNanos{args[1]->as_duration().ns});
    }
    if (a == Type::kDuration && b == Type::kTimestamp && sign > 0) {
      return moved(args[1]->as_timestamp(), args[0]->as_duration().ns);
    }
    if (a == Type::kTimestamp && b == Type::kTimestamp && sign < 0) {
      return span_of(args[0]->as_timestamp().ns - args[1]->as_timestamp().ns);
    }
  }
  return no_overload(node, args);
}

Value joined(const Node& node, std::span<const Value* const> args) {
  if (args[0]->type() == Type::kString) {
    const std::string& a = args[0]->as_string();
    const std::string& b = args[1]->as_string();
    if (a.size() + b.size() > kMaxStringBytes) {
      return Value::error("string longer than 1 MiB");
    }
    return Value::string(a + b);
  }
  if (node.op == Op::kAdd && args[0]->type() == Type::kList) {
    Value::List elements = args[0]->as_list();
    const Value::List& more = args[1]->as_list();
    if (elements.size() + more.size() > kMaxStringBytes / sizeof(Value)) {
      return Value::error("list too long");
    }
    elements.insert(elements.end(), more.begin(), more.end());
    return Value::list(std::move(elements));
  }
  return no_overload(node, args);
}

// An int literal beside a double becomes one. True when both are doubles now.
bool adapt(const Tree& tree, const Node& node, std::span<const Value* const> args, double& a,
           double& b) {
  const auto operands = tree.operands(node);
  const auto take = [&](std::size_t index, double& out) {
    if (args[index]->type() == Type::kDouble) {
      out = args[index]->as_double();
      return true;
    }
    if (args[index]->type() == Type::kInt && tree.nodes[operands[index]].plain) {
      out = static_cast<double>(args[index]->as_int());
      return true;
    }
    return false;
  };
  return take(0, a) && take(1, b);
}

Value binary_arithmetic(const Tree& tree, const Node& node, std::span<const Value* const> args) {
  const Type a = args[0]->type();
  const Type b = args[1]->type();
  if (a == Type::kInt && b == Type::kInt) {
    return arithmetic(node.op, args[0]->as_int(), args[1]->as_int());
  }
  double left = 0;
  double right = 0;
  if (node.op != Op::kMod && adapt(tree, node, args, left, right)) {
    return arithmetic(node.op, left, right);
  }
  if (a == b && node.op == Op::kAdd && (a == Type::kString || a == Type::kList)) {
    return joined(node, args);
  }
  if ((a == Type::kTimestamp || a == Type::kDuration) &&
      (b == Type::kTimestamp || b == Type::kDuration)) {
    return time_arithmetic(node, args);
  }
  return no_overload(node, args);
}

bool holds(Op op, std::partial_ordering order) {
  switch (op) {
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

Value ordered(const Node& node, std::span<const Value* const> args) {
  const Type a = args[0]->type();
  const Type b = args[1]->type();
  const auto number = [](Type type) { return type == Type::kInt || type == Type::kDouble; };
  if (number(a) && number(b)) {
    return Value::boolean(holds(node.op, compare_numbers(*args[0], *args[1])));
  }
  if (a != b) {
    return no_overload(node, args);
  }
  switch (a) {
    case Type::kBool:
      return Value::boolean(holds(node.op, args[0]->as_bool() <=> args[1]->as_bool()));
    case Type::kString:
      return Value::boolean(holds(node.op, args[0]->as_string() <=> args[1]->as_string()));
    case Type::kTimestamp: {
      const WideNanos x = args[0]->as_timestamp().ns;
      const WideNanos y = args[1]->as_timestamp().ns;
      return Value::boolean(holds(node.op, x < y   ? std::partial_ordering::less
                                           : x > y ? std::partial_ordering::greater
                                                   : std::partial_ordering::equivalent));
    }
    case Type::kDuration:
      return Value::boolean(
          holds(node.op, args[0]->as_duration().ns <=> args[1]->as_duration().ns));
    default:
      return no_overload(node, args);
  }
}

// CEL's absorbing logic: the deciding value wins over errors and nulls, an error over a null.
Value logic(const Node& node, std::span<const Value* const> args) {
  const bool decides = node.op == Op::kOr;
  const Value* failure = nullptr;
  bool null = false;
  for (const Value* const arg : args) {
    if (arg->type() == Type::kBool) {
      if (arg->as_bool() == decides) {
        return Value::boolean(decides);
      }
    } else if (arg->is_null() && failure == nullptr) {
      null = true;
    } else if (failure == nullptr) {
      failure = arg;
    }
  }
  if (failure != nullptr) {
    return failure->is_error() ? *failure : no_overload(node, args);
  }
  return null ? Value() : Value::boolean(!decides);
}

Value choose(const Node& node, std::span<const Value* const> args) {
  const Value& condition = *args[0];
  if (condition.is_error() || condition.is_null()) {
    return condition;
  }
  if (condition.type() != Type::kBool) {
    return no_overload(node, args);
  }
  return condition.as_bool() ? *args[1] : *args[2];
}

Value list_of(std::span<const Value* const> args) {
  Value::List elements;
  elements.reserve(args.size());
  for (const Value* const arg : args) {
    if (arg->is_error()) {
      return *arg;
    }
    if (arg->depth() >= kMaxListDepth) {
      return Value::error("list nested too deep");
    }
    elements.push_back(*arg);
  }
  return Value::list(std::move(elements));
}

Value element(const Node& node, std::span<const Value* const> args) {
  if (args[0]->type() != Type::kList) {
    return no_overload(node, args);
  }
  std::int64_t index = -1;
  if (args[1]->type() == Type::kInt) {
    index = args[1]->as_int();
  } else if (args[1]->type() != Type::kDouble || !to_int(args[1]->as_double(), index) ||
             static_cast<double>(index) != args[1]->as_double()) {
    return Value::error("invalid argument: the index of a list is an int");
  }
  const Value::List& list = args[0]->as_list();
  if (index < 0 || static_cast<std::size_t>(index) >= list.size()) {
    return Value::error(
        fmt::format("invalid argument: index {} of a list of {}", index, list.size()));
  }
  return list[static_cast<std::size_t>(index)];
}

Value contains(const Node& node, std::span<const Value* const> args) {
  if (args[1]->type() != Type::kList) {
    return no_overload(node, args);
  }
  for (const Value& candidate : args[1]->as_list()) {
    if (values_equal(*args[0], candidate)) {
      return Value::boolean(true);
    }
  }
  return Value::boolean(false);
}

Value call_loose(const Tree& tree, const Node& node, std::span<const Value* const> args) {
  const auto operands = tree.operands(node);
  for (const bool adapting : {false, true}) {
    for (const Signature& signature : overloads(node.signature)) {
      if (!signature.takes(args.size(), node.method)) {
        continue;
      }
      bool fits = true;
      std::vector<Value> adapted;
      adapted.reserve(args.size());
      std::vector<const Value*> final_args(args.begin(), args.end());
      for (std::size_t i = 0; fits && i < args.size(); ++i) {
        const Type wanted = signature.arg(i);
        const Type got = args[i]->type();
        if (adapting && wanted == Type::kDouble && got == Type::kInt &&
            tree.nodes[operands[i]].plain) {
          adapted.push_back(Value::number(static_cast<double>(args[i]->as_int())));
          final_args[i] = &adapted.back();
        } else {
          fits = wanted == Type::kDyn || wanted == got;
        }
      }
      if (fits) {
        return call(signature.fn, final_args);
      }
    }
  }
  std::string types;
  for (const Value* const arg : args) {
    types += types.empty() ? "" : ", ";
    types += type_name(arg->type());
  }
  return Value::error(fmt::format("no such overload: {}({})", tree.names[node.name], types));
}

bool takes_null(const Tree& tree, const Node& node) {
  if (node.op == Op::kEq || node.op == Op::kNe || node.op == Op::kIn) {
    // A null that is written is a value; a null that a row lacks is missing.
    for (const std::uint32_t operand : tree.operands(node)) {
      if (tree.nodes[operand].type == Type::kNull) {
        return true;
      }
    }
    return false;
  }
  if (node.op == Op::kCall) {
    const Fn fn = signatures()[node.signature].fn;
    return fn == Fn::kTypeOf || fn == Fn::kDyn;
  }
  return false;
}

}  // namespace

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
  if (a.type() == Type::kInt) {
    return b.type() == Type::kInt ? std::partial_ordering(a.as_int() <=> b.as_int())
                                  : compare_int_double(a.as_int(), b.as_double());
  }
  if (b.type() == Type::kDouble) {
    return a.as_double() <=> b.as_double();
  }
  return 0 <=> compare_int_double(b.as_int(), a.as_double());
}

bool values_equal(const Value& a, const Value& b) {
  const auto number = [](const Value& value) {
    return value.type() == Type::kInt || value.type() == Type::kDouble;
  };
  if (number(a) && number(b)) {
    return compare_numbers(a, b) == 0;
  }
  if (a.type() == Type::kList && b.type() == Type::kList) {
    const Value::List& x = a.as_list();
    const Value::List& y = b.as_list();
    if (x.size() != y.size()) {
      return false;
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!values_equal(x[i], y[i])) {
        return false;
      }
    }
    return true;
  }
  return a == b;
}

double number_function(Fn fn, double value) {
  switch (fn) {
    case Fn::kAbs:
      return std::fabs(value);
    case Fn::kSign:
      return sign_number(value);
    case Fn::kSqrt:
      return std::sqrt(value);
    case Fn::kLog:
      return std::log(value);
    case Fn::kLog10:
      return std::log10(value);
    case Fn::kExp:
      return std::exp(value);
    case Fn::kRound:
      return std::round(value);
    case Fn::kCeil:
      return std::ceil(value);
    case Fn::kFloor:
      return std::floor(value);
    default:
      return std::trunc(value);
  }
}

Value apply(const Tree& tree, const Node& node, std::span<const Value* const> args) {
  switch (node.op) {
    case Op::kAnd:
    case Op::kOr:
      return logic(node, args);
    case Op::kChoose:
      return choose(node, args);
    case Op::kList:
      return list_of(args);
    default:
      break;
  }
  for (const Value* const arg : args) {
    if (arg->is_error()) {
      return *arg;
    }
  }
  const bool null_fits = takes_null(tree, node);
  for (const Value* const arg : args) {
    if (arg->is_null() && !null_fits) {
      return Value();
    }
  }
  switch (node.op) {
    case Op::kNot:
      return args[0]->type() == Type::kBool ? Value::boolean(!args[0]->as_bool())
                                            : no_overload(node, args);
    case Op::kNegate:
      if (args[0]->type() == Type::kDouble) {
        return Value::number(-args[0]->as_double());
      }
      if (args[0]->type() == Type::kInt) {
        return arithmetic(Op::kSub, std::int64_t{0}, args[0]->as_int());
      }
      return no_overload(node, args);
    case Op::kAdd:
    case Op::kSub:
    case Op::kMul:
    case Op::kDiv:
    case Op::kMod:
      return binary_arithmetic(tree, node, args);
    case Op::kEq:
      return Value::boolean(values_equal(*args[0], *args[1]));
    case Op::kNe:
      return Value::boolean(!values_equal(*args[0], *args[1]));
    case Op::kLt:
    case Op::kLe:
    case Op::kGt:
    case Op::kGe:
      return ordered(node, args);
    case Op::kIn:
      return contains(node, args);
    case Op::kIndex:
      return element(node, args);
    case Op::kCall:
      return node.loose ? call_loose(tree, node, args)
                        : call(signatures()[node.signature].fn, args);
    default:
      return Value::error("no such operation");
  }
}

}  // namespace headwater::expr
