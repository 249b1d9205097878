// What a node that is being built may know and add to. One per pipeline, walked from step to step.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/schema.h"
#include "pipeline/trouble.h"
#include "telemetry/metrics.h"

namespace headwater {

namespace model {
class Binding;
}

// What one detect step did. Written by its worker, read by any thread.
struct DetectCounts {
  std::string model;
  std::atomic<std::uint64_t> calls{0};
  std::atomic<std::uint64_t> scored{0};
  std::atomic<std::uint64_t> missing{0};
  std::atomic<std::uint64_t> warming{0};
  std::atomic<std::uint64_t> failed{0};
};

struct StageContext {
  std::string pipeline;
  std::string edge_id;
  telemetry::Registry* metrics = nullptr;

  // A model by its name in the config, bound to its contract: one binding per caller. Rows per call
  // at most.
  std::function<Result<std::unique_ptr<model::Binding>>(std::string_view name,
                                                        std::size_t max_rows)>
      bind;
  // Names under models:, for hints.
  std::vector<std::string_view> models;

  // Columns whose type is known at this step; each step adds its own. Others may exist: fields are
  // learned from messages.
  Schema known;

  // What detect leaves for decide and for the records of decisions.
  std::string model_name;
  std::string model_digest;
  std::vector<std::string> features;
  std::string score_column = "score";
  std::vector<std::shared_ptr<DetectCounts>> detects;

  // What is wrong with parts of steps that go on all the same, for status.
  std::vector<std::shared_ptr<Trouble>> troubles;
};

}  // namespace headwater
