#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "expr/lexer.h"
#include "expr/tree.h"

namespace headwater::expr {
namespace {

constexpr std::array<std::string_view, 17> kReserved = {
    "as",  "break",   "const",     "continue", "else", "for",  "function", "if",   "import",
    "let", "package", "namespace", "return",   "var",  "void", "while",    "loop",
};

struct BinaryOp {
  std::string_view text;
  Op op;
  int level;  // binds tighter when higher
};
constexpr std::array<BinaryOp, 14> kBinaryOps = {{{"||", Op::kOr, 1},
                                                  {"&&", Op::kAnd, 2},
                                                  {"==", Op::kEq, 3},
                                                  {"!=", Op::kNe, 3},
                                                  {"<", Op::kLt, 3},
                                                  {"<=", Op::kLe, 3},
                                                  {">", Op::kGt, 3},
                                                  {">=", Op::kGe, 3},
                                                  {"in", Op::kIn, 3},
                                                  {"+", Op::kAdd, 4},
                                                  {"-", Op::kSub, 4},
                                                  {"*", Op::kMul, 5},
                                                  {"/", Op::kDiv, 5},
                                                  {"%", Op::kMod, 5}}};

struct MacroName {
  std::string_view name;
  Op op;
};
constexpr std::array<MacroName, 6> kMacros = {{{"all", Op::kAll},
                                               {"exists", Op::kExists},
                                               {"exists_one", Op::kExistsOne},
                                               {"existsOne", Op::kExistsOne},
                                               {"map", Op::kMap},
                                               {"filter", Op::kFilter}}};

// Recursive for brackets only; each bracket and each call is one level of `depth_`. Every function
// returns the index of the node it made, or leaves failed_ set.
class Parser {
 public:
  Parser(std::string_view text, const CompileOptions& options, Tree& tree, Fault& fault)
      : lexer_(text), options_(options), tree_(tree), fault_(fault) {}

  bool run() {
    advance();
    if (!failed_ && token_.kind == TokenKind::kEnd) {
      fail(0, "the expression is empty");
    }
    expression();
    if (!failed_ && token_.kind != TokenKind::kEnd) {
      unexpected("an operator or the end");
    }
    return !failed_;
  }

 private:
  using Index = std::uint32_t;

  void fail(std::size_t offset, std::string message) {
    if (!failed_) {
      failed_ = true;
      fault_ = {offset, std::move(message)};
    }
    token_ = Token{};  // ends every loop
    token_.offset = offset;
  }
  void unexpected(std::string_view wanted) {
    if (at_symbol("{")) {
      fail(token_.offset, "maps and messages are not supported");
    } else if (token_.kind == TokenKind::kEnd) {
      fail(token_.offset, fmt::format("expected {}, but the expression ends here", wanted));
    } else {
      fail(token_.offset, fmt::format("expected {}, got '{}'", wanted, token_.text.substr(0, 32)));
    }
  }
  void advance() {
    if (failed_) {
      return;
    }
    last_offset_ = token_.offset;
    token_ = lexer_.next();
    if (token_.kind == TokenKind::kBad) {
      fail(lexer_.fault().offset, lexer_.fault().message);
    }
  }
  bool at_symbol(std::string_view symbol) const {
    return token_.kind == TokenKind::kSymbol && token_.text == symbol;
  }
  bool take(std::string_view symbol) {
    if (!at_symbol(symbol)) {
      return false;
    }
    advance();
    return true;
  }
  void expect(std::string_view symbol) {
    if (!take(symbol)) {
      unexpected(fmt::format("'{}'", symbol));
    }
  }
  bool enter() {
    if (++depth_ > options_.max_depth) {
      fail(token_.offset, fmt::format("nested deeper than {} levels", options_.max_depth));
      return false;
    }
    return true;
  }

