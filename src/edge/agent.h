// Agent: a running edge: spool, workers, sinks and the two listeners, built from a Plan.
//
//   auto agent = HW_TRY(Agent::start(std::move(plan), {.version = "0.1.0"}));
//   … until SIGTERM …
//   agent->drain(std::chrono::seconds(20));   // finish what was taken, then disconnect
//
// Thread rule: start, drain and the destructor from one thread; the rest from any.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "edge/plan.h"
#include "pipeline/sink.h"
#include "pipeline/source.h"
#include "pipeline/stage_clock.h"
#include "telemetry/metrics.h"

namespace headwater {

// What stands at the ends of the pipelines instead of what the config says there, so that a config
// can be tried without its devices and receivers. What is not given is the config's own.
struct AgentEnds {
  // One source per worker for a source of the config, or nothing for its own.
  std::function<std::vector<std::unique_ptr<Source>>(std::string_view name,
                                                     std::span<io::Loop* const> loops)>
      sources;
  std::function<std::unique_ptr<Sink>(std::string_view name)> sink;
  std::function<std::unique_ptr<UplinkTarget>()> uplink;
  bool servers = true;  // health and admin listeners
};

struct AgentOptions {
  std::string version;
  AgentEnds ends{};
};

// CPU time that one stage took on all workers; the pipeline is "" where it belongs to none.
struct StageCpu {
  std::string pipeline;
  CpuStage stage = CpuStage::kLoop;
  Nanos cpu{0};
};

// One option that a reload found changed.
struct ReloadedOption {
  std::string path;    // "pipelines.main.steps[4].decide.alert_when"
  std::string before;  // as text; "" where it was not there, or in a step; "***" when secret
  std::string after;
  bool applied = false;  // false: it needs a restart, and the old value stays
};

class Agent {
 public:
  // `metrics` is the one the plan was made with. Everything is bound and ready when it returns.
  static Result<std::unique_ptr<Agent>> start(std::unique_ptr<Plan> plan,
                                              telemetry::Registry& metrics, AgentOptions options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // At most `limit`; what is not finished by then goes on at the next start.
  void drain(Nanos limit);
  // Every source has ended and all its rows are decided, committed and their alerts delivered; the
  // uplink, which is told that nothing more will come, has sent everything.
  bool finished() const;

  // Takes over what `fresh` changes in live options (models, steps, log); the rest stays and is
  // named. Rows go on flowing: each worker changes over between two batches, and a step keeps its
  // state where that fits the new options. `metrics` and the origins of the plan outlive the agent.
  // On an error everything runs on as it was. One at a time, from the thread that started.
  Result<std::vector<ReloadedOption>> reload(std::unique_ptr<Plan> fresh);

  // The JSON of /api/v1/status.
  std::string status_json() const;
  // Up to now; each worker is asked, so not from their threads.
  std::vector<StageCpu> stage_cpu() const;
  // "127.0.0.1:1884" of a listening source; "" if there is none of that name.
  std::string address_of(std::string_view source) const;
  std::string health_address() const;
  std::string admin_address() const;

  struct Parts;  // parts.h

 private:
  explicit Agent(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace headwater
