// filter: keeps the rows for which an expression is true.
//
// As one of the first steps, before anything else, it stands in front of the append: what it drops
// is counted and not stored. Behind another step it drops rows from scoring only; they stay in the
// store.
#pragma once

#include <memory>
#include <string>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/context.h"
#include "pipeline/stage.h"

namespace headwater {

struct FilterOptions {
  std::string when;
};

template <>
inline constexpr auto config::kSchema<FilterOptions> = config::schema<FilterOptions>(
    "filter", "Keeps the rows for which `when` is true; a row whose value is missing is dropped.",
    config::field(&FilterOptions::when,
                  {.name = "when",
                   .doc = "Expression of type bool over the row's columns.",
                   .example = "\"temperature > -40.0 && temperature < 400.0\"",
                   .required = true,
                   .shorthand = true}));

std::unique_ptr<Stage> make_filter(const FilterOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
