// What a column program works on: registers (a value per row, with masks of the rows that are
// present and of those that failed) and the steps between them. Internal to src/expr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "data/arena.h"
#include "data/batch.h"
#include "expr/functions.h"
#include "expr/interpreter.h"
#include "expr/tree.h"

namespace headwater::expr {

enum class Rep : std::uint8_t {
  kF64,
  kI64,    // int, timestamp, duration
  kBool,   // bytes 0 or 1; 0 where the row is null
  kText,   // std::string_view
  kBoxed,  // Value: lists, types, and what is known only row by row
};
Rep rep_of(Type type);

// What is known of a register when the program is built.
struct Shape {
  Rep rep = Rep::kF64;
  Type type = Type::kDouble;
  bool constant = false;  // one value for all rows; `null` when it is missing
  bool null = false;
  bool failed = false;  // a constant that is an error; also null
};

// A row is present, null or failed: a failed row is not valid. Bits past the last row are zero in
// `valid` and `errors`; value buffers reach to a multiple of 64 rows. Registers are used again by
// later steps, so rows that a kernel skips hold old bytes: text kernels touch valid rows only.
struct Register : Shape {
  const void* data = nullptr;             // rows values, or one; of a batch's column or of `buffer`
  const std::uint64_t* valid = nullptr;   // nullptr: all rows (of a constant that is not null)
  const std::uint64_t* errors = nullptr;  // nullptr: none
  std::vector<Value> boxed;               // kBoxed: rows values, or one
  std::unique_ptr<std::byte[]> buffer;
  std::size_t capacity = 0;
  std::vector<std::uint64_t> valid_words;
  std::vector<std::uint64_t> error_words;

  template <class T>
  const T* values() const {
    return static_cast<const T*>(data);
  }
  // Room for the results of `rows` rows, all valid.
  template <class T>
  T* prepare(std::size_t rows) {
    reserve((rows + 63) / 64 * 64 * sizeof(T));
    data = buffer.get();
    valid = nullptr;
    errors = nullptr;
    return reinterpret_cast<T*>(buffer.get());
  }
  void reserve(std::size_t bytes);

  bool plain() const { return !null && valid == nullptr && errors == nullptr; }
  std::uint64_t valid_word(std::size_t word) const {
    return null ? 0 : valid == nullptr ? ~std::uint64_t{0} : valid[word];
  }
  std::uint64_t error_word(std::size_t word) const {
    return failed ? ~std::uint64_t{0} : errors == nullptr ? 0 : errors[word];
  }
  bool is_valid(std::size_t row) const { return ((valid_word(row / 64) >> (row % 64)) & 1) != 0; }
  bool is_error(std::size_t row) const { return ((error_word(row / 64) >> (row % 64)) & 1) != 0; }
};

struct Context;
struct Step;
using Kernel = void (*)(Context&, const Step&);

struct Step {
  Kernel kernel = nullptr;
  std::uint32_t node = 0;  // of the tree
  std::uint32_t out = 0;   // register
  Shape shape;             // of out
  std::vector<std::uint32_t> args;
  Fn fn = Fn::kDyn;
  std::shared_ptr<const Pattern> pattern;  // matches() with a constant pattern
  std::vector<double> numbers;             // `in` with a constant list: sorted
  std::vector<std::int64_t> ints;
  std::vector<std::string_view> texts;  // into the tree's literal
};

struct Context {
  std::span<Register> registers;
  const Tree* tree = nullptr;
  const Batch* batch = nullptr;
  Arena* arena = nullptr;
  std::span<const std::int32_t> columns;  // by field: index in the batch
  std::size_t rows = 0;
  std::size_t words = 0;
  // Rows that matter; slow kernels skip the others.
  std::span<const std::uint32_t> selection;
  bool all_selected = true;
  Interpreter* interpreter = nullptr;  // reads its names at `row`
  std::size_t row = 0;
  std::vector<std::uint64_t> failed;  // scratch of kernels that find errors

  Register& out(const Step& step) const { return registers[step.out]; }
  const Register& arg(const Step& step, std::size_t index) const {
    return registers[step.args[index]];
  }
  // Bits of the rows that exist in a word.
  std::uint64_t live(std::size_t word) const {
    return word + 1 < words || rows % 64 == 0 ? ~std::uint64_t{0}
                                              : (std::uint64_t{1} << (rows % 64)) - 1;
  }
  template <class F>
  void for_each_row(F&& visit) const {
    if (all_selected) {
      for (std::size_t index = 0; index < rows; ++index) {
        visit(index);
      }
    } else {
      for (const std::uint32_t index : selection) {
        visit(std::size_t{index});
      }
    }
  }
};

// The masks of a strict operation: valid where all operands are, failed where one is.
void strict_masks(const Context& context, const Step& step, Register& out);
// Adds failed rows (one word per 64 rows, bits of null rows are ignored) and takes them from valid.
void add_errors(const Context& context, Register& out, std::span<const std::uint64_t> failed);
// Sets the bytes of rows that are not valid to 0.
void zero_invalid(const Context& context, Register& out);
// Masks of their own for `out`, to be set row by row: no row is valid, none failed.
void clear_masks(const Context& context, Register& out);
inline void mark_valid(Register& out, std::size_t row) {
  out.valid_words[row / 64] |= std::uint64_t{1} << (row % 64);
}
inline void mark_error(Register& out, std::size_t row) {
  out.error_words[row / 64] |= std::uint64_t{1} << (row % 64);
}

// The value of a register's row as the interpreter sees it.
Value box(const Register& source, std::size_t row);
// The reverse; also takes null and error. `out` has masks of its own. A value of another type
// fails.
void unbox(const Context& context, Register& out, std::size_t row, Value value);

// A field or row fact of one row as the interpreter sees it.
Value name_value(const Batch& batch, std::span<const std::int32_t> columns, const Node& node,
                 std::size_t row);

// Kernels by operation and operand representations; nullptr: none, use boxed_kernel().
Kernel load_kernel(const Node& node);
Kernel numeric_kernel(Op op, const Shape& a, const Shape& b);
Kernel unary_kernel(Op op, const Shape& a);
Kernel logic_kernel(Op op, std::span<const Shape> args);
Kernel choose_kernel(const Shape& out, std::span<const Shape> args);
Kernel null_test_kernel(bool equal);
Kernel number_call_kernel(Fn fn, std::span<const Shape> args);
Kernel text_kernel(Op op, const Shape& a, const Shape& b);
Kernel text_call_kernel(Fn fn, std::span<const Shape> args, bool constant_pattern);
// `step` gets the elements of the constant list; nullptr when they are not all of one kind.
Kernel in_kernel(const Shape& a, const Value::List& list, Step& step);
Kernel boxed_kernel();
Kernel macro_kernel();

}  // namespace headwater::expr