  Index add(Op op, std::size_t offset, std::span<const Index> operands) {
    if (failed_) {
      if (tree_.nodes.empty()) {
        tree_.nodes.emplace_back();  // so that index 0 is one, on the way out
      }
      return 0;
    }
    Node node;
    node.op = op;
    node.offset = static_cast<std::uint32_t>(offset);
    const Index index = static_cast<Index>(tree_.nodes.size());
    node.first = operands.empty() ? index : tree_.nodes[operands.front()].first;
    node.args = static_cast<std::uint32_t>(tree_.args.size());
    node.count = static_cast<std::uint32_t>(operands.size());
    tree_.args.insert(tree_.args.end(), operands.begin(), operands.end());
    tree_.nodes.push_back(std::move(node));
    return index;
  }
  Index literal(Value value, std::size_t offset) {
    const Index index = add(Op::kLiteral, offset, {});
    Node& node = tree_.nodes[index];
    node.type = value.type();
    node.plain = true;
    node.literal = std::move(value);
    return index;
  }
  std::uint32_t intern(std::string_view name) {
    const auto at = std::find(tree_.names.begin(), tree_.names.end(), name);
    if (at != tree_.names.end()) {
      return static_cast<std::uint32_t>(at - tree_.names.begin());
    }
    tree_.names.emplace_back(name);
    return static_cast<std::uint32_t>(tree_.names.size() - 1);
  }

  // condition ? then : else, right associative, as a loop.
  Index expression() {
    struct Pending {
      Index condition;
      Index then;
      std::size_t offset;
    };
    std::vector<Pending> pending;
    if (!enter()) {
      return 0;
    }
    Index result = binary(1);
    while (at_symbol("?")) {
      const std::size_t offset = token_.offset;
      advance();
      const Index then = binary(1);
      if (at_symbol("?")) {
        fail(token_.offset, "put a choice inside a choice in parentheses");
      }
      expect(":");
      pending.push_back({result, then, offset});
      result = binary(1);
    }
    for (; !failed_ && !pending.empty(); pending.pop_back()) {
      const Pending& last = pending.back();
      result = add(Op::kChoose, last.offset, std::array{last.condition, last.then, result});
    }
    --depth_;
    return result;
  }

  const BinaryOp* binary_op() const {
    if (token_.kind != TokenKind::kSymbol && token_.kind != TokenKind::kName) {
      return nullptr;
    }
    for (const BinaryOp& candidate : kBinaryOps) {
      if (candidate.text == token_.text) {
        return &candidate;
      }
    }
    return nullptr;
  }

  Index binary(int level) {
    Index left = unary();
    for (;;) {
      const BinaryOp* const found = binary_op();
      if (failed_ || found == nullptr || found->level < level) {
        return left;
      }
      const std::size_t offset = token_.offset;
      advance();
      const Index right = binary(found->level + 1);
      if (failed_) {
        return 0;
      }
      left = add(found->op, offset, std::array{left, right});
    }
  }

  // A run of '!' or '-' is one or two nodes, whatever its length: two of them undo each other.
  Index unary() {
    if (!at_symbol("!") && !at_symbol("-")) {
      return member();
    }
    const std::string_view symbol = token_.text;
    const Op op = symbol == "!" ? Op::kNot : Op::kNegate;
    const std::size_t offset = token_.offset;
    std::size_t times = 0;
    while (at_symbol(symbol)) {
      ++times;
      advance();
    }
    Index operand = 0;
    if (op == Op::kNegate &&
        (token_.kind == TokenKind::kInt || token_.kind == TokenKind::kDouble)) {
      negative_ = true;  // the last '-' belongs to the number: -9223372036854775808 is an int
      --times;
    }
    if (at_symbol("!") || at_symbol("-")) {
      if (!enter()) {
        return 0;
      }
      operand = unary();
      --depth_;
    } else {
      operand = member();
    }
    for (std::size_t left = times == 0 ? 0 : 2 - times % 2; !failed_ && left > 0; --left) {
      operand = add(op, offset, std::array{operand});
    }
    return operand;
  }

  Index member() {
    Index left = primary();
    while (!failed_) {
      if (at_symbol(".")) {
        advance();
        left = method(left);
      } else if (at_symbol("[")) {
        const std::size_t offset = token_.offset;
        advance();
        const Index index = expression();
        expect("]");
        if (!failed_) {
          left = add(Op::kIndex, offset, std::array{left, index});
        }
      } else {
        break;
      }
    }
    return left;
  }

