#include "expr/program.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace headwater::expr {

std::optional<headwater::Type> column_type_of(Type type) {
  switch (type) {
    case Type::kBool:
      return headwater::Type::kBool;
    case Type::kInt:
      return headwater::Type::kInt64;
    case Type::kTimestamp:
      return headwater::Type::kTimestamp;
    case Type::kString:
    case Type::kBytes:
    case Type::kList:
    case Type::kType:
      return headwater::Type::kString;
    case Type::kDouble:
    case Type::kDuration:
    case Type::kNull:
      return headwater::Type::kFloat64;
    case Type::kDyn:
      break;
  }
  return std::nullopt;
}

Program::Program(Tree tree, Type want)
    : tree_(std::move(tree)),
      want_(want),
      register_of_(tree_.nodes.size()),
      shapes_(tree_.nodes.size()) {
  const std::vector<bool> needed = needed_nodes();
  for (std::uint32_t index = 0; index < tree_.nodes.size(); ++index) {
    if (!needed[index]) {
      continue;
    }
    const Node& node = tree_.nodes[index];
    if (node.op == Op::kLiteral || node.op == Op::kFail) {
      add_constant(index);
    } else {
      add_step(index);
    }
  }
}

// What the root stands on; folded operands and the inside of macros are left out.
std::vector<bool> Program::needed_nodes() const {
  std::vector<bool> needed(tree_.nodes.size(), false);
  needed.back() = true;
  for (std::size_t index = tree_.nodes.size(); index-- > 0;) {
    const Node& node = tree_.nodes[index];
    if (!needed[index] || node.op == Op::kLiteral || node.op == Op::kFail || is_macro(node.op)) {
      continue;
    }
    for (const std::uint32_t operand : tree_.operands(node)) {
      needed[operand] = true;
    }
  }
  return needed;
}

