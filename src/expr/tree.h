// Tree: an expression as a flat list of nodes in evaluation order (operands before operators), so
// that checking, folding and evaluation are loops, and a long chain of operators needs no stack.
//
// The nodes of a sub-expression lie together: [node.first, index of node]. A macro (`all`, `map`,
// …) has its body between its range and itself; Node::jump of the body's first node leads over it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expr/expression.h"
#include "expr/value.h"

namespace headwater::expr {

enum class Op : std::uint8_t {
  kLiteral,
  kName,     // a column, row fact or variable
  kLoopVar,  // the variable of an enclosing macro; `name` is the depth of that macro
  kHas,
  kNot,
  kNegate,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMod,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kAnd,
  kOr,
  kChoose,  // ?:
  kList,
  kIndex,
  kCall,
  kAll,
  kExists,
  kExistsOne,
  kMap,  // with two or three operands: range, [condition,] body
  kFilter,
  kFail,  // what the checker found wrong, when it is asked to leave that to the evaluation
};

struct Node {
  Op op = Op::kLiteral;
  Type type = Type::kDyn;
  Type element = Type::kDyn;  // of a list
  bool plain = false;         // kLiteral: as written, not the result of folding; it may adapt
  bool quoted = false;        // kName, kHas: in backticks
  bool method = false;        // kCall: operand 0 stood before the dot
  bool loose = false;         // kCall: overload to be chosen at evaluation (an operand is dyn)
  std::uint32_t offset = 0;   // in the text
  std::uint32_t first = 0;    // first node of this sub-expression
  std::uint32_t args = 0;     // index into Tree::args
  std::uint32_t count = 0;
  std::uint32_t name = 0;  // index into Tree::names; depth of the macro for kLoopVar and macros
  std::uint32_t signature = 0;  // kCall: index into signatures(), of the first with this name
  std::uint32_t slot = 0;       // kName, kHas: the field's index, or kFactSlot + the RowFact
  std::uint32_t jump = 0;       // on the first node of a macro's body: the macro
  Value literal;                // kLiteral, kFail
};

inline constexpr std::uint32_t kFactSlot = 0x8000'0000;

struct Tree {
  std::vector<Node> nodes;  // the root is the last
  std::vector<std::uint32_t> args;
  std::vector<std::string> names;
  std::uint32_t loops = 0;  // deepest nesting of macros

  std::span<const std::uint32_t> operands(const Node& node) const {
    return std::span(args).subspan(node.args, node.count);
  }
};

struct Fault {
  std::size_t offset = 0;
  std::string message;
};

inline bool is_macro(Op op) {
  return op >= Op::kAll && op <= Op::kFilter;
}
// "+", "<=", "in", "?:", …
std::string_view op_text(Op op);

// The text as a tree with no types but those of the literals. On failure fills `fault`.
bool parse(std::string_view text, const CompileOptions& options, Tree& tree, Fault& fault);

}  // namespace headwater::expr
