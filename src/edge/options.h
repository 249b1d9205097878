// The edge's config file as options structs. Sources, steps and sinks keep their subtree: their
// kind's own schema reads it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "store/spool.h"

namespace headwater {

struct EdgeIdentity {
  std::string id = "edge";
  config::Path data_dir{"./data"};
};

struct ModelConfig {
  config::Path path;
  config::Map<std::vector<std::string>> inputs;
  config::Map<std::string> outputs;
  int threads = 0;
  std::string provider = "auto";
  std::string on_missing = "skip";
  std::size_t window = 0;
  std::string anomalous_class;
};

struct PipelineConfig {
  std::vector<std::string> from;
  std::vector<config::Node> steps;
  std::vector<std::string> alerts;
  std::string readings = "store";
  config::Duration checkpoint_every = std::chrono::seconds(30);
  config::ByteSize max_waiting{32U << 20};
  double weight = 1;
};

enum class Durability : std::uint8_t { kCommit, kInterval, kMemory };

struct LaneConfig {
  std::optional<config::ByteSize> max_bytes;
  std::optional<config::Duration> max_age;
  Durability durability = Durability::kCommit;
  config::Duration interval = std::chrono::seconds(1);

  // How long a row may wait in memory; zero for `commit`.
  Nanos patience() const;
};

struct ThinConfig {
  double above = 0.8;
  std::uint32_t keep_one_in = 10;
};

struct StoreConfig {
  config::ByteSize max_bytes{std::uint64_t{2} << 30};
  config::ByteSize segment{std::uint64_t{64} << 20};
  config::ByteSize min_free{std::uint64_t{64} << 20};
  OnFull on_full = OnFull::kShedOldest;
  std::string commit_delay = "auto";
  std::optional<config::ByteSize> write_budget;
  config::Map<LaneConfig> lanes;
  Compression compression = Compression::kNone;
  std::optional<ThinConfig> thin;
  Status validate() const;
};

struct HealthConfig {
  std::optional<config::Endpoint> address;
};

struct AdminConfig {
  std::optional<config::Endpoint> address;
  config::Secret token;
  config::Path certificate;
  config::Path key;
};

struct LogConfig {
  std::string level = "info";
  std::string format = "logfmt";
};

struct EdgeConfig {
  EdgeIdentity edge;
  config::Map<ModelConfig> models;
  config::Map<config::Node> sources;
  config::Map<PipelineConfig> pipelines;
  config::Map<config::Node> sinks;
  StoreConfig store;
  config::Node uplink;
  HealthConfig health;
  AdminConfig admin;
  LogConfig log;
  std::size_t workers = 1;
};

}  // namespace headwater

