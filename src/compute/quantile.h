// Quantile of a list of values: Hyndman and Fan's type 7, numpy's default. Internal to compute.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace headwater {

// Linear interpolation between the values around position (n - 1) p of the sorted list; NaN if it
// is empty. `values` holds no NaN and comes out in another order. O(n).
inline double quantile(std::vector<double>& values, double p) {
  if (values.empty()) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double position = static_cast<double>(values.size() - 1) * p;
  const double below = std::floor(position);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(values.begin(), at, values.end());
  if (position == below || at + 1 == values.end()) {
    return *at;
  }
  return std::lerp(*at, *std::min_element(at + 1, values.end()), position - below);
}

}  // namespace headwater
