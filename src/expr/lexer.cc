#include "expr/lexer.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <system_error>

namespace headwater::expr {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
// 16 for what is no hexadecimal digit.
std::uint32_t digit_value(char c) {
  if (is_digit(c)) {
    return static_cast<std::uint32_t>(c - '0');
  }
  if (c >= 'a' && c <= 'f') {
    return static_cast<std::uint32_t>(c - 'a') + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return static_cast<std::uint32_t>(c - 'A') + 10;
  }
  return 16;
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

constexpr std::array<std::string_view, 6> kDoubleSymbols = {"&&", "||", "==", "!=", "<=", ">="};

}  // namespace

Token Lexer::bad(std::size_t offset, std::string message) {
  fault_ = {offset, std::move(message)};
  at_ = text_.size();
  Token token;
  token.kind = TokenKind::kBad;
  token.offset = offset;
  return token;
}

void Lexer::skip_space() {
  for (;;) {
    const char c = peek();
    if (at_ < text_.size() && (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f')) {
      ++at_;
    } else if (c == '/' && peek(1) == '/') {
      while (at_ < text_.size() && text_[at_] != '\n') {
        ++at_;
      }
    } else {
      return;
    }
  }
}

Token Lexer::next() {
  skip_space();
  Token token;
  token.offset = at_;
  if (at_ >= text_.size()) {
    return token;
  }
  const std::size_t begin = at_;
  const char c = peek();
  if (is_letter(c)) {
    while (is_letter(peek()) || is_digit(peek())) {
      ++at_;
    }
    token.text = text_.substr(begin, at_ - begin);
    if (peek() == '"' || peek() == '\'') {
      if (token.text == "r" || token.text == "R") {
        return string(begin, true);
      }
      if (token.text == "b" || token.text == "B" ||
          (token.text.size() == 2 && token.text.find_first_not_of("bBrR") == token.text.npos)) {
        return bad(begin, "bytes literals are not supported: readings have no bytes to compare");
      }
    }
    token.kind = TokenKind::kName;
    return token;
  }
  if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
    return number(begin);
  }
  if (c == '"' || c == '\'') {
    return string(begin, false);
  }
  if (c == '`') {
    const std::size_t end = text_.find('`', begin + 1);
    if (end == text_.npos || text_.substr(begin, end - begin).find('\n') != text_.npos) {
      return bad(begin, "this backtick is never closed");
    }
    if (end == begin + 1) {
      return bad(begin, "a name is missing between the backticks");
    }
    token.kind = TokenKind::kQuotedName;
    token.text = text_.substr(begin + 1, end - begin - 1);
    at_ = end + 1;
    return token;
  }
  token.kind = TokenKind::kSymbol;
  for (const std::string_view symbol : kDoubleSymbols) {
    if (text_.substr(at_, 2) == symbol) {
      token.text = symbol;
      at_ += 2;
      return token;
    }
  }
  if (std::string_view("+-*/%<>!?:.,()[]{}").find(c) != std::string_view::npos) {
    token.text = text_.substr(begin, 1);
    ++at_;
    return token;
  }
  switch (c) {
    case '=':
      return bad(begin, "'=' does not compare: write '=='");
    case '&':
      return bad(begin, "'&' is no operator: write '&&'");
    case '|':
      return bad(begin, "'|' is no operator: write '||'");
    default:
      break;
  }
  if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
    return bad(begin, fmt::format("unexpected byte 0x{:02x}: odd names go in backticks",
                                  static_cast<unsigned char>(c)));
  }
  return bad(begin, fmt::format("unexpected '{}'", c));
}

