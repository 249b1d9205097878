// window: adds aggregates over the last rows of each key.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/context.h"
#include "pipeline/stage.h"

namespace headwater {

struct WindowStepOptions {
  std::string by = "device_id";
  std::optional<config::Duration> last;
  std::optional<std::size_t> rows;
  config::Map<std::string> add;
  config::Duration allowed_lateness{0};
  std::size_t min_count = 1;
  std::size_t max_keys = 10'000;
  std::size_t max_rows = 100'000;
};

template <>
inline constexpr auto config::kSchema<WindowStepOptions> = config::schema<WindowStepOptions>(
    "window", "Adds aggregates over a sliding window of each key, by event time or by count.",
    config::field(&WindowStepOptions::by,
                  {.name = "by",
                   .doc = "Column of the key: each of its values has a window of its own."}),
    config::field(&WindowStepOptions::last,
                  {.name = "last",
                   .doc = "Length in event time: the rows of the key in (t - last, t]. Either this "
                          "or `rows`.",
                   .example = "60s"}),
    config::field(&WindowStepOptions::rows, {.name = "rows",
                                             .doc = "Length as a number of rows of the key.",
                                             .unit = "rows",
                                             .example = "20",
                                             .min = 1}),
    config::field(&WindowStepOptions::add,
                  {.name = "add",
                   .doc = "New columns by name: count, sum, mean, min, max, std, rms, slope (per "
                          "second), first, last or delta of a field.",
                   .example = "{vibration_rms: \"rms(vibration)\"}",
                   .min = 1,
                   .required = true}),
    config::field(&WindowStepOptions::allowed_lateness,
                  {.name = "allowed_lateness",
                   .doc = "How far behind the newest row of its key a row may be and still count; "
                          "an older one is flagged late and gets no aggregates."}),
    config::field(&WindowStepOptions::min_count,
                  {.name = "min_count",
                   .doc = "Aggregates are null while the window has fewer values.",
                   .unit = "values",
                   .min = 1}),
    config::field(&WindowStepOptions::max_keys,
                  {.name = "max_keys",
                   .doc = "Windows kept; the key unseen for longest is forgotten first.",
                   .unit = "keys",
                   .min = 1,
                   .audience = config::Audience::kTuning}),
    config::field(&WindowStepOptions::max_rows,
                  {.name = "max_rows",
                   .doc = "Rows kept per key; the oldest leave early beyond it.",
                   .unit = "rows",
                   .min = 1,
                   .audience = config::Audience::kTuning}));

std::unique_ptr<Stage> make_window(const WindowStepOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
