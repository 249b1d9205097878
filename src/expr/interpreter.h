// Evaluates a tree for one row, with Values: `headwater expr`, constants, and the operations of a
// column program that have no kernel. Bounded: a budget of steps ends nested macros.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "expr/tree.h"
#include "expr/value.h"

namespace headwater::expr {

// The value of a kName or kHas node.
using Lookup = std::function<Value(const Node&)>;

class Interpreter {
 public:
  static constexpr std::size_t kMaxSteps = 200'000;

  // Both must outlive it.
  Interpreter(const Tree& tree, const Lookup& lookup);

  // Of the whole tree, or of the sub-expression that ends at `root`. May be an error.
  Value run() { return run_part(static_cast<std::uint32_t>(tree_.nodes.size() - 1)); }
  Value run_part(std::uint32_t root);

 private:
  Value evaluate(std::uint32_t root);
  Value node_value(std::uint32_t index);
  Value macro(const Node& node);

  const Tree& tree_;
  const Lookup& lookup_;
  std::vector<Value> slots_;  // by node
  std::vector<Value> loops_;  // variables of the enclosing macros
  std::vector<const Value*> args_;
  std::size_t steps_ = 0;
};

}  // namespace headwater::expr
