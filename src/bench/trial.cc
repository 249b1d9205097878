#include "bench/trial.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "io/loop.h"
#include "telemetry/process.h"

namespace headwater::bench {
namespace {

constexpr Nanos kWatchEvery = std::chrono::milliseconds(50);
constexpr Nanos kSettlePoll = std::chrono::milliseconds(10);
constexpr Nanos kDrain = std::chrono::seconds(20);
// What the backlog may grow by: a share of what was offered, and what comes in a moment.
constexpr double kBacklogShare = 0.02;
constexpr double kBacklogMoment = 0.05;

double seconds_of(clockid_t clock) {
  timespec at{};
  clock_gettime(clock, &at);
  return static_cast<double>(at.tv_sec) + static_cast<double>(at.tv_nsec) * 1e-9;
}

double seconds_of(Nanos time) {
  return static_cast<double>(time.count()) * 1e-9;
}

// CPU seconds of the threads of this process with that name.
double thread_cpu(std::string_view name) {
  double total = 0;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    std::string comm;
    std::ifstream(task.path() / "comm") >> comm;
    double nanos = 0;
    if (comm == name && std::ifstream(task.path() / "schedstat") >> nanos) {
      total += nanos * 1e-9;
    }
  }
  return total;
}

// CPU seconds that the machine was busy with anything; 0 where it does not tell.
double machine_cpu() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  double user = 0;
  double nice = 0;
  double system = 0;
  double idle = 0;
  double waiting = 0;
  double interrupts = 0;
  double soft = 0;
  stat >> cpu >> user >> nice >> system >> idle >> waiting >> interrupts >> soft;
  return (user + nice + system + interrupts + soft) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

std::size_t index_of_stage(CpuStage stage) {
  return static_cast<std::size_t>(stage);
}

}  // namespace

void judge(Measurement& measured, const TrialSetup& setup) {
  const double objective = seconds_of(setup.objective);
  const double offered = measured.rate * measured.seconds;
  const double allowed =
      offered * kBacklogShare + measured.rate * std::min(objective, kBacklogMoment) + 1;
  const double decision = measured.decision.quantile(0.99);
  const double acknowledged = measured.acknowledged.quantile(0.99);
  // A message that comes when a commit has just begun waits for that one and for its own.
  const double committing = 2 * measured.commit_p99_s + seconds_of(setup.commit_wait);
  if (measured.lost != 0) {
    measured.why_not =
        fmt::format("{} readings were refused or thinned: the store is full", measured.lost);
  } else if (static_cast<double>(measured.backlog_growth) > allowed) {
    measured.why_not = fmt::format("the backlog grew by {} in {:.1f} s", measured.backlog_growth,
                                   measured.seconds);
  } else if (measured.load.acknowledged == 0 && offered >= 1) {
    measured.why_not = "nothing was acknowledged";
  } else if (decision > objective) {
    measured.why_not = fmt::format("p99 of decisions is {:.1f} ms", decision * 1e3);
  } else if ((setup.mode == Mode::kListener || measured.decided == 0) &&
             acknowledged > objective + committing) {
    measured.why_not = fmt::format("p99 of acknowledgements is {:.1f} ms, {:.1f} ms of it commits",
                                   acknowledged * 1e3, committing * 1e3);
  }
  measured.holds = measured.why_not.empty();
}

struct Trial::Snapshot {
  MonoTime at;
  LoadCounts load;
  std::uint64_t readings = 0;
  std::uint64_t scored = 0;
  std::uint64_t alerts = 0;
  std::uint64_t model_calls = 0;
  std::uint64_t lost = 0;
  std::uint64_t unscored = 0;  // pending and behind
  std::uint64_t in_flight = 0;
  std::uint64_t uplink_pending = 0;
  telemetry::HistogramSnapshot decision;
  telemetry::HistogramSnapshot acknowledged;
  telemetry::HistogramSnapshot batch_rows;
  std::array<double, kCpuStages> stage_s{};
  double spool_s = 0;
  double uplink_s = 0;
  double load_s = 0;
  double self_s = 0;  // of this thread
  double process_s = 0;
  double machine_s = 0;
  double commit_p99_s = 0;
};

