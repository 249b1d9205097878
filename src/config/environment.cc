#include "config/environment.h"

#include <unistd.h>

namespace headwater::config {

Environment Environment::of_process() {
  std::vector<Variable> variables;
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view entry(*at);
    const std::size_t equals = entry.find('=');
    if (equals != std::string_view::npos) {
      variables.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
    }
  }
  return Environment(std::move(variables));
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
