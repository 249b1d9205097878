#include "edge/write_forecast.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>

#include "io/fault_files.h"
#include "store/commit_pacer.h"

namespace headwater {
namespace {

constexpr double kBlock = 4096;

StoreConfig with_delay(std::string delay) {
  StoreConfig store;
  store.commit_delay = std::move(delay);
  return store;
}

ExpectedLoad at(double rate, Nanos commit_time) {
  return {.readings_per_second = rate, .reading_bytes = 150, .commit_time = commit_time};
}

// Commits a second of the pacer itself, under Poisson arrivals and syncs that all take as long.
double simulated_commits(double rate, Nanos sync, std::optional<Nanos> fixed) {
  CommitPacer pacer(fixed);
  std::mt19937_64 random(7);
  std::exponential_distribution<double> gap(rate);
  const auto next_gap = [&] { return static_cast<std::int64_t>(gap(random) * 1e9); };
  std::int64_t arrival = next_gap();
  std::int64_t end = 0;
  constexpr int kCommits = 20'000;
  for (int i = 0; i < kCommits; ++i) {
    // `arrival` is the first that no commit has taken.
    const std::int64_t begin = std::max(arrival + pacer.window(MonoTime{arrival}).count(), end);
    while (arrival <= begin) {
      arrival += next_gap();
    }
    end = begin + sync.count();
    pacer.record(MonoTime{begin}, MonoTime{end}, 4096);
  }
  return kCommits / (static_cast<double>(end) * 1e-9);
}

TEST(WriteForecast, CommitsAreThoseOfThePacer) {
  for (const double rate : {1.0, 10.0, 100.0, 1000.0, 20'000.0}) {
    for (const auto sync : {std::chrono::microseconds(200), std::chrono::microseconds(1000),
                            std::chrono::microseconds(8000)}) {
      const double forecast = forecast_writes(with_delay("auto"), at(rate, sync)).commits;
      const double simulated = simulated_commits(rate, sync, std::nullopt);
      EXPECT_NEAR(forecast / simulated, 1, 0.1) << rate << "/s, " << sync.count() << " us";
    }
  }
}

TEST(WriteForecast, AFixedDelayIsKept) {
  for (const double rate : {1.0, 100.0, 5000.0}) {
    const auto sync = std::chrono::microseconds(500);
    const Nanos delay = std::chrono::milliseconds(10);
    const double forecast = forecast_writes(with_delay("10ms"), at(rate, sync)).commits;
    EXPECT_NEAR(forecast / simulated_commits(rate, sync, delay), 1, 0.05) << rate;
  }
}

TEST(WriteForecast, WithoutDelayDecisionsAreCommittedOnTheirOwn) {
  const auto slow = std::chrono::microseconds(300);
  EXPECT_NEAR(forecast_writes(with_delay("0s"), at(10, slow)).commits, 20, 0.5);
  // But never more than the disk can do.
  EXPECT_LE(forecast_writes(with_delay("0s"), at(100'000, slow)).commits, 1e9 / 300'000 + 1);
}

TEST(WriteForecast, AQuietEdgeWritesABlockACommitAndTheJournal) {
  const WriteForecast writes =
      forecast_writes(StoreConfig(), at(1, std::chrono::microseconds(300)));
  EXPECT_NEAR(writes.commits, 1, 0.01);
  EXPECT_NEAR(writes.store, kBlock + writes.log, 10);
  EXPECT_LT(writes.log, 700);
  EXPECT_NEAR(writes.journal, 3 * kBlock / 5, 300);
  EXPECT_GT(writes.new_total(), writes.total());
}

TEST(WriteForecast, UnderLoadRowsAreWhatIsWritten) {
  const WriteForecast writes =
      forecast_writes(StoreConfig(), at(500'000, std::chrono::milliseconds(1)));
  const double payload = 500'000 * 150;
  EXPECT_GT(writes.total(), payload);
  EXPECT_LT(writes.total(), 1.5 * payload);
}

TEST(WriteForecast, AWriteBudgetMakesFewerCommits) {
  StoreConfig store;
  const ExpectedLoad load = at(2000, std::chrono::microseconds(200));
  const double without = forecast_writes(store, load).store;
  store.write_budget = config::ByteSize{static_cast<std::uint64_t>(0.6 * without * 86'400)};
  EXPECT_NEAR(forecast_writes(store, load).store / without, 0.6, 0.05);
  store.write_budget = config::ByteSize{1};  // too small: nobody waits for more than 20 ms
  EXPECT_NEAR(forecast_writes(store, load).commits, 1 / 0.0205, 1);
}

TEST(MeasureCommitTime, LeavesNothingBehind) {
  io::FaultFiles files(1);
  ASSERT_TRUE(files.make_dir("data").ok());
  const Result<Nanos> measured = measure_commit_time(files, "data");
  ASSERT_TRUE(measured.ok()) << measured.error().text();
  EXPECT_GE(measured->count(), 0);
  EXPECT_TRUE(files.list("data").value().empty());
  files.fail(io::DiskCall::kSync, EIO);
  EXPECT_FALSE(measure_commit_time(files, "data").ok());
  EXPECT_TRUE(files.list("data").value().empty());
}

}  // namespace
}  // namespace headwater
