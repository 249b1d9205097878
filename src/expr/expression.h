// Expressions on readings: the syntax and semantics of CEL (Common Expression Language) for the
// types that readings have, parsed once and evaluated a column at a time.
//
//   auto names = expr::Names::of(batch.schema());
//   auto when = HW_TRY(expr::compile("temperature > -40.0", names, {.want = expr::Type::kBool}));
//   Column result;
//   expr::EvalStats stats;
//   when.evaluate(batch, batch.arena(), result, stats);   // one value per row
//   expr::to_flags(result, flags);                        // null counts as false
//   batch.keep(flags);
//
// Names: a column is written with its flattened name (`motor.temperature`); an odd name goes in
// backticks (`` `flow rate (l/min)` ``). The row's own facts are `device` = `device_id`, `topic`,
// `sender` (string), `time` = `timestamp` and `received` (timestamp); a column of the same name is
// reached with backticks, which always mean a column.
//
// Null: a missing value makes the result of arithmetic and comparison missing (null), not an error;
// `&&`, `||` and `?:` need only the operands that decide (`false && null` is false). `has(x)` and
// `x == null` test for presence.
//
// Errors: division of ints by zero, overflow, a bad conversion make that row null and are counted;
// they never fail the batch. They are absorbed by `&&`, `||` and `?:` as in CEL
// (`false && 1/0 > 0` is false).
//
// Extensions to CEL: an integer literal beside a double adapts (`temperature + 1`), has() of a
// plain name, names in backticks, lower upper abs min max sqrt log round ceil floor clamp isNaN.
// docs/guide/expressions.md is the manual for users.
//
// Threads: an Expression keeps scratch buffers: one thread at a time uses one. Copies share the
// program and have buffers of their own; give each worker a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/batch.h"
#include "data/column.h"
#include "data/schema.h"
#include "expr/value.h"

namespace headwater::expr {

// What an expression may refer to, and the types.
class Names {
 public:
  // Nothing but the literals.
  Names() = default;
  // The columns of `schema` and the row's own facts. An unknown name is a compile error.
  static Names of(const Schema& schema);
  // For schemas that are learned: the columns of `schema` have their types, any other name is a
  // field of type dyn, bound to each batch as it comes. A field that a batch lacks is null there.
  static Names open(const Schema& schema = Schema());

  // A variable, or another type for a column. Replaces.
  Names& add(std::string_view name, Type type);
  // Takes `device`, `time` and the other facts of the row out.
  Names& without_row_facts();

  bool is_open() const { return open_; }
  bool has_row_facts() const { return row_facts_; }
  struct Entry {
    std::string name;
    Type type = Type::kDyn;
  };
  std::span<const Entry> entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
  bool open_ = false;
  bool row_facts_ = false;
};

struct CompileOptions {
  // Refuse other result types (kDyn accepts any). kDouble accepts int and converts it.
  Type want = Type::kDyn;
  // What stands before the position in error texts.
  std::string_view origin = "expr";
  std::size_t max_bytes = 64 * 1024;
  std::size_t max_depth = 250;    // nesting of parentheses, lists, calls, unary operators
  std::size_t max_list = 10'000;  // elements of one list
  // Leave type errors and unknown names to the evaluation, where `&&` and `||` may absorb them: CEL
  // without its checker. For conformance tests.
  bool lenient = false;
};

// Where and why compile() refused; for callers that print their own frame (check CONFIG).
struct Problem {
  std::size_t offset = 0;  // bytes from the start of the text
  std::size_t line = 1;    // from 1
  std::size_t column = 1;  // code points from 1
  std::string message;     // "no field 'temprature', did you mean 'temperature'?"
};

// Counts over the selected rows of the batches evaluated; evaluate() adds to it.
struct EvalStats {
  std::uint64_t rows = 0;
  std::uint64_t nulls = 0;   // rows whose result is null, errors included
  std::uint64_t errors = 0;  // rows whose result is null because of an error
  std::string first_error;   // text of the first of these; set when empty
};

class Expression {
 public:
  Expression(const Expression& other);
  Expression& operator=(const Expression& other);
  Expression(Expression&&) noexcept;
  Expression& operator=(Expression&&) noexcept;
  ~Expression();

  const std::string& text() const;
  // Of the result; kDyn when it is known only with the batch.
  Type type() const;
  // Type of the column that evaluate() writes: bool, int64, float64, timestamp or string; a
  // duration is written as float64 seconds, a list or type as its JSON text. nullopt when known
  // only with the batch.
  std::optional<headwater::Type> column_type() const;
  // The columns it reads, in order of first use; not the row's own facts.
  std::span<const std::string> fields() const;

  // One value per row of the batch into `out`, which is reset and must not be a column of the
  // batch. Rows that are not selected hold an unspecified value. Strings that it makes live in
  // `arena` (normally batch.arena()). When the batch's types do not fit (a string where a number is
  // needed), every row is null and counted as an error.
  void evaluate(const Batch& batch, Arena& arena, Column& out, EvalStats& stats) const;

  // One row of a batch; an error is returned instead of counted.
  Result<Value> evaluate_row(const Batch& batch, std::size_t row) const;
  // Values by name; a name that is not bound is null, a value of another type than declared is an
  // error (an int is taken for a double). Errors as CEL gives them ("divide by zero").
  Result<Value> evaluate_scalar(const Bindings& bindings) const;

 private:
  friend Result<Expression> compile(std::string_view, const Names&, const CompileOptions&,
                                    Problem*);
  struct Source;
  struct Scratch;
  explicit Expression(std::shared_ptr<const Source> source);
  const Scratch* bind(const Batch& batch) const;

  std::shared_ptr<const Source> source_;  // immutable, shared by copies
  std::unique_ptr<Scratch> scratch_;      // programs bound to batch schemas, and their registers
};

// The error text is
//   expr:1:1: no field 'temprature', did you mean 'temperature'?
//     temprature > 3
//     ^
// `problem`, when given, receives the parts of it.
Result<Expression> compile(std::string_view text, const Names& names,
                           const CompileOptions& options = {}, Problem* problem = nullptr);

// One byte per row, 1 where the bool column is true; null is 0. `flags` must have a byte per row.
// Returns how many are 1. All 0 when the column is not bool.
std::size_t to_flags(const Column& column, std::span<std::uint8_t> flags);

}  // namespace headwater::expr
