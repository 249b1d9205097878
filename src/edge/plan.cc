#include "edge/plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "api/admin.h"
#include "base/strings.h"
#include "config/describe.h"
#include "config/origins.h"
#include "config/parse.h"
#include "model/binding.h"
#include "nodes/expression.h"

namespace headwater {
namespace {

template <class T>
std::vector<std::string_view> names_of(const config::Map<T>& map) {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : map) {
    names.push_back(name);
  }
  return names;
}

std::string unknown(std::string_view what, std::string_view name,
                    std::span<const std::string_view> known, std::string_view section) {
  const std::string_view nearest = nearest_name(name, known);
  return fmt::format("no {} '{}' under {}:{}", what, name, section,
                     nearest.empty() ? "" : fmt::format(", did you mean '{}'?", nearest));
}

// The subtree at a path of mappings; the deepest node that exists.
const config::Node& at(const config::Node& root, std::initializer_list<std::string_view> path) {
  const config::Node* node = &root;
  for (const std::string_view step : path) {
    const config::Node* next = node->find(step);
    if (next == nullptr) {
      return *node;
    }
    node = next;
  }
  return *node;
}

const config::Node& item(const config::Node& list, std::size_t index) {
  return index < list.items().size() ? list.items()[index] : list;
}

model::BindingOptions binding_options(const ModelConfig& config) {
  model::BindingOptions options;
  for (const auto& [tensor, fields] : config.inputs) {
    options.inputs.emplace(tensor, fields);
  }
  for (const auto& [column, tensor] : config.outputs) {
    options.outputs.emplace(column, tensor);
  }
  options.on_missing =
      config.on_missing == "nan" ? model::OnMissing::kNan : model::OnMissing::kSkip;
  options.window = config.window;
  options.anomalous_class = config.anomalous_class;
  return options;
}

// Lets a parse know the overrides where the caller's diagnostics do not bring them.
class WithOrigins {
 public:
  WithOrigins(config::Diagnostics& diagnostics, config::Origins* origins)
      : diagnostics_(diagnostics), before_(diagnostics.origins()) {
    if (before_ == nullptr) {
      diagnostics_.set_origins(origins);
    }
  }
  ~WithOrigins() { diagnostics_.set_origins(before_); }
  WithOrigins(const WithOrigins&) = delete;
  WithOrigins& operator=(const WithOrigins&) = delete;

 private:
  config::Diagnostics& diagnostics_;
  config::Origins* before_;
};

// The `type` of a source or sink, and its options without it.
struct Typed {
  std::string kind;
  config::Place at;
  config::Node options;
};

std::optional<Typed> typed(const config::Node& node, std::string_view role,
                           config::Diagnostics& diagnostics) {
  const config::Node* type = node.find("type");
  if (type == nullptr || !type->is_scalar()) {
    diagnostics.error(node, fmt::format("type: required: which kind of {} it is", role));
    return std::nullopt;
  }
  return Typed{type->text(), type->place(), node.without("type")};
}

}  // namespace

Nanos LaneConfig::patience() const {
  switch (durability) {
    case Durability::kCommit:
      break;
    case Durability::kInterval:
      return interval;
    case Durability::kMemory:
      return std::chrono::seconds(60);
  }
  return Nanos{0};
}

Status StoreConfig::validate() const {
  if (commit_delay != "auto") {
    HW_TRY(parse_duration(commit_delay).with("commit_delay"));
  }
  for (const auto& [name, lane] : lanes) {
    if (!parse_lane(name)) {
      return Error::invalid(
          "lanes: no lane '{}'; lanes are alerts, readings, samples, dead_letter and debug", name);
    }
    if (lane.max_bytes && lane.max_bytes->bytes == 0) {
      return Error::invalid("lanes: {}: max_bytes is 0: leave it out for no limit", name);
    }
    if (lane.durability != Durability::kCommit && parse_lane(name) == Lane::kAlerts) {
      return Error::invalid("lanes: alerts: durability is always commit");
    }
  }
  return {};
}

