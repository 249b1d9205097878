#include "compute/json_number.h"

#include <charconv>
#include <limits>
#include <string>
#include <system_error>

namespace headwater {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// True if the number in [begin, end), which float64 cannot hold, is too large (else too small).
bool too_large(const char* begin, const char* end) {
  // Decimal exponent of the first digit that is not 0, in scientific notation.
  std::int64_t magnitude = 0;
  bool seen = false;
  bool point = false;
  const char* at = begin;
  for (; at != end && (*at | 0x20) != 'e'; ++at) {
    if (*at == '.') {
      point = true;
    } else if (is_digit(*at)) {
      seen = seen || *at != '0';
      if (!point) {
        magnitude += seen ? 1 : 0;
      } else if (!seen) {
        --magnitude;
      }
    }
  }
  if (at == end) {
    return magnitude > 0;
  }
  ++at;
  const bool negative = *at == '-';
  if (*at == '-' || *at == '+') {
    ++at;
  }
  std::int64_t exponent = 0;
  for (; at != end; ++at) {
    if (exponent < 1'000'000'000'000) {
      exponent = exponent * 10 + (*at - '0');
    }
  }
  return magnitude + (negative ? -exponent : exponent) > 0;
}

}  // namespace

namespace json_number_detail {

const char* scan_number_slow(const char* begin, JsonNumber& out) {
  const bool negative = *begin == '-';
  const char* at = begin + (negative ? 1 : 0);
  const char* const first = at;
  while (is_digit(*at)) {
    ++at;
  }
  if (at == first || (*first == '0' && at - first > 1)) {
    return nullptr;
  }
  bool integer = true;
  if (*at == '.') {
    integer = false;
    const char* const fraction = ++at;
    while (is_digit(*at)) {
      ++at;
    }
    if (at == fraction) {
      return nullptr;
    }
  }
  if ((*at | 0x20) == 'e') {
    integer = false;
    ++at;
    if (*at == '+' || *at == '-') {
      ++at;
    }
    const char* const exponent = at;
    while (is_digit(*at)) {
      ++at;
    }
    if (at == exponent) {
      return nullptr;
    }
  }
  double value = 0;
  const auto read = std::from_chars(begin, at, value);
  if (read.ec == std::errc::result_out_of_range) {
    value = too_large(first, at) ? std::numeric_limits<double>::infinity() : 0.0;
    value = negative ? -value : value;
  }
  out.value = value;
  out.integer = 0;
  out.is_integer = integer && std::from_chars(begin, at, out.integer).ec == std::errc();
  return at;
}

}  // namespace json_number_detail

std::optional<JsonNumber> parse_number(std::string_view text) {
  std::string padded;
  padded.reserve(text.size() + 16);
  padded.append(text);
  padded.append(16, '\0');
  JsonNumber number;
  const char* const end = scan_number(padded.data(), number);
  if (end == nullptr || end != padded.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

}  // namespace headwater