Trial::Trial(telemetry::Registry& metrics, TrialSetup setup, std::unique_ptr<Load> load)
    : metrics_(metrics), setup_(std::move(setup)), load_(std::move(load)) {}

// The load's connections first, then the agent with the load's sources, then what they share.
Trial::~Trial() {
  load_->stop();
  agent_.reset();
}

Result<std::unique_ptr<Trial>> Trial::start(std::unique_ptr<Plan> plan,
                                            telemetry::Registry& metrics,
                                            const std::vector<Message>& messages,
                                            TrialSetup setup) {
  HW_CHECK(!messages.empty(), "the caller has messages");
  std::unique_ptr<Load> load = setup.mode == Mode::kListener
                                   ? make_listener_load(messages, setup.source, setup.connections)
                                   : make_in_process_load(messages, setup.source);
  std::unique_ptr<Trial> trial(new Trial(metrics, std::move(setup), std::move(load)));
  trial->agent_ = HW_TRY(Agent::start(
      std::move(plan), metrics, {.version = trial->setup_.version, .ends = trial->load_->ends()}));
  HW_TRY(trial->load_->start(*trial->agent_));
  return trial;
}

Trial::Snapshot Trial::take() const {
  Snapshot shot;
  const auto status = nlohmann::json::parse(agent_->status_json());
  for (const auto& source : status["sources"]) {
    shot.readings += source["received"].get<std::uint64_t>();
    shot.lost += source["refused"].get<std::uint64_t>() + source["thinned"].get<std::uint64_t>();
    shot.in_flight += source["in_flight"].get<std::uint64_t>();
  }
  for (const auto& pipeline : status["pipelines"]) {
    shot.scored += pipeline["scored"].get<std::uint64_t>();
    shot.alerts += pipeline["alerts"].get<std::uint64_t>();
    shot.model_calls += pipeline["model_calls"].get<std::uint64_t>();
    shot.unscored += pipeline["pending_rows"].get<std::uint64_t>() +
                     pipeline["behind_rows"].get<std::uint64_t>();
  }
  if (status["uplink"].is_object()) {
    for (const auto& lane : status["uplink"]["lanes"]) {
      shot.uplink_pending += lane["pending"].get<std::uint64_t>();
    }
  }
  const telemetry::Labels labels = {{"pipeline", setup_.pipeline}};
  shot.decision = metrics_.histogram("headwater_pipeline_decision_seconds", "", labels).snapshot();
  shot.batch_rows =
      metrics_.histogram("headwater_pipeline_batch_rows", "", labels, telemetry::kRows).snapshot();
  shot.acknowledged = load_->acknowledged().snapshot();
  shot.load = load_->counts();
  for (const StageCpu& one : agent_->stage_cpu()) {
    shot.stage_s[index_of_stage(one.stage)] += seconds_of(one.cpu);
  }
  shot.commit_p99_s = status["store"]["commit_p99_s"].get<double>();
  shot.machine_s = machine_cpu();
  shot.spool_s = thread_cpu("hw-spool");
  shot.uplink_s = thread_cpu("hw-uplink");
  shot.load_s = thread_cpu(kLoadThread);
  shot.self_s = seconds_of(CLOCK_THREAD_CPUTIME_ID);
  shot.process_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  shot.at = io::mono_now();
  return shot;
}

