// The uplink of an agent: built, told about, measured.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "edge/parts.h"

namespace headwater {
namespace {

using Json = nlohmann::ordered_json;

// By the monotonic clock: of a row of an earlier boot, the time of this boot.
double age_s(const LaneStream& stream) {
  const std::optional<MonoTime> oldest = stream.oldest();
  return oldest ? std::max(0.0, static_cast<double>((io::mono_now() - *oldest).count()) * 1e-9) : 0;
}

}  // namespace

bool decides(const PipelineConfig& config) {
  return std::any_of(config.steps.begin(), config.steps.end(), [](const config::Node& step) {
    const config::Node::Entry* entry = step.only_entry();
    return entry != nullptr && (entry->name == "detect" || entry->name == "decide");
  });
}

Status make_uplink(Agent::Parts& parts) {
  if (!parts.plan->has_uplink()) {
    return {};
  }
  config::Diagnostics diagnostics;
  MadeUplink made = parts.plan->make_uplink(diagnostics);
  HW_TRY(diagnostics.status());
  if (parts.options.ends.uplink) {
    made.target = parts.options.ends.uplink();
  }
  parts.uplink = HW_TRY(Uplink::create({.made = std::move(made),
                                        .spool = parts.spool.get(),
                                        .edge_id = parts.plan->config().edge.id,
                                        .scored = parts.scored}));
  return {};
}

std::string describe_uplink(const Agent::Parts& parts) {
  if (parts.uplink == nullptr) {
    return "null";
  }
  Json json = {{"type", parts.plan->config().uplink.find("type")->text()},
               {"to", parts.uplink->where()},
               {"restarts", parts.uplink->restarts()}};
  json["lanes"] = Json::array();
  for (const std::unique_ptr<LaneStream>& stream : parts.uplink->streams()) {
    const LaneStreamCounts& counts = stream->counts();
    json["lanes"].push_back({{"lane", std::string(lane_name(stream->lane()))},
                             {"state", std::string(lane_state_name(stream->state()))},
                             {"pending", stream->pending()},
                             {"oldest_pending_s", age_s(*stream)},
                             {"cursor", stream->cursor()},
                             {"live_first", stream->is_split()},
                             {"ahead", stream->ahead()},
                             {"delivered", counts.rows.get()},
                             {"delivered_live", counts.live_rows.get()},
                             {"let_go_underway", counts.underway.get()},
                             {"delivered_bytes", counts.bytes.get()},
                             {"batches", counts.batches.get()},
                             {"sent_bytes", counts.sent_bytes.get()},
                             {"retries", counts.retries.get()},
                             {"refused", counts.refused.get()},
                             {"silences", counts.silences.get()},
                             {"trouble", stream->trouble()}});
  }
  return json.dump();
}

void register_uplink_metrics(Agent::Parts& parts) {
  if (parts.uplink == nullptr) {
    return;
  }
  telemetry::Registry& metrics = parts.metrics;
  parts.callbacks.push_back(metrics.counter_from(
      "headwater_uplink_restarts_total",
      "How often the target was closed and started anew because its receiver stayed silent.", {},
      [uplink = parts.uplink.get()] { return static_cast<double>(uplink->restarts()); }));
  for (const std::unique_ptr<LaneStream>& owned : parts.uplink->streams()) {
    const LaneStream* stream = owned.get();
    const telemetry::Labels labels = {{"lane", std::string(lane_name(stream->lane()))}};
    const auto counter = [&](std::string_view name, std::string_view help,
                             Count LaneStreamCounts::*member) {
      parts.callbacks.push_back(metrics.counter_from(name, help, labels, [stream, member] {
        return static_cast<double>((stream->counts().*member).get());
      }));
    };
    const auto gauge = [&](std::string_view name, std::string_view help,
                           std::function<double()> read) {
      parts.callbacks.push_back(metrics.gauge_from(name, help, labels, std::move(read)));
    };
    counter("headwater_uplink_delivered_rows_total", "Rows the receiver has stored.",
            &LaneStreamCounts::rows);
    counter("headwater_uplink_delivered_bytes_total",
            "Bytes of the batches the receiver has stored, compressed.", &LaneStreamCounts::bytes);
    counter("headwater_uplink_delivered_batches_total", "Batches the receiver has stored.",
            &LaneStreamCounts::batches);
    counter("headwater_uplink_sent_bytes_total", "Bytes of all attempts.",
            &LaneStreamCounts::sent_bytes);
    counter("headwater_uplink_retries_total", "Attempts that were not the first of their batch.",
            &LaneStreamCounts::retries);
    counter("headwater_uplink_refused_rows_total",
            "Rows that the receiver takes in no batch (413, 400, 422); they are dead letters.",
            &LaneStreamCounts::refused);
    counter("headwater_uplink_let_go_underway_rows_total",
            "Rows the receiver has stored that a full store let go while they were on their way: "
            "the store's gap records count them too.",
            &LaneStreamCounts::underway);
    counter("headwater_uplink_live_rows_total",
            "Rows the receiver has stored that went in front of a backlog.",
            &LaneStreamCounts::live_rows);
    counter("headwater_uplink_silences_total",
            "Attempts that were given up, on a connection that stood, because nothing moved any "
            "more. The next one has a new connection.",
            &LaneStreamCounts::silences);
    gauge("headwater_uplink_pending_rows", "Rows committed that the receiver has not stored.",
          [stream] { return static_cast<double>(stream->pending()); });
    gauge("headwater_uplink_ahead_rows",
          "Rows the receiver has stored that lie behind rows it has not: they went in front of a "
          "backlog.",
          [stream] { return static_cast<double>(stream->ahead()); });
    gauge("headwater_uplink_oldest_pending_seconds",
          "Age of the oldest row that the receiver has not stored, in time of this boot.",
          [stream] { return age_s(*stream); });
    gauge("headwater_uplink_parked_ratio",
          "1 while the receiver refuses in a way that a person has to mend.",
          [stream] { return stream->state() == LaneState::kParked ? 1.0 : 0.0; });
  }
}

}  // namespace headwater
