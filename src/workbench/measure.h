// Latency of models, and the ratio of two measured side by side.
//
// Alone: warm-up, then calls until the time is up; wall and CPU time of each.
//
// Side by side: the models take turns in short blocks (first, second, second, first), so that what
// else the machine does hits all alike; sessions are opened anew several times, because where the
// allocator puts weights shifts a small model by some percent. A round gives the logarithm of the
// time ratio; the estimate is the median of rounds, its 95 % interval a bootstrap over rounds. The
// ratio is of CPU time (of the thread; of the process with more threads than one), which a busy
// neighbour disturbs least; the ratio of wall time stands beside it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/progress.h"
#include "workbench/session.h"

namespace headwater::workbench {

struct Latency {
  std::uint64_t calls = 0;
  // Milliseconds of wall time.
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double least = 0;
  double cpu_p50 = 0;  // milliseconds of CPU time
  double calls_per_second = 0;
};

struct MeasureOptions {
  double seconds = 2.0;       // per model, warm-up apart
  std::uint64_t warm_up = 3;  // calls
  std::uint64_t max_calls = 1'000'000;
  int threads = 1;         // of the sessions: says which CPU clock counts
  std::uint64_t seed = 1;  // of the bootstrap
};

// The session has its inputs bound.
Result<Latency> measure(Session& session, const MeasureOptions& options,
                        const Progress& progress = {});

struct Ratio {
  double value = 1;  // first model's time / second's: above 1, the second is faster
  double low = 1;    // 95 % interval
  double high = 1;
};

struct SideBySide {
  Ratio cpu;
  Ratio wall;
  std::uint64_t rounds = 0;
  double first_ms = 0;  // median CPU time of a call
  double second_ms = 0;
};

// Opens a session with bound inputs; called several times.
using OpenSession = std::function<Result<std::unique_ptr<Session>>()>;

Result<SideBySide> measure_side_by_side(const OpenSession& first, const OpenSession& second,
                                        const MeasureOptions& options,
                                        const Progress& progress = {});

// Calls that a comparison makes however slow they are, of both sessions together: an interval takes
// that many rounds.
std::uint64_t least_calls(const MeasureOptions& options);

// Median of `logs` with a 95 % bootstrap interval, as exp(). Deterministic by seed.
Ratio ratio_of_logs(std::vector<double> logs, std::uint64_t seed);
// The p-quantile (0 to 1) of sorted values, linear between ranks; 0 for none.
double quantile(std::span<const double> sorted, double p);

}  // namespace headwater::workbench
