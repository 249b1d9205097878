// Node → options struct, by the struct's schema.
//
//   DetectOptions options;                                   // defaults stand in the struct
//   if (!parse(node, options, diagnostics)) { … }            // every error is in `diagnostics`
//
// Refused: unknown keys (with the nearest name), values of the wrong type, outside [min, max] or
// not among the choices, a missing required option; then validate() is asked, of nested structs
// first. A null stands for "not given" in optionals, lists, maps and structs. A nested struct
// always exists, so its required fields are required; use std::optional for one that may be absent.
#pragma once

#include <utility>

#include "config/diagnostics.h"
#include "config/node.h"
#include "config/schema.h"

namespace headwater::config {

class Origins;

namespace detail {
bool parse(const Node& node, const SchemaView& schema, void* out, Diagnostics& diagnostics,
           Origins* origins);
}  // namespace detail

// Fills `out`, keeping what it holds where the node is silent. False when this call added an error;
// then `out` is unchanged. Overrides and the record of origins go through `origins`, or else
// through diagnostics.origins().
template <HasSchema T>
bool parse(const Node& node, T& out, Diagnostics& diagnostics, Origins* origins = nullptr) {
  T parsed = out;
  if (!detail::parse(node, view<T>(), &parsed, diagnostics, origins)) {
    return false;
  }
  out = std::move(parsed);
  return true;
}

}  // namespace headwater::config
