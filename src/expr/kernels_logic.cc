// Loads, logic with CEL's absorption, the choice, tests for null, and the boxed fallback.
#include <algorithm>
#include <cstring>

#include "expr/checker.h"
#include "expr/operators.h"
#include "expr/registers.h"

namespace headwater::expr {
namespace {

// The low bits of 64 bytes as one word; of fewer at the end of a column.
std::uint64_t pack(const std::uint8_t* bytes, std::size_t count) {
  std::uint64_t bits = 0;
  if (count >= 64) {
    for (std::size_t group = 0; group < 8; ++group) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, bytes + group * 8, 8);
      eight &= 0x0101010101010101ULL;
      bits |= (eight * 0x0102040810204080ULL >> 56) << (group * 8);
    }
    return bits;
  }
  for (std::size_t index = 0; index < count; ++index) {
    bits |= std::uint64_t{bytes[index] & 1U} << index;
  }
  return bits;
}

void unpack(std::uint64_t bits, std::uint8_t* bytes, std::size_t count) {
  for (std::size_t index = 0; index < count; ++index) {
    bytes[index] = static_cast<std::uint8_t>((bits >> index) & 1);
  }
}

// A bool register as words.
std::uint64_t bool_word(const Context& context, const Register& source, std::size_t word) {
  const auto* const bytes = source.values<std::uint8_t>();
  if (source.constant) {
    return bytes[0] != 0 ? ~std::uint64_t{0} : 0;
  }
  return pack(bytes + word * 64, std::min<std::size_t>(64, context.rows - word * 64));
}

template <bool kOr>
void logic(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Register& a = context.arg(step, 0);
  const Register& b = context.arg(step, 1);
  auto* const values = out.prepare<std::uint8_t>(context.rows);
  if (a.plain() && b.plain() && !a.constant && !b.constant) {
    const auto* const x = a.values<std::uint8_t>();
    const auto* const y = b.values<std::uint8_t>();
    for (std::size_t row = 0; row < context.rows; ++row) {
      values[row] = static_cast<std::uint8_t>(kOr ? x[row] | y[row] : x[row] & y[row]);
    }
    return;
  }
  clear_masks(context, out);
  for (std::size_t word = 0; word < context.words; ++word) {
    const std::uint64_t live = context.live(word);
    const std::uint64_t va = a.valid_word(word) & live;
    const std::uint64_t vb = b.valid_word(word) & live;
    const std::uint64_t xa = bool_word(context, a, word);
    const std::uint64_t xb = bool_word(context, b, word);
    const std::uint64_t decided = kOr ? (va & xa) | (vb & xb) : (va & ~xa) | (vb & ~xb);
    const std::uint64_t other = kOr ? va & ~xa & vb & ~xb : va & xa & vb & xb;
    out.valid_words[word] = decided | other;
    out.error_words[word] = (a.error_word(word) | b.error_word(word)) & ~decided & live;
    unpack(kOr ? decided : other, values + word * 64,
           std::min<std::size_t>(64, context.rows - word * 64));
  }
}

template <class T>
void choose(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Register& condition = context.arg(step, 0);
  const Register& a = context.arg(step, 1);
  const Register& b = context.arg(step, 2);
  T* const values = out.prepare<T>(context.rows);
  const auto* const c = condition.values<std::uint8_t>();
  const std::size_t c_step = condition.constant ? 0 : 1;
  const T* const x = a.values<T>();
  const T* const y = b.values<T>();
  const std::size_t x_step = a.constant ? 0 : 1;
  const std::size_t y_step = b.constant ? 0 : 1;
  for (std::size_t row = 0; row < context.rows; ++row) {
    values[row] = c[row * c_step] != 0 ? x[row * x_step] : y[row * y_step];
  }
  if (condition.plain() && a.plain() && b.plain()) {
    return;
  }
  clear_masks(context, out);
  for (std::size_t word = 0; word < context.words; ++word) {
    const std::uint64_t known = condition.valid_word(word) & context.live(word);
    const std::uint64_t bits = bool_word(context, condition, word);
    const std::uint64_t yes = known & bits;
    const std::uint64_t no = known & ~bits;
    out.valid_words[word] = (yes & a.valid_word(word)) | (no & b.valid_word(word));
    out.error_words[word] = (condition.error_word(word) & context.live(word)) |
                            (yes & a.error_word(word)) | (no & b.error_word(word));
  }
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    zero_invalid(context, out);
  }
}

template <bool kEqual>
void null_test(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Register& a = context.arg(step, 0);
  auto* const values = out.prepare<std::uint8_t>(context.rows);
  clear_masks(context, out);
  for (std::size_t word = 0; word < context.words; ++word) {
    const std::uint64_t live = context.live(word);
    const std::uint64_t failed = a.error_word(word) & live;
    const std::uint64_t present = a.valid_word(word) & live;
    out.error_words[word] = failed;
    out.valid_words[word] = live & ~failed;
    unpack((kEqual ? ~present : present) & live & ~failed, values + word * 64,
           std::min<std::size_t>(64, context.rows - word * 64));
  }
}

const Column& column_of(const Context& context, const Node& node) {
  return context.batch->column(static_cast<std::size_t>(context.columns[node.slot]));
}

