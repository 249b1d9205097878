// Plan: a config that has been read, checked and turned into parts that can run.
//
// check() and run() take the same way: everything that can be known without the network is known
// here: keys and types, names that refer to each other, expressions, lookup files, the models and
// their contracts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/node.h"
#include "edge/options.h"
#include "io/loop.h"
#include "model/registry.h"
#include "nodes/catalogue.h"
#include "telemetry/metrics.h"
#include "uplink/catalogue.h"

namespace headwater {

namespace config {
class Origins;
}

// The steps of a pipeline for one worker.
struct PlannedSteps {
  std::vector<std::unique_ptr<Stage>> filters;  // in front of the append
  std::vector<std::unique_ptr<Stage>> stages;
  std::vector<std::string> stage_keys;  // kind, place and hash of the options
  StageContext context;
};

class Plan {
 public:
  // Reads and checks the config; every error is in `diagnostics`. With errors the plan is not to be
  // run. `metrics` and the origins of `diagnostics` outlive the plan: what --set and the
  // environment say holds for every part that is made later too.
  Plan(const config::Node& root, telemetry::Registry& metrics, config::Diagnostics& diagnostics);
  // What `running` becomes with the live options of `fresh`: models, steps, log. Everything else
  // stays as it runs. Both plans outlive neither the call nor this one; the origins are those of
  // `fresh`. An error where the two do not fit together.
  Plan(const Plan& running, const Plan& fresh, config::Diagnostics& diagnostics);

  const EdgeConfig& config() const { return config_; }
  const model::Registry& models() const { return models_; }
  // Hash of the whole config, overrides included: what decisions carry.
  std::uint64_t revision() const { return revision_; }

  // Makes the parts of a pipeline; called once per worker. Null parts only after an error.
  PlannedSteps make_steps(const PipelineConfig& pipeline, std::string_view name,
                          config::Diagnostics& diagnostics) const;
  // The filters only: one set per source and worker.
  std::vector<std::unique_ptr<Stage>> make_filters(const PipelineConfig& pipeline,
                                                   std::string_view name,
                                                   config::Diagnostics& diagnostics) const;
  SourceSet make_source(std::string_view name, const std::vector<io::Loop*>& loops,
                        config::Diagnostics& diagnostics) const;
  MadeSink make_sink(std::string_view name, config::Diagnostics& diagnostics) const;
  bool has_uplink() const { return !config_.uplink.is_null(); }
  MadeUplink make_uplink(config::Diagnostics& diagnostics) const;

  // Whether readings are told as received before they are on disk, and why: empty is never.
  std::string loss_window() const;

 private:
  void parse_what_is_sound(const config::Node& root);
  void check_parts(config::Diagnostics& diagnostics);
  void check_durability(config::Diagnostics& diagnostics) const;
  void check_references(config::Diagnostics& diagnostics) const;
  void load_models(config::Diagnostics& diagnostics);
  StageContext context_for(const PipelineConfig& pipeline, std::string_view name) const;
  // With `filters_only` no step behind the filters in front of the append is made.
  PlannedSteps make_steps(const PipelineConfig& pipeline, std::string_view name, bool filters_only,
                          config::Diagnostics& diagnostics) const;
  std::string overrides_below(std::string_view path) const;

  EdgeConfig config_;
  config::Node root_;
  telemetry::Registry& metrics_;
  config::Origins* origins_;  // may be null
  model::Registry models_;
  // Filled by make_source() for sinks made before or after it.
  std::shared_ptr<Listeners> listeners_ = std::make_shared<Listeners>();
  std::uint64_t revision_ = 0;
};

}  // namespace headwater
