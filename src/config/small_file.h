// Reading a config or secret file whole, with a bound.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace headwater::config {

// kNotFound, kInvalid (unreadable, a folder) or kExhausted (more than `limit` bytes).
Result<std::string> read_small_file(const std::string& path, std::size_t limit);

}  // namespace headwater::config
