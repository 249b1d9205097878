// Trial: the edge of a config under a load, in this process and a folder of its own, and what it
// needs for it.
//
//   auto place = HW_TRY(Workplace::make(data_dir, ""));
//   ... a plan with place->sets() over the config ...
//   auto trial = HW_TRY(Trial::start(std::move(plan), metrics, messages, setup));
//   const Measurement measured = HW_TRY(trial->measure(10'000, warm_up, time, watch));
//
// Everything is as in `run`: steps, state, the spool with its commits. Other sources than the one
// that gets the load give nothing; sinks and the uplink's receiver are counters that answer at
// once.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "bench/load.h"
#include "edge/agent.h"
#include "telemetry/metrics.h"

namespace headwater::bench {

// A folder on the disk of data_dir, removed with all that is in it.
class Workplace {
 public:
  // Beside `data_dir`, inside it where it is a disk of its own, or in `parent` if given.
  // data_dir itself is neither made nor changed otherwise.
  static Result<std::unique_ptr<Workplace>> make(const std::string& data_dir,
                                                 const std::string& parent);
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  const std::string& path() const { return path_; }
  // What the config's store must not exceed here: half of what is free.
  std::uint64_t most_bytes() const { return most_bytes_; }

 private:
  Workplace(std::string path, std::uint64_t most) : path_(std::move(path)), most_bytes_(most) {}
  std::string path_;
  std::uint64_t most_bytes_;
};

enum class Mode : std::uint8_t { kInProcess, kListener };

struct TrialSetup {
  std::string version;
  Mode mode = Mode::kInProcess;
  std::string source;    // gets the load
  std::string pipeline;  // that it feeds
  std::size_t connections = 100;
  Nanos objective = std::chrono::milliseconds(20);
  Nanos commit_wait{0};  // what the config lets a commit wait for more rows, at most
};

// Of the config: commit_delay, or the 20 ms that a write_budget may take.
Nanos commit_wait_of(const StoreConfig& store);

// What --set must say so that a trial harms nobody: the folder, its size, and for a listener a free
// port on loopback and clients without a password.
std::vector<std::string> trial_sets(const Plan& plan, const Workplace& place, Mode mode,
                                    std::string_view source);

struct Measurement {
  double rate = 0;             // messages a second that were offered
  double seconds = 0;          // measured, without warm-up
  LoadCounts load;             // in that time; `waiting` at its end
  std::uint64_t readings = 0;  // taken by the source: messages, each element of an array one
  std::uint64_t decided = 0;
  std::uint64_t scored = 0;
  std::uint64_t alerts = 0;
  std::uint64_t model_calls = 0;
  std::uint64_t lost = 0;  // refused or thinned by a full store
  std::int64_t backlog_growth = 0;
  std::int64_t uplink_growth = 0;  // rows that the uplink fell behind

  telemetry::HistogramSnapshot decision;      // seconds
  telemetry::HistogramSnapshot acknowledged;  // seconds
  telemetry::HistogramSnapshot batch_rows;

  std::array<double, kCpuStages> stage_s{};  // CPU seconds of workers; `store` with the spool's
  double uplink_s = 0;
  double other_s = 0;      // threads that are none of these: those of a model, if it has some
  double process_s = 0;    // all of this process
  double generator_s = 0;  // of it, the load's and the measuring's
  double others_s = 0;     // CPU of all other processes of this machine
  double commit_p99_s = 0;
  std::uint64_t rss_bytes = 0;
  std::uint64_t peak_rss_bytes = 0;

  bool holds = false;
  std::string why_not;  // "p99 is 31 ms"

  double own_s() const { return process_s - generator_s; }
  // CPU of a stage in microseconds a reading.
  double us_per_reading(double cpu_seconds) const {
    return readings == 0 ? 0 : cpu_seconds * 1e6 / static_cast<double>(readings);
  }
};

// Sets `holds` and `why_not` by what was measured.
void judge(Measurement& measured, const TrialSetup& setup);

class Trial {
 public:
  // Called about every 50 ms of waiting; false ends it.
  using Watch = std::function<bool()>;

  // `messages` and `metrics`, with which the plan was made, outlive it.
  static Result<std::unique_ptr<Trial>> start(std::unique_ptr<Plan> plan,
                                              telemetry::Registry& metrics,
                                              const std::vector<Message>& messages,
                                              TrialSetup setup);
  ~Trial();
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  // Cancelled where `watch` said so.
  Result<Measurement> measure(double rate, Nanos warm_up, Nanos time, const Watch& watch);
  // No load until nothing waits, for `limit` at most. False: something still does.
  bool settle(Nanos limit, const Watch& watch);
  // Ends the load and drains; the totals of all measurements.
  LoadCounts finish();
  // What status says is wrong, part by part; "" for nothing.
  std::string trouble() const;

 private:
  struct Snapshot;
  Trial(telemetry::Registry& metrics, TrialSetup setup, std::unique_ptr<Load> load);
  Snapshot take() const;
  Measurement difference(const Snapshot& begin, const Snapshot& end) const;

  telemetry::Registry& metrics_;
  TrialSetup setup_;
  std::unique_ptr<Load> load_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace headwater::bench
