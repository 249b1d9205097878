#include "expr/registers.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "expr/checker.h"
#include "expr/operators.h"

namespace headwater::expr {

Rep rep_of(Type type) {
  switch (type) {
    case Type::kDouble:
      return Rep::kF64;
    case Type::kInt:
    case Type::kTimestamp:
    case Type::kDuration:
      return Rep::kI64;
    case Type::kBool:
      return Rep::kBool;
    case Type::kString:
    case Type::kBytes:  // opaque: only its presence is asked
      return Rep::kText;
    case Type::kNull:
    case Type::kList:
    case Type::kType:
    case Type::kDyn:
      break;
  }
  return Rep::kBoxed;
}

void Register::reserve(std::size_t bytes) {
  if (bytes > capacity) {
    capacity = std::max(bytes, capacity * 2);
    buffer.reset(new std::byte[capacity]);
    // Rows that no one computes (not selected, past the last) must still be readable values.
    std::memset(buffer.get(), 0, capacity);
  }
}

void strict_masks(const Context& context, const Step& step, Register& out) {
  bool all_valid = true;
  bool no_errors = true;
  for (const std::uint32_t index : step.args) {
    const Register& arg = context.registers[index];
    all_valid = all_valid && !arg.null && arg.valid == nullptr;
    no_errors = no_errors && !arg.failed && arg.errors == nullptr;
  }
  out.valid = nullptr;
  out.errors = nullptr;
  if (!all_valid) {
    out.valid_words.resize(context.words);
    for (std::size_t word = 0; word < context.words; ++word) {
      std::uint64_t bits = context.live(word);
      for (const std::uint32_t index : step.args) {
        bits &= context.registers[index].valid_word(word);
      }
      out.valid_words[word] = bits;
    }
    out.valid = out.valid_words.data();
  }
  if (!no_errors) {
    out.error_words.resize(context.words);
    for (std::size_t word = 0; word < context.words; ++word) {
      std::uint64_t bits = 0;
      for (const std::uint32_t index : step.args) {
        bits |= context.registers[index].error_word(word);
      }
      out.error_words[word] = bits & context.live(word);
    }
    out.errors = out.error_words.data();
  }
}

void add_errors(const Context& context, Register& out, std::span<const std::uint64_t> failed) {
  bool any = false;
  for (std::size_t word = 0; word < context.words; ++word) {
    any = any || (failed[word] & out.valid_word(word) & context.live(word)) != 0;
  }
  if (!any) {
    return;
  }
  if (out.errors == nullptr) {
    out.error_words.assign(context.words, 0);
    out.errors = out.error_words.data();
  }
  if (out.valid == nullptr) {
    out.valid_words.resize(context.words);
    for (std::size_t word = 0; word < context.words; ++word) {
      out.valid_words[word] = context.live(word);
    }
    out.valid = out.valid_words.data();
  }
  for (std::size_t word = 0; word < context.words; ++word) {
    const std::uint64_t bad = failed[word] & out.valid_words[word];
    out.error_words[word] |= bad;
    out.valid_words[word] &= ~bad;
  }
}

void zero_invalid(const Context& context, Register& out) {
  if (out.valid == nullptr) {
    return;
  }
  auto* const bytes = reinterpret_cast<std::uint8_t*>(out.buffer.get());
  for (std::size_t word = 0; word < context.words; ++word) {
    // Few rows are null, as a rule.
    std::uint64_t missing = ~out.valid[word] & context.live(word);
    for (; missing != 0; missing &= missing - 1) {
      bytes[word * 64 + static_cast<std::size_t>(__builtin_ctzll(missing))] = 0;
    }
  }
}

void clear_masks(const Context& context, Register& out) {
  out.valid_words.assign(context.words, 0);
  out.error_words.assign(context.words, 0);
  out.valid = out.valid_words.data();
  out.errors = out.error_words.data();
}

Value box(const Register& source, std::size_t row) {
  const std::size_t at = source.constant ? 0 : row;
  if (source.rep == Rep::kBoxed) {
    return source.boxed[at];
  }
  if (source.is_error(row)) {
    return Value::error("an operand failed");
  }
  if (!source.is_valid(row)) {
    return Value();
  }
  switch (source.rep) {
    case Rep::kF64:
      return Value::number(source.values<double>()[at]);
    case Rep::kBool:
      return Value::boolean(source.values<std::uint8_t>()[at] != 0);
    case Rep::kText:
      return Value::string(std::string(source.values<std::string_view>()[at]));
    case Rep::kI64:
    case Rep::kBoxed:
      break;
  }
  const std::int64_t value = source.values<std::int64_t>()[at];
  switch (source.type) {
    case Type::kTimestamp:
      return Value::timestamp(Timestamp{value});
    case Type::kDuration:
      return Value::duration(Duration{value});
    default:
      return Value::integer(value);
  }
}

void unbox(const Context& context, Register& out, std::size_t row, Value value) {
  if (out.rep == Rep::kBoxed) {
    if (value.is_error()) {
      mark_error(out, row);
    } else if (!value.is_null()) {
      mark_valid(out, row);
    }
    out.boxed[row] = std::move(value);
    return;
  }
  if (value.is_null()) {
    return;
  }
  bool fits = value.type() == out.type;
  std::byte* const buffer = out.buffer.get();
  const auto put = [&](auto plain) {
    std::memcpy(buffer + row * sizeof plain, &plain, sizeof plain);
  };
  if (fits) {
    switch (value.type()) {
      case Type::kBool:
        put(static_cast<std::uint8_t>(value.as_bool() ? 1 : 0));
        break;
      case Type::kInt:
        put(value.as_int());
        break;
      case Type::kDouble:
        put(value.as_double());
        break;
      case Type::kDuration:
        put(value.as_duration().ns);
        break;
      case Type::kTimestamp: {
        const WideNanos ns = value.as_timestamp().ns;
        fits = ns <= std::numeric_limits<std::int64_t>::max() &&
               ns >= std::numeric_limits<std::int64_t>::min();
        if (fits) {
          put(static_cast<std::int64_t>(ns));
        }
        break;
      }
      case Type::kString:
        put(context.arena->copy(value.as_string()));
        break;
      default:
        fits = false;
    }
  }
  if (fits) {
    mark_valid(out, row);
  } else {
    mark_error(out, row);
  }
}

Value name_value(const Batch& batch, std::span<const std::int32_t> columns, const Node& node,
                 std::size_t row) {
  const bool asks = node.op == Op::kHas;
  if (node.slot >= kFactSlot) {
    const Row& facts = batch.row(row);
    const auto text = [&](std::string_view value) {
      return asks ? Value::boolean(!value.empty()) : Value::string(std::string(value));
    };
    switch (static_cast<RowFact>(node.slot - kFactSlot)) {
      case RowFact::kDevice:
        return text(facts.device);
      case RowFact::kTopic:
        return text(facts.topic);
      case RowFact::kSender:
        return text(facts.sender);
      case RowFact::kTime:
        return asks ? Value::boolean(true) : Value::timestamp(facts.time);
      case RowFact::kReceived:
        return asks ? Value::boolean(true) : Value::timestamp(facts.received);
    }
  }
  const std::int32_t index = columns[node.slot];
  const bool present = index >= 0 && batch.column(static_cast<std::size_t>(index)).valid(row);
  if (asks) {
    return Value::boolean(present);
  }
  if (!present) {
    return Value();
  }
  const Column& column = batch.column(static_cast<std::size_t>(index));
  switch (column.type()) {
    case headwater::Type::kFloat64:
      return Value::number(column.values<double>()[row]);
    case headwater::Type::kFloat32:
      return Value::number(static_cast<double>(column.values<float>()[row]));
    case headwater::Type::kInt64:
      return Value::integer(column.values<std::int64_t>()[row]);
    case headwater::Type::kBool:
      return Value::boolean(column.values<std::uint8_t>()[row] != 0);
    case headwater::Type::kTimestamp:
      return Value::timestamp(Timestamp{column.values<std::int64_t>()[row]});
    case headwater::Type::kString:
    case headwater::Type::kBytes:
    case headwater::Type::kFrame:
      break;
  }
  return Value::string(std::string(column.values<std::string_view>()[row]));
}

}  // namespace headwater::expr
