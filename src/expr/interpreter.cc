#include "expr/interpreter.h"

#include "expr/operators.h"

namespace headwater::expr {

Interpreter::Interpreter(const Tree& tree, const Lookup& lookup)
    : tree_(tree), lookup_(lookup), slots_(tree.nodes.size()), loops_(tree.loops) {}

Value Interpreter::run_part(std::uint32_t root) {
  steps_ = 0;
  return evaluate(root);
}

// Recursive in macros inside macros only; their nesting is bounded when they are parsed.
Value Interpreter::evaluate(std::uint32_t root) {
  const std::uint32_t begin = tree_.nodes[root].first;
  for (std::uint32_t index = begin; index <= root; ++index) {
    if (index != begin && tree_.nodes[index].jump != 0) {
      index = tree_.nodes[index].jump;  // the body of a macro runs when the macro does
    }
    if (++steps_ > kMaxSteps) {
      return Value::error("the evaluation takes too many steps");
    }
    slots_[index] = node_value(index);
  }
  return slots_[root];
}

Value Interpreter::node_value(std::uint32_t index) {
  const Node& node = tree_.nodes[index];
  switch (node.op) {
    case Op::kLiteral:
    case Op::kFail:
      return node.literal;
    case Op::kName:
    case Op::kHas:
      return lookup_(node);
    case Op::kLoopVar:
      return loops_[node.name];
    case Op::kAll:
    case Op::kExists:
    case Op::kExistsOne:
    case Op::kMap:
    case Op::kFilter:
      return macro(node);
    default:
      break;
  }
  args_.clear();
  for (const std::uint32_t operand : tree_.operands(node)) {
    args_.push_back(&slots_[operand]);
  }
  return apply(tree_, node, args_);
}

Value Interpreter::macro(const Node& node) {
  const auto operands = tree_.operands(node);
  const Value range = slots_[operands[0]];
  if (range.is_error() || range.is_null()) {
    return range;
  }
  if (range.type() != Type::kList) {
    return Value::error(fmt::format("no such overload: a macro on a {}", type_name(range.type())));
  }
  Value failure;      // the first error of a body
  bool null = false;  // a body was null
  std::int64_t held = 0;
  Value::List kept;
  for (const Value& element : range.as_list()) {
    loops_[node.name] = element;
    const Value result = evaluate(operands[1]);
    if (steps_ > kMaxSteps) {
      return result;
    }
    const bool plain_map = node.op == Op::kMap && operands.size() == 2;
    const bool usable = plain_map ? !result.is_error() : result.type() == Type::kBool;
    if (!usable) {
      if (result.is_null()) {
        null = true;
        continue;
      }
      Value error = result.is_error()
                        ? result
                        : Value::error(fmt::format("no such overload: the body of a macro is a {}",
                                                   type_name(result.type())));
      // all and exists may still be decided by another element; the rest are strict.
      if (node.op != Op::kAll && node.op != Op::kExists) {
        return error;
      }
      if (!failure.is_error()) {
        failure = std::move(error);
      }
      continue;
    }
    if (plain_map) {
      kept.push_back(result);
      continue;
    }
    const bool yes = result.as_bool();
    if ((node.op == Op::kAll && !yes) || (node.op == Op::kExists && yes)) {
      return Value::boolean(yes);
    }
    held += yes ? 1 : 0;
    if (!yes) {
      continue;
    }
    if (node.op == Op::kFilter) {
      kept.push_back(element);
    } else if (node.op == Op::kMap) {
      Value mapped = evaluate(operands[2]);
      if (mapped.is_error()) {
        return mapped;
      }
      kept.push_back(std::move(mapped));
    }
  }
  switch (node.op) {
    case Op::kExistsOne:
      return null ? Value() : Value::boolean(held == 1);
    case Op::kAll:
    case Op::kExists:
      if (failure.is_error()) {
        return failure;
      }
      return null ? Value() : Value::boolean(node.op == Op::kAll);
    default: {
      // A null condition drops the element; a null body of map is kept by the loop above.
      std::uint32_t depth = 0;
      for (const Value& element : kept) {
        depth = std::max(depth, element.depth());
      }
      if (depth >= 300) {
        return Value::error("list nested too deep");
      }
      return Value::list(std::move(kept));
    }
  }
}

}  // namespace headwater::expr
