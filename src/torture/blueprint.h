// Blueprint: the pipeline under torture, made of the real parts of a config, and what an
// uninterrupted run of it decides. Without a model: a window, an expression that scores, an alarm.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostics.h"
#include "edge/plan.h"
#include "pipeline/scoring.h"
#include "telemetry/metrics.h"
#include "torture/fleet.h"

namespace headwater::torture {

// The steps, as they stand in the config of a real run too.
inline constexpr std::string_view kSteps = R"yaml(
      - window: {by: device_id, rows: 5, add: {mean_value: "mean(value)", spread: "std(value)"}}
      - enrich: {set: {score: "mean_value / 100.0"}}
      - decide: {alert_when: "score > 0.8", clear_when: "score < 0.5", on_delay: "2 of 3"}
)yaml";

// A stored row, for the run without faults.
struct StoredMessage {
  MessageName name;
  std::string device;
  std::string topic;
  std::string sender;
  std::string payload;
  WallTime time;
  WallTime received;
  Id128 identity;
};

// What was decided: alerts per device in order, as they go out; a score per message.
struct Decided {
  std::map<std::uint32_t, std::vector<std::string>> alerts;  // by device
  std::map<MessageName, double> scores;
};

class Blueprint {
 public:
  static Result<std::unique_ptr<Blueprint>> make();

  std::unique_ptr<Decode> make_decode() const;
  Scoring::Steps make_steps() const;
  // Of these rows in this order, in one run without a restart.
  Result<Decided> decide(std::span<const StoredMessage> rows) const;
  telemetry::Histogram& latency() const { return latency_; }

 private:
  Blueprint() = default;
  telemetry::Registry metrics_;
  mutable telemetry::Histogram latency_;
  std::unique_ptr<Plan> plan_;
  SourceSet sources_;
};

}  // namespace headwater::torture
