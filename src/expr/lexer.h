// Tokens of an expression (CEL specification, "Syntax"). Positions are byte offsets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "expr/tree.h"

namespace headwater::expr {

enum class TokenKind : std::uint8_t {
  kEnd,
  kName,
  kQuotedName,  // `in backticks`; `text` is without them
  kInt,         // unsigned magnitude in `integer`; a sign is the parser's
  kDouble,
  kString,  // decoded, in Lexer::decoded()
  kSymbol,  // `text` is the operator or bracket
  kBad,     // Lexer::fault() says why
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::size_t offset = 0;
  std::string_view text;
  std::uint64_t integer = 0;
  double number = 0;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Token next();
  // Of the last kString.
  const std::string& decoded() const { return decoded_; }
  const Fault& fault() const { return fault_; }
  // Where the next token is looked for; to read some again.
  std::size_t position() const { return at_; }
  void seek(std::size_t position) { at_ = position; }

 private:
  Token bad(std::size_t offset, std::string message);
  Token number(std::size_t begin);
  Token string(std::size_t begin, bool raw);
  bool escape(std::size_t& at);
  bool numeric_escape(std::size_t& at, std::size_t digits, std::uint32_t base);
  void skip_space();
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string decoded_;
  Fault fault_;
};

}  // namespace headwater::expr