Measurement Trial::difference(const Snapshot& begin, const Snapshot& end) const {
  Measurement made;
  made.seconds = seconds_of(end.at - begin.at);
  made.load = {end.load.sent - begin.load.sent, end.load.acknowledged - begin.load.acknowledged,
               end.load.waiting};
  made.readings = end.readings - begin.readings;
  made.scored = end.scored - begin.scored;
  made.alerts = end.alerts - begin.alerts;
  made.model_calls = end.model_calls - begin.model_calls;
  made.lost = end.lost - begin.lost;
  const auto waits = [](const Snapshot& shot) {
    return static_cast<std::int64_t>(shot.load.waiting + shot.unscored + shot.in_flight);
  };
  made.backlog_growth = waits(end) - waits(begin);
  made.uplink_growth = static_cast<std::int64_t>(end.uplink_pending) -
                       static_cast<std::int64_t>(begin.uplink_pending);
  made.decision = end.decision.minus(begin.decision);
  made.acknowledged = end.acknowledged.minus(begin.acknowledged);
  made.batch_rows = end.batch_rows.minus(begin.batch_rows);
  made.decided = made.decision.count;

  double workers = 0;
  for (std::size_t i = 0; i < kCpuStages; ++i) {
    made.stage_s[i] = end.stage_s[i] - begin.stage_s[i];
    workers += made.stage_s[i];
  }
  const double spool = end.spool_s - begin.spool_s;
  made.uplink_s = end.uplink_s - begin.uplink_s;
  made.process_s = end.process_s - begin.process_s;
  made.generator_s = end.load_s - begin.load_s + end.self_s - begin.self_s;
  made.other_s = std::max(0.0, made.process_s - made.generator_s - workers - spool - made.uplink_s);
  made.others_s = std::max(0.0, end.machine_s - begin.machine_s - made.process_s);
  made.commit_p99_s = end.commit_p99_s;
  double& take = made.stage_s[index_of_stage(CpuStage::kTake)];
  if (setup_.mode == Mode::kInProcess) {
    made.generator_s += std::exchange(take, 0.0);  // the generator is the source
  }
  made.stage_s[index_of_stage(CpuStage::kStore)] += spool;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  made.rss_bytes = telemetry::resident_bytes();
  made.peak_rss_bytes = std::uint64_t(usage.ru_maxrss) * 1024;
  return made;
}

Result<Measurement> Trial::measure(double rate, Nanos warm_up, Nanos time, const Watch& watch) {
  const auto wait = [&](Nanos span) -> Status {
    const MonoTime until = io::mono_now() + span;
    for (MonoTime now = io::mono_now(); now < until; now = io::mono_now()) {
      if (!watch()) {
        return Error::cancelled("interrupted");
      }
      if (const std::string trouble = load_->trouble(); !trouble.empty()) {
        return Error::unavailable("{}", trouble);
      }
      std::this_thread::sleep_for(std::min(kWatchEvery, until - now));
    }
    return {};
  };
  load_->pace(rate);
  HW_TRY(wait(warm_up));
  const Snapshot begin = take();
  HW_TRY(wait(time));
  const Snapshot end = take();
  Measurement measured = difference(begin, end);
  measured.rate = rate;
  judge(measured, setup_);
  return measured;
}

bool Trial::settle(Nanos limit, const Watch& watch) {
  load_->pace(0);
  const MonoTime until = io::mono_now() + limit;
  for (;;) {
    const auto status = nlohmann::json::parse(agent_->status_json());
    std::uint64_t waits = 0;
    for (const auto& source : status["sources"]) {
      waits += source["in_flight"].get<std::uint64_t>();
    }
    for (const auto& pipeline : status["pipelines"]) {
      waits += pipeline["pending_rows"].get<std::uint64_t>() +
               pipeline["behind_rows"].get<std::uint64_t>();
    }
    const LoadCounts counts = load_->counts();
    if (waits == 0 && counts.sent == counts.acknowledged) {
      return true;
    }
    if (io::mono_now() > until || !watch()) {
      return false;
    }
    std::this_thread::sleep_for(kSettlePoll);
  }
}

LoadCounts Trial::finish() {
  (void)settle(kDrain, [] { return true; });
  const LoadCounts counts = load_->counts();
  load_->stop();
  agent_->drain(kDrain);
  return counts;
}

std::string Trial::trouble() const {
  std::string text;
  const auto status = nlohmann::json::parse(agent_->status_json());
  for (const char* part : {"sources", "pipelines", "sinks"}) {
    for (const auto& one : status[part]) {
      if (const auto trouble = one["trouble"].get<std::string>(); !trouble.empty()) {
        text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", one["name"].get<std::string>(),
                            trouble);
      }
    }
  }
  return text;
}

}  // namespace headwater::bench
