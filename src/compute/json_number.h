// Numbers of JSON texts, read exactly: the grammar of RFC 8259 section 6, correctly rounded to
// float64. Both decode paths, the lookup table and event times read numbers with it, so they agree
// by construction. Internal to compute.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/bytes.h"

namespace headwater {

struct JsonNumber {
  double value = 0;          // nearest float64; ±infinity when beyond its range
  std::int64_t integer = 0;  // exact, where is_integer
  bool is_integer = false;   // no fraction, no exponent, fits int64
};

namespace json_number_detail {

// Powers of ten that a float64 holds exactly.
inline constexpr double kExact10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
inline constexpr std::uint64_t kInt10[] = {1,       10,        100,        1'000,      10'000,
                                           100'000, 1'000'000, 10'000'000, 100'000'000};

// The bytes that are not 0 are the bytes of the chunk that are no digits: a digit has 3 as its high
// nibble, before and after adding 6. Carries go upward only, so all is exact up to and including
// the lowest such byte.
inline std::uint64_t other_bytes(std::uint64_t chunk) {
  return ((chunk & 0xF0F0F0F0F0F0F0F0) ^ 0x3030303030303030) |
         (((chunk + 0x0606060606060606) & 0xF0F0F0F0F0F0F0F0) ^ 0x3030303030303030);
}

// Count of leading ASCII digits in 8 bytes.
inline std::size_t leading_digits(std::uint64_t chunk) {
  const std::uint64_t other = other_bytes(chunk);
  return other == 0 ? 8 : static_cast<std::size_t>(std::countr_zero(other)) / 8;
}

// Value of the first `count` (1 to 8) of 8 digits.
inline std::uint64_t digits_value(std::uint64_t chunk, std::size_t count) {
  chunk = (chunk & 0x0F0F0F0F0F0F0F0F) << (64 - 8 * count);
  chunk = chunk * 10 + (chunk >> 8);
  return (((chunk & 0x000000FF000000FF) * 0x000F424000000064) +
          (((chunk >> 16) & 0x000000FF000000FF) * 0x0000271000000001)) >>
         32;
}

// Reads a run of digits into `mantissa` (wraps: the caller counts) and returns its end.
inline const char* digit_run(const char* at, std::uint64_t& mantissa) {
  for (;;) {
    const auto chunk = load<std::uint64_t>(at);
    const std::size_t count = leading_digits(chunk);
    if (count == 8) {
      mantissa = mantissa * kInt10[8] + digits_value(chunk, 8);
      at += 8;
      continue;
    }
    if (count == 0) {
      return at;
    }
    mantissa = mantissa * kInt10[count] + digits_value(chunk, count);
    return at + count;
  }
}

// Anything the fast path leaves: exponents, more than 19 digits, mantissas above 2^53.
const char* scan_number_slow(const char* begin, JsonNumber& out);

}  // namespace json_number_detail

// The form of the last number that was read in the same place, "dd.ddd". Speed only: any value is
// right.
struct NumberGuess {
  std::uint8_t whole = 0;     // digits before the point
  std::uint8_t fraction = 0;  // and behind it; 0: no guess
};

// Reads the longest number at `begin` into `out` and returns its end, or nullptr if there is none
// ("-", "01", "1.", "1e"). The caller checks what follows. Needs a byte that belongs to no number
// somewhere ahead, and 8 readable bytes behind that.
inline const char* scan_number(const char* begin, JsonNumber& out) {
  using namespace json_number_detail;
  const bool negative = *begin == '-';
  const char* const first = begin + (negative ? 1 : 0);
  std::uint64_t mantissa = 0;
  const char* at = digit_run(first, mantissa);
  const std::size_t whole = static_cast<std::size_t>(at - first);
  if (whole == 0 || (*first == '0' && whole > 1)) {
    return nullptr;
  }
  std::size_t fraction = 0;
  if (*at == '.') {
    const char* const after = digit_run(at + 1, mantissa);
    fraction = static_cast<std::size_t>(after - at - 1);
    if (fraction == 0) {
      return nullptr;
    }
    at = after;
  }
  // Below 2^53 the mantissa is exact, and one correctly rounded division by an exact power of ten
  // is the nearest float64 (Clinger 1990).
  if (whole + fraction > 19 || mantissa > (std::uint64_t{1} << 53) || (*at | 0x20) == 'e') {
    return scan_number_slow(begin, out);
  }
  double value = static_cast<double>(mantissa);
  if (fraction != 0) {
    value /= kExact10[fraction];
    out.is_integer = false;
  } else {
    out.is_integer = true;
    out.integer =
        negative ? -static_cast<std::int64_t>(mantissa) : static_cast<std::int64_t>(mantissa);
  }
  out.value = negative ? -value : value;
  return at;
}

// The same, faster where the number has the form of the last one and fits 8 bytes: point and digits
// are checked and read as one word.
inline const char* scan_number(const char* begin, JsonNumber& out, NumberGuess& guess) {
  using namespace json_number_detail;
  const bool negative = *begin == '-';
  const char* const first = begin + (negative ? 1 : 0);
  const std::size_t whole = guess.whole;
  const std::size_t fraction = guess.fraction;
  if (fraction != 0) {
    const auto chunk = load<std::uint64_t>(first);
    const std::uint64_t point = std::uint64_t{0xFF} << (8 * whole);
    const std::uint64_t below = (std::uint64_t{1} << (8 * whole)) - 1;
    const std::uint64_t all = ~std::uint64_t{0} >> (8 * (7 - whole - fraction));
    const auto next = static_cast<unsigned char>(first[whole + 1 + fraction]);
    const bool as_guessed = (other_bytes(chunk) & all & ~point) == 0 && first[whole] == '.' &&
                            static_cast<unsigned char>(next - '0') > 9 && (next | 0x20) != 'e' &&
                            (whole == 1 || *first != '0');
    if (as_guessed) {
      const std::uint64_t digits = (chunk & below) | ((chunk >> 8) & ~below);
      const double value =
          static_cast<double>(static_cast<std::int64_t>(digits_value(digits, whole + fraction))) /
          kExact10[fraction];
      out.value = negative ? -value : value;
      out.is_integer = false;
      return first + whole + 1 + fraction;
    }
  }
  const char* const end = scan_number(begin, out);
  if (end != nullptr && !out.is_integer && end - first <= 8) {
    const auto* const point =
        static_cast<const char*>(std::memchr(first, '.', static_cast<std::size_t>(end - first)));
    guess.whole = static_cast<std::uint8_t>(point == nullptr ? 0 : point - first);
    guess.fraction = static_cast<std::uint8_t>(point == nullptr ? 0 : end - point - 1);
  }
  return end;
}

// The whole text as a number; for texts without readable bytes behind them.
std::optional<JsonNumber> parse_number(std::string_view text);

}  // namespace headwater
