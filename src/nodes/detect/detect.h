// detect: scores rows with an ONNX model, one model call for what has arrived.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/context.h"
#include "pipeline/stage.h"

namespace headwater {

struct ObjectiveOptions {
  config::Duration p99 = std::chrono::milliseconds(20);
};

template <>
inline constexpr auto config::kSchema<ObjectiveOptions> = config::schema<ObjectiveOptions>(
    "objective", "The latency that decisions should keep to.",
    config::field(&ObjectiveOptions::p99,
                  {.name = "p99",
                   .doc = "99 of 100 decisions are to be durable this long after their reading "
                          "arrived. Nothing waits for a batch to fill; the cost of the model is "
                          "learned while it runs, and no batch is so large that the rows behind it "
                          "would be late. The tightest of several detect steps holds.",
                   .min = std::chrono::microseconds(100)}));

struct DetectOptions {
  std::string model;
  ObjectiveOptions objective;
  std::size_t max_rows = 512;
};

template <>
inline constexpr auto config::kSchema<DetectOptions> = config::schema<DetectOptions>(
    "detect", "Scores each row with an ONNX model.",
    config::field(&DetectOptions::model,
                  {.name = "model",
                   .doc = "Name of the model under `models:`; its contract says which columns it "
                          "reads and adds.",
                   .example = "anomaly",
                   .required = true,
                   .shorthand = true}),
    config::field(&DetectOptions::objective,
                  {.name = "objective", .doc = "What the size of model calls aims at."}),
    config::field(&DetectOptions::max_rows, {.name = "max_rows",
                                             .doc = "Rows of one model call at most.",
                                             .unit = "rows",
                                             .env = "BATCH_SIZE",
                                             .min = 1,
                                             .max = 65'536}));

std::unique_ptr<Stage> make_detect(const DetectOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
