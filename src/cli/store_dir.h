// Where the spool of a data_dir is.
#pragma once

#include <filesystem>
#include <string>

namespace headwater {

// DIR/spool if there is one, else DIR.
inline std::string spool_dir(const std::string& dir) {
  std::error_code ignored;
  const std::string inner = dir + "/spool";
  return std::filesystem::is_directory(inner, ignored) ? inner : dir;
}

}  // namespace headwater
