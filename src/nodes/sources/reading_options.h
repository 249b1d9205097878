// Options that every source has: how its bytes become readings.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compute/csv_json.h"
#include "config/diagnostics.h"
#include "config/schema.h"
#include "data/schema.h"
#include "pipeline/decode.h"

namespace headwater {

struct TimeOptions {
  std::string field;
  std::string format = "auto";
  std::string zone = "Z";
  config::Duration max_future = std::chrono::minutes(10);
};

template <>
inline constexpr auto config::kSchema<TimeOptions> = config::schema<TimeOptions>(
    "time", "Where a reading's event time comes from.",
    config::field(&TimeOptions::field,
                  {.name = "field",
                   .doc = "Field of the message; without it the time of arrival is used.",
                   .example = "timestamp",
                   .shorthand = true}),
    config::field(
        &TimeOptions::format,
        {.name = "format",
         .doc = "How the field is written. `auto` takes RFC 3339 texts and epoch numbers, "
                "their unit by magnitude.",
         .choices = {"auto", "rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"}}),
    config::field(&TimeOptions::zone,
                  {.name = "zone", .doc = "Offset of texts without one.", .example = "\"+01:00\""}),
    config::field(&TimeOptions::max_future,
                  {.name = "max_future",
                   .doc = "A time further ahead of the arrival is kept, flagged and not used."}));

enum class ReadingFormat : std::uint8_t { kJson, kCsv };

template <>
inline constexpr auto config::kEnumNames<ReadingFormat> = config::enum_names<ReadingFormat>(
    {{"json", ReadingFormat::kJson}, {"csv", ReadingFormat::kCsv}});

struct ReadingOptions {
  ReadingFormat format = ReadingFormat::kJson;
  std::vector<std::string> columns;
  std::string delimiter = ",";
  std::size_t max_elements = 10'000;
  std::string device = "client_id";
  std::string missing_device = "dead_letter";
  TimeOptions time;
  std::string message_id;
  config::Map<std::string> schema;
  std::size_t max_depth = 16;
  std::size_t max_fields = 256;
};

template <>
inline constexpr auto config::kSchema<ReadingOptions> = config::schema<ReadingOptions>(
    "reading", "How messages become readings.",
    config::field(
        &ReadingOptions::format,
        {.name = "format",
         .doc = "How messages are written. `json`: an object, or an array of objects, each "
                "of which becomes a reading. `csv`: records, each of which becomes a "
                "reading and is stored as a JSON object."}),
    config::field(&ReadingOptions::columns,
                  {.name = "columns",
                   .doc = "Of CSV: the names of the fields, where there is no header line; without "
                          "it the first line of a message or file names them.",
                   .example = "[timestamp, temperature]"}),
    config::field(&ReadingOptions::delimiter, {.name = "delimiter",
                                               .doc = "Of CSV: the byte between fields.",
                                               .example = "\";\""}),
    config::field(&ReadingOptions::max_elements,
                  {.name = "max_elements",
                   .doc = "Readings in one message (array or CSV text) at most; one with more is "
                          "refused whole.",
                   .unit = "readings",
                   .min = 1,
                   .max = 1'000'000,
                   .audience = config::Audience::kTuning}),
    config::field(&ReadingOptions::device,
                  {.name = "device",
                   .doc = "Where the device id comes from: `topic[1]` (a level of the topic, from "
                          "0), `topic`, `client_id`, or the name of a field.",
                   .example = "\"topic[1]\""}),
    config::field(&ReadingOptions::missing_device,
                  {.name = "missing_device",
                   .doc = "What a reading without a device becomes: a dead letter, or a reading of "
                          "its topic or sender.",
                   .choices = {"dead_letter", "topic", "sender"}}),
    config::field(&ReadingOptions::time, {.name = "time", .doc = "Event time of a reading."}),
    config::field(&ReadingOptions::message_id,
                  {.name = "message_id",
                   .doc = "Field that identifies a message of a device: a second one with the same "
                          "id is acknowledged and not stored again.",
                   .example = "seq"}),
    config::field(&ReadingOptions::schema,
                  {.name = "schema",
                   .doc = "Types of fields: float64, float32, int64, bool, string or timestamp. "
                          "Types of other fields are learned.",
                   .example = "{count: int64}"}),
    config::field(&ReadingOptions::max_depth, {.name = "max_depth",
                                               .doc = "Nesting of a message at most.",
                                               .unit = "levels",
                                               .min = 1,
                                               .max = 256,
                                               .audience = config::Audience::kTuning}),
    config::field(&ReadingOptions::max_fields,
                  {.name = "max_fields",
                   .doc = "Fields that are learned at most; others are ignored and counted.",
                   .unit = "fields",
                   .min = 1,
                   .max = 4096,
                   .audience = config::Audience::kTuning}));

enum class Acknowledge : std::uint8_t { kCommitted, kReceived };

template <>
inline constexpr auto config::kEnumNames<Acknowledge> = config::enum_names<Acknowledge>(
    {{"committed", Acknowledge::kCommitted}, {"received", Acknowledge::kReceived}});

inline constexpr std::string_view kAcknowledgeDoc =
    "`committed`: when a reading is on disk. `received`: at once; a crash loses what was "
    "acknowledged and not written yet, and `check`, status and the log say so.";

// The CSV part of the options. Nothing after an error in it.
std::optional<CsvDocumentOptions> csv_options(const ReadingOptions& options,
                                              const config::Node& node,
                                              config::Diagnostics& diagnostics);
// For sources that read CSV themselves and hand on JSON: the same options for JSON.
ReadingOptions without_csv(ReadingOptions options);

// A decoder for readings in `format`. Null after an error in the options. `node` is the source's
// node.
std::unique_ptr<Decode> make_json_decode(const ReadingOptions& options, const config::Node& node,
                                         config::Diagnostics& diagnostics);

// The fields that `schema:` declares; wrong types are left out (make_json_decode reports them).
Schema declared_schema(const ReadingOptions& options);

}  // namespace headwater
