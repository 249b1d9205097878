#include "config/environment.h"

#include <unistd.h>

namespace headwater::config {

Environment Environment::of_process() {
  Environment out;
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view entry(*at);
    const std::size_t equals = entry.find('=');
    if (equals != std::string_view::npos) {
      out.variables_.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
    }
  }
  return out;
}

const std::string* Environment::find(std::string_view name) const {
  for (const Variable& variable : variables_) {
    if (variable.first == name) {
      return &variable.second;
    }
  }
  return nullptr;
}

}  // namespace headwater::config
