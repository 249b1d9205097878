// Loading a config for run and check: file, --set flags, environment.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/origins.h"
#include "edge/plan.h"
#include "telemetry/metrics.h"

namespace headwater {

struct LoadedConfig {
  config::Origins origins;
  config::Diagnostics diagnostics;
  std::unique_ptr<Plan> plan;  // null when the file cannot be read at all
};

// Every error is in the diagnostics. `sets` are "path.of.option=value".
std::unique_ptr<LoadedConfig> load_config(const std::string& path,
                                          const std::vector<std::string>& sets,
                                          telemetry::Registry& metrics);

}  // namespace headwater
