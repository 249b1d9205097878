#include "nodes/catalogue.h"

#include <array>

#include "config/find_kind.h"
#include "config/parse.h"
#include "nodes/decide/decide.h"
#include "nodes/detect/detect.h"
#include "nodes/enrich/enrich.h"
#include "nodes/filter/filter.h"
#include "nodes/sinks/command.h"
#include "nodes/sinks/exec.h"
#include "nodes/sinks/http.h"
#include "nodes/sources/file.h"
#include "nodes/sources/http.h"
#include "nodes/sources/mqtt.h"
#include "nodes/sources/mqtt_listen.h"
#include "nodes/window/window.h"

namespace headwater {
namespace {

template <class Options, SourceSet (*make)(const Options&, const config::Node&,
                                           const SourceContext&, config::Diagnostics&)>
constexpr SourceKind source(std::string_view kind) {
  return {
      kind, &config::view<Options>,
      [](const config::Node& node, const SourceContext& context, config::Diagnostics& diagnostics) {
        Options options;
        return config::parse(node, options, diagnostics) ? make(options, node, context, diagnostics)
                                                         : SourceSet{};
      }};
}

template <class Options, std::unique_ptr<Stage> (*make)(const Options&, const config::Node&,
                                                        StageContext&, config::Diagnostics&)>
constexpr StageKind stage(std::string_view kind, bool filters = false) {
  return {kind, &config::view<Options>, filters,
          [](const config::Node& node, StageContext& context,
             config::Diagnostics& diagnostics) -> std::unique_ptr<Stage> {
            Options options;
            return config::parse(node, options, diagnostics)
                       ? make(options, node, context, diagnostics)
                       : nullptr;
          }};
}

template <class Options, std::unique_ptr<Sink> (*make)(const Options&, const config::Node&,
                                                       const SinkContext&, config::Diagnostics&)>
constexpr SinkKind sink(std::string_view kind) {
  return {
      kind, &config::view<Options>,
      [](const config::Node& node, const SinkContext& context, config::Diagnostics& diagnostics) {
        Options options;
        MadeSink made;
        if (config::parse(node, options, diagnostics)) {
          made.sink = make(options, node, context, diagnostics);
          made.send = options.sending.send;
        }
        return made;
      }};
}

// One line a kind.
// clang-format off
constexpr std::array kSources = {
    source<MqttListenOptions, make_mqtt_listen>("mqtt_listen"),
    source<MqttSourceOptions, make_mqtt_source>("mqtt"),
    source<HttpSourceOptions, make_http_source>("http"),
    source<FileSourceOptions, make_file_source>("file"),
};

constexpr std::array kStages = {
    stage<FilterOptions, make_filter>("filter", true),
    stage<EnrichOptions, make_enrich>("enrich"),
    stage<WindowStepOptions, make_window>("window"),
    stage<DetectOptions, make_detect>("detect"),
    stage<DecideOptions, make_decide>("decide"),
};

constexpr std::array kSinks = {
    sink<MqttSinkOptions, make_mqtt_sink>("mqtt"),
    sink<HttpSinkOptions, make_http_sink>("http"),
    sink<ExecSinkOptions, make_exec_sink>("exec"),
    sink<CommandSinkOptions, make_command_sink>("command"),
    sink<FileSinkOptions, make_file_sink>("file"),
    sink<StdoutOptions, make_stdout_sink>("stdout"),
};
// clang-format on

}  // namespace

std::span<const SourceKind> source_kinds() {
  return kSources;
}
std::span<const StageKind> stage_kinds() {
  return kStages;
}
std::span<const SinkKind> sink_kinds() {
  return kSinks;
}

const SourceKind* find_source_kind(std::string_view kind, const config::Place& at,
                                   config::Diagnostics& diagnostics) {
  return config::find_kind(source_kinds(), "source", kind, at, diagnostics);
}
const StageKind* find_stage_kind(std::string_view kind, const config::Place& at,
                                 config::Diagnostics& diagnostics) {
  return config::find_kind(stage_kinds(), "step", kind, at, diagnostics);
}
const SinkKind* find_sink_kind(std::string_view kind, const config::Place& at,
                               config::Diagnostics& diagnostics) {
  return config::find_kind(sink_kinds(), "sink", kind, at, diagnostics);
}

}  // namespace headwater
