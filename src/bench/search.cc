#include "bench/search.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace headwater::bench {

Result<SearchResult> search_rate(const SearchOptions& options, const Measure& measure) {
  SearchResult result;
  const auto ask = [&](double rate, bool confirmation) -> Result<bool> {
    const bool holds = HW_TRY(measure(rate, confirmation));
    result.probes.push_back({rate, holds, confirmation});
    return holds;
  };
  const auto holds = [&](double rate) -> Result<bool> {
    return HW_TRY(ask(rate, false)) || HW_TRY(ask(rate, false));
  };

  double low = 0;   // holds
  double high = 0;  // breaks; 0: nothing does yet
  double rate = std::clamp(options.start, options.lowest, options.highest);
  for (int again = 0; again < options.most_doubts; ++again) {
    for (;;) {
      if (HW_TRY(holds(rate))) {
        low = rate;
        if (high != 0 || rate >= options.highest) {
          break;
        }
        rate = std::min(rate * 2, options.highest);
      } else {
        high = rate;
        if (low != 0 || rate <= options.lowest) {
          break;
        }
        rate = std::max(rate / 2, options.lowest);
      }
    }
    if (low == 0) {
      return result;
    }
    while (high != 0 && high / low > 1 + options.precision) {
      const double middle = std::sqrt(low * high);
      (HW_TRY(holds(middle)) ? low : high) = middle;
    }
    if (high == 0 || !HW_TRY(holds(high))) {
      break;
    }
    low = std::exchange(high, 0);  // it had broken by chance
    rate = std::min(low * 2, options.highest);
  }
  result.at_highest = high == 0;
  for (int i = 0; i < options.most_confirmations && low >= options.lowest; ++i) {
    if (HW_TRY(ask(low, true))) {
      result.held = low;
      return result;
    }
    result.at_highest = false;
    // In longer and longer strides: what fails often is far from what holds.
    low /= std::pow(1 + options.precision, std::max(1, i));
  }
  return result;
}

}  // namespace headwater::bench
