// What `check` tells about a config that is sound: the graph, the promise, the wear.
#pragma once

#include <string>

#include "edge/plan.h"
#include "edge/write_forecast.h"

namespace headwater {

std::string describe_plan(const Plan& plan, const ExpectedLoad& load);
std::string describe_plan_json(const Plan& plan, const ExpectedLoad& load);

}  // namespace headwater
