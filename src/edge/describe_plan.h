// What `check` tells about a config that is sound: the graph, the promise, the wear.
#pragma once

#include <string>

#include "edge/plan.h"

namespace headwater {

// The load that bytes per day are computed for.
struct ExpectedLoad {
  double readings_per_second = 100;
  double reading_bytes = 150;
};

// Bytes that the spool writes in a day under that load. Per reading: its bytes and about 24 of the
// row (docs/formats/spool.md), 9 of its decision; per commit: about 300 of headers, and the 4 KiB
// block that the one before ended in, written again. A commit takes what arrives in its window.
double bytes_per_day(const Plan& plan, const ExpectedLoad& load);

std::string describe_plan(const Plan& plan, const ExpectedLoad& load);
std::string describe_plan_json(const Plan& plan, const ExpectedLoad& load);

}  // namespace headwater
