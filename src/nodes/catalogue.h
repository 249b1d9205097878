// The catalogue: every kind of source, step and sink there is. Adding a kind is one line in
// catalogue.cc.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "config/diagnostics.h"
#include "config/node.h"
#include "config/schema.h"
#include "nodes/context.h"
#include "nodes/sinks/sinks.h"
#include "nodes/sources/source_set.h"
#include "pipeline/sink.h"
#include "pipeline/stage.h"

namespace headwater {

struct SourceKind {
  std::string_view kind;
  const config::SchemaView& (*schema)();
  // `node` holds the options (without `type`). SourceSet::good is false after an error.
  SourceSet (*make)(const config::Node& node, const SourceContext& context,
                    config::Diagnostics& diagnostics);
};

struct StageKind {
  std::string_view kind;
  const config::SchemaView& (*schema)();
  // True: as one of the first steps it may stand in front of the append, if Stage::may_lead() says
  // so for the options given.
  bool filters;
  // Null after an error.
  std::unique_ptr<Stage> (*make)(const config::Node& node, StageContext& context,
                                 config::Diagnostics& diagnostics);
};

struct MadeSink {
  std::unique_ptr<Sink> sink;  // null after an error
  Send send = Send::kDurable;
};

struct SinkKind {
  std::string_view kind;
  const config::SchemaView& (*schema)();
  MadeSink (*make)(const config::Node& node, const SinkContext& context,
                   config::Diagnostics& diagnostics);
};

std::span<const SourceKind> source_kinds();
std::span<const StageKind> stage_kinds();
std::span<const SinkKind> sink_kinds();

// Null, and an error with the nearest name, for a kind there is not. `at` is where the kind is
// written.
const SourceKind* find_source_kind(std::string_view kind, const config::Place& at,
                                   config::Diagnostics& diagnostics);
const StageKind* find_stage_kind(std::string_view kind, const config::Place& at,
                                 config::Diagnostics& diagnostics);
const SinkKind* find_sink_kind(std::string_view kind, const config::Place& at,
                               config::Diagnostics& diagnostics);

}  // namespace headwater
