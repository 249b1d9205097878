// Aggregates over the rows of a window, and their notation "rms(vibration)".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "data/schema.h"

namespace headwater {

enum class AggregateKind : std::uint8_t {
  kCount,  // values that are not null; count() counts rows
  kSum,
  kMean,
  kMin,
  kMax,
  kStd,    // sample standard deviation (divisor n - 1); null below 2 values
  kRms,    // root of the mean square
  kSlope,  // least-squares slope per second of event time; null below 2 distinct times
  kLast,
  kFirst,
  kDelta,  // last - first
};

std::string_view aggregate_name(AggregateKind kind);
// kInt64 for kCount, else kFloat64.
Type aggregate_type(AggregateKind kind);

struct AggregateSpec {
  std::string column;  // name of the result
  AggregateKind kind = AggregateKind::kCount;
  std::string field;  // numeric, bool or timestamp column; empty for count()
};

// AGGREGATE(FIELD), for example "rms(vibration)", "slope(motor.temperature)", "count()".
Result<AggregateSpec> parse_aggregate(std::string_view column, std::string_view text);

}  // namespace headwater
