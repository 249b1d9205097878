#include "expr/checker.h"

#include <fmt/format.h>

#include <array>

#include "expr/functions.h"
#include "expr/operators.h"
#include "expr/time_text.h"

namespace headwater::expr {
namespace {

bool is_number(Type type) {
  return type == Type::kInt || type == Type::kDouble;
}

class Checker {
 public:
  Checker(Tree& tree, const NameTypes& names, const CheckOptions& options, Fault& fault)
      : tree_(tree), names_(names), options_(options), fault_(fault), loops_(tree.loops) {}

  bool run() {
    for (std::uint32_t index = 0; index < tree_.nodes.size(); ++index) {
      Node& node = tree_.nodes[index];
      if (node.jump != 0) {
        const Node& macro = tree_.nodes[node.jump];
        enter_loop(macro, tree_.nodes[tree_.operands(macro)[0]]);
      }
      fault_.message.clear();
      if (!typed(node)) {
        if (!options_.lenient) {
          return false;
        }
        node.op = Op::kFail;
        node.type = Type::kDyn;
        node.literal = Value::error(fault_.message);
        continue;
      }
      fold(node);
    }
    Node& root = tree_.nodes.back();
    const Type want = options_.want;
    if (want != Type::kDyn && root.type != Type::kDyn && root.type != want &&
        !(want == Type::kDouble && root.type == Type::kInt)) {
      fault_ = {root.offset, fmt::format("the result must be {}, but this is {}", type_name(want),
                                         type_name(root.type))};
      return false;
    }
    return true;
  }

 private:
  bool fail(const Node& node, std::string message) {
    fault_ = {node.offset, std::move(message)};
    return false;
  }
  Node& operand(const Node& node, std::size_t index) {
    return tree_.nodes[tree_.operands(node)[index]];
  }

  void enter_loop(const Node& macro, const Node& range) {
    loops_[macro.name] = range.type == Type::kList ? range.element : Type::kDyn;
  }

  bool typed(Node& node) {
    switch (node.op) {
      case Op::kLiteral:
      case Op::kFail:
        return true;
      case Op::kName:
      case Op::kHas:
        return name(node);
      case Op::kLoopVar:
        node.type = loops_[node.name];
        return true;
      case Op::kNot:
      case Op::kNegate:
        return unary(node);
      case Op::kAdd:
      case Op::kSub:
      case Op::kMul:
      case Op::kDiv:
      case Op::kMod:
        return arithmetic(node);
      case Op::kEq:
      case Op::kNe:
      case Op::kLt:
      case Op::kLe:
      case Op::kGt:
      case Op::kGe:
        return comparison(node);
      case Op::kIn:
        return membership(node);
      case Op::kAnd:
      case Op::kOr:
        return logic(node);
      case Op::kChoose:
        return choice(node);
      case Op::kList:
        return list(node);
      case Op::kIndex:
        return index(node);
      case Op::kCall:
        return call(node);
      case Op::kAll:
      case Op::kExists:
      case Op::kExistsOne:
      case Op::kMap:
      case Op::kFilter:
        return macro(node);
    }
    return true;
  }

  bool name(Node& node) {
    const std::string& text = tree_.names[node.name];
    const auto info = names_(text, node.quoted);
    if (!info) {
      if (const auto type = node.quoted ? std::nullopt : type_by_name(text);
          type && node.op == Op::kName) {
        node.op = Op::kLiteral;
        node.type = Type::kType;
        node.literal = Value::type_value(*type);
        return true;
      }
      return fail(node, fmt::format("no field '{}'", text));
    }
    if (node.op == Op::kHas) {
      node.type = Type::kBool;
      if (info->absent) {
        node.op = Op::kLiteral;
        node.literal = Value::boolean(false);
      }
      return true;
    }
    node.type = info->type;
    node.element = info->element;
    if (info->absent) {
      node.op = Op::kLiteral;
      node.literal = Value();
    }
    return true;
  }

