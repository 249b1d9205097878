// Text: nearest names for error messages, sizes with units, splitting, JSON string escapes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headwater {

// Parts between separators; "a//b" by '/' is {"a", "", "b"}; "" is {""}. Views into `text`.
std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
bool is_utf8(std::string_view text);

// The candidate nearest to `name` by edit distance, if near enough to be a slip of the pen; else
// "".
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates);

// "64MiB", "512KiB", "1GB", "4096B"; a number without a unit is an error.
Result<std::uint64_t> parse_size(std::string_view text);
// The largest binary unit that divides it: "64MiB", "1000B".
std::string format_size(std::uint64_t bytes);

// Appends `text` as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);
// Shortest text that reads back as the same double; "null" for NaN and infinities (JSON has none).
void append_json_number(std::string& out, double value);

// Lower-case hex.
std::string to_hex(std::string_view bytes);

}  // namespace headwater
