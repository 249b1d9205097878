// Options structs that the tests and the fuzz target of this library share: one of each member
// type.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/parse.h"

namespace headwater::config {

enum class OnFull : std::uint8_t { kShedOldest, kRefuse, kBlock };
template <>
inline constexpr auto kEnumNames<OnFull> = enum_names<OnFull>({{"shed_oldest", OnFull::kShedOldest},
                                                               {"refuse", OnFull::kRefuse},
                                                               {"block", OnFull::kBlock}});

struct SampleTime {
  std::string field;
  std::string zone = "UTC";
};
template <>
inline constexpr auto kSchema<SampleTime> = schema<SampleTime>(
    "time", "Where the event time comes from.",
    field(&SampleTime::field,
          {.name = "field", .doc = "Field with the time.", .required = true, .shorthand = true}),
    field(&SampleTime::zone, {.name = "zone", .doc = "Zone of times without one."}));

struct SampleCommon {
  std::string device = "client_id";
  std::optional<SampleTime> time;
};
template <>
inline constexpr auto kSchema<SampleCommon> = schema<SampleCommon>(
    "reading", "What every source has.",
    field(&SampleCommon::device, {.name = "device", .doc = "Where the device id comes from."}),
    field(&SampleCommon::time, {.name = "time", .doc = "Event time."}));

struct SampleObjective {
  Duration p99 = std::chrono::milliseconds(20);
  std::optional<Duration> p50;

  Status validate() const {
    if (p50 && *p50 > p99) {
      return Error::invalid("p50: {} is more than p99", format_duration(*p50));
    }
    return {};
  }
};
template <>
inline constexpr auto kSchema<SampleObjective> = schema<SampleObjective>(
    "objective", "Latency to keep.",
    field(&SampleObjective::p99, {.name = "p99",
                                  .doc = "99 of 100 rows are faster.",
                                  .min = std::chrono::milliseconds(1),
                                  .live = true}),
    field(&SampleObjective::p50, {.name = "p50", .doc = "Half of the rows are faster."}));

struct SampleModel {
  Path path;
  std::uint16_t batch_size = 512;
};
template <>
inline constexpr auto kSchema<SampleModel> = schema<SampleModel>(
    "model", "A model to load.",
    field(&SampleModel::path,
          {.name = "path", .doc = "The ONNX file.", .env = "MODEL_PATH", .required = true}),
    field(&SampleModel::batch_size, {.name = "batch_size",
                                     .doc = "Rows per inference call.",
                                     .unit = "rows",
                                     .env = "BATCH_SIZE",
                                     .aliases = {"rows_per_call"},
                                     .min = 1,
                                     .max = 4096}));

struct SampleOptions {
  std::string id;
  bool verify = true;
  std::int64_t offset = -1;
  std::uint64_t limit = 0;
  float threshold = 0.8F;
  double ratio = 1;
  ByteSize max_bytes{std::uint64_t{2} << 30};
  Path data_dir{"./data"};
  Secret token;
  std::string dsn;
  Endpoint address{"127.0.0.1", 1884};
  OnFull on_full = OnFull::kShedOldest;
  std::string level = "info";
  std::vector<std::string> topics;
  std::vector<int> weights;
  Map<std::string> headers;
  Map<SampleModel> models;
  std::vector<SampleModel> spares;
  SampleObjective objective;
  SampleCommon common;
  Node steps;
};
template <>
inline constexpr auto kSchema<SampleOptions> = schema<SampleOptions>(
    "sample", "Everything an options struct can hold.",
    field(&SampleOptions::id,
          {.name = "id", .doc = "Name of this edge.", .example = "press-hall-2", .required = true}),
    field(&SampleOptions::verify, {.name = "verify", .doc = "Checks | signatures.", .live = true}),
    field(&SampleOptions::offset, {.name = "offset", .doc = "Where to begin."}),
    field(&SampleOptions::limit, {.name = "limit", .doc = "Rows at most.", .unit = "rows"}),
    field(&SampleOptions::threshold,
          {.name = "threshold", .doc = "Score of an alert.", .min = 0, .max = 1, .live = true}),
    field(&SampleOptions::ratio,
          {.name = "ratio", .doc = "Share.", .min = 0.5, .audience = Audience::kTuning}),
    field(&SampleOptions::max_bytes,
          {.name = "max_bytes", .doc = "Bound on disk.", .min = ByteSize{1 << 20}}),
    field(&SampleOptions::data_dir, {.name = "data_dir", .doc = "Where data is."}),
    field(&SampleOptions::token, {.name = "token", .doc = "Token of the hub."}),
    field(&SampleOptions::dsn, {.name = "dsn", .doc = "Database.", .secret = true}),
    field(&SampleOptions::address, {.name = "address", .doc = "Where it listens."}),
    field(&SampleOptions::on_full, {.name = "on_full", .doc = "When the disk is full."}),
    field(&SampleOptions::level,
          {.name = "level", .doc = "Of the log.", .choices = {"debug", "info", "warning"}}),
    field(&SampleOptions::topics, {.name = "topics", .doc = "Topic filters.", .min = 1, .max = 3}),
    field(&SampleOptions::weights, {.name = "weights", .doc = "Weights."}),
    field(&SampleOptions::headers, {.name = "headers", .doc = "HTTP headers."}),
    field(&SampleOptions::models, {.name = "models", .doc = "Models by name."}),
    field(&SampleOptions::spares, {.name = "spares", .doc = "Models in reserve."}),
    field(&SampleOptions::objective, {.name = "objective", .doc = "Latency objective."}),
    field(&SampleOptions::common, {.name = "common", .doc = "Of readings.", .flatten = true}),
    field(&SampleOptions::steps, {.name = "steps", .doc = "Stages."}));

}  // namespace headwater::config
