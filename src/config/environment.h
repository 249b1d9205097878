// The environment variables a config may use, as a value: tests give their own.
#pragma once

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

 private:
  std::vector<Variable> variables_;
};

}  // namespace headwater::config
