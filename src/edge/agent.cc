#include "edge/agent.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "edge/parts.h"
#include "pipeline/worker.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr Nanos kFlushLimit = std::chrono::seconds(10);

}  // namespace

Agent::Agent(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Agent::~Agent() {
  if (parts_ == nullptr) {
    return;
  }
  if (!parts_->drained) {
    drain(Nanos{0});
  }
  {
    const std::lock_guard lock(parts_->fanout->mutex);
    parts_->fanout->workers.clear();
    parts_->fanout->uplink = nullptr;
  }
  parts_->callbacks.clear();
  parts_->admin_server.reset();
  parts_->health_server.reset();
  for (const std::unique_ptr<Worker>& worker : parts_->workers) {
    worker->stop();
    worker->release();
  }
  parts_->workers.clear();
}

Result<std::unique_ptr<Agent>> Agent::start(std::unique_ptr<Plan> plan,
                                            telemetry::Registry& metrics, AgentOptions options) {
  auto parts = std::make_unique<Parts>(metrics);
  parts->options = std::move(options);
  parts->plan = std::move(plan);
  std::unique_ptr<Agent> agent(new Agent(std::move(parts)));
  HW_TRY(build_agent(*agent->parts_));
  return agent;
}

void Agent::drain(Nanos limit) {
  const MonoTime until = io::mono_now() + limit;
  parts_->drained = true;
  parts_->health.set_not_ready("edge", "draining");
  if (parts_->spool != nullptr) {
    parts_->spool->hurry();
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t waiting = 0;
  for (const std::unique_ptr<Worker>& worker : parts_->workers) {
    if (!worker->running()) {
      continue;
    }
    {
      const std::lock_guard lock(mutex);
      ++waiting;
    }
    worker->drain(limit, [&] {
      const std::lock_guard lock(mutex);
      --waiting;
      changed.notify_all();
    });
  }
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return waiting == 0; });
  }
  // Behind the workers: their last alerts go out too.
  if (parts_->uplink != nullptr) {
    parts_->uplink->drain(std::max(until - io::mono_now(), Nanos{0}));
  }
  if (parts_->spool != nullptr) {
    if (Status flushed = parts_->spool->flush(kFlushLimit); !flushed) {
      log::error("the last commit did not finish", {{"error", flushed.error()}});
    }
  }
  for (const std::unique_ptr<Worker>& worker : parts_->workers) {
    worker->stop();
  }
}

bool Agent::finished() const {
  if (std::all_of(parts_->workers.begin(), parts_->workers.end(),
                  [](const auto& worker) { return worker->sources_ended(); })) {
    parts_->spool->hurry();  // nothing comes any more that it could wait for
  }
  for (const std::unique_ptr<Worker>& worker : parts_->workers) {
    if (!worker->finished()) {
      return false;
    }
  }
  if (parts_->uplink == nullptr) {
    return true;
  }
  parts_->uplink->finish();
  return parts_->uplink->settled();
}

std::string Agent::status_json() const {
  return describe_agent(*parts_);
}

std::vector<StageCpu> Agent::stage_cpu() const {
  for (const std::unique_ptr<Worker>& worker : parts_->workers) {
    worker->settle_times();
  }
  std::vector<StageCpu> all;
  for (std::size_t i = 0; i < kCpuStages; ++i) {
    const auto stage = static_cast<CpuStage>(i);
    Nanos own{0};
    for (const std::unique_ptr<Worker>& worker : parts_->workers) {
      own += worker->own_times().cpu(stage);
    }
    all.push_back({{}, stage, own});
    for (const PlacedPipeline& pipeline : parts_->pipelines) {
      all.push_back({pipeline.name, stage, cpu_of(*parts_, pipeline, stage)});
    }
  }
  return all;
}

std::string Agent::address_of(std::string_view source) const {
  for (const PlacedSource& placed : parts_->sources) {
    if (placed.name == source && !placed.intakes.empty()) {
      const auto* listening = dynamic_cast<const Listening*>(&placed.intakes.front()->source());
      return listening == nullptr ? std::string() : listening->address();
    }
  }
  return {};
}

std::string Agent::health_address() const {
  return parts_->health_server == nullptr ? std::string() : parts_->health_server->address();
}
std::string Agent::admin_address() const {
  return parts_->admin_server == nullptr ? std::string() : parts_->admin_server->address();
}

}  // namespace headwater
