#include "nodes/expression.h"

#include <utility>

namespace headwater {

std::optional<expr::Expression> compile_option(std::string_view text, const config::Node& node,
                                               const Schema& known, expr::Type want,
                                               config::Diagnostics& diagnostics) {
  expr::Problem problem;
  Result<expr::Expression> compiled =
      expr::compile(text, expr::Names::open(known), {.want = want}, &problem);
  if (!compiled) {
    diagnostics.error(node.place_inside(problem.offset, 1), problem.message);
    return std::nullopt;
  }
  return std::move(*compiled);
}

const config::Node& option_node(const config::Node& node, std::string_view name) {
  const config::Node* option = node.find(name);
  return option == nullptr ? node : *option;
}

}  // namespace headwater
