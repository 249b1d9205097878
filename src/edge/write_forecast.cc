#include "edge/write_forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/strings.h"
#include "io/loop.h"

namespace headwater {
namespace {

constexpr double kBlock = 4096;
// Of a row, beside its payload: a topic of 20 bytes, times, lengths. And its decision.
constexpr double kRowBytes = 36;
constexpr double kDecisionBytes = 9;
// Of a transaction: headers of two frames, heads of their entries, first times, cursor, sequences.
constexpr double kTransactionBytes = 340;
// A worker takes what has arrived while it was at the readings before: its round.
constexpr double kRound = 0.00015;
constexpr double kOrdinaryCommit = 0.0003;
constexpr double kQuietMost = 0.001;
constexpr double kMostWindow = 0.020;
// Decisions of a commit that waits for nobody come in one of their own.
constexpr double kScoringTime = 0.0001;
constexpr double kSecondsPerDay = 86'400;
constexpr double kJournalCommit = 3 * kBlock;
constexpr double kJournalEvery = 5.0;
// The inode's own block is written where it belongs, at times.
constexpr double kInodeEvery = 30.0;

// Commits per second when the first reading after a commit began waits for `window` and the commit
// takes `sync`: the mean of max(Exp(rate) + window, sync).
double commits_at(double rate, double window, double sync) {
  const double rest = std::max(sync - window, 0.0);
  return 1 / (window + rest + std::exp(-rate * rest) / rate);
}

double window_of(const std::optional<Nanos>& fixed, double rate, double sync) {
  if (fixed) {
    return static_cast<double>(fixed->count()) * 1e-9;
  }
  const double busy = std::min(sync, kMostWindow);
  const double quiet = std::exp(-3 * rate * sync);  // nothing came for two syncs after the last one
  return quiet * std::min(sync, kQuietMost) + (1 - quiet) * busy;
}

}  // namespace

WriteForecast forecast_writes(const StoreConfig& store, const ExpectedLoad& load) {
  WriteForecast out;
  const double rate = load.readings_per_second;
  out.log = rate * (load.reading_bytes + kRowBytes + kDecisionBytes) +
            kTransactionBytes / (1 / rate + kRound);
  out.commit_seconds =
      load.commit_time ? static_cast<double>(load.commit_time->count()) * 1e-9 : kOrdinaryCommit;
  std::optional<Nanos> fixed;
  if (const Result<Nanos> delay = parse_duration(store.commit_delay)) {
    fixed = *delay;
  }
  const double window = window_of(fixed, rate, out.commit_seconds);
  out.commits = commits_at(rate, window, out.commit_seconds);
  if (window < kScoringTime) {
    out.commits = std::min(2 * out.commits, std::max(1 / out.commit_seconds, out.commits));
  } else if (!fixed && store.write_budget) {
    const double budget = static_cast<double>(store.write_budget->bytes) / kSecondsPerDay;
    const double allowed = (budget - out.log) / kBlock;
    const double least = commits_at(rate, kMostWindow, out.commit_seconds);
    out.commits = std::min(out.commits, std::max(allowed, least));
  }
  out.store = out.log + out.commits * kBlock;

  const double timed = (1 - std::exp(-kJournalEvery * out.commits)) / kJournalEvery;
  const double reach_new = std::min(out.commits, out.log / kBlock);
  const double inode = std::min(out.commits, 1 / kInodeEvery) * kBlock;
  out.journal = timed * kJournalCommit + inode;
  out.new_journal =
      (reach_new + timed * std::exp(-kJournalEvery * reach_new)) * kJournalCommit + inode;
  return out;
}

Result<Nanos> measure_commit_time(io::Files& files, std::string_view dir) {
  constexpr std::size_t kTimes = 100;
  constexpr std::size_t kBytes = 512;
  const std::string path = std::string(dir) + "/commit-time.tmp";
  const auto measure = [&]() -> Result<Nanos> {
    const auto file = HW_TRY(files.open(path, io::OpenMode::kCreate));
    // Written once before, as a segment that is used again.
    HW_TRY(file->pwrite(0, std::string(kTimes * kBytes, '\0')));
    HW_TRY(file->sync());
    const std::string bytes(kBytes, 'x');
    std::array<Nanos, kTimes> took{};
    for (std::size_t i = 0; i < kTimes; ++i) {
      const MonoTime began = io::mono_now();
      HW_TRY(file->pwrite(i * kBytes, bytes));
      HW_TRY(file->sync());
      took[i] = io::mono_now() - began;
    }
    std::nth_element(took.begin(), took.begin() + kTimes / 2, took.end());
    return took[kTimes / 2];
  };
  Result<Nanos> measured = measure();
  (void)files.remove(path);
  return measured;
}

}  // namespace headwater