Plan::Plan(const config::Node& root, telemetry::Registry& metrics, config::Diagnostics& diagnostics)
    : root_(root), metrics_(metrics), origins_(diagnostics.origins()) {
  if (!config::parse(root, config_, diagnostics)) {
    parse_what_is_sound(root);
  }
  check_parts(diagnostics);
  revision_ = hash64(config::to_flow(root) + overrides_below(""));
}

Plan::Plan(const Plan& running, const Plan& fresh, config::Diagnostics& diagnostics)
    : config_(running.config_),
      root_(fresh.root_),
      metrics_(fresh.metrics_),
      origins_(fresh.origins_) {
  config_.models = fresh.config_.models;
  config_.log = fresh.config_.log;
  for (auto& [name, pipeline] : config_.pipelines) {
    if (const PipelineConfig* wanted = fresh.config_.pipelines.find(name)) {
      pipeline.steps = wanted->steps;
      pipeline.checkpoint_every = wanted->checkpoint_every;
      pipeline.max_waiting = wanted->max_waiting;
      pipeline.weight = wanted->weight;
    }
  }
  check_parts(diagnostics);
  revision_ = hash64(fmt::format("{:016x} on {:016x}", fresh.revision_, running.revision_));
}

void Plan::check_parts(config::Diagnostics& diagnostics) {
  check_references(diagnostics);
  load_models(diagnostics);
  for (const auto& [name, node] : config_.sources) {
    (void)make_source(name, {}, diagnostics);
  }
  for (const auto& [name, node] : config_.sinks) {
    (void)make_sink(name, diagnostics);
  }
  if (has_uplink()) {
    (void)make_uplink(diagnostics);
  }
  for (const auto& [name, pipeline] : config_.pipelines) {
    (void)make_steps(pipeline, name, diagnostics);
  }
  check_durability(diagnostics);
}

// The options below a path that --set, the environment or a remote gave, as text.
std::string Plan::overrides_below(std::string_view path) const {
  std::string text;
  for (const config::Origins::Entry& entry :
       origins_ == nullptr ? std::vector<config::Origins::Entry>{} : origins_->entries()) {
    if (entry.origin > config::Origin::kFile && entry.path.starts_with(path)) {
      text += fmt::format("\n{}={}", entry.path, entry.value);
    }
  }
  return text;
}

// So that one check shows the errors behind the first ones too: the parts that can be read are.
void Plan::parse_what_is_sound(const config::Node& root) {
  config::Diagnostics ignored;  // the whole was reported already
  const auto each = [&](std::string_view section, auto& into) {
    for (const config::Node::Entry& entry : at(root, {section}).entries()) {
      typename std::remove_cvref_t<decltype(into.begin()->second)> value;
      if (config::parse(entry.value, value, ignored)) {
        into[entry.name] = std::move(value);
      }
    }
  };
  if (root.find("models") != nullptr) {
    each("models", config_.models);
  }
  if (root.find("pipelines") != nullptr) {
    each("pipelines", config_.pipelines);
  }
  for (const config::Node::Entry& entry : root.entries()) {
    if (entry.name == "uplink") {
      config_.uplink = entry.value;
    }
    auto* nodes = entry.name == "sources" ? &config_.sources
                  : entry.name == "sinks" ? &config_.sinks
                                          : nullptr;
    for (std::size_t i = 0; nodes != nullptr && i < entry.value.entries().size(); ++i) {
      (*nodes)[entry.value.entries()[i].name] = entry.value.entries()[i].value;
    }
  }
}

