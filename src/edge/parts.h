// What an Agent owns; shared by the files that build it and that describe it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/health.h"
#include "api/tap.h"
#include "edge/agent.h"
#include "pipeline/worker.h"
#include "protocol/http/server.h"
#include "store/spool.h"
#include "uplink/uplink.h"

namespace headwater {

// Commits to workers. The spool's callbacks are never removed, so they go through this, which can
// be emptied.
struct CommitFanout {
  std::mutex mutex;
  std::vector<Worker*> workers;
  Uplink* uplink = nullptr;
};

// Where one configured sink is.
struct PlacedSink {
  std::string name;
  std::string kind;
  Send send = Send::kDurable;
  Sink* sink = nullptr;            // on worker 0
  Delivery* delivery = nullptr;    // of a durable sink
  EarlyDelivery* early = nullptr;  // of an early one

  const DeliveryCounts& counts() const {
    return delivery != nullptr ? delivery->counts() : early->counts();
  }
  std::string trouble() const {
    return delivery != nullptr ? delivery->trouble() : early->trouble();
  }
};

// One configured source on all workers.
struct PlacedSource {
  std::string name;
  std::string kind;
  std::string pipeline;
  std::vector<Intake*> intakes;
};

struct PlacedPipeline {
  std::string name;
  std::vector<Scoring*> scorings;  // one per worker
  // Of every step there was since the start, so that sums never fall. Guarded by Parts::changing.
  std::vector<std::shared_ptr<DetectCounts>> detects;
  std::vector<std::shared_ptr<DetectCounts>> detects_now;  // of the steps there are; likewise
  std::vector<std::weak_ptr<Trouble>> troubles;  // of the steps there are now; guarded likewise
};

struct Agent::Parts {
  explicit Parts(telemetry::Registry& registry) : metrics(registry) {}

  telemetry::Registry& metrics;
  AgentOptions options;
  std::mutex changing;  // over `plan` and what follows from it, against a reload
  std::unique_ptr<Plan> plan;
  MonoTime started;

  api::HealthState health;
  api::TapHub tap;

  // In the order of destruction from below: servers first, then workers (their readers), then the
  // spool.
  std::shared_ptr<CommitFanout> fanout = std::make_shared<CommitFanout>();
  std::unique_ptr<Spool> spool;
  std::unique_ptr<Uplink> uplink;  // null: none
  ScoredStreams scored;            // of pipelines that decide
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::unique_ptr<PlacedSink>> sinks;
  std::vector<PlacedSource> sources;
  std::vector<PlacedPipeline> pipelines;
  std::vector<telemetry::Registry::Callback> callbacks;
  std::unique_ptr<http::Server> health_server;
  std::unique_ptr<http::Server> admin_server;
  bool drained = false;
};

// agent_build.cc
Status build_agent(Agent::Parts& parts);
// Takes the stages out of `planned`.
Scoring::Steps scoring_steps(const PipelineConfig& config, std::uint64_t revision,
                             PlannedSteps& planned);
// agent_uplink.cc
Status make_uplink(Agent::Parts& parts);
bool decides(const PipelineConfig& config);
// JSON; "null" without one.
std::string describe_uplink(const Agent::Parts& parts);
void register_uplink_metrics(Agent::Parts& parts);
// agent_status.cc
std::string describe_agent(Agent::Parts& parts);
// Of its sources and steps on all workers, as of the last settling.
Nanos cpu_of(const Agent::Parts& parts, const PlacedPipeline& pipeline, CpuStage stage);
void register_metrics(Agent::Parts& parts);

}  // namespace headwater
