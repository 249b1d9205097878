// Rows that tell that a device has gone (kRowOffline): on their way among readings, in order, but
// past decoder, filters and stages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "data/batch.h"

namespace headwater {

inline bool is_departure(const Row& row) {
  return (row.flags & kRowOffline) != 0;
}

// Takes them out of the selection; which ones there were, ascending.
inline std::vector<std::uint32_t> set_departures_aside(Batch& batch) {
  std::vector<std::uint32_t> aside;
  const std::span<const Row> rows = batch.all_rows();
  if (std::none_of(rows.begin(), rows.end(), is_departure)) {
    return aside;
  }
  std::vector<std::uint32_t> others;
  for (const std::uint32_t index : batch.selection()) {
    (is_departure(batch.row(index)) ? aside : others).push_back(index);
  }
  batch.select(std::move(others));
  return aside;
}

// Puts them back in their places.
inline void take_departures_back(Batch& batch, std::span<const std::uint32_t> aside) {
  if (aside.empty()) {
    return;
  }
  const std::span<const std::uint32_t> others = batch.selection();
  std::vector<std::uint32_t> all(aside.size() + others.size());
  std::merge(aside.begin(), aside.end(), others.begin(), others.end(), all.begin());
  batch.select(std::move(all));
}

}  // namespace headwater