void Plan::check_references(config::Diagnostics& diagnostics) const {
  std::map<std::string, std::string, std::less<>> fed;  // source → pipeline
  for (const auto& [name, pipeline] : config_.pipelines) {
    const config::Node& node = at(root_, {"pipelines", name});
    for (std::size_t i = 0; i < pipeline.from.size(); ++i) {
      const config::Node& place = item(at(node, {"from"}), i);
      if (!config_.sources.contains(pipeline.from[i])) {
        diagnostics.error(
            place, unknown("source", pipeline.from[i], names_of(config_.sources), "sources"));
      } else if (const auto [first, fresh] = fed.emplace(pipeline.from[i], name); !fresh) {
        diagnostics.error(place, fmt::format("source '{}' feeds pipeline '{}' already; a source "
                                             "feeds one pipeline",
                                             pipeline.from[i], first->second));
      }
    }
    for (std::size_t i = 0; i < pipeline.alerts.size(); ++i) {
      if (!config_.sinks.contains(pipeline.alerts[i])) {
        diagnostics.error(item(at(node, {"alerts"}), i),
                          unknown("sink", pipeline.alerts[i], names_of(config_.sinks), "sinks"));
      }
    }
  }
  for (const auto& [name, source] : config_.sources) {
    if (!fed.contains(name)) {
      diagnostics.warning(at(root_, {"sources", name}),
                          fmt::format("source '{}' feeds no pipeline", name));
    }
  }
  // Of pipelines that are there and unsound there are errors already.
  const config::Node* pipelines = root_.find("pipelines");
  const config::Node& given = pipelines == nullptr ? root_ : *pipelines;
  if (config_.pipelines.empty() &&
      (given.is_null() ||
       (given.is_mapping() && (pipelines == nullptr || given.entries().empty())))) {
    diagnostics.error(root_, "pipelines: required: at least one");
  }
  if (config_.admin.address) {
    const bool tls = !config_.admin.certificate.empty() && !config_.admin.key.empty();
    const Status safe =
        api::check_admin_exposure(config_.admin.address->text(), tls, !config_.admin.token.empty());
    if (!safe) {
      diagnostics.error(at(root_, {"admin", "address"}), safe.error().text());
    }
  }
}

void Plan::load_models(config::Diagnostics& diagnostics) {
  for (const auto& [name, config] : config_.models) {
    model::ModelOptions options;
    options.path = config.path.text;
    options.threads = config.threads;
    options.provider = config.provider;
    if (auto loaded = models_.load(name, std::move(options)); !loaded) {
      diagnostics.error(at(root_, {"models", name, "path"}), loaded.error().text());
    }
  }
}

StageContext Plan::context_for(const PipelineConfig& pipeline, std::string_view name) const {
  StageContext context;
  context.pipeline = name;
  context.edge_id = config_.edge.id;
  context.metrics = &metrics_;
  context.models = names_of(config_.models);
  context.bind = [this](std::string_view wanted,
                        std::size_t max_rows) -> Result<std::unique_ptr<model::Binding>> {
    const std::shared_ptr<const model::Model> loaded = HW_TRY(models_.find(wanted));
    model::BindingOptions options = binding_options(*config_.models.find(wanted));
    options.max_rows = max_rows;
    return model::Binding::create(loaded->another(), std::move(options));
  };
  config::Diagnostics ignored;  // sources are reported on their own
  for (const std::string& source : pipeline.from) {
    if (config_.sources.contains(source)) {
      const SourceSet set = make_source(source, {}, ignored);
      for (const Field& field : set.declared.fields()) {
        context.known.set(field);
      }
    }
  }
  return context;
}

PlannedSteps Plan::make_steps(const PipelineConfig& pipeline, std::string_view name,
                              config::Diagnostics& diagnostics) const {
  return make_steps(pipeline, name, false, diagnostics);
}

PlannedSteps Plan::make_steps(const PipelineConfig& pipeline, std::string_view name,
                              bool filters_only, config::Diagnostics& diagnostics) const {
  const WithOrigins with_origins(diagnostics, origins_);
  PlannedSteps made;
  made.context = context_for(pipeline, name);
  bool leading = true;
  for (std::size_t i = 0; i < pipeline.steps.size(); ++i) {
    const config::Node& step = pipeline.steps[i];
    const config::Node::Entry* entry = step.only_entry();
    if (entry == nullptr) {
      diagnostics.error(step,
                        "a step is one entry, the name of its kind with its options: "
                        "`- filter: {when: …}`");
      continue;
    }
    const StageKind* kind = find_stage_kind(entry->name, entry->value.key_place(), diagnostics);
    if (kind == nullptr) {
      continue;
    }
    leading = leading && kind->filters;
    if (filters_only && !leading) {
      break;
    }
    std::unique_ptr<Stage> stage = kind->make(entry->value, made.context, diagnostics);
    if (stage == nullptr) {
      continue;
    }
    leading = leading && stage->may_lead();
    if (leading) {
      made.filters.push_back(std::move(stage));
    } else {
      made.stages.push_back(std::move(stage));
      made.stage_keys.push_back(fmt::format(
          "{}.{}.{:016x}", i, entry->name,
          hash64(config::to_flow(entry->value) + overrides_below(entry->value.path()))));
    }
  }
  return made;
}

