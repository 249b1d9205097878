// window: adds aggregates over the last rows of each key, or over windows that lie side by side
// (compute/window.h has the rules).
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
  std::optional<config::Duration> every;
  config::Map<std::string> add;
  std::string start_column = "window_start";
  config::Duration allowed_lateness{0};
  std::size_t min_count = 1;
  std::size_t max_keys = 10'000;
  std::optional<config::Duration> max_age;
  std::size_t max_rows = 100'000;
};

template <>
inline constexpr auto config::kSchema<WindowStepOptions> = config::schema<WindowStepOptions>(
    "window",
    "Adds aggregates over a window of each key: sliding by event time (`last`) or by count "
    "(`rows`), "
    "or tumbling (`every`). Give one of the three.",
    config::field(&WindowStepOptions::by,
                  {.name = "by",
                   .doc = "Column of the key: each of its values has a window of its own."}),
    config::field(&WindowStepOptions::last,
                  {.name = "last",
                   .doc = "Length of a sliding window in event time: the rows of the key in "
                          "(t - last, t].",
                   .example = "60s"}),
    config::field(&WindowStepOptions::rows, {.name = "rows",
                                             .doc = "Length of a sliding window as a number of "
                                                    "rows of the key.",
                                             .unit = "rows",
                                             .example = "20",
                                             .min = 1}),
    config::field(
        &WindowStepOptions::every,
        {.name = "every",
         .doc =
             "Length of tumbling windows, which lie side by side from the epoch on. The row that "
             "closes one, the first of its key at the window's end plus `allowed_lateness` or "
             "later, carries the results; all other rows have null.",
         .example = "60s",
         .min = std::chrono::milliseconds(1)}),
    config::field(
        &WindowStepOptions::add,
        {.name = "add",
         .doc = "New columns by name: count, sum, mean, min, max, range, std, rms, crest, "
                "skewness, kurtosis, zero_crossings, slope (per second), first, last, "
                "delta or median of a field, or `quantile(FIELD, 0.95)`.",
         .example = "{vibration_rms: \"rms(vibration)\"}",
         .min = 1,
         .required = true}),
    config::field(&WindowStepOptions::start_column,
                  {.name = "start_column",
                   .doc = "Column for the start of a tumbling window; empty for none."}),
    config::field(&WindowStepOptions::allowed_lateness,
                  {.name = "allowed_lateness",
                   .doc = "How far behind the newest row of its key a row may be and still count; "
                          "an older one is flagged late and gets no aggregates. A tumbling window "
                          "stays open for that long behind its end."}),
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
    config::field(&WindowStepOptions::max_age,
                  {.name = "max_age",
                   .doc = "Forgets a key whose newest row is that much older, in event time, than "
                          "the newest row of all keys. Not shorter than the window with its "
                          "allowed_lateness; nothing is forgotten for its age if not given.",
                   .example = "24h"}),
    config::field(&WindowStepOptions::max_rows,
                  {.name = "max_rows",
                   .doc = "Rows kept per key; the oldest leave early beyond it.",
                   .unit = "rows",
                   .min = 1,
                   .audience = config::Audience::kTuning}));

std::unique_ptr<Stage> make_window(const WindowStepOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
