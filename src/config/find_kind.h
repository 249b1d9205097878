// Finding what a config names by its kind (a source, a step, a sink, an uplink) in a catalogue.
#pragma once

#include <fmt/format.h>

#include <span>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "config/diagnostics.h"

namespace headwater::config {

// Null, and an error with the nearest name, for a kind there is not. `Kind` has a member `kind`;
// `role` is what such a thing is called, `at` where the kind is written.
template <class Kind>
const Kind* find_kind(std::span<const Kind> kinds, std::string_view role, std::string_view kind,
                      const Place& at, Diagnostics& diagnostics) {
  std::vector<std::string_view> names;
  for (const Kind& candidate : kinds) {
    if (candidate.kind == kind) {
      return &candidate;
    }
    names.push_back(candidate.kind);
  }
  const std::string_view nearest = nearest_name(kind, names);
  diagnostics.error(
      at, nearest.empty()
              ? fmt::format("no {} of kind '{}'; there are {}", role, kind, fmt::join(names, ", "))
              : fmt::format("no {} of kind '{}', did you mean '{}'?", role, kind, nearest));
  return nullptr;
}

}  // namespace headwater::config