  // After `left.`: the call of a method or a macro. (Dotted field names end in primary().)
  Index method(Index left) {
    const Token name = token_;
    if (name.kind != TokenKind::kName) {
      unexpected("a method");
      return 0;
    }
    advance();
    if (!at_symbol("(")) {
      fail(name.offset, fmt::format("only a column has fields: '.{}' needs a call '.{}(...)'",
                                    name.text, name.text));
      return 0;
    }
    for (const MacroName& macro : kMacros) {
      if (macro.name == name.text) {
        return macro_call(macro.op, name, left);
      }
    }
    return call(name.text, name.offset, {left}, true);
  }

  Index call(std::string_view name, std::size_t offset, std::vector<Index> operands,
             bool is_method) {
    advance();  // '('
    elements(")", operands);
    if (failed_) {
      return 0;
    }
    const Index index = add(Op::kCall, offset, operands);
    tree_.nodes[index].name = intern(name);
    tree_.nodes[index].method = is_method;
    return index;
  }

  // Expressions up to `close`, which is taken. A trailing comma is allowed in lists.
  void elements(std::string_view close, std::vector<Index>& operands) {
    while (!failed_ && !at_symbol(close)) {
      operands.push_back(expression());
      if (operands.size() > options_.max_list) {
        fail(last_offset_, fmt::format("more than {} elements", options_.max_list));
      }
      if (!failed_ && !at_symbol(close)) {
        if (!at_symbol(",")) {
          unexpected(fmt::format("',' or '{}'", close));
          return;
        }
        expect(",");
        if (at_symbol(close) && close != "]") {
          unexpected("an operand");
        }
      }
    }
    expect(close);
  }

  Index macro_call(Op op, const Token& name, Index range) {
    advance();  // '('
    const Token variable = token_;
    if (variable.kind != TokenKind::kName) {
      unexpected(fmt::format("the variable of {}(variable, expression)", name.text));
      return 0;
    }
    advance();
    expect(",");
    if (!enter()) {
      return 0;
    }
    loops_.push_back(variable.text);
    tree_.loops = std::max(tree_.loops, static_cast<std::uint32_t>(loops_.size()));
    const std::size_t body = tree_.nodes.size();
    std::vector<Index> operands = {range, expression()};
    if (op == Op::kMap && take(",")) {
      operands.push_back(expression());
    }
    loops_.pop_back();
    --depth_;
    expect(")");
    if (failed_) {
      return 0;
    }
    const Index index = add(op, name.offset, operands);
    tree_.nodes[index].name = static_cast<std::uint32_t>(loops_.size());
    tree_.nodes[body].jump = index;
    return index;
  }

  Index primary() {
    const Token token = token_;
    switch (token.kind) {
      case TokenKind::kInt:
        return integer(token);
      case TokenKind::kDouble: {
        const double sign = std::exchange(negative_, false) ? -1.0 : 1.0;
        advance();
        return literal(Value::number(sign * token.number), token.offset);
      }
      case TokenKind::kString: {
        Value value = Value::string(lexer_.decoded());
        advance();
        return literal(std::move(value), token.offset);
      }
      case TokenKind::kName:
      case TokenKind::kQuotedName:
        return name();
      case TokenKind::kSymbol:
        break;
      case TokenKind::kEnd:
      case TokenKind::kBad:
        unexpected("a value");
        return 0;
    }
    if (take("(")) {
      const Index inner = expression();
      expect(")");
      return inner;
    }
    if (take("[")) {
      std::vector<Index> operands;
      elements("]", operands);
      return failed_ ? 0 : add(Op::kList, token.offset, operands);
    }
    if (at_symbol(".")) {
      advance();
      return name();  // `.x` is x: there are no containers to escape from
    } else {
      unexpected("a value");
    }
    return 0;
  }

