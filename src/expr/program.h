// Program: a checked tree as column steps, bound to the columns of one batch schema. Registers come
// from a pool: an expression needs as many as its widest point has operands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/column.h"
#include "expr/expression.h"
#include "expr/registers.h"
#include "expr/tree.h"

namespace headwater::expr {

class Program {
 public:
  // `want` as in CompileOptions.
  Program(Tree tree, Type want);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // `columns`: the batch's column index of each field of the expression, or -1.
  void run(const Batch& batch, std::span<const std::int32_t> columns, Arena& arena, Column& out,
           EvalStats& stats);

  Type type() const { return tree_.nodes.back().type; }
  // For one row; the result is not converted to `want`.
  Value evaluate_row(const Batch& batch, std::span<const std::int32_t> columns,
                     std::size_t row) const;
  const Tree& tree() const { return tree_; }

 private:
  std::vector<bool> needed_nodes() const;
  std::uint32_t take_register();
  void add_constant(std::uint32_t index);
  void add_step(std::uint32_t index);
  Kernel choose(const Node& node, std::span<const Shape> args, Step& step) const;
  void finish(Context& context, Column& out, EvalStats& stats);

  Tree tree_;
  Type want_;
  std::vector<Step> steps_;
  std::vector<Register> registers_;
  std::vector<std::uint32_t> free_;         // registers that the next step may take
  std::vector<std::uint32_t> register_of_;  // by node
  std::vector<Shape> shapes_;               // by node
  std::vector<std::uint64_t> failed_;       // reused scratch
};

// The column type that holds results of `type`; nullopt for kDyn.
std::optional<headwater::Type> column_type_of(Type type);

}  // namespace headwater::expr