namespace headwater::config {

template <>
inline constexpr auto kEnumNames<OnFull> = enum_names<OnFull>({{"shed_oldest", OnFull::kShedOldest},
                                                               {"refuse", OnFull::kRefuse},
                                                               {"block", OnFull::kBlock}});

template <>
inline constexpr auto kEnumNames<Compression> =
    enum_names<Compression>({{"none", Compression::kNone}, {"zstd", Compression::kZstd}});

template <>
inline constexpr auto kSchema<EdgeIdentity> = schema<EdgeIdentity>(
    "edge", "Who this edge is and where it keeps its data.",
    field(&EdgeIdentity::id,
          {.name = "id", .doc = "Name of this edge; alerts carry it.", .example = "press-hall-2"}),
    field(&EdgeIdentity::data_dir,
          {.name = "data_dir",
           .doc = "Folder of the spool and all other state; one process at a time has it."}));

template <>
inline constexpr auto kSchema<ModelConfig> = schema<ModelConfig>(
    "model", "An ONNX model and its contract.",
    field(&ModelConfig::path, {.name = "path",
                               .doc = "The .onnx file.",
                               .example = "models/anomaly.onnx",
                               .env = "MODEL_PATH",
                               .required = true}),
    field(
        &ModelConfig::inputs,
        {.name = "inputs",
         .doc = "Input tensors by name, each with the fields it takes. Without it the model's own "
                "metadata says so (headwater.fields).",
         .example = "{input: [temperature, pressure, vibration]}"}),
    field(&ModelConfig::outputs,
          {.name = "outputs",
           .doc = "Columns by name, each with the tensor it comes from, or one column or class of "
                  "it: `tensor[1]`. For an autoencoder: `mse(OUTPUT, INPUT)`, `mae(…)` or "
                  "`max_error(…)`, the distance of its output from its input. A single output is "
                  "the column `score`.",
           .example = "{score: output}"}),
    field(&ModelConfig::threads,
          {.name = "threads",
           .doc = "Threads of one model call; 0 chooses by the model's size. Never more than the "
                  "CPU limit of the container.",
           .unit = "threads",
           .min = 0,
           .max = 64}),
    field(&ModelConfig::provider,
          {.name = "provider", .doc = "Where it runs.", .choices = {"auto", "cpu", "cuda"}}),
    field(&ModelConfig::on_missing,
          {.name = "on_missing",
           .doc = "A row with a missing input is not scored (skip), or the model gets NaN.",
           .choices = {"skip", "nan"}}),
    field(&ModelConfig::window,
          {.name = "window",
           .doc = "Rows of a window input whose length the model leaves open.",
           .unit = "rows"}),
    field(&ModelConfig::anomalous_class,
          {.name = "anomalous_class",
           .doc = "Of a classifier: the class whose probability is the score; the last one if not "
                  "given."}));

template <>
inline constexpr auto kSchema<PipelineConfig> = schema<PipelineConfig>(
    "pipeline", "The way of readings from sources to alerts and the store.",
    field(&PipelineConfig::from, {.name = "from",
                                  .doc = "Names under `sources:`; a source feeds one pipeline.",
                                  .example = "[direct]",
                                  .min = 1,
                                  .required = true}),
    field(&PipelineConfig::steps,
          {.name = "steps",
           .doc = "Steps in order, each with the name of its kind. `filter` steps that come first "
                  "drop readings before they are stored; all others only before they are scored.",
           .live = true}),
    field(&PipelineConfig::alerts,
          {.name = "alerts", .doc = "Names under `sinks:` that get this pipeline's alerts."}),
    field(&PipelineConfig::readings,
          {.name = "readings",
           .doc = "What becomes of the readings; `store` keeps them until the store's limits.",
           .choices = {"store"}}),
    field(&PipelineConfig::checkpoint_every,
          {.name = "checkpoint_every",
           .doc = "How often the state of windows and alarms is written; a restart replays what "
                  "came since.",
           .min = std::chrono::milliseconds(100),
           .live = true,
           .audience = Audience::kTuning}),
    field(&PipelineConfig::max_waiting,
          {.name = "max_waiting",
           .doc = "Memory of readings that wait for their score; beyond it they are read back from "
                  "the store.",
           .min = ByteSize{1U << 16},
           .live = true,
           .audience = Audience::kTuning}),
    field(&PipelineConfig::weight,
          {.name = "weight",
           .doc = "Share of the CPU time of scoring, against the other pipelines, while several of "
                  "them have more to do than there is time for.",
           .min = 0.01,
           .max = 1000,
           .live = true}));

template <>
inline constexpr auto kEnumNames<Durability> =
    enum_names<Durability>({{"commit", Durability::kCommit},
                            {"interval", Durability::kInterval},
                            {"memory", Durability::kMemory}});

template <>
inline constexpr auto kSchema<LaneConfig> = schema<LaneConfig>(
    "lane", "Limits of one lane of the spool: alerts, readings, samples, dead_letter or debug.",
    field(&LaneConfig::max_bytes,
          {.name = "max_bytes",
           .doc = "What its rows may take, before compression; beyond it its oldest rows are let "
                  "go. What the newest file of the log holds stays.",
           .example = "64MiB"}),
    field(&LaneConfig::max_age,
          {.name = "max_age",
           .doc = "How long its rows stay, delivered or not. It counts time that the edge knows "
                  "of: this boot, and earlier ones while it ran; the wall clock has no part in it. "
                  "Whole files of the log expire, so rows may stay as much longer as one spans.",
           .example = "30d",
           .min = std::chrono::seconds(1)}),
    field(&LaneConfig::durability,
          {.name = "durability",
           .doc = "`commit`: what arrives is on disk as soon as the disk can. `interval`: within "
                  "`interval`, so a crash loses as much. `memory`: when 1 MiB has gathered, or "
                  "after 60s. Both spare a slow or worn disk, for sources that acknowledge nothing "
                  "(or have `acknowledge: received`); rows of a lane with `commit` take all with "
                  "them.",
           .example = "interval"}),
    field(&LaneConfig::interval,
          {.name = "interval",
           .doc = "With `durability: interval`, how long a row waits in memory at most.",
           .min = std::chrono::milliseconds(1),
           .max = std::chrono::seconds(60)}));

template <>
inline constexpr auto kSchema<ThinConfig> = schema<ThinConfig>(
    "thin", "Thinning of readings before they are stored.",
    field(
        &ThinConfig::above,
        {.name = "above",
         .doc = "The high-water mark: the part of `max_bytes` that is needed (not delivered yet). "
                "Thinning ends 0.1 below it.",
         .min = 0.2,
         .max = 0.95}),
    field(&ThinConfig::keep_one_in,
          {.name = "keep_one_in",
           .doc = "Of each device the first reading is kept, then every so many.",
           .unit = "readings",
           .min = 2,
           .max = 1'000'000}));

template <>
inline constexpr auto kSchema<StoreConfig> = schema<StoreConfig>(
    "store", "The spool: the durable local log.",
    field(&StoreConfig::max_bytes, {.name = "max_bytes",
                                    .doc = "Size of the spool on disk at most.",
                                    .min = ByteSize{1U << 20}}),
    field(&StoreConfig::segment,
          {.name = "segment",
           .doc = "Size of one file of the log; lowered so that `max_bytes` holds four.",
           .min = ByteSize{256U << 10},
           .audience = Audience::kTuning}),
    field(&StoreConfig::min_free,
          {.name = "min_free", .doc = "Space on the disk that is left to others."}),
    field(&StoreConfig::on_full,
          {.name = "on_full",
           .doc =
               "When it is full: let the oldest go behind a gap record (shed_oldest), tell senders "
               "no (refuse: 503, PUBACK 0x97; sources that cannot, wait), or let them wait "
               "unacknowledged (block)."}),
    field(
        &StoreConfig::commit_delay,
        {.name = "commit_delay",
         .doc = "How long a commit waits for more rows to share it: `auto` adapts to the disk and "
                "is never above 20ms; or a duration, 0s to commit at once.",
         .example = "auto"}),
    field(
        &StoreConfig::write_budget,
        {.name = "write_budget",
         .doc = "What commits may write in a day, in blocks of 4 KiB: flash wears. With "
                "`commit_delay: auto` they wait up to 20ms to keep to it; `headwater check` tells "
                "what is written.",
         .unit = "a day",
         .example = "20GiB"}),
    field(&StoreConfig::lanes,
          {.name = "lanes",
           .doc = "Limits of single lanes within `max_bytes`. Rows that were not delivered leave a "
                  "gap record.",
           .example = "{debug: {max_bytes: 64MiB, max_age: 7d}, readings: {max_age: 30d}}"}),
    field(&StoreConfig::compression,
          {.name = "compression",
           .doc = "zstd makes what is written smaller where many readings share a commit, for some "
                  "time of the thread that writes. May change between starts; earlier versions of "
                  "the program do not read what zstd wrote."}),
    field(&StoreConfig::thin,
          {.name = "thin",
           .doc = "Past a high-water mark, stores a part of the readings only. The others are "
                  "acknowledged, counted by a gap record, and neither stored nor scored: windows "
                  "and models see the part that is stored.",
           .example = "{above: 0.8, keep_one_in: 10}"}));

template <>
inline constexpr auto kSchema<HealthConfig> = schema<HealthConfig>(
    "health", "Listener of /livez, /readyz, /startupz and /metrics: no payloads.",
    field(&HealthConfig::address, {.name = "address",
                                   .doc = "Where it listens; without it there is none.",
                                   .example = "127.0.0.1:9464"}));

template <>
inline constexpr auto kSchema<AdminConfig> = schema<AdminConfig>(
    "admin", "Listener of /api/v1: status and tap.",
    field(&AdminConfig::address,
          {.name = "address",
           .doc = "Where it listens; without it there is none. Beyond loopback it needs TLS and a "
                  "token.",
           .example = "127.0.0.1:9465"}),
    field(&AdminConfig::token,
          {.name = "token", .doc = "Bearer token callers must show.", .example = "${ADMIN_TOKEN}"}),
    field(&AdminConfig::certificate,
          {.name = "certificate", .doc = "PEM file: the certificate, then its chain."}),
    field(&AdminConfig::key, {.name = "key", .doc = "PEM file of the private key."}));

template <>
inline constexpr auto kSchema<LogConfig> = schema<LogConfig>(
    "log", "The log on standard error.",
    field(&LogConfig::level, {.name = "level",
                              .doc = "Least severe level that is written.",
                              .choices = {"debug", "info", "warn", "error", "off"}}),
    field(&LogConfig::format, {.name = "format",
                               .doc = "logfmt for people, json for collectors.",
                               .choices = {"logfmt", "json"}}));

template <>
inline constexpr auto kSchema<EdgeConfig> = schema<EdgeConfig>(
    "config", "The edge's config file.",
    field(&EdgeConfig::edge, {.name = "edge", .doc = "Who this edge is."}),
    field(&EdgeConfig::models, {.name = "models", .doc = "Models by name.", .live = true}),
    field(&EdgeConfig::sources,
          {.name = "sources", .doc = "Sources by name, each with its `type`."}),
    field(&EdgeConfig::pipelines, {.name = "pipelines", .doc = "Pipelines by name."}),
    field(&EdgeConfig::sinks, {.name = "sinks", .doc = "Sinks by name, each with its `type`."}),
    field(&EdgeConfig::store, {.name = "store", .doc = "The spool."}),
    field(&EdgeConfig::uplink,
          {.name = "uplink",
           .doc = "Where what is stored is sent to, with its `type`; without it it stays here."}),
    field(&EdgeConfig::health, {.name = "health", .doc = "The health listener."}),
    field(&EdgeConfig::admin, {.name = "admin", .doc = "The admin listener."}),
    field(&EdgeConfig::log, {.name = "log", .doc = "The log.", .live = true}),
    field(
        &EdgeConfig::workers,
        {.name = "workers",
         .doc = "Threads that take, score and acknowledge. Clients are dealt out to them by client "
                "id; windows and alarms of a device are kept by the worker its client has.",
         .unit = "threads",
         .min = 1,
         .max = 64}));

}  // namespace headwater::config