  bool unary(Node& node) {
    const Type type = operand(node, 0).type;
    if (node.op == Op::kNot) {
      node.type = Type::kBool;
      if (type == Type::kBool || type == Type::kDyn) {
        return true;
      }
      return fail(node, fmt::format("'!' needs a bool, got {}", type_name(type)));
    }
    node.type = type;
    if (is_number(type) || type == Type::kDyn) {
      return true;
    }
    return fail(node, fmt::format("'-' needs a number, got {}", type_name(type)));
  }

  // An int literal beside a double becomes a double literal.
  static void adapt(Node& node, Type beside) {
    if (beside == Type::kDouble && node.type == Type::kInt && node.plain) {
      node.type = Type::kDouble;
      node.literal = Value::number(static_cast<double>(node.literal.as_int()));
    }
  }

  // What to write instead of mixing int and double.
  std::string mixing_advice(const Node& a, const Node& b) const {
    const Node& ints = a.type == Type::kInt ? a : b;
    return ints.op == Op::kName ? fmt::format("write double({})", tree_.names[ints.name])
                                : std::string("write double(...) around the int");
  }

  bool arithmetic(Node& node) {
    Node& a = operand(node, 0);
    Node& b = operand(node, 1);
    adapt(a, b.type);
    adapt(b, a.type);
    const bool additive = node.op == Op::kAdd || node.op == Op::kSub;
    if (a.type == Type::kDyn || b.type == Type::kDyn) {
      const Type known = a.type == Type::kDyn ? b.type : a.type;
      // A double can only meet a number; anything else stays open until the row is known.
      node.type = known == Type::kDouble && node.op != Op::kMod ? Type::kDouble : Type::kDyn;
      const bool possible =
          known == Type::kDyn || is_number(known) ||
          (additive && (known == Type::kTimestamp || known == Type::kDuration)) ||
          (node.op == Op::kAdd && (known == Type::kString || known == Type::kList));
      return possible || no_operator(node, a, b);
    }
    if (a.type == b.type && is_number(a.type)) {
      node.type = a.type;
      if (node.op == Op::kMod && a.type == Type::kDouble) {
        return fail(node, "'%' is for ints: write int(...) around the doubles");
      }
      return true;
    }
    if (a.type == b.type && node.op == Op::kAdd &&
        (a.type == Type::kString || a.type == Type::kList)) {
      node.type = a.type;
      node.element = a.element == b.element ? a.element : Type::kDyn;
      return true;
    }
    const bool a_time = a.type == Type::kTimestamp;
    const bool b_time = b.type == Type::kTimestamp;
    if (additive && (a_time || a.type == Type::kDuration) &&
        (b_time || b.type == Type::kDuration)) {
      if (a_time && b_time) {
        node.type = Type::kDuration;
        return node.op == Op::kSub || no_operator(node, a, b);
      }
      node.type = a_time || b_time ? Type::kTimestamp : Type::kDuration;
      return !(node.op == Op::kSub && b_time) || no_operator(node, a, b);
    }
    return no_operator(node, a, b);
  }

  bool no_operator(const Node& node, const Node& a, const Node& b) {
    if (is_number(a.type) && is_number(b.type)) {
      return fail(node, fmt::format("no '{}' of {} and {}: {}", op_text(node.op), type_name(a.type),
                                    type_name(b.type), mixing_advice(a, b)));
    }
    std::string advice;
    if (node.op == Op::kAdd && (a.type == Type::kString || b.type == Type::kString)) {
      advice = ": write string(...) around the other operand";
    }
    return fail(node, fmt::format("no '{}' of {} and {}{}", op_text(node.op), type_name(a.type),
                                  type_name(b.type), advice));
  }

  // The int becomes the double that it would be compared as: the comparison has a fast kernel then.
  static void widen(Node& node, Type beside) {
    if (beside == Type::kDouble && node.op == Op::kLiteral && node.type == Type::kInt &&
        !node.literal.is_null()) {
      node.type = Type::kDouble;
      node.literal = Value::number(static_cast<double>(node.literal.as_int()));
    }
  }