  Index integer(const Token& token) {
    const bool negative = std::exchange(negative_, false);
    constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
    if (token.integer > kMax + (negative ? 1 : 0)) {
      fail(token.offset,
           fmt::format("{}{} is outside the range of an int", negative ? "-" : "", token.text));
      return 0;
    }
    advance();
    const std::uint64_t bits = negative ? 0 - token.integer : token.integer;
    return literal(Value::integer(static_cast<std::int64_t>(bits)), token.offset);
  }

  // A keyword, a call, or a dotted name up to the part before a call.
  Index name() {
    const Token token = token_;
    if (token.kind != TokenKind::kName && token.kind != TokenKind::kQuotedName) {
      unexpected("a name");
      return 0;
    }
    bool quoted = token.kind == TokenKind::kQuotedName;
    if (!quoted) {
      if (token.text == "true" || token.text == "false") {
        advance();
        return literal(Value::boolean(token.text == "true"), token.offset);
      }
      if (token.text == "null") {
        advance();
        return literal(Value(), token.offset);
      }
      if (token.text == "in") {
        unexpected("a value");
        return 0;
      }
      if (std::find(kReserved.begin(), kReserved.end(), token.text) != kReserved.end()) {
        fail(token.offset, fmt::format("'{}' is a reserved word: write `{}` in backticks if it is "
                                       "a field",
                                       token.text, token.text));
        return 0;
      }
    }
    advance();
    if (!quoted && at_symbol("(")) {
      if (token.text == "has") {
        return has(token);
      }
      return call(token.text, token.offset, {}, false);
    }
    if (!quoted) {
      for (std::size_t depth = loops_.size(); depth > 0; --depth) {
        if (loops_[depth - 1] == token.text) {
          const Index index = add(Op::kLoopVar, token.offset, {});
          tree_.nodes[index].name = static_cast<std::uint32_t>(depth - 1);
          return index;
        }
      }
    }
    std::string full(token.text);
    while (at_symbol(".")) {
      // What stands before a call is the receiver, unless it is the name of a function library.
      const std::size_t before = lexer_.position();
      const Token dot = token_;
      advance();
      const Token part = token_;
      if (part.kind != TokenKind::kName && part.kind != TokenKind::kQuotedName) {
        unexpected("the rest of the name");
        return 0;
      }
      advance();
      if (at_symbol("(") && part.kind == TokenKind::kName) {
        if (full == "math" && !quoted) {
          return call(fmt::format("math.{}", part.text), part.offset, {}, false);
        }
        lexer_.seek(before);
        token_ = dot;
        break;
      }
      quoted = quoted || part.kind == TokenKind::kQuotedName;
      full += '.';
      full += part.text;
    }
    if (failed_) {
      return 0;
    }
    const Index index = add(Op::kName, token.offset, {});
    tree_.nodes[index].name = intern(full);
    tree_.nodes[index].quoted = quoted;
    return index;
  }

  Index has(const Token& token) {
    advance();  // '('
    const Index index = expression();
    expect(")");
    if (failed_) {
      return 0;
    }
    Node& node = tree_.nodes[index];
    if (node.op != Op::kName) {
      fail(token.offset, "has() needs the name of a field");
      return 0;
    }
    node.op = Op::kHas;
    return index;
  }

  Lexer lexer_;
  const CompileOptions& options_;
  Tree& tree_;
  Fault& fault_;
  Token token_;
  std::size_t last_offset_ = 0;
  std::size_t depth_ = 0;
  bool negative_ = false;  // the number that follows has a '-' of its own
  bool failed_ = false;
  std::vector<std::string_view> loops_;  // variables of the enclosing macros
};

}  // namespace

std::string_view op_text(Op op) {
  for (const BinaryOp& candidate : kBinaryOps) {
    if (candidate.op == op) {
      return candidate.text;
    }
  }
  switch (op) {
    case Op::kNot:
      return "!";
    case Op::kNegate:
      return "-";
    case Op::kChoose:
      return "?:";
    case Op::kIndex:
      return "[]";
    default:
      return "";
  }
}

bool parse(std::string_view text, const CompileOptions& options, Tree& tree, Fault& fault) {
  return Parser(text, options, tree, fault).run();
}

}  // namespace headwater::expr
