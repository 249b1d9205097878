// filter: keeps the rows for which an expression is true, that changed, that are no repeat, or that
// are far enough apart.
//
// As one of the first steps, before anything else, it stands in front of the append: what it drops
// is counted and not stored. Behind another step, and always with `deadband`, `rate_limit` or
// `dedupe`, it drops rows from scoring only; they stay in the store.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/context.h"
#include "pipeline/stage.h"

namespace headwater {

struct FilterDeadbandOptions {
  std::string field;
  double band = 0;
  std::string per = "device_id";
};

template <>
inline constexpr auto config::kSchema<FilterDeadbandOptions> =
    config::schema<FilterDeadbandOptions>(
        "deadband", "Keeps rows whose value moved.",
        config::field(&FilterDeadbandOptions::field, {.name = "field",
                                                      .doc = "Field to compare: a number. A row "
                                                             "without it is kept.",
                                                      .example = "temperature",
                                                      .required = true}),
        config::field(
            &FilterDeadbandOptions::band,
            {.name = "band",
             .doc = "A row is kept when its value differs by more than this from the last "
                    "one kept; 0 keeps every change.",
             .example = "0.5",
             .min = 0,
             .required = true}),
        config::field(&FilterDeadbandOptions::per,
                      {.name = "per",
                       .doc = "Column of the key: rows are compared with those of the same key."}));

struct FilterRateLimitOptions {
  config::Duration every{0};
  std::string per = "device_id";
};

template <>
inline constexpr auto config::kSchema<FilterRateLimitOptions> =
    config::schema<FilterRateLimitOptions>(
        "rate_limit", "Keeps rows that are far enough apart in event time.",
        config::field(&FilterRateLimitOptions::every,
                      {.name = "every",
                       .doc = "A row is kept when its event time is at least this far from that of "
                              "the last one kept.",
                       .example = "1s",
                       .required = true}),
        config::field(&FilterRateLimitOptions::per,
                      {.name = "per",
                       .doc = "Column of the key: each of its values has a limit of "
                              "its own."}));

struct FilterDedupeOptions {
  std::vector<std::string> fields;
  config::Duration within{0};
  std::string per = "device_id";
};

template <>
inline constexpr auto config::kSchema<FilterDedupeOptions> = config::schema<FilterDedupeOptions>(
    "dedupe", "Keeps rows that are no repeat of the last one kept.",
    config::field(&FilterDedupeOptions::fields,
                  {.name = "fields",
                   .doc = "Fields to compare; without them the whole message, byte for byte.",
                   .example = "[state, code]"}),
    config::field(
        &FilterDedupeOptions::within,
        {.name = "within",
         .doc = "A repeat is kept all the same when it is at least this far in event time "
                "from the last row kept; 0s never does.",
         .example = "10m"}),
    config::field(&FilterDedupeOptions::per,
                  {.name = "per",
                   .doc = "Column of the key: rows are compared with those of the same key."}));

struct FilterOptions {
  std::optional<std::string> when;
  std::optional<std::string> drop_when;
  std::optional<FilterDeadbandOptions> deadband;
  std::optional<FilterRateLimitOptions> rate_limit;
  std::optional<FilterDedupeOptions> dedupe;
  std::size_t max_keys = 10'000;
  Status validate() const;
};

template <>
inline constexpr auto config::kSchema<FilterOptions> = config::schema<FilterOptions>(
    "filter",
    "Keeps the rows that pass all that is given. With `deadband`, `rate_limit` or `dedupe` it "
    "always stands behind the store: what it drops is stored and not scored.",
    config::field(&FilterOptions::when,
                  {.name = "when",
                   .doc = "Expression of type bool: keeps the rows for which it is true. A row "
                          "whose value is missing is dropped.",
                   .example = "\"temperature > -40.0 && temperature < 400.0\"",
                   .shorthand = true}),
    config::field(&FilterOptions::drop_when,
                  {.name = "drop_when",
                   .doc = "Expression of type bool: drops the rows for which it is true. A row "
                          "whose value is missing is kept.",
                   .example = "\"status == 'test'\""}),
    config::field(&FilterOptions::deadband,
                  {.name = "deadband", .doc = "Keeps rows whose value moved."}),
    config::field(&FilterOptions::rate_limit,
                  {.name = "rate_limit",
                   .doc = "Keeps rows that are far enough apart in event time."}),
    config::field(&FilterOptions::dedupe,
                  {.name = "dedupe",
                   .doc = "Keeps rows that are no repeat of the last one kept. It compares "
                          "contents: equal readings of a steady sensor are repeats too."}),
    config::field(&FilterOptions::max_keys,
                  {.name = "max_keys",
                   .doc = "Keys whose last kept row is remembered; the one unseen for longest is "
                          "forgotten first, and its next row is kept.",
                   .unit = "keys",
                   .min = 1,
                   .audience = config::Audience::kTuning}));

std::unique_ptr<Stage> make_filter(const FilterOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