  bool comparison(Node& node) {
    Node& a = operand(node, 0);
    Node& b = operand(node, 1);
    node.type = Type::kBool;
    const bool equality = node.op == Op::kEq || node.op == Op::kNe;
    if (is_number(a.type) && is_number(b.type)) {
      widen(a, b.type);
      widen(b, a.type);
      return true;
    }
    if (equality) {
      const bool null = a.type == Type::kNull || b.type == Type::kNull;
      const bool open = a.type == Type::kDyn || b.type == Type::kDyn;
      if (null || open || (a.type == b.type && a.type != Type::kBytes)) {
        return true;
      }
      if (options_.lenient) {
        return true;  // unequal
      }
    } else if (comparable(a.type) && comparable(b.type) &&
               (a.type == b.type || a.type == Type::kDyn || b.type == Type::kDyn)) {
      return true;
    }
    std::string advice;
    if (a.type == Type::kTimestamp || b.type == Type::kTimestamp) {
      advice = ": write timestamp(\"2024-01-31T00:00:00Z\")";
    } else if (a.type == Type::kDuration || b.type == Type::kDuration) {
      advice = ": write duration(\"30s\")";
    } else if (is_number(a.type) && b.type == Type::kString) {
      advice =
          is_literal(b) ? ": write the number without quotes" : ": write double(...) around it";
    } else if (a.type == Type::kString && is_number(b.type)) {
      advice = is_literal(b) ? ": write \"...\" around the number" : "";
    }
    return fail(node, fmt::format("cannot compare {} with {}{}", type_name(a.type),
                                  type_name(b.type), advice));
  }

  static bool is_literal(const Node& node) { return node.op == Op::kLiteral; }
  static bool comparable(Type type) {
    switch (type) {
      case Type::kBool:
      case Type::kInt:
      case Type::kDouble:
      case Type::kString:
      case Type::kTimestamp:
      case Type::kDuration:
      case Type::kDyn:
        return true;
      default:
        return false;
    }
  }

  bool membership(Node& node) {
    const Node& a = operand(node, 0);
    const Node& b = operand(node, 1);
    node.type = Type::kBool;
    if (b.type == Type::kDyn) {
      return true;
    }
    if (b.type != Type::kList) {
      return fail(node, fmt::format("'in' needs a list on its right, got {}", type_name(b.type)));
    }
    const bool fits = options_.lenient || a.type == b.element || a.type == Type::kDyn ||
                      b.element == Type::kDyn || a.type == Type::kNull ||
                      (is_number(a.type) && is_number(b.element));
    return fits || fail(node, fmt::format("{} is never in a list of {}", type_name(a.type),
                                          type_name(b.element)));
  }

  bool logic(Node& node) {
    node.type = Type::kBool;
    for (std::size_t i = 0; i < 2 && !options_.lenient; ++i) {
      const Node& side = operand(node, i);
      if (side.type != Type::kBool && side.type != Type::kDyn) {
        return fail(
            side, fmt::format("'{}' needs bools, got {}", op_text(node.op), type_name(side.type)));
      }
    }
    return true;
  }

  bool choice(Node& node) {
    const Node& condition = operand(node, 0);
    Node& a = operand(node, 1);
    Node& b = operand(node, 2);
    if (condition.type != Type::kBool && condition.type != Type::kDyn) {
      return fail(condition,
                  fmt::format("'?' needs a bool before it, got {}", type_name(condition.type)));
    }
    adapt(a, b.type);
    adapt(b, a.type);
    if (a.type == b.type) {
      node.type = a.type;
      node.element = a.element == b.element ? a.element : Type::kDyn;
      return true;
    }
    if (a.type == Type::kNull || b.type == Type::kNull) {
      node.type = a.type == Type::kNull ? b.type : a.type;  // a missing value of that type
      node.element = a.type == Type::kNull ? b.element : a.element;
      return true;
    }
    node.type = Type::kDyn;
    if (a.type == Type::kDyn || b.type == Type::kDyn || options_.lenient) {
      return true;
    }
    return fail(node,
                fmt::format("'?:' needs one type on both sides, got {} and {}{}", type_name(a.type),
                            type_name(b.type),
                            is_number(a.type) && is_number(b.type) ? ": " + mixing_advice(a, b)
                                                                   : std::string()));
  }

