// What an agent tells about itself: /api/v1/status and /metrics.
#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "edge/parts.h"
#include "telemetry/process.h"

namespace headwater {
namespace {

using Json = nlohmann::ordered_json;

// Sums of a source over its workers.
struct SourceSums {
  std::uint64_t received = 0;
  std::uint64_t duplicate = 0;
  std::uint64_t filtered = 0;
  std::uint64_t dead_letter = 0;
  std::uint64_t stored = 0;
  std::uint64_t thinned = 0;
  std::uint64_t in_flight = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t unfit = 0;
  std::uint64_t bytes = 0;
  std::uint64_t refused = 0;
  std::uint64_t errors = 0;
  std::string trouble;  // of the first worker that has one
  std::size_t connections = 0;
  std::map<std::string, std::uint64_t> closed;
  std::uint64_t subscriptions = 0;
  std::uint64_t refused_subscriptions = 0;
};

SourceSums sums_of(const PlacedSource& source) {
  SourceSums sums;
  for (const Intake* intake : source.intakes) {
    const IntakeCounts& counts = intake->counts();
    sums.duplicate += counts.duplicate.get();
    sums.filtered += counts.filtered.get();
    sums.dead_letter += counts.dead_letter.get();
    sums.stored += counts.stored.get();
    sums.thinned += counts.thinned.get();
    sums.in_flight += counts.in_flight.get();
    sums.acknowledged += counts.acknowledged.get();
    sums.unfit += counts.values_unfit.get();
    sums.bytes += counts.bytes.get();
    sums.errors += counts.errors.get();
    if (sums.trouble.empty()) {
      sums.trouble = intake->trouble();
    }
    const std::uint64_t by_source = intake->refused_by_source();
    sums.received += counts.taken.get() + by_source;
    sums.refused += counts.refused.get() + by_source;
    if (const auto* listening = dynamic_cast<const Listening*>(&intake->source())) {
      sums.connections += listening->connections();
      for (const auto& [reason, count] : listening->closed()) {
        sums.closed[reason] += count;
      }
      sums.subscriptions += listening->subscriptions();
      sums.refused_subscriptions += listening->refused_subscriptions();
    }
  }
  return sums;
}

Json describe_source(const PlacedSource& source) {
  const SourceSums sums = sums_of(source);
  Json json = {{"name", source.name}, {"type", source.kind}, {"pipeline", source.pipeline}};
  if (!source.intakes.empty()) {
    if (const auto* listening = dynamic_cast<const Listening*>(&source.intakes.front()->source())) {
      json["address"] = listening->address();
      json["connections"] = sums.connections;
      json["closed"] = sums.closed;
      json["subscriptions"] = sums.subscriptions;
      json["refused_subscriptions"] = sums.refused_subscriptions;
    }
  }
  json["received"] = sums.received;
  json["received_bytes"] = sums.bytes;
  json["duplicate"] = sums.duplicate;
  json["filtered"] = sums.filtered;
  json["dead_letter"] = sums.dead_letter;
  json["stored"] = sums.stored;
  json["thinned"] = sums.thinned;
  json["refused"] = sums.refused;
  json["in_flight"] = sums.in_flight;
  json["acknowledged"] = sums.acknowledged;
  json["values_unfit"] = sums.unfit;
  json["errors"] = sums.errors;
  json["trouble"] = sums.trouble;
  return json;
}

// What the workers of a pipeline made of its latency objective.
struct ObjectiveSums {
  double seconds = 0;  // 0: there is none
  std::uint64_t within = 0;
  std::uint64_t late = 0;
  double met = 1;          // of the last 10 s or so, on the worker that does worst
  std::uint64_t rows = 0;  // of a step at most, likewise
  double commit_s = 0;     // likewise
};

ObjectiveSums objective_of(const PlacedPipeline& pipeline) {
  ObjectiveSums sums;
  for (const Scoring* scoring : pipeline.scorings) {
    const ScoringCounts& counts = scoring->counts();
    sums.seconds = std::max(sums.seconds, static_cast<double>(counts.objective_ns.get()) * 1e-9);
    sums.within += counts.within.get();
    sums.late += counts.late.get();
    if (counts.within.get() + counts.late.get() != 0) {
      sums.met = std::min(sums.met, static_cast<double>(counts.met_ppm.get()) * 1e-6);
    }
    if (const std::uint64_t rows = counts.step_rows.get(); rows != 0) {
      sums.rows = sums.rows == 0 ? rows : std::min(sums.rows, rows);
    }
    sums.commit_s = std::max(sums.commit_s, static_cast<double>(counts.commit_ns.get()) * 1e-9);
  }
  return sums;
}

// The cost of one call of each model of the pipeline, added up. Of several workers the one that
// finds it dearest. Under Parts::changing.
struct CallCost {
  double fixed_s = 0;
  double row_s = 0;
  double tail_s = 0;
};

CallCost call_cost_of(const PlacedPipeline& pipeline, std::string_view model) {
  CallCost cost;
  for (const std::shared_ptr<DetectCounts>& detect : pipeline.detects_now) {
    if (detect->model == model) {
      cost.fixed_s = std::max(cost.fixed_s, detect->call_fixed_s.load());
      cost.row_s = std::max(cost.row_s, detect->call_row_s.load());
      cost.tail_s = std::max(cost.tail_s, detect->call_tail_s.load());
    }
  }
  return cost;
}

std::map<std::string, std::size_t> models_of(const PlacedPipeline& pipeline) {
  std::map<std::string, std::size_t> rows;  // of a call at most
  for (const std::shared_ptr<DetectCounts>& detect : pipeline.detects_now) {
    const auto [found, fresh] = rows.emplace(detect->model, detect->max_rows);
    found->second = std::min(found->second, detect->max_rows);
  }
  return rows;
}

CallCost call_cost_of(const PlacedPipeline& pipeline) {
  CallCost sum;
  for (const auto& [model, rows] : models_of(pipeline)) {
    const CallCost one = call_cost_of(pipeline, model);
    sum.fixed_s += one.fixed_s;
    sum.row_s += one.row_s;
    sum.tail_s += one.tail_s;
  }
  return sum;
}

// Rows of a model call at most: what the objective leaves, and the caps of the config and models.
std::uint64_t chosen_rows(const PlacedPipeline& pipeline) {
  std::uint64_t rows = objective_of(pipeline).rows;
  for (const auto& [model, most] : models_of(pipeline)) {
    rows = rows == 0 ? most : std::min<std::uint64_t>(rows, most);
  }
  return rows;
}

Json describe_objective(const PlacedPipeline& pipeline) {
  const ObjectiveSums sums = objective_of(pipeline);
  if (sums.seconds <= 0) {
    return nullptr;
  }
  Json models = Json::array();
  for (const auto& [model, rows] : models_of(pipeline)) {
    const CallCost cost = call_cost_of(pipeline, model);
    models.push_back({{"name", model},
                      {"call_fixed_s", cost.fixed_s},
                      {"call_row_s", cost.row_s},
                      {"call_tail_s", cost.tail_s},
                      {"max_rows", rows}});
  }
  return {{"p99_s", sums.seconds},
          {"met", sums.met},
          {"within", sums.within},
          {"late", sums.late},
          {"chosen_rows", chosen_rows(pipeline)},
          {"commit_p95_s", sums.commit_s},
          {"models", std::move(models)}};
}

Json describe_pipeline(const PlacedPipeline& pipeline) {
  ScoringCounts total;
  std::string trouble;  // of the first worker that has one
  const telemetry::HistogramSnapshot latency = pipeline.scorings.front()->latency().snapshot();
  for (const Scoring* scoring : pipeline.scorings) {
    const ScoringCounts& counts = scoring->counts();
    if (trouble.empty()) {
      trouble = scoring->trouble();
    }
    total.rows.add(counts.rows.get());
    total.replayed.add(counts.replayed.get());
    total.scored.add(counts.scored.get());
    total.unscored.add(counts.unscored.get());
    total.failed.add(counts.failed.get());
    total.alerts.add(counts.alerts.get());
    total.cleared.add(counts.cleared.get());
    total.offline.add(counts.offline.get());
    total.pending_rows.add(counts.pending_rows.get());
    total.behind_rows.add(counts.behind_rows.get());
  }
  for (const std::weak_ptr<Trouble>& step : pipeline.troubles) {
    if (const auto held = step.lock(); held != nullptr && trouble.empty()) {
      trouble = held->text();
    }
  }
  std::uint64_t calls = 0;
  std::uint64_t given = 0;
  for (const std::shared_ptr<DetectCounts>& detect : pipeline.detects) {
    calls += detect->calls.load();
    given += detect->scored.load() + detect->failed.load();
  }
  return {
      {"name", pipeline.name},
      {"rows", total.rows.get()},
      {"replayed", total.replayed.get()},
      {"scored", total.scored.get()},
      {"unscored", total.unscored.get()},
      {"failed_batches", total.failed.get()},
      {"alerts", total.alerts.get()},
      {"cleared", total.cleared.get()},
      {"offline", total.offline.get()},
      {"pending_rows", total.pending_rows.get()},
      {"behind_rows", total.behind_rows.get()},
      {"model_calls", calls},
      {"rows_per_call", calls == 0 ? 0.0 : static_cast<double>(given) / static_cast<double>(calls)},
      {"latency_p50_s", latency.quantile(0.5)},
      {"latency_p99_s", latency.quantile(0.99)},
      {"objective", describe_objective(pipeline)},
      {"trouble", trouble}};
}

Json describe_store(const Spool& spool) {
  const SpoolStats stats = spool.stats();
  std::string health(spool_health_name(stats.health));
  std::string health_text = stats.health_text;
  if (const Status takes = spool.takes_rows(); stats.health == SpoolHealth::kOk && !takes) {
    health = "full";
    health_text = takes.error().text();
  }
  Json lanes = Json::object();
  for (const Lane lane : kAllLanes) {
    const LaneStats& one = stats.lanes[index_of(lane)];
    lanes[std::string(lane_name(lane))] = {{"rows", one.rows},
                                           {"oldest_sequence", one.oldest_sequence},
                                           {"next_sequence", one.next_sequence},
                                           {"bytes", one.bytes},
                                           {"shed", one.shed_rows},
                                           {"expired", one.expired_rows},
                                           {"corrupt", one.corrupt_rows}};
  }
  return {{"spool_id", stats.spool_id.hex()},
          {"health", std::move(health)},
          {"health_text", std::move(health_text)},
          {"bytes", stats.bytes},
          {"fill", spool.fill()},
          {"written_bytes", stats.written_bytes},
          {"device_bytes", stats.device_bytes},
          {"segments", stats.segments},
          {"commits", stats.commits},
          {"frames", stats.frames},
          {"commit_p50_s", static_cast<double>(stats.commit_p50.count()) * 1e-9},
          {"commit_p99_s", static_cast<double>(stats.commit_p99.count()) * 1e-9},
          {"lanes", std::move(lanes)}};
}

Json describe_sink(const PlacedSink& sink) {
  const DeliveryCounts& counts = sink.counts();
  Json json = {{"name", sink.name},
               {"type", sink.kind},
               {"send", sink.send == Send::kEarly ? "early" : "durable"},
               {"submitted", counts.submitted.get()},
               {"delivered", counts.delivered.get()},
               {"retried", counts.retried.get()},
               {"rejected", counts.rejected.get()},
               {"expired", counts.expired.get()},
               {"trouble", sink.trouble()}};
  if (sink.delivery != nullptr) {
    json["pending"] = sink.delivery->pending();
  }
  return json;
}

}  // namespace

Nanos cpu_of(const Agent::Parts& parts, const PlacedPipeline& pipeline, CpuStage stage) {
  Nanos cpu{0};
  for (const Scoring* scoring : pipeline.scorings) {
    cpu += scoring->times().cpu(stage);
  }
  for (const PlacedSource& source : parts.sources) {
    for (const Intake* intake : source.intakes) {
      cpu += source.pipeline == pipeline.name ? intake->times().cpu(stage) : Nanos{0};
    }
  }
  return cpu;
}

std::string describe_agent(Agent::Parts& parts) {
  const std::lock_guard lock(parts.changing);
  const EdgeConfig& config = parts.plan->config();
  Json json = {{"edge_id", config.edge.id},
               {"version", parts.options.version},
               {"revision", fmt::format("{:016x}", parts.plan->revision())},
               {"uptime_s", static_cast<double>((io::mono_now() - parts.started).count()) * 1e-9},
               {"ready", parts.health.ready()},
               {"workers", config.workers}};
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  json["process"] = {{"cpu_s", seconds(usage.ru_utime) + seconds(usage.ru_stime)},
                     {"rss_bytes", telemetry::resident_bytes()},
                     {"peak_rss_bytes", std::uint64_t(usage.ru_maxrss) * 1024}};
  json["sources"] = Json::array();
  for (const PlacedSource& source : parts.sources) {
    json["sources"].push_back(describe_source(source));
  }
  json["pipelines"] = Json::array();
  for (const PlacedPipeline& pipeline : parts.pipelines) {
    json["pipelines"].push_back(describe_pipeline(pipeline));
  }
  json["models"] = Json::array();
  for (const model::Registry::Entry& entry : parts.plan->models().list()) {
    json["models"].push_back({{"name", entry.name},
                              {"model", entry.model->name()},
                              {"version", entry.model->version()},
                              {"path", entry.model->path()},
                              {"digest", entry.model->digest()},
                              {"bytes", entry.model->file_bytes()},
                              {"provider", entry.model->provider()},
                              {"threads", entry.model->threads()}});
  }
  json["sinks"] = Json::array();
  for (const std::unique_ptr<PlacedSink>& sink : parts.sinks) {
    json["sinks"].push_back(describe_sink(*sink));
  }
  json["store"] = describe_store(*parts.spool);
  json["uplink"] = Json::parse(describe_uplink(parts));
  return json.dump();
}

void register_metrics(Agent::Parts& parts) {
  telemetry::Registry& metrics = parts.metrics;
  const auto counter = [&](std::string_view name, std::string_view help, telemetry::Labels labels,
                           std::function<std::uint64_t()> read) {
    parts.callbacks.push_back(
        metrics.counter_from(name, help, std::move(labels),
                             [read = std::move(read)] { return static_cast<double>(read()); }));
  };
  const auto gauge = [&](std::string_view name, std::string_view help, telemetry::Labels labels,
                         std::function<double()> read) {
    parts.callbacks.push_back(metrics.gauge_from(name, help, std::move(labels), std::move(read)));
  };
  // Every part below outlives the callbacks: ~Agent() drops them first.
  for (const PlacedSource& source : parts.sources) {
    const auto readings = [&](const char* outcome, std::function<std::uint64_t()> read) {
      counter("headwater_source_readings_total",
              "Readings by what became of them; received = all the others and those in flight.",
              {{"source", source.name}, {"outcome", outcome}}, std::move(read));
    };
    const auto outcome = [&](const char* which, std::uint64_t SourceSums::*member) {
      readings(which, [&source, member] { return sums_of(source).*member; });
    };
    outcome("received", &SourceSums::received);
    outcome("duplicate", &SourceSums::duplicate);
    outcome("filtered", &SourceSums::filtered);
    outcome("dead_letter", &SourceSums::dead_letter);
    outcome("stored", &SourceSums::stored);
    outcome("thinned", &SourceSums::thinned);
    outcome("refused", &SourceSums::refused);
    counter("headwater_source_errors_total", "Reads of the source that failed.",
            {{"source", source.name}}, [&source] { return sums_of(source).errors; });
    gauge("headwater_source_in_flight_readings", "Readings taken and not yet committed.",
          {{"source", source.name}},
          [&source] { return static_cast<double>(sums_of(source).in_flight); });
    counter("headwater_source_received_bytes_total", "Payload bytes taken.",
            {{"source", source.name}}, [&source] { return sums_of(source).bytes; });
    counter("headwater_source_closed_connections_total",
            "Connections of a listener that it refused or ended itself.", {{"source", source.name}},
            [&source] {
              std::uint64_t all = 0;
              for (const auto& [reason, count] : sums_of(source).closed) {
                all += count;
              }
              return all;
            });
    gauge("headwater_source_open_connections", "Open connections of a listening source.",
          {{"source", source.name}},
          [&source] { return static_cast<double>(sums_of(source).connections); });
    gauge("headwater_source_subscriptions", "Subscriptions of connected clients of a listener.",
          {{"source", source.name}},
          [&source] { return static_cast<double>(sums_of(source).subscriptions); });
    counter("headwater_source_refused_subscriptions_total",
            "Subscriptions to topics that are not the client's own command topics.",
            {{"source", source.name}}, [&source] { return sums_of(source).refused_subscriptions; });
  }
  for (const PlacedPipeline& pipeline : parts.pipelines) {
    const auto sum = [&](std::string_view name, std::string_view help,
                         Count ScoringCounts::*member) {
      counter(name, help, {{"pipeline", pipeline.name}}, [&pipeline, member] {
        std::uint64_t total = 0;
        for (const Scoring* scoring : pipeline.scorings) {
          total += (scoring->counts().*member).get();
        }
        return total;
      });
    };
    sum("headwater_pipeline_scored_readings_total", "Readings that got a score.",
        &ScoringCounts::scored);
    sum("headwater_pipeline_unscored_readings_total",
        "Readings without a score: dropped behind the append, missing inputs, failed step.",
        &ScoringCounts::unscored);
    sum("headwater_pipeline_alerts_total", "Alerts, and alarm episodes raised.",
        &ScoringCounts::alerts);
    sum("headwater_pipeline_cleared_alerts_total", "Alarm episodes cleared.",
        &ScoringCounts::cleared);
    sum("headwater_pipeline_offline_alerts_total", "Devices that vanished without good-bye.",
        &ScoringCounts::offline);
    counter("headwater_pipeline_model_calls_total", "Model calls.", {{"pipeline", pipeline.name}},
            [&parts, &pipeline] {
              const std::lock_guard lock(parts.changing);
              std::uint64_t calls = 0;
              for (const std::shared_ptr<DetectCounts>& detect : pipeline.detects) {
                calls += detect->calls.load();
              }
              return calls;
            });
  }
  // What the worker does for no pipeline (deliver, loop) is in process_cpu_seconds_total only.
  for (const PlacedPipeline& pipeline : parts.pipelines) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(CpuStage::kDeliver); ++i) {
      const auto stage = static_cast<CpuStage>(i);
      parts.callbacks.push_back(metrics.counter_from(
          "headwater_stage_cpu_seconds_total",
          "CPU time of workers by stage: take, decode, filter, enrich, window, infer, decide, "
          "store, ack. Writing the log and the uplink have threads of their own.",
          {{"pipeline", pipeline.name}, {"stage", std::string(cpu_stage_name(stage))}},
          [&parts, &pipeline, stage] {
            return static_cast<double>(cpu_of(parts, pipeline, stage).count()) * 1e-9;
          }));
    }
  }
  for (const PlacedPipeline& pipeline : parts.pipelines) {
    const auto learned = [&](std::string_view name, std::string_view help,
                             std::function<double()> read) {
      gauge(name, help, {{"pipeline", pipeline.name}}, [&parts, read = std::move(read)] {
        const std::lock_guard lock(parts.changing);
        return read();
      });
    };
    learned("headwater_model_call_fixed_seconds",
            "What a model call costs whatever its rows, as learned; of several models their sum.",
            [&pipeline] { return call_cost_of(pipeline).fixed_s; });
    learned("headwater_model_call_row_seconds", "What each row adds to a model call, likewise.",
            [&pipeline] { return call_cost_of(pipeline).row_s; });
    learned("headwater_model_call_tail_seconds",
            "What 1 in 100 model calls takes more than that, likewise.",
            [&pipeline] { return call_cost_of(pipeline).tail_s; });
    learned("headwater_model_chosen_rows",
            "Rows of a model call at most: what the objective leaves, never above max_rows.",
            [&pipeline] { return static_cast<double>(chosen_rows(pipeline)); });
    gauge(
        "headwater_pipeline_objective_seconds",
        "The latency objective, from a reading's arrival to its decision's commit; 0 without one.",
        {{"pipeline", pipeline.name}}, [&pipeline] { return objective_of(pipeline).seconds; });
    gauge("headwater_pipeline_objective_met_ratio",
          "The part of the decisions of the last 10 s or so that kept to the objective.",
          {{"pipeline", pipeline.name}}, [&pipeline] { return objective_of(pipeline).met; });
    counter("headwater_pipeline_late_decisions_total",
            "Decisions that were durable later than the objective says.",
            {{"pipeline", pipeline.name}}, [&pipeline] { return objective_of(pipeline).late; });
  }
  for (const std::unique_ptr<PlacedSink>& sink : parts.sinks) {
    const DeliveryCounts* counts = &sink->counts();
    counter("headwater_sink_delivered_alerts_total", "Alerts the receiver has.",
            {{"sink", sink->name}}, [counts] { return counts->delivered.get(); });
    counter("headwater_sink_rejected_alerts_total", "Alerts the receiver refused for good.",
            {{"sink", sink->name}}, [counts] { return counts->rejected.get(); });
    counter("headwater_sink_expired_alerts_total",
            "Alerts too old to act on when their turn came (max_age).", {{"sink", sink->name}},
            [counts] { return counts->expired.get(); });
  }
  register_uplink_metrics(parts);
  const Spool* spool = parts.spool.get();
  gauge("headwater_store_size_bytes", "Size of the spool on disk.", {},
        [spool] { return static_cast<double>(spool->stats().bytes); });
  gauge(
      "headwater_store_takes_rows",
      "1 while the store takes rows; 0 while it is full (on_full: refuse or block) or its disk is "
      "full or fails.",
      {}, [spool] { return spool->takes_rows() ? 1.0 : 0.0; });
  gauge("headwater_store_fill_ratio", "What is needed, not delivered yet, as a part of max_bytes.",
        {}, [spool] { return spool->fill(); });
  counter("headwater_store_commits_total", "Commits (one fdatasync each).", {},
          [spool] { return spool->stats().commits; });
  counter("headwater_store_written_bytes_total", "Bytes written to the disk.", {},
          [spool] { return spool->stats().written_bytes; });
  counter("headwater_store_device_bytes_total", "Bytes of the 4 KiB blocks that commits touched.",
          {}, [spool] { return spool->stats().device_bytes; });
  gauge("headwater_store_commit_p99_seconds", "99th percentile of the last commits.", {},
        [spool] { return static_cast<double>(spool->stats().commit_p99.count()) * 1e-9; });
  for (const Lane lane : kAllLanes) {
    counter("headwater_store_rows_total", "Rows committed by this process.",
            {{"lane", std::string(lane_name(lane))}},
            [spool, lane] { return spool->stats().lanes[index_of(lane)].rows; });
    gauge("headwater_store_lane_bytes", "Bytes of a lane's rows that are not let go.",
          {{"lane", std::string(lane_name(lane))}}, [spool, lane] {
            return static_cast<double>(spool->stats().lanes[index_of(lane)].bytes);
          });
    counter("headwater_store_expired_rows_total", "Rows that grew too old undelivered.",
            {{"lane", std::string(lane_name(lane))}},
            [spool, lane] { return spool->stats().lanes[index_of(lane)].expired_rows; });
    counter("headwater_store_shed_rows_total", "Rows let go behind gap records.",
            {{"lane", std::string(lane_name(lane))}},
            [spool, lane] { return spool->stats().lanes[index_of(lane)].shed_rows; });
  }
}

}  // namespace headwater
