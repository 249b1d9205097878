#include "workbench/measure.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

namespace headwater::workbench {
namespace {

constexpr int kOpenings = 6;                   // of each session in a comparison
constexpr double kBlockSeconds = 2e-3;         // a turn is at least so long
constexpr std::uint64_t kMaxBlock = 1U << 16;  // calls
constexpr int kBootstraps = 1000;
constexpr int kLeastRounds = 30;

double seconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Span {
  double wall = 0;
  double cpu = 0;
};

class Stopwatch {
 public:
  explicit Stopwatch(int threads)
      : cpu_clock_(threads > 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_THREAD_CPUTIME_ID) {}

  Result<Span> time(Session& session, std::uint64_t calls) const {
    const double wall = seconds_of(CLOCK_MONOTONIC);
    const double cpu = seconds_of(cpu_clock_);
    for (std::uint64_t i = 0; i < calls; ++i) {
      HW_TRY(session.run_bound());
    }
    return Span{.wall = seconds_of(CLOCK_MONOTONIC) - wall, .cpu = seconds_of(cpu_clock_) - cpu};
  }

 private:
  clockid_t cpu_clock_;
};

// A turn: a call that is not timed brings the session's data back into the cache, then `calls`.
Result<Span> turn(Session& session, const Stopwatch& watch, std::uint64_t calls) {
  HW_TRY(session.run_bound());
  return watch.time(session, calls);
}

// Calls that take about kBlockSeconds of CPU time; the fastest of a few tries, so that a neighbour
// does not make it small.
Result<std::uint64_t> block_of(Session& session, const Stopwatch& watch) {
  std::uint64_t calls = 1;
  while (true) {
    double least = 1e9;
    for (int i = 0; i < 3; ++i) {
      least = std::min(least, HW_TRY(turn(session, watch, calls)).cpu);
    }
    if (least >= kBlockSeconds / 2 || calls >= kMaxBlock) {
      const double wanted = static_cast<double>(calls) * kBlockSeconds / std::max(least, 1e-9);
      return std::clamp<std::uint64_t>(
          static_cast<std::uint64_t>(std::min(wanted, static_cast<double>(kMaxBlock))), 1,
          kMaxBlock);
    }
    calls *= 2;
  }
}

}  // namespace

double quantile(std::span<const double> sorted, double p) {
  if (sorted.empty()) {
    return 0;
  }
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - static_cast<double>(below));
}

Result<Latency> measure(Session& session, const MeasureOptions& options, const Progress& progress) {
  const Stopwatch watch(options.threads);
  for (std::uint64_t i = 0; i < options.warm_up; ++i) {
    HW_TRY(session.run_bound());
  }
  std::vector<double> walls;
  std::vector<double> cpus;
  const double start = seconds_of(CLOCK_MONOTONIC);
  double spent = 0;
  while (walls.empty() || (spent < options.seconds && walls.size() < options.max_calls)) {
    const Span span = HW_TRY(watch.time(session, 1));
    walls.push_back(span.wall * 1e3);
    cpus.push_back(span.cpu * 1e3);
    spent = seconds_of(CLOCK_MONOTONIC) - start;
    if ((walls.size() & 63U) == 0 || span.wall > 0.05) {
      report(progress, "bench", static_cast<std::uint64_t>(spent * 1e3),
             static_cast<std::uint64_t>(options.seconds * 1e3));
    }
  }
  Latency latency;
  latency.calls = walls.size();
  latency.mean =
      std::accumulate(walls.begin(), walls.end(), 0.0) / static_cast<double>(walls.size());
  std::sort(walls.begin(), walls.end());
  std::sort(cpus.begin(), cpus.end());
  latency.p50 = quantile(walls, 0.5);
  latency.p90 = quantile(walls, 0.9);
  latency.p99 = quantile(walls, 0.99);
  latency.least = walls.front();
  latency.cpu_p50 = quantile(cpus, 0.5);
  latency.calls_per_second = static_cast<double>(walls.size()) / spent;
  return latency;
}