  bool list(Node& node) {
    node.type = Type::kList;
    for (std::size_t i = 0; i < node.count; ++i) {
      const Type type = operand(node, i).type;
      node.element = i == 0 || type == node.element ? type : Type::kDyn;
      if (node.element == Type::kDyn) {
        break;
      }
    }
    if (node.element == Type::kList || node.element == Type::kNull) {
      node.element = Type::kDyn;  // one level is tracked
    }
    return true;
  }

  bool index(Node& node) {
    const Node& a = operand(node, 0);
    const Node& b = operand(node, 1);
    if (a.type != Type::kList && a.type != Type::kDyn) {
      return fail(node, fmt::format("only a list has elements, this is {}", type_name(a.type)));
    }
    if (b.type != Type::kInt && b.type != Type::kDyn) {
      return fail(b, fmt::format("the index of a list is an int, got {}", type_name(b.type)));
    }
    node.type = a.type == Type::kList ? a.element : Type::kDyn;
    return true;
  }

  bool call(Node& node) {
    const std::string& text = tree_.names[node.name];
    const std::size_t first = find_signature(text);
    if (first == signatures().size()) {
      return fail(node, fmt::format("no function '{}'", text));
    }
    node.signature = static_cast<std::uint32_t>(first);
    const auto choices = overloads(first);
    for (const bool adapting : {false, true}) {
      for (std::size_t i = 0; i < choices.size(); ++i) {
        if (exact(node, choices[i], adapting)) {
          return settle(node, choices[i], first + i, adapting);
        }
      }
    }
    // Operands of type dyn: the row decides; the result type is known when all candidates agree.
    const Signature* candidate = nullptr;
    bool agree = true;
    for (const Signature& choice : choices) {
      if (possible(node, choice)) {
        agree = agree && (candidate == nullptr || candidate->result == choice.result);
        candidate = &choice;
      }
    }
    if (candidate == nullptr) {
      return no_call(node, text, choices);
    }
    node.loose = true;
    node.type = agree ? candidate->result : Type::kDyn;
    return true;
  }

  bool fits(const Node& arg, Type wanted, bool adapting) const {
    return wanted == arg.type || wanted == Type::kDyn ||
           (adapting && wanted == Type::kDouble && arg.type == Type::kInt && arg.plain);
  }
  bool exact(const Node& node, const Signature& signature, bool adapting) {
    if (!signature.takes(node.count, node.method)) {
      return false;
    }
    for (std::size_t i = 0; i < node.count; ++i) {
      if (!fits(operand(node, i), signature.arg(i), adapting)) {
        return false;
      }
    }
    return true;
  }
  bool possible(const Node& node, const Signature& signature) {
    if (!signature.takes(node.count, node.method)) {
      return false;
    }
    for (std::size_t i = 0; i < node.count; ++i) {
      const Node& arg = operand(node, i);
      if (arg.type != Type::kDyn && !fits(arg, signature.arg(i), true)) {
        return false;
      }
    }
    return true;
  }

  bool settle(Node& node, const Signature& signature, std::size_t at, bool adapting) {
    node.signature = static_cast<std::uint32_t>(at);
    node.type = signature.result;
    if (adapting) {
      for (std::size_t i = 0; i < node.count; ++i) {
        adapt(operand(node, i), signature.arg(i));
      }
    }
    if (signature.result == Type::kDyn && signature.fn != Fn::kDyn) {
      node.type = operand(node, 0).element;
    }
    if (node.count == 2 && operand(node, 1).op == Op::kLiteral &&
        operand(node, 1).type == Type::kString && !operand(node, 1).literal.is_null()) {
      const Node& text = operand(node, 1);
      if (signature.fn == Fn::kMatches) {
        if (const auto pattern = Pattern::compile(text.literal.as_string()); !pattern) {
          return fail(text, pattern.error().text());
        }
      } else if (signature.arg(0) == Type::kTimestamp) {
        if (const auto zone = Zone::find(text.literal.as_string()); !zone) {
          return fail(text, zone.error().text());
        }
      }
    }
    return true;
  }

