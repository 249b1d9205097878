// The highest rate that holds: doubles until it breaks, then bisects. What "holds" means is the
// caller's.
//
// Measurements are noisy. So a rate breaks only if it fails twice in a row, the rate above the
// answer is tried twice more before it is believed, and the answer is confirmed by a long
// measurement: where that fails, the next lower rate is tried.
#pragma once

#include <functional>
#include <vector>

#include "base/result.h"

namespace headwater::bench {

struct SearchOptions {
  double start = 1000;
  double lowest = 1;        // below it nothing holds
  double highest = 20e6;    // as high as anybody asks
  double precision = 0.05;  // the answer and the rate that broke are no further apart
  int most_confirmations = 12;
  int most_doubts = 4;  // times that the search starts again above a rate that broke by chance
};

struct Probe {
  double rate = 0;
  bool holds = false;
  bool confirmation = false;
};

struct SearchResult {
  double held = 0;          // confirmed; 0: none
  bool at_highest = false;  // nothing broke
  std::vector<Probe> probes;
};

// Whether this rate holds; at length if `confirmation`. An error ends the search.
using Measure = std::function<Result<bool>(double rate, bool confirmation)>;

Result<SearchResult> search_rate(const SearchOptions& options, const Measure& measure);

}  // namespace headwater::bench
