// ${NAME}, ${NAME:-text} and ${file:/path} inside one scalar; the syntax is in config/load.h.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/environment.h"

namespace headwater::config {

struct Substituted {
  std::string text;
  bool changed = false;              // a value was put in
  std::vector<std::string> secrets;  // the values that were put in
};

// kInvalid: an unset variable, an unreadable file, a missing `}`.
Result<Substituted> substitute(std::string_view text, const Environment& environment,
                               std::size_t file_limit);

// The text that substitute() turns back into `text`.
std::string escape_substitutions(std::string_view text);

}  // namespace headwater::config