  bool no_call(const Node& node, std::string_view text, std::span<const Signature> choices) {
    std::string types;
    bool mixed_ints = false;
    bool mixed_doubles = false;
    for (std::size_t i = 0; i < node.count; ++i) {
      types += types.empty() ? "" : ", ";
      types += type_name(operand(node, i).type);
      mixed_ints = mixed_ints || operand(node, i).type == Type::kInt;
      mixed_doubles = mixed_doubles || operand(node, i).type == Type::kDouble;
    }
    std::string takes;
    for (const Signature& choice : choices) {
      const bool method = choice.form == Form::kMethod;
      std::string one;
      for (std::size_t i = method ? 1 : 0; i < choice.count; ++i) {
        one += one.empty() ? "" : ", ";
        one += choice.args[i] == Type::kDyn ? "any" : type_name(choice.args[i]);
      }
      takes += takes.empty() ? "" : ", ";
      takes += fmt::format("{}{}({}{})", method ? type_name(choice.args[0]) : "",
                           method ? fmt::format(".{}", text) : std::string(text), one,
                           choice.variadic ? ", ..." : "");
    }
    return fail(
        node, fmt::format("{}({}) does not fit: there is {}{}", text, types, takes,
                          mixed_ints && mixed_doubles ? "; write double(...) around the int" : ""));
  }

  bool macro(Node& node) {
    const Node& range = operand(node, 0);
    const Node& body = operand(node, 1);
    if (range.type != Type::kList && range.type != Type::kDyn) {
      return fail(node, fmt::format("macros work on lists, this is {}", type_name(range.type)));
    }
    const bool condition = node.op != Op::kMap || node.count == 3;
    if (condition && body.type != Type::kBool && body.type != Type::kDyn) {
      return fail(body, fmt::format("the condition must be a bool, got {}", type_name(body.type)));
    }
    if (node.op == Op::kMap) {
      node.type = Type::kList;
      node.element = operand(node, node.count - 1).type;
      if (node.element == Type::kList || node.element == Type::kNull) {
        node.element = Type::kDyn;
      }
    } else if (node.op == Op::kFilter) {
      node.type = Type::kList;
      node.element = range.element;
    } else {
      node.type = Type::kBool;
    }
    return true;
  }

  void fold(Node& node) {
    if (node.count == 0 && node.op != Op::kList) {
      return;
    }
    if (is_macro(node.op)) {
      return;
    }
    args_.clear();
    bool constant = true;
    bool missing = false;  // a field that this batch lacks
    for (const std::uint32_t index : tree_.operands(node)) {
      const Node& arg = tree_.nodes[index];
      const bool literal = arg.op == Op::kLiteral;
      constant = constant && literal;
      missing = missing || (literal && arg.literal.is_null() && arg.type != Type::kNull);
      args_.push_back(&arg.literal);
    }
    const bool absorbing =
        node.op == Op::kAnd || node.op == Op::kOr || node.op == Op::kChoose || node.op == Op::kList;
    const bool tests_null =
        node.op == Op::kEq || node.op == Op::kNe || node.op == Op::kIn || node.op == Op::kCall;
    Value value;
    if (constant) {
      value = apply(tree_, node, args_);
    } else if (!missing || absorbing || tests_null) {
      return;
    }
    if (!value.is_error()) {
      node.op = Op::kLiteral;
      node.plain = false;
      node.literal = std::move(value);
    }
  }

  Tree& tree_;
  const NameTypes& names_;
  const CheckOptions& options_;
  Fault& fault_;
  std::vector<Type> loops_;  // of the variables of enclosing macros
  std::vector<const Value*> args_;
};

}  // namespace

bool check(Tree& tree, const NameTypes& names, const CheckOptions& options, Fault& fault) {
  return Checker(tree, names, options, fault).run();
}

}  // namespace headwater::expr
