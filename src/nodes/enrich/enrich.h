// enrich: adds columns, computed ones or ones taken from a CSV or SQLite table; renames and drops
// others. The stored message stays as it came.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/context.h"
#include "pipeline/stage.h"

namespace headwater {

struct EnrichLookupOptions {
  config::Path file;
  std::string table;
  std::string key;
  std::string match;
  std::vector<std::string> take;
  std::size_t max_rows = 100'000;
  config::ByteSize max_bytes{64U << 20};
};

template <>
inline constexpr auto config::kSchema<EnrichLookupOptions> = config::schema<EnrichLookupOptions>(
    "lookup",
    "Takes columns from a CSV file, whose first line has the names, or from a table of a SQLite "
    "database. It is read into memory, and again whenever the file changes.",
    config::field(&EnrichLookupOptions::file,
                  {.name = "file",
                   .doc = "The CSV file or the database. A changed one is taken over within a few "
                          "seconds if it is good; a bad one is told and changes nothing.",
                   .example = "assets.csv",
                   .required = true}),
    config::field(&EnrichLookupOptions::table,
                  {.name = "table",
                   .doc = "Table or view of a SQLite database; without it the file is CSV.",
                   .example = "assets"}),
    config::field(&EnrichLookupOptions::key, {.name = "key",
                                              .doc = "Column of the table that holds the key; its "
                                                     "values are unique.",
                                              .example = "device_id",
                                              .required = true}),
    config::field(&EnrichLookupOptions::match,
                  {.name = "match",
                   .doc = "Column of the readings to look up; the same name as `key` if not given. "
                          "`device_id` is the reading's device."}),
    config::field(&EnrichLookupOptions::take,
                  {.name = "take",
                   .doc = "Columns of the table to add; all if not given. Null where the key is "
                          "not in the table. Types are those found at start.",
                   .example = "[site, rated_pressure]"}),
    config::field(&EnrichLookupOptions::max_rows, {.name = "max_rows",
                                                   .doc = "A table of more is refused.",
                                                   .unit = "rows",
                                                   .min = 1,
                                                   .max = 10'000'000,
                                                   .audience = config::Audience::kTuning}),
    config::field(&EnrichLookupOptions::max_bytes,
                  {.name = "max_bytes",
                   .doc = "A CSV file, or the values of a table, of more are refused. Each worker "
                          "keeps a copy.",
                   .min = config::ByteSize{1},
                   .max = config::ByteSize{std::uint64_t{1} << 30},
                   .audience = config::Audience::kTuning}));

struct EnrichOptions {
  config::Map<std::string> rename;
  std::optional<EnrichLookupOptions> lookup;
  config::Map<std::string> set;
  std::vector<std::string> drop;
  Status validate() const;
};

template <>
inline constexpr auto config::kSchema<EnrichOptions> = config::schema<EnrichOptions>(
    "enrich",
    "Renames columns, adds looked up and computed ones, drops others: in this order. The stored "
    "message stays as it came.",
    config::field(&EnrichOptions::rename,
                  {.name = "rename",
                   .doc = "New names by old ones. Where a column of the new name is there already, "
                          "its rows without a value take that of the old one.",
                   .example = "{temp: temperature}"}),
    config::field(&EnrichOptions::lookup,
                  {.name = "lookup", .doc = "Columns from a CSV or SQLite table."}),
    config::field(
        &EnrichOptions::set,
        {.name = "set",
         .doc = "New columns by name, each an expression; later ones may use earlier ones.",
         .example = "{pressure_ratio: \"pressure / rated_pressure\"}"}),
    config::field(&EnrichOptions::drop, {.name = "drop",
                                         .doc = "Columns to take out, for the steps that follow.",
                                         .example = "[raw_counts]"}));

std::unique_ptr<Stage> make_enrich(const EnrichOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
