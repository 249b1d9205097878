// Aggregates over the rows of a window, and their notation "rms(vibration)".
//
// n values x1 … xn, those that are not null, in the order of the window; m their mean; mk the mean
// of (x - m)^k, with divisor n.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "data/schema.h"

namespace headwater {

enum class AggregateKind : std::uint8_t {
  kCount,  // n; count() counts rows
  kSum,
  kMean,
  kMin,
  kMax,
  kStd,    // sample standard deviation (divisor n - 1); null below 2 values
  kRms,    // root of the mean square
  kSlope,  // least-squares slope per second of event time; null below 2 distinct times
  kLast,
  kFirst,
  kDelta,          // last - first
  kRange,          // max - min: peak to peak
  kCrest,          // max |x| / rms; null if all values are 0
  kSkewness,       // m3 / m2^1.5, as scipy.stats.skew; null if all values are equal
  kKurtosis,       // m4 / m2^2, as scipy.stats.kurtosis(fisher=False): 3 for Gaussian noise, the
                   // convention of vibration monitoring (not the excess); null if all are equal
  kZeroCrossings,  // changes of sign from one value to the next; a value of 0 is passed over:
                   // 1, 0, -1 is one crossing and 1, 0, 1 none
  kQuantile,       // by linear interpolation between the values around (n - 1) p, Hyndman and Fan's
                   // type 7, numpy's default; of one value that value
};

std::string_view aggregate_name(AggregateKind kind);
// kInt64 for kCount and kZeroCrossings, else kFloat64.
Type aggregate_type(AggregateKind kind);

struct AggregateSpec {
  std::string column;  // name of the result
  AggregateKind kind = AggregateKind::kCount;
  std::string field;  // numeric, bool or timestamp column; empty for count()
  double p = 0.5;     // of kQuantile, from 0 to 1
};

// AGGREGATE(FIELD), for example "rms(vibration)", "slope(motor.temperature)", "count()",
// "quantile(vibration, 0.95)"; "median(x)" is "quantile(x, 0.5)".
Result<AggregateSpec> parse_aggregate(std::string_view column, std::string_view text);

}  // namespace headwater
