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
#include "base/time.h"
#include "data/schema.h"
#include "pipeline/cost_learner.h"
#include "pipeline/trouble.h"
#include "telemetry/metrics.h"

namespace headwater {

namespace model {
class Binding;
}

// What one detect step did, and what it learned. Written by its worker, read by any thread.
struct DetectCounts {
  std::string model;
  std::size_t max_rows = 0;  // of a call: the option, or what the model fixes
  // What a call costs, learned from the calls; before the first, as measured at the start.
  std::atomic<double> call_fixed_s{0};
  std::atomic<double> call_row_s{0};
  std::atomic<double> call_tail_s{0};  // what 1 in 100 calls takes more than that
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
  // The tightest objective of the detect steps, 0 without one; and the cost of their calls for one
  // batch, as the start measured it.
  Nanos objective{};
  CostLine start_cost;
  std::vector<std::shared_ptr<DetectCounts>> detects;

  // What is wrong with parts of steps that go on all the same, for status.
  std::vector<std::shared_ptr<Trouble>> troubles;
};

}  // namespace headwater
