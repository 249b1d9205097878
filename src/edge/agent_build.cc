// From a plan to running parts: spool, streams, workers, sources, pipelines, sinks.
#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "api/admin.h"
#include "base/strings.h"
#include "edge/parts.h"
#include "edge/tap_json.h"
#include "io/files.h"
#include "nodes/decide/offline_json.h"
#include "pipeline/state.h"
#include "protocol/http/server_metrics.h"

namespace headwater {
namespace {

constexpr std::string_view kStreamPrefix = "stream/";
constexpr Nanos kStartFlush = std::chrono::seconds(10);

SpoolOptions spool_options(const EdgeConfig& config) {
  SpoolOptions options;
  options.dir = config.edge.data_dir.text + "/spool";
  options.max_bytes = config.store.max_bytes.bytes;
  options.segment_bytes = config.store.segment.bytes;
  options.min_free = config.store.min_free.bytes;
  options.on_full = config.store.on_full;
  options.write_budget = config.store.write_budget ? config.store.write_budget->bytes : 0;
  if (const Result<Nanos> delay = parse_duration(config.store.commit_delay)) {
    options.commit_delay = *delay;
  }
  options.compression = config.store.compression;
  for (const auto& [name, lane] : config.store.lanes) {
    LaneLimits& limits = options.lanes[index_of(*parse_lane(name))];
    limits.max_bytes = lane.max_bytes ? lane.max_bytes->bytes : 0;
    limits.max_age = lane.max_age.value_or(Nanos{0});
    limits.patience = lane.patience();
  }
  return options;
}

// Numbers that tell rows of one log apart: a name keeps its number for the life of the spool.
class Streams {
 public:
  explicit Streams(Spool& spool) : spool_(spool) {
    spool.for_each_state(kStreamPrefix, [&](std::string_view key, std::string_view blob) {
      const auto number = static_cast<std::uint16_t>(ByteReader(blob).get_varint());
      numbers_.emplace(key.substr(kStreamPrefix.size()), number);
      next_ = std::max<std::uint16_t>(next_, static_cast<std::uint16_t>(number + 1));
    });
  }

  std::uint16_t number(const std::string& name) {
    const auto [found, fresh] = numbers_.emplace(name, next_);
    if (fresh) {
      HW_CHECK(next_ < kAllStreams, "a spool has 65,535 streams");
      ++next_;
      std::string blob;
      ByteWriter(blob).put_varint(found->second);
      changes_.state(std::string(kStreamPrefix) + name, blob);
    }
    return found->second;
  }

  // "<prefix><i>" with their numbers, by i: what earlier starts, perhaps with more workers, had.
  std::map<std::size_t, std::uint16_t> indexed(const std::string& prefix) const {
    std::map<std::size_t, std::uint16_t> found;
    for (auto it = numbers_.lower_bound(prefix);
         it != numbers_.end() && it->first.starts_with(prefix); ++it) {
      const std::string_view rest = std::string_view(it->first).substr(prefix.size());
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
      if (error == std::errc() && end == rest.data() + rest.size()) {
        found.emplace(index, it->second);
      }
    }
    return found;
  }

  // Durable before any row carries them.
  Status save() {
    if (changes_.empty()) {
      return {};
    }
    HW_TRY(spool_.submit(changes_));
    return spool_.flush(kStartFlush);
  }

