// Lines of a loaded text as diagnostics show them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/node.h"

namespace headwater::config {

// Line `number` (from 1) without its end; "" past the end.
std::string_view source_line(const Source& source, std::uint32_t number);

// The same, fit to be printed: secrets are covered by `*` of the same length, also after words
// such as password: and token:, and control characters are spaces. Bytes keep their columns.
std::string printable_line(const Source& source, std::uint32_t number);

}  // namespace headwater::config
