// How long work tells that it is going on: a callback with done and total, in units of the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace headwater::workbench {

// Called often and cheaply; may be empty. `what` is a short phrase ("compare").
using Progress =
    std::function<void(std::string_view what, std::uint64_t done, std::uint64_t total)>;

inline void report(const Progress& progress, std::string_view what, std::uint64_t done,
                   std::uint64_t total) {
  if (progress) {
    progress(what, done, total);
  }
}

}  // namespace headwater::workbench