// No copy: the register points into the batch.
void load_column(Context& context, const Step& step) {
  Register& out = context.out(step);
  const Column& column = column_of(context, context.tree->nodes[step.node]);
  out.valid = column.validity().data();
  out.errors = nullptr;
  // Most columns have no nulls: known once here, it spares every later step the masks.
  bool all = true;
  for (std::size_t word = 0; word < context.words; ++word) {
    all = all && out.valid[word] == context.live(word);
  }
  if (all) {
    out.valid = nullptr;
  }
  if (column.type() == headwater::Type::kFloat32) {
    const std::uint64_t* const valid = out.valid;
    double* const values = out.prepare<double>(context.rows);
    out.valid = valid;
    const auto from = column.values<float>();
    for (std::size_t row = 0; row < context.rows; ++row) {
      values[row] = static_cast<double>(from[row]);
    }
    return;
  }
  out.data = column.values<std::byte>().data();
}

void load_text_fact(Context& context, const Step& step) {
  Register& out = context.out(step);
  auto* const values = out.prepare<std::string_view>(context.rows);
  const auto rows = context.batch->all_rows();
  const auto fact = static_cast<RowFact>(context.tree->nodes[step.node].slot - kFactSlot);
  for (std::size_t row = 0; row < context.rows; ++row) {
    values[row] = fact == RowFact::kDevice  ? rows[row].device
                  : fact == RowFact::kTopic ? rows[row].topic
                                            : rows[row].sender;
  }
}

void load_time_fact(Context& context, const Step& step) {
  Register& out = context.out(step);
  auto* const values = out.prepare<std::int64_t>(context.rows);
  const auto rows = context.batch->all_rows();
  const auto fact = static_cast<RowFact>(context.tree->nodes[step.node].slot - kFactSlot);
  for (std::size_t row = 0; row < context.rows; ++row) {
    values[row] = fact == RowFact::kTime ? rows[row].time.ns : rows[row].received.ns;
  }
}

void has_column(Context& context, const Step& step) {
  Register& out = context.out(step);
  auto* const values = out.prepare<std::uint8_t>(context.rows);
  const Column& column = column_of(context, context.tree->nodes[step.node]);
  for (std::size_t row = 0; row < context.rows; ++row) {
    values[row] = column.valid(row) ? 1 : 0;
  }
}

void has_fact(Context& context, const Step& step) {
  Register& out = context.out(step);
  auto* const values = out.prepare<std::uint8_t>(context.rows);
  const Node& node = context.tree->nodes[step.node];
  for (std::size_t row = 0; row < context.rows; ++row) {
    values[row] = name_value(*context.batch, context.columns, node, row).as_bool() ? 1 : 0;
  }
}

// Room for values that are set one by one.
void prepare_boxed(const Context& context, Register& out) {
  clear_masks(context, out);
  if (out.rep == Rep::kBoxed) {
    out.boxed.assign(context.rows, Value());
    return;
  }
  const std::size_t bytes = (context.rows + 63) / 64 * 64 * sizeof(std::string_view);
  out.reserve(bytes);
  std::memset(out.buffer.get(), 0, bytes);
  out.data = out.buffer.get();
}

// The operation as the interpreter does it, row by row: for what has no kernel.
void boxed(Context& context, const Step& step) {
  Register& out = context.out(step);
  prepare_boxed(context, out);
  const Node& node = context.tree->nodes[step.node];
  std::vector<Value> values(step.args.size());
  std::vector<const Value*> args(step.args.size());
  for (std::size_t index = 0; index < args.size(); ++index) {
    const Register& arg = context.arg(step, index);
    // A constant may be a list of thousands: not to be copied for each row.
    args[index] = arg.constant && arg.rep == Rep::kBoxed ? arg.boxed.data() : &values[index];
  }
  context.for_each_row([&](std::size_t row) {
    for (std::size_t index = 0; index < args.size(); ++index) {
      if (args[index] == &values[index]) {
        values[index] = box(context.arg(step, index), row);
      }
    }
    unbox(context, out, row, apply(*context.tree, node, args));
  });
}

void macro(Context& context, const Step& step) {
  Register& out = context.out(step);
  prepare_boxed(context, out);
  context.for_each_row([&](std::size_t row) {
    context.row = row;
    unbox(context, out, row, context.interpreter->run_part(step.node));
  });
}

}  // namespace

Kernel load_kernel(const Node& node) {
  const bool fact = node.slot >= kFactSlot;
  if (node.op == Op::kHas) {
    return fact ? has_fact : has_column;
  }
  if (!fact) {
    return load_column;
  }
  return node.type == Type::kString ? load_text_fact : load_time_fact;
}

Kernel logic_kernel(Op op, std::span<const Shape> args) {
  for (const Shape& arg : args) {
    if (arg.rep != Rep::kBool) {
      return nullptr;
    }
  }
  return op == Op::kOr ? logic<true> : logic<false>;
}

Kernel choose_kernel(const Shape& out, std::span<const Shape> args) {
  if (args[0].rep != Rep::kBool || args[1].rep != out.rep || args[2].rep != out.rep) {
    return nullptr;
  }
  switch (out.rep) {
    case Rep::kF64:
      return choose<double>;
    case Rep::kI64:
      return choose<std::int64_t>;
    case Rep::kBool:
      return choose<std::uint8_t>;
    case Rep::kText:
      return choose<std::string_view>;
    case Rep::kBoxed:
      break;
  }
  return nullptr;
}

Kernel null_test_kernel(bool equal) {
  return equal ? null_test<true> : null_test<false>;
}

Kernel boxed_kernel() {
  return boxed;
}

Kernel macro_kernel() {
  return macro;
}

}  // namespace headwater::expr
