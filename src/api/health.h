// The health listener: /livez, /readyz, /startupz for kubelet and systemd, /metrics for Prometheus.
// It serves no payloads, so it may be bound where the probes come from.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "protocol/http/router.h"
#include "telemetry/metrics.h"

namespace headwater::api {

// What the probes answer. Set from any thread.
//
//   startupz  200 once started() was called
//   readyz    200 once started and while no reason against it is set
//   livez     200 while every watched loop beats; a loop that hangs is worth a restart
class HealthState {
 public:
  void set_started() { started_.store(true); }
  bool started() const { return started_.load(); }

  // A part that is not ready says so under its name, and clears it with an empty reason.
  void set_not_ready(std::string_view part, std::string_view reason);
  void set_ready(std::string_view part) { set_not_ready(part, {}); }
  // A part that is asked whenever somebody wants to know: an empty text is ready. Called from any
  // thread; before the first answer.
  void add_check(std::string part, std::function<std::string()> reason);
  bool ready() const;

  // Something whose silence means a hang: `beat()` at least every `limit`, any thread, one store.
  class Heart {
   public:
    void beat();

   private:
    friend class HealthState;
    std::string name_;
    std::chrono::nanoseconds limit_{};
    std::atomic<std::int64_t> last_ns_{0};
  };
  // The reference stays valid as long as the state.
  Heart& watch(std::string_view name, std::chrono::milliseconds limit);
  bool live() const;

  // {"status":"ready","reasons":{}} and the like.
  struct Answer {
    bool ok = false;
    std::string json;
  };
  Answer startup_answer() const;
  Answer ready_answer() const;
  Answer live_answer() const;

 private:
  std::atomic<bool> started_{false};
  // What does not hold, by part; with the checks.
  std::map<std::string, std::string, std::less<>> reasons() const;

  mutable std::mutex mutex_;
  std::map<std::string, std::string, std::less<>> reasons_;
  std::vector<std::pair<std::string, std::function<std::string()>>> checks_;
  std::vector<std::unique_ptr<Heart>> hearts_;
};

// Adds the four routes. State and registry outlive the server.
Status add_health_routes(http::Router& router, const HealthState& state,
                         const telemetry::Registry& registry);

}  // namespace headwater::api
