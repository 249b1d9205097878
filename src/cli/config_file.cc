#include "cli/config_file.h"

#include "config/environment.h"
#include "config/load.h"

namespace headwater {
namespace {

// What HEADWATER_… may set, without the variables of the program itself that are no options.
config::Environment option_environment() {
  return config::Environment::of_process().without(
      {"HEADWATER_ONNXRUNTIME", "HEADWATER_ADMIN_TOKEN"});
}

}  // namespace

std::unique_ptr<LoadedConfig> load_config(const std::string& path,
                                          const std::vector<std::string>& sets,
                                          telemetry::Registry& metrics) {
  auto loaded = std::make_unique<LoadedConfig>();
  loaded->origins = config::Origins(option_environment());
  for (const std::string& set : sets) {
    const std::size_t equals = set.find('=');
    if (equals == std::string::npos || equals == 0) {
      loaded->diagnostics.error(config::Place{},
                                fmt::format("--set {}: expected PATH=VALUE, such as "
                                            "--set edge.data_dir=/var/lib/headwater",
                                            set));
      continue;
    }
    loaded->origins.set_flag(set.substr(0, equals), set.substr(equals + 1));
  }
  loaded->diagnostics.set_origins(&loaded->origins);
  const auto root = config::load_file(path, loaded->diagnostics);
  if (root) {
    loaded->plan = std::make_unique<Plan>(*root, metrics, loaded->diagnostics);
    loaded->origins.report_unused(loaded->diagnostics);
  }
  return loaded;
}

}  // namespace headwater