 private:
  Spool& spool_;
  std::map<std::string, std::uint16_t, std::less<>> numbers_;
  std::uint16_t next_ = 1;
  Transaction changes_;
};

Status open_store(Agent::Parts& parts) {
  const EdgeConfig& config = parts.plan->config();
  HW_TRY(io::real_files().make_dir(config.edge.data_dir.text));
  parts.spool = HW_TRY(Spool::open(io::real_files(), spool_options(config)));
  parts.health.add_check("store", [spool = parts.spool.get()] {
    const Status takes = spool->takes_rows();
    return takes ? std::string() : std::string(takes.error().text());
  });
  parts.spool->on_commit([fanout = parts.fanout](Ticket upto, const Status&) {
    const std::lock_guard lock(fanout->mutex);
    for (Worker* worker : fanout->workers) {
      worker->committed(upto);
    }
    if (fanout->uplink != nullptr) {
      fanout->uplink->committed();
    }
  });
  return {};
}

Status make_workers(Agent::Parts& parts) {
  for (std::size_t i = 0; i < parts.plan->config().workers; ++i) {
    auto loop = HW_TRY(io::Loop::create());
    parts.workers.push_back(std::make_unique<Worker>(i, std::move(loop)));
  }
  return {};
}

Status make_sinks(Agent::Parts& parts) {
  Worker& home = *parts.workers.front();
  config::Diagnostics diagnostics;
  for (const auto& [name, node] : parts.plan->config().sinks) {
    MadeSink made = parts.plan->make_sink(name, diagnostics);
    HW_TRY(diagnostics.status());
    if (parts.options.ends.sink) {
      made.sink = parts.options.ends.sink(name);
    }
    auto placed = std::make_unique<PlacedSink>();
    placed->name = name;
    placed->kind = node.find("type")->text();
    placed->send = made.send;
    placed->sink = made.sink.get();
    home.add_sink(name, std::move(made.sink));
    if (made.send == Send::kDurable) {
      placed->delivery = &home.add(std::make_unique<Delivery>(Delivery::Parts{
          .name = name, .sink = placed->sink, .spool = parts.spool.get(), .loop = &home.loop()}));
      parts.spool->deliver_to("sink/" + name, Lane::kAlerts);
    } else {
      placed->early = &home.add(std::make_unique<EarlyDelivery>(
          EarlyDelivery::Parts{.name = name, .sink = placed->sink, .loop = &home.loop()}));
    }
    parts.sinks.push_back(std::move(placed));
  }
  return {};
}

// Alerts of a pipeline to one early sink: at once, on the sink's loop, before their commit.
Scoring::Observer send_early(EarlyDelivery& delivery, io::Loop& loop, const Scoring& scoring) {
  return [&delivery, &loop, &scoring](const Batch& batch, std::span<const Alert> alerts) {
    if (!alerts.empty()) {
      loop.post([&delivery, rows = early_rows(batch, alerts, scoring.first_own(), io::wall_now(),
                                              io::mono_now())] { delivery.give(rows); });
    }
  };
}

Scoring::Observer to_tap(api::TapHub& tap, std::string pipeline, const Scoring& scoring) {
  return [&tap, pipeline = std::move(pipeline), &scoring](const Batch& batch,
                                                          std::span<const Alert> alerts) {
    if (tap.wanted(api::TapKind::kAlerts)) {
      for (const Alert& alert : alerts) {
        tap.publish(api::TapKind::kAlerts, pipeline, alert.json);
      }
    }
    if (tap.wanted(api::TapKind::kReadings)) {
      const Column* score = batch.find(scoring.score_column());
      for (const std::uint32_t row : batch.selection()) {
        if (tap.takes(api::TapKind::kReadings, pipeline)) {
          tap.publish(api::TapKind::kReadings, pipeline, tap_json(batch.row(row), row, score));
        }
      }
    }
  };
}

// One scoring per worker, and one for each worker of an earlier start that there is no more: what
// it left unscored and unsent goes on where it was.
Status make_pipeline(Agent::Parts& parts, Streams& streams, const std::string& name,
                     const PipelineConfig& config) {
  config::Diagnostics diagnostics;
  PlacedPipeline placed;
  placed.name = name;
  std::size_t count = parts.workers.size();
  if (const auto earlier = streams.indexed("scoring/" + name + "/"); !earlier.empty()) {
    count = std::max(count, earlier.rbegin()->first + 1);
  }
  for (std::size_t i = 0; i < count; ++i) {
    Worker& worker = *parts.workers[i % parts.workers.size()];
    PlannedSteps steps = parts.plan->make_steps(config, name, diagnostics);
    HW_TRY(diagnostics.status());
    Scoring::Parts scoring;
    scoring.name = fmt::format("{}/{}", name, i);
    scoring.pipeline = name;
    scoring.stream = streams.number("scoring/" + scoring.name);
    scoring.steps = scoring_steps(config, parts.plan->revision(), steps);
    scoring.spool = parts.spool.get();
    scoring.offline_json = [edge_id = parts.plan->config().edge.id, name](
                               const Row& row, std::string_view alert_id) {
      return offline_json(edge_id, name, row, alert_id);
    };
    scoring.latency = &parts.metrics.histogram(
        "headwater_pipeline_decision_seconds",
        "Time from a reading's arrival to its decision; of replayed rows, from their reading back.",
        {{"pipeline", name}});
    scoring.batch_rows = &parts.metrics.histogram("headwater_pipeline_batch_rows",
                                                  "Readings that went through the steps together.",
                                                  {{"pipeline", name}}, telemetry::kRows);
    placed.detects.insert(placed.detects.end(), steps.context.detects.begin(),
                          steps.context.detects.end());
    placed.detects_now = placed.detects;
    placed.troubles.insert(placed.troubles.end(), steps.context.troubles.begin(),
                           steps.context.troubles.end());
    Scoring& added = worker.add(std::make_unique<Scoring>(std::move(scoring)));
    added.observe(to_tap(parts.tap, name, added));
    for (const std::unique_ptr<PlacedSink>& sink : parts.sinks) {
      if (std::find(config.alerts.begin(), config.alerts.end(), sink->name) ==
          config.alerts.end()) {
        continue;
      }
      if (sink->delivery != nullptr) {
        sink->delivery->add_stream(added.stream());
      } else {
        added.observe(send_early(*sink->early, parts.workers.front()->loop(), added));
      }
    }
    placed.scorings.push_back(&added);
  }
  parts.pipelines.push_back(std::move(placed));
  return {};
}

// The newest stored ids of a source, so that a repeat after a restart is known.
Status remember_ids(Spool& spool, const std::set<std::uint16_t>& streams,
                    const std::vector<Intake*>& intakes) {
  const LaneStats lane = spool.stats().lanes[index_of(Lane::kReadings)];
  const std::uint64_t window = DedupeSet::kDefaultCapacity;
  const std::uint64_t from =
      std::max(lane.oldest_sequence, lane.next_sequence - std::min(lane.next_sequence, window));
  const std::unique_ptr<SpoolReader> reader = spool.read(Lane::kReadings, from);
  for (;;) {
    switch (HW_TRY(reader->next())) {
      case ReadItem::kEnd:
        return {};
      case ReadItem::kRow:
        if ((reader->row().row.flags & kRowDeclaredId) != 0 &&
            streams.contains(reader->row().stream)) {
          for (Intake* intake : intakes) {
            intake->remember(reader->row().row.identity);
          }
        }
        break;
      case ReadItem::kGap:
      case ReadItem::kDecisions:
        break;
    }
  }
}

Status make_source(Agent::Parts& parts, Streams& streams, const PlacedPipeline& pipeline,
                   const std::string& name) {
  const PipelineConfig& config = *parts.plan->config().pipelines.find(pipeline.name);
  std::vector<io::Loop*> loops;
  for (const std::unique_ptr<Worker>& worker : parts.workers) {
    loops.push_back(&worker->loop());
  }
  config::Diagnostics diagnostics;
  std::vector<std::unique_ptr<Source>> others;
  if (parts.options.ends.sources) {
    others = parts.options.ends.sources(name, loops);
  }
  SourceSet set =
      parts.plan->make_source(name, others.empty() ? loops : std::vector<io::Loop*>(), diagnostics);
  HW_TRY(diagnostics.status());
  if (!others.empty()) {
    HW_CHECK(others.size() == loops.size(), "one source per worker");
    set.sources = std::move(others);
  }
  PlacedSource placed;
  placed.name = name;
  placed.kind = parts.plan->config().sources.find(name)->find("type")->text();
  placed.pipeline = pipeline.name;
  std::set<std::uint16_t> served;
  for (std::size_t i = 0; i < parts.workers.size(); ++i) {
    Scoring& scoring = *pipeline.scorings[i];
    if (set.sources[i] == nullptr) {
      continue;
    }
    Intake::Parts intake;
    intake.name = pipeline.name + "/" + name;
    intake.stream = streams.number(fmt::format("intake/{}/{}", intake.name, i));
    intake.source = std::move(set.sources[i]);
    intake.decode = set.make_decode();
    intake.filters = parts.plan->make_filters(config, pipeline.name, diagnostics);
    HW_TRY(diagnostics.status());
    intake.spool = parts.spool.get();
    intake.refuse = parts.plan->config().store.on_full == OnFull::kRefuse;
    if (const auto& thin = parts.plan->config().store.thin) {
      intake.thin = {.above = thin->above, .keep_one_in = thin->keep_one_in};
    }
    intake.acknowledge_on_receipt = set.acknowledges_on_receipt;
    intake.scoring = &scoring;
    Intake& added = parts.workers[i]->add(std::make_unique<Intake>(std::move(intake)));
    scoring.add_stream(added.stream(), added.decode());
    if (decides(config)) {
      parts.scored[added.stream()] = "decided/" + scoring.name();
    }
    placed.intakes.push_back(&added);
    served.insert(added.stream());
  }
  // Rows of earlier starts whose worker is no more, or has this source no more.
  std::set<std::uint16_t> numbers;
  for (const auto& [index, number] :
       streams.indexed(fmt::format("intake/{}/{}/", pipeline.name, name))) {
    numbers.insert(number);
    if (!served.contains(number)) {
      std::unique_ptr<Decode> decode = set.make_decode();
      // Types that cannot be read are learned anew.
      (void)decode->restore(
          SpoolState(*parts.spool, fmt::format("decode/{}/{}/", pipeline.name, name)));
      Scoring& scoring = *pipeline.scorings[std::min(index, pipeline.scorings.size() - 1)];
      scoring.add_stream(number, std::move(decode));
      if (decides(config)) {
        parts.scored[number] = "decided/" + scoring.name();
      }
    }
  }
  if (set.declares_id) {
    HW_TRY(remember_ids(*parts.spool, numbers, placed.intakes));
  }
  parts.sources.push_back(std::move(placed));
  return {};
}

Status start_servers(Agent::Parts& parts) {
  if (!parts.options.ends.servers) {
    return {};
  }
  const EdgeConfig& config = parts.plan->config();
  if (config.health.address) {
    http::Router router;
    HW_TRY(api::add_health_routes(router, parts.health, parts.metrics));
    parts.health_server =
        HW_TRY(http::Server::open({.address = config.health.address->text(), .name = "health"},
                                  std::move(router))
                   .with("health.address"));
  }
  if (config.admin.address) {
    http::Router router;
    HW_TRY(api::add_admin_routes(router, {.status = [&parts] { return describe_agent(parts); },
                                          .tap = &parts.tap,
                                          .token = config.admin.token.reveal()}));
    http::ServerOptions options;
    options.address = config.admin.address->text();
    options.name = "admin";
    if (!config.admin.certificate.empty()) {
      options.tls = http::ServerTls{config.admin.certificate.text, config.admin.key.text, {}};
    }
    parts.admin_server =
        HW_TRY(http::Server::open(std::move(options), std::move(router)).with("admin.address"));
  }
  for (const http::Server* server : {parts.health_server.get(), parts.admin_server.get()}) {
    if (server != nullptr) {
      for (telemetry::Registry::Callback& one :
           http::register_server_metrics(parts.metrics, *server)) {
        parts.callbacks.push_back(std::move(one));
      }
    }
  }
  return {};
}

}  // namespace

Scoring::Steps scoring_steps(const PipelineConfig& config, std::uint64_t revision,
                             PlannedSteps& planned) {
  Scoring::Steps steps;
  steps.stages = std::move(planned.stages);
  steps.stage_keys = std::move(planned.stage_keys);
  steps.score_column = planned.context.score_column;
  steps.model_digest = planned.context.model_digest;
  steps.revision = revision;
  steps.max_waiting_bytes = config.max_waiting.bytes;
  steps.objective = planned.context.objective;
  steps.weight = config.weight;
  steps.start_cost = planned.context.start_cost;
  steps.checkpoint_every = config.checkpoint_every;
  return steps;
}

Status build_agent(Agent::Parts& parts) {
  parts.started = io::mono_now();
  HW_TRY(open_store(parts));
  HW_TRY(make_workers(parts));
  HW_TRY(make_sinks(parts));
  Streams streams(*parts.spool);
  for (const auto& [name, config] : parts.plan->config().pipelines) {
    HW_TRY(make_pipeline(parts, streams, name, config).with("pipeline '{}'", name));
    for (const std::string& source : config.from) {
      HW_TRY(
          make_source(parts, streams, parts.pipelines.back(), source).with("source '{}'", source));
    }
  }
  HW_TRY(streams.save());
  HW_TRY(make_uplink(parts).with("uplink"));
  register_metrics(parts);
  {
    const std::lock_guard lock(parts.fanout->mutex);
    for (const std::unique_ptr<Worker>& worker : parts.workers) {
      parts.fanout->workers.push_back(worker.get());
    }
    parts.fanout->uplink = parts.uplink.get();
  }
  HW_TRY(start_servers(parts));
  for (const std::unique_ptr<Worker>& worker : parts.workers) {
    api::HealthState::Heart& heart =
        parts.health.watch("worker-" + std::to_string(worker->index()), std::chrono::seconds(30));
    heart.beat();
    HW_TRY(worker->start([&heart] { heart.beat(); }));
  }
  // Behind the start of the workers: what a pipeline must replay is held from there on.
  if (const Status noted = parts.spool->consumers_known(); !noted) {
    log::warn("consumers are not written down", {{"why", noted.error().text()}});
  }
  if (parts.uplink != nullptr) {
    api::HealthState::Heart& heart = parts.health.watch("uplink", std::chrono::seconds(30));
    heart.beat();
    HW_TRY(parts.uplink->start([&heart] { heart.beat(); }).with("uplink"));
  }
  parts.health.set_started();
  return {};
}

}  // namespace headwater