std::uint32_t Program::take_register() {
  if (free_.empty()) {
    registers_.emplace_back();
    return static_cast<std::uint32_t>(registers_.size() - 1);
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  return index;
}

// Constants keep a register of their own.
void Program::add_constant(std::uint32_t index) {
  const Node& node = tree_.nodes[index];
  registers_.emplace_back();
  Register& made = registers_.back();
  made.type = node.type;
  made.rep = rep_of(node.type);
  made.constant = true;
  made.null = node.literal.is_null();
  register_of_[index] = static_cast<std::uint32_t>(registers_.size() - 1);
  const Type value_type = node.literal.type();
  bool fits = made.null || value_type == made.type;
  std::int64_t* const integer = made.prepare<std::int64_t>(1);
  if (fits && !made.null) {
    switch (value_type) {
      case Type::kBool:
        *made.prepare<std::uint8_t>(1) = node.literal.as_bool() ? 1 : 0;
        break;
      case Type::kInt:
        *integer = node.literal.as_int();
        break;
      case Type::kDouble:
        *made.prepare<double>(1) = node.literal.as_double();
        break;
      case Type::kDuration:
        *integer = node.literal.as_duration().ns;
        break;
      case Type::kString:
        *made.prepare<std::string_view>(1) = node.literal.as_string();
        break;
      case Type::kTimestamp: {
        const WideNanos ns = node.literal.as_timestamp().ns;
        *integer = static_cast<std::int64_t>(ns);
        fits = *integer == ns;
        break;
      }
      default:
        break;
    }
  }
  if (!fits || made.rep == Rep::kBoxed) {
    made.rep = Rep::kBoxed;
    made.boxed.assign(1, node.literal);
    if (node.literal.is_error()) {
      made.null = true;
      made.failed = true;
    }
  }
  shapes_[index] = made;
}

void Program::add_step(std::uint32_t index) {
  const Node& node = tree_.nodes[index];
  Step step;
  step.node = index;
  step.shape.type = node.type;
  step.shape.rep = rep_of(node.type);
  std::vector<Shape> args;
  if (!is_macro(node.op)) {
    for (const std::uint32_t operand : tree_.operands(node)) {
      step.args.push_back(register_of_[operand]);
      args.push_back(shapes_[operand]);
    }
  }
  step.kernel = choose(node, args, step);
  step.out = take_register();
  for (const std::uint32_t used : step.args) {
    // A node is the operand of one other, so its register is free from here on.
    if (!registers_[used].constant) {
      free_.push_back(used);
    }
  }
  register_of_[index] = step.out;
  shapes_[index] = step.shape;
  steps_.push_back(std::move(step));
}

Kernel Program::choose(const Node& node, std::span<const Shape> args, Step& step) const {
  Kernel kernel = nullptr;
  switch (node.op) {
    case Op::kName:
    case Op::kHas:
      return load_kernel(node);
    case Op::kAll:
    case Op::kExists:
    case Op::kExistsOne:
    case Op::kMap:
    case Op::kFilter:
      return macro_kernel();
    case Op::kNot:
    case Op::kNegate:
      kernel = unary_kernel(node.op, args[0]);
      break;
    case Op::kEq:
    case Op::kNe:
      for (std::size_t side = 0; side < 2; ++side) {
        if (args[side].type == Type::kNull && args[side].constant &&
            args[1 - side].type != Type::kNull) {
          step.args = {step.args[1 - side]};
          return null_test_kernel(node.op == Op::kEq);
        }
      }
      [[fallthrough]];
    case Op::kAdd:
    case Op::kSub:
    case Op::kMul:
    case Op::kDiv:
    case Op::kMod:
    case Op::kLt:
    case Op::kLe:
    case Op::kGt:
    case Op::kGe:
      kernel = numeric_kernel(node.op, args[0], args[1]);
      if (kernel == nullptr) {
        kernel = text_kernel(node.op, args[0], args[1]);
      }
      break;
    case Op::kIn: {
      const Node& list = tree_.nodes[tree_.operands(node)[1]];
      if (list.op == Op::kLiteral && list.literal.type() == Type::kList) {
        kernel = in_kernel(args[0], list.literal.as_list(), step);
        if (kernel != nullptr) {
          step.args.pop_back();
        }
      }
      break;
    }
    case Op::kAnd:
    case Op::kOr:
      kernel = logic_kernel(node.op, args);
      break;
    case Op::kChoose:
      kernel = choose_kernel(step.shape, args);
      break;
    case Op::kCall: {
      if (node.loose) {
        break;
      }
      step.fn = signatures()[node.signature].fn;
      kernel = number_call_kernel(step.fn, args);
      if (kernel != nullptr) {
        break;
      }
      if (step.fn == Fn::kMatches) {
        const Node& text = tree_.nodes[tree_.operands(node)[1]];
        if (text.op == Op::kLiteral && text.literal.type() == Type::kString) {
          if (auto pattern = Pattern::compile(text.literal.as_string())) {
            step.pattern = std::move(*pattern);
          }
        }
      }
      kernel = text_call_kernel(step.fn, args, step.pattern != nullptr);
      break;
    }
    default:
      break;
  }
  // A kernel whose output representation is not that of the node would mislead the next step; the
  // selectors above choose by operand types that the checker has tied to the result type.
  return kernel != nullptr ? kernel : boxed_kernel();
}

Value Program::evaluate_row(const Batch& batch, std::span<const std::int32_t> columns,
                            std::size_t row) const {
  const Lookup lookup = [&](const Node& node) { return name_value(batch, columns, node, row); };
  return Interpreter(tree_, lookup).run();
}

void Program::run(const Batch& batch, std::span<const std::int32_t> columns, Arena& arena,
                  Column& out, EvalStats& stats) {
  Context context;
  context.registers = registers_;
  context.tree = &tree_;
  context.batch = &batch;
  context.arena = &arena;
  context.columns = columns;
  context.rows = batch.rows();
  context.words = (context.rows + 63) / 64;
  context.all_selected = batch.selected() == batch.rows();
  if (!context.all_selected) {
    context.selection = batch.selection();
  }
  context.failed = std::move(failed_);
  std::optional<Interpreter> interpreter;
  const Lookup lookup = [&](const Node& node) {
    return name_value(batch, columns, node, context.row);
  };
  if (std::any_of(steps_.begin(), steps_.end(),
                  [&](const Step& step) { return is_macro(tree_.nodes[step.node].op); })) {
    interpreter.emplace(tree_, lookup);
    context.interpreter = &*interpreter;
  }
  if (context.rows != 0) {
    for (const Step& step : steps_) {
      static_cast<Shape&>(registers_[step.out]) = step.shape;
      step.kernel(context, step);
    }
  }
  finish(context, out, stats);
  failed_ = std::move(context.failed);
}

namespace {

// Calls visit(row) for the valid rows.
template <class F>
void each_valid(const Context& context, const Register& result, F&& visit) {
  for (std::size_t word = 0; word < context.words; ++word) {
    std::uint64_t bits = result.valid_word(word) & context.live(word);
    for (; bits != 0; bits &= bits - 1) {
      visit(word * 64 + static_cast<std::size_t>(std::countr_zero(bits)));
    }
  }
}

template <class T, class From, class F>
void copy_values(const Context& context, const Register& result, Column& out, F convert) {
  const From* const from = result.values<From>();
  auto to = out.values<T>();
  if (result.constant) {
    std::fill(to.begin(), to.end(), result.null ? T{} : convert(from[0]));
  } else if (result.valid == nullptr) {
    for (std::size_t row = 0; row < context.rows; ++row) {
      to[row] = convert(from[row]);
    }
  } else {
    each_valid(context, result, [&](std::size_t row) { to[row] = convert(from[row]); });
  }
}

template <class T>
void copy_values(const Context& context, const Register& result, Column& out) {
  copy_values<T, T>(context, result, out, [](T value) { return value; });
}

// The type for values that are only known one by one: theirs when they agree (ints and doubles are
// doubles), else their JSON text.
Type common_type(const Context& context, const Register& result) {
  Type type = Type::kNull;
  context.for_each_row([&](std::size_t row) {
    const Type next = result.boxed[result.constant ? 0 : row].type();
    const Value& value = result.boxed[result.constant ? 0 : row];
    if (value.is_null() || value.is_error() || next == type) {
      return;
    }
    const bool numbers = (next == Type::kInt || next == Type::kDouble) &&
                         (type == Type::kInt || type == Type::kDouble);
    type = type == Type::kNull ? next : numbers ? Type::kDouble : Type::kList;
  });
  return type;
}

}  // namespace

void Program::finish(Context& context, Column& out, EvalStats& stats) {
  Register& result = registers_[register_of_.back()];
  Type type = want_ != Type::kDyn ? want_ : result.type;
  const bool one_by_one = result.rep == Rep::kBoxed && context.rows != 0;
  if (type == Type::kDyn) {
    type = one_by_one ? common_type(context, result) : Type::kNull;
  }
  out.reset(column_type_of(type).value_or(headwater::Type::kFloat64), context.rows);

  Register converted;
  Register* source = &result;
  if (one_by_one) {
    // Values of other types than the column's become errors, or their JSON text in a string column.
    const bool as_text = column_type_of(type) == headwater::Type::kString && type != Type::kString;
    converted.type = as_text ? Type::kString : type;
    converted.rep = rep_of(converted.type);
    if (converted.rep == Rep::kBoxed) {
      converted.rep = Rep::kF64;  // nothing but nulls
    }
    const std::size_t bytes = (context.rows + 63) / 64 * 64 * sizeof(std::string_view);
    converted.reserve(bytes);
    converted.data = converted.buffer.get();
    clear_masks(context, converted);
    context.for_each_row([&](std::size_t row) {
      Value value = result.boxed[result.constant ? 0 : row];
      if (as_text && !value.is_null() && !value.is_error()) {
        std::string text;
        append_json_value(text, value);
        value = Value::string(std::move(text));
      } else if (type == Type::kDouble && value.type() == Type::kInt) {
        value = Value::number(static_cast<double>(value.as_int()));
      }
      unbox(context, converted, row, std::move(value));
    });
    source = &converted;
  }

  if (context.rows != 0) {
    switch (source->rep) {
      case Rep::kF64:
        copy_values<double>(context, *source, out);
        break;
      case Rep::kBool:
        copy_values<std::uint8_t>(context, *source, out);
        break;
      case Rep::kText:
        copy_values<std::string_view>(context, *source, out);
        break;
      case Rep::kI64:
        if (source->type == Type::kDuration) {
          copy_values<double, std::int64_t>(
              context, *source, out, [](std::int64_t ns) { return static_cast<double>(ns) / 1e9; });
        } else if (type == Type::kDouble) {
          copy_values<double, std::int64_t>(
              context, *source, out, [](std::int64_t value) { return static_cast<double>(value); });
        } else {
          copy_values<std::int64_t>(context, *source, out);
        }
        break;
      case Rep::kBoxed:
        break;
    }
  }
  auto validity = out.validity();
  for (std::size_t word = 0; word < context.words; ++word) {
    validity[word] = source->valid_word(word) & context.live(word);
  }
  if (source->rep == Rep::kText && source->constant && !source->null) {
    // The literal lives as long as the program; the column may live longer.
    const std::string_view kept = context.arena->copy(source->values<std::string_view>()[0]);
    std::fill(out.values<std::string_view>().begin(), out.values<std::string_view>().end(), kept);
  }

  stats.rows += context.all_selected ? context.rows : context.selection.size();
  std::uint64_t nulls = 0;
  std::uint64_t errors = 0;
  std::size_t first_error = context.rows;
  if (context.all_selected) {
    for (std::size_t word = 0; word < context.words; ++word) {
      nulls += static_cast<std::uint64_t>(std::popcount(~validity[word] & context.live(word)));
      const std::uint64_t failed = source->error_word(word) & context.live(word);
      errors += static_cast<std::uint64_t>(std::popcount(failed));
      if (failed != 0 && first_error == context.rows) {
        first_error = word * 64 + static_cast<std::size_t>(std::countr_zero(failed));
      }
    }
  } else {
    for (const std::uint32_t row : context.selection) {
      nulls += out.valid(row) ? 0 : 1;
      errors += source->is_error(row) ? 1 : 0;
      if (source->is_error(row) && first_error == context.rows) {
        first_error = row;
      }
    }
  }
  stats.nulls += nulls;
  stats.errors += errors;
  if (errors != 0 && stats.first_error.empty()) {
    const Value value = evaluate_row(*context.batch, context.columns, first_error);
    stats.first_error = value.is_error()
                            ? value.as_error()
                            : fmt::format("the result is {}, which does not fit the column",
                                          type_name(value.type()));
  }
}

}  // namespace headwater::expr
