// Compiling the expressions of node options: errors point into the config file.
#pragma once

#include <optional>
#include <string_view>

#include "config/diagnostics.h"
#include "config/node.h"
#include "data/schema.h"
#include "expr/expression.h"

namespace headwater {

// The expression in `node` (a scalar whose text is `text`), over `known` columns and any that are
// learned later. Nothing after an error, which is in `diagnostics` with a caret inside the
// expression.
std::optional<expr::Expression> compile_option(std::string_view text, const config::Node& node,
                                               const Schema& known, expr::Type want,
                                               config::Diagnostics& diagnostics);

// The node of option `name`, or `node` itself where a shorthand scalar stands for the mapping.
const config::Node& option_node(const config::Node& node, std::string_view name);

}  // namespace headwater