Ratio ratio_of_logs(std::vector<double> logs, std::uint64_t seed) {
  if (logs.empty()) {
    return {};
  }
  std::mt19937_64 random(seed);
  std::vector<double> medians;
  std::vector<double> drawn(logs.size());
  const auto middle = static_cast<std::ptrdiff_t>(logs.size() / 2);
  for (int i = 0; i < kBootstraps; ++i) {
    for (double& value : drawn) {
      value = logs[random() % logs.size()];
    }
    std::nth_element(drawn.begin(), drawn.begin() + middle, drawn.end());
    medians.push_back(drawn[logs.size() / 2]);
  }
  std::sort(medians.begin(), medians.end());
  std::sort(logs.begin(), logs.end());
  return {.value = std::exp(quantile(logs, 0.5)),
          .low = std::exp(quantile(medians, 0.025)),
          .high = std::exp(quantile(medians, 0.975))};
}

std::uint64_t least_calls(const MeasureOptions& options) {
  constexpr std::uint64_t kTurn = 2;  // one that is not timed, and one that is
  constexpr std::uint64_t kBlocks = 2 * 3 * kTurn;
  constexpr std::uint64_t kRounds = kLeastRounds / kOpenings + 1;
  return kOpenings * (2 * options.warm_up + kBlocks + kRounds * 4 * kTurn);
}

Result<SideBySide> measure_side_by_side(const OpenSession& first, const OpenSession& second,
                                        const MeasureOptions& options, const Progress& progress) {
  const Stopwatch watch(options.threads);
  std::vector<double> cpu_logs;
  std::vector<double> wall_logs;
  std::vector<double> first_ms;
  std::vector<double> second_ms;
  const double total = options.seconds * 2;
  const double start = seconds_of(CLOCK_MONOTONIC);
  for (int opening = 0; opening < kOpenings; ++opening) {
    // The order of opening alternates: whoever comes second finds another heap.
    std::unique_ptr<Session> a;
    std::unique_ptr<Session> b;
    if (opening % 2 == 0) {
      a = HW_TRY(first().with("first model"));
      b = HW_TRY(second().with("second model"));
    } else {
      b = HW_TRY(second().with("second model"));
      a = HW_TRY(first().with("first model"));
    }
    for (std::uint64_t i = 0; i < options.warm_up; ++i) {
      HW_TRY(a->run_bound());
      HW_TRY(b->run_bound());
    }
    const std::uint64_t calls_a = HW_TRY(block_of(*a, watch));
    const std::uint64_t calls_b = HW_TRY(block_of(*b, watch));
    const double until = start + total * (opening + 1) / kOpenings;
    int rounds = 0;
    do {
      const bool turned = rounds % 2 == 1;
      Session& one = turned ? *b : *a;
      Session& other = turned ? *a : *b;
      const std::uint64_t calls_one = turned ? calls_b : calls_a;
      const std::uint64_t calls_other = turned ? calls_a : calls_b;
      const Span w1 = HW_TRY(turn(one, watch, calls_one));
      const Span w2 = HW_TRY(turn(other, watch, calls_other));
      const Span w3 = HW_TRY(turn(other, watch, calls_other));
      const Span w4 = HW_TRY(turn(one, watch, calls_one));
      const double cpu_one = (w1.cpu + w4.cpu) / static_cast<double>(2 * calls_one);
      const double cpu_other = (w2.cpu + w3.cpu) / static_cast<double>(2 * calls_other);
      const double wall_one = (w1.wall + w4.wall) / static_cast<double>(2 * calls_one);
      const double wall_other = (w2.wall + w3.wall) / static_cast<double>(2 * calls_other);
      const double sign = turned ? -1 : 1;
      cpu_logs.push_back(sign * std::log(cpu_one / cpu_other));
      wall_logs.push_back(sign * std::log(wall_one / wall_other));
      first_ms.push_back((turned ? cpu_other : cpu_one) * 1e3);
      second_ms.push_back((turned ? cpu_one : cpu_other) * 1e3);
      ++rounds;
      report(progress, "side by side",
             static_cast<std::uint64_t>((seconds_of(CLOCK_MONOTONIC) - start) * 1e3),
             static_cast<std::uint64_t>(total * 1e3));
    } while (seconds_of(CLOCK_MONOTONIC) < until || rounds < kLeastRounds / kOpenings + 1);
  }
  SideBySide result;
  result.rounds = cpu_logs.size();
  result.cpu = ratio_of_logs(cpu_logs, options.seed);
  result.wall = ratio_of_logs(wall_logs, options.seed);
  std::sort(first_ms.begin(), first_ms.end());
  std::sort(second_ms.begin(), second_ms.end());
  result.first_ms = quantile(first_ms, 0.5);
  result.second_ms = quantile(second_ms, 0.5);
  return result;
}

}  // namespace headwater::workbench
