// The environment variables a config may use, as a value: tests give their own.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headwater::config {

class Environment {
 public:
  using Variable = std::pair<std::string, std::string>;

  Environment() = default;
  // Environment{{"NAME", "value"}, …}
  Environment(std::initializer_list<Variable> variables) : variables_(variables) {}
  // A copy of this process's variables.
  static Environment of_process();

  // Null when it is not set; an empty value is a value.
  const std::string* find(std::string_view name) const;
  const std::vector<Variable>& variables() const { return variables_; }
  // A copy without these.
  Environment without(std::initializer_list<std::string_view> names) const {
    Environment rest;
    for (const Variable& variable : variables_) {
      if (std::find(names.begin(), names.end(), variable.first) == names.end()) {
        rest.variables_.push_back(variable);
      }
    }
    return rest;
  }

 private:
  std::vector<Variable> variables_;
};

}  // namespace headwater::config