std::vector<std::unique_ptr<Stage>> Plan::make_filters(const PipelineConfig& pipeline,
                                                       std::string_view name,
                                                       config::Diagnostics& diagnostics) const {
  return make_steps(pipeline, name, true, diagnostics).filters;
}

SourceSet Plan::make_source(std::string_view name, const std::vector<io::Loop*>& loops,
                            config::Diagnostics& diagnostics) const {
  const WithOrigins with_origins(diagnostics, origins_);
  const std::optional<Typed> source = typed(*config_.sources.find(name), "source", diagnostics);
  const SourceKind* kind =
      source ? find_source_kind(source->kind, source->at, diagnostics) : nullptr;
  if (kind == nullptr) {
    return {};
  }
  return kind->make(source->options,
                    {.edge_id = config_.edge.id,
                     .name = std::string(name),
                     .loops = loops,
                     .listeners = listeners_},
                    diagnostics);
}

MadeSink Plan::make_sink(std::string_view name, config::Diagnostics& diagnostics) const {
  const WithOrigins with_origins(diagnostics, origins_);
  const std::optional<Typed> sink = typed(*config_.sinks.find(name), "sink", diagnostics);
  const SinkKind* kind = sink ? find_sink_kind(sink->kind, sink->at, diagnostics) : nullptr;
  if (kind == nullptr) {
    return {};
  }
  SinkContext context{.name = std::string(name), .edge_id = config_.edge.id};
  context.listeners = listeners_;
  for (const auto& [source, node] : config_.sources) {
    const config::Node* type = node.find("type");
    if (type != nullptr && type->is_scalar() && type->text() == "mqtt_listen") {
      context.listener_names.push_back(source);
    }
  }
  return kind->make(sink->options, context, diagnostics);
}

MadeUplink Plan::make_uplink(config::Diagnostics& diagnostics) const {
  const WithOrigins with_origins(diagnostics, origins_);
  const std::optional<Typed> uplink = typed(config_.uplink, "uplink", diagnostics);
  const TargetKind* kind =
      uplink ? find_target_kind(uplink->kind, uplink->at, diagnostics) : nullptr;
  return kind == nullptr ? MadeUplink{} : kind->make(uplink->options, diagnostics);
}

std::string Plan::loss_window() const {
  std::vector<std::string> parts;
  config::Diagnostics ignored;  // sources are reported on their own
  for (const auto& [name, source] : config_.sources) {
    if (make_source(name, {}, ignored).acknowledges_on_receipt) {
      parts.push_back(fmt::format(
          "source {} acknowledges on receipt, before a reading is on disk: a crash loses what was "
          "not",
          name));
    }
  }
  for (const auto& [name, lane] : config_.store.lanes) {
    if (const Nanos patience = lane.patience(); patience.count() > 0) {
      parts.push_back(
          fmt::format("rows of lane {} wait up to {} in memory", name, format_duration(patience)));
    }
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

// A source that acknowledges promises that a reading is on disk.
void Plan::check_durability(config::Diagnostics& diagnostics) const {
  const auto waits =
      std::find_if(config_.store.lanes.begin(), config_.store.lanes.end(), [](const auto& named) {
        const auto& [name, lane] = named;
        return lane.patience().count() > 0 && (name == "readings" || name == "dead_letter");
      });
  if (waits == config_.store.lanes.end()) {
    return;
  }
  config::Diagnostics ignored;
  for (const auto& [name, source] : config_.sources) {
    if (make_source(name, {}, ignored).acknowledges) {
      diagnostics.error(at(root_, {"store", "lanes", (*waits).first, "durability"}),
                        fmt::format("source '{}' acknowledges what is on disk, and rows of lane "
                                    "'{}' wait for it in memory: say `acknowledge: received` there "
                                    "to accept that a crash loses what it acknowledged, or leave "
                                    "this out",
                                    name, (*waits).first));
    }
  }
}

}  // namespace headwater