Token Lexer::number(std::size_t begin) {
  Token token;
  token.offset = begin;
  token.kind = TokenKind::kInt;
  const bool hex = peek() == '0' && (peek(1) == 'x' || peek(1) == 'X');
  if (hex) {
    at_ += 2;
    const std::size_t digits = at_;
    while (digit_value(peek()) < 16) {
      ++at_;
    }
    if (at_ == digits) {
      return bad(begin, "hexadecimal digits are missing after 0x");
    }
  } else {
    while (is_digit(peek())) {
      ++at_;
    }
    if (peek() == '.' && is_digit(peek(1))) {
      token.kind = TokenKind::kDouble;
      ++at_;
      while (is_digit(peek())) {
        ++at_;
      }
    }
    const std::size_t sign = peek(1) == '+' || peek(1) == '-' ? 2 : 1;
    if ((peek() == 'e' || peek() == 'E') && is_digit(peek(sign))) {
      token.kind = TokenKind::kDouble;
      at_ += sign;
      while (is_digit(peek())) {
        ++at_;
      }
    }
  }
  token.text = text_.substr(begin, at_ - begin);
  if (token.kind == TokenKind::kInt && (peek() == 'u' || peek() == 'U')) {
    return bad(begin, "unsigned ints are not supported: leave the 'u' out");
  }
  if (is_letter(peek()) || is_digit(peek())) {
    return bad(begin, fmt::format("'{}' is no number", text_.substr(begin, at_ + 1 - begin)));
  }
  if (token.kind == TokenKind::kDouble) {
    const auto [end, error] =
        std::from_chars(token.text.data(), token.text.data() + token.text.size(), token.number);
    if (error == std::errc::result_out_of_range) {
      // Too small is 0, too large is refused; from_chars does not say which.
      token.number = std::strtod(std::string(token.text).c_str(), nullptr);
      if (std::isinf(token.number)) {
        return bad(begin,
                   fmt::format("{} is outside the range of a double", token.text.substr(0, 64)));
      }
    }
    return token;
  }
  const std::string_view digits = hex ? token.text.substr(2) : token.text;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), token.integer, hex ? 16 : 10);
  if (error != std::errc{}) {
    return bad(begin, fmt::format("{} is outside the range of an int", token.text));
  }
  return token;
}

Token Lexer::string(std::size_t begin, bool raw) {
  decoded_.clear();
  const char quote = peek();
  const bool triple = peek(1) == quote && peek(2) == quote;
  at_ += triple ? 3 : 1;
  for (;;) {
    if (at_ >= text_.size()) {
      return bad(begin, "this string is never closed");
    }
    const char c = text_[at_];
    if (c == quote && (!triple || (peek(1) == quote && peek(2) == quote))) {
      at_ += triple ? 3 : 1;
      break;
    }
    if (!triple && (c == '\n' || c == '\r')) {
      return bad(begin, "this string is not closed on its line");
    }
    if (c == '\\' && !raw) {
      if (!escape(at_)) {
        return bad(fault_.offset, fault_.message);
      }
      continue;
    }
    decoded_ += c;
    ++at_;
  }
  Token token;
  token.kind = TokenKind::kString;
  token.offset = begin;
  token.text = text_.substr(begin, at_ - begin);
  return token;
}

bool Lexer::escape(std::size_t& at) {
  const std::size_t begin = at;
  const char c = at + 1 < text_.size() ? text_[at + 1] : '\0';
  constexpr std::string_view kNames = "abfnrtv\\?\"'`";
  constexpr std::string_view kBytes = "\a\b\f\n\r\t\v\\?\"'`";
  if (const std::size_t index = kNames.find(c); c != '\0' && index != kNames.npos) {
    decoded_ += kBytes[index];
    at += 2;
    return true;
  }
  switch (c) {
    case 'x':
    case 'X':
      at += 2;
      return numeric_escape(at, 2, 16);
    case 'u':
      at += 2;
      return numeric_escape(at, 4, 16);
    case 'U':
      at += 2;
      return numeric_escape(at, 8, 16);
    case '0':
    case '1':
    case '2':
    case '3':
      at += 1;
      return numeric_escape(at, 3, 8);
    default:
      fault_ = {begin, "unknown escape: write \\\\ for a backslash, or r\"...\" for a raw string"};
      return false;
  }
}

bool Lexer::numeric_escape(std::size_t& at, std::size_t digits, std::uint32_t base) {
  std::uint32_t code = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const std::uint32_t digit = at < text_.size() ? digit_value(text_[at]) : 16;
    if (digit >= base) {
      fault_ = {at < text_.size() ? at : text_.size() - 1,
                fmt::format("this escape needs {} {} digits", digits,
                            base == 8 ? "octal" : "hexadecimal")};
      return false;
    }
    code = code * base + digit;
    ++at;
  }
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
    fault_ = {at - digits, fmt::format("U+{:04X} is no character", code)};
    return false;
  }
  append_utf8(decoded_, code);
  return true;
}

}  // namespace headwater::expr
