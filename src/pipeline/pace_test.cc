#include "pipeline/pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace headwater {
namespace {

constexpr double kMs = 1e6;

// One worker and one pipeline on a clock of its own: rows arrive at random, the worker takes what
// is there whenever it is free.
struct Simulation {
  CostLine truth;
  double rate = 0;  // rows a second; 0: there are always more
  Nanos objective{};
  std::size_t fixed_batch = 0;  // 0: as Pace says
  double jitter = 0.1;
  double spikes = 0;  // of a neighbour, a second of work
  double spike_ns = 2 * kMs;
  double commit_ns = 0.4 * kMs;
  double seconds = 5;         // the first is for learning
  double slower_from = 1e9;   // second at which the machine has half of its speed
  std::size_t intake = 4096;  // rows that one batch may bring

  struct Result {
    double p99_ms = 0;
    double rate = 0;
    double met = 0;         // by Pace's own account
    std::size_t waits = 0;  // times that the worker was idle with rows there
    std::size_t largest = 0;
  };
  Result run() {
    std::mt19937_64 random(42);
    std::uniform_real_distribution<double> uniform(0, 1);
    std::exponential_distribution<double> gap(rate > 0 ? rate : 1);
    Pace pace(objective);
    Result result;
    std::vector<double> ages;
    std::deque<double> queue;  // arrival times, ns
    double now = 0;
    double next_arrival = gap(random) * 1e9;
    double done = 0;
    while (now < seconds * 1e9) {
      if (rate > 0) {
        for (; next_arrival <= now; next_arrival += gap(random) * 1e9) {
          queue.push_back(next_arrival);
        }
        if (queue.empty()) {
          now = next_arrival;
          continue;
        }
      } else {
        while (queue.size() < intake) {
          queue.push_back(now);
        }
      }
      const Nanos oldest(static_cast<std::int64_t>(now - queue.front()));
      const std::size_t most = fixed_batch != 0 ? fixed_batch : pace.rows(oldest);
      const std::size_t rows = std::min({most, queue.size(), intake});
      double took = truth.at(rows) * (1 + jitter * uniform(random));
      took *= now > slower_from * 1e9 ? 2 : 1;
      took += uniform(random) < took * 1e-9 * spikes ? spike_ns * uniform(random) : 0;
      now += took;
      pace.stepped(rows, Nanos(static_cast<std::int64_t>(took)));
      pace.committed(Nanos(static_cast<std::int64_t>(commit_ns)));
      result.largest = std::max(result.largest, rows);
      for (std::size_t i = 0; i < rows; ++i) {
        const double age = now + commit_ns - queue.front();
        queue.pop_front();
        if (now > 1e9) {
          ages.push_back(age);
          pace.decided(1, Nanos(static_cast<std::int64_t>(age)), {static_cast<std::int64_t>(now)});
        }
      }
      done += static_cast<double>(rows);
    }
    std::sort(ages.begin(), ages.end());
    result.p99_ms = ages.empty() ? 0 : ages[ages.size() * 99 / 100] / kMs;
    result.rate = done / (now * 1e-9);
    result.met = pace.met();
    return result;
  }
};

struct Model {
  const char* name;
  CostLine cost;
  Nanos objective;
};

const Model kModels[] = {
    {"small", {.fixed_ns = 5'000, .row_ns = 600}, std::chrono::milliseconds(20)},
    {"small, tight", {.fixed_ns = 5'000, .row_ns = 600}, std::chrono::milliseconds(3)},
    {"middle", {.fixed_ns = 0.2 * kMs, .row_ns = 20'000}, std::chrono::milliseconds(20)},
    {"dear calls", {.fixed_ns = 1 * kMs, .row_ns = 10'000}, std::chrono::milliseconds(30)},
    {"dear rows", {.fixed_ns = 0.1 * kMs, .row_ns = 0.5 * kMs}, std::chrono::milliseconds(50)},
};

// The rate of the best fixed batch with which a row that comes at a bad moment is still in time.
double best_fixed_rate(const Model& model, double spikes) {
  double best = 0;
  for (std::size_t batch = 1; batch <= 4096; batch *= 2) {
    const double step = model.cost.at(batch);
    if (batch > 1 && 2 * step + 0.4 * kMs > static_cast<double>(model.objective.count())) {
      break;
    }
    Simulation fixed;
    fixed.truth = model.cost;
    fixed.objective = model.objective;
    fixed.fixed_batch = batch;
    fixed.spikes = spikes;
    fixed.seconds = 0.5;
    best = std::max(best, fixed.run().rate);
  }
  return best;
}

TEST(Pace, HoldsTheObjectiveFrom10To90PercentOfSaturation) {
  for (const Model& model : kModels) {
    for (const double spikes : {0.0, 10.0}) {
      Simulation full;
      full.truth = model.cost;
      full.objective = model.objective;
      full.spikes = spikes;
      full.seconds = 2;
      const double saturation = full.run().rate;
      EXPECT_GE(saturation, 0.8 * best_fixed_rate(model, spikes)) << model.name;
      for (int percent = 10; percent <= 90; percent += 20) {
        Simulation part = full;
        part.rate = saturation * percent / 100;
        part.seconds = 1 + std::clamp(100'000 / part.rate, 0.5, 30.0);
        const Simulation::Result result = part.run();
        EXPECT_LE(result.p99_ms, static_cast<double>(model.objective.count()) / kMs)
            << model.name << " at " << percent << " %, spikes " << spikes;
        EXPECT_NEAR(result.rate, part.rate, 0.1 * part.rate) << model.name;
        EXPECT_GE(result.met, 0.985) << model.name << " at " << percent << " %";
      }
    }
  }
}

TEST(Pace, HoldsItOnAMachineThatBecomesSlower) {
  Simulation half;
  half.truth = kModels[2].cost;
  half.objective = kModels[2].objective;
  half.rate = 0.4 / half.truth.row_ns * 1e9;  // 80 % of what is left
  half.slower_from = 3;
  half.seconds = 10;
  const Simulation::Result result = half.run();
  EXPECT_LE(result.p99_ms, 20.0);
}

TEST(Pace, KeepsStepsShortInABurstSoThatItsFirstRowsAreInTime) {
  Pace pace(std::chrono::milliseconds(20), {.fixed_ns = 10'000, .row_ns = 10'000});
  // 4,096 rows at once are 41 ms of work.
  const std::size_t steady = pace.rows(Nanos{0});
  EXPECT_LE(steady, 1000U);
  EXPECT_GE(steady, 400U);
  EXPECT_EQ(steady, pace.steady_rows());
  EXPECT_GT(pace.rows(std::chrono::milliseconds(15)), steady)
      << "too late for the oldest: now the rate counts";
  EXPECT_LE(pace.rows(std::chrono::hours(1)), 2000U) << "a step is never longer than the objective";
}

TEST(Pace, AllowsForTheCommit) {
  Pace pace(std::chrono::milliseconds(20), {.fixed_ns = 10'000, .row_ns = 10'000});
  const std::size_t before = pace.steady_rows();
  for (int i = 0; i < 64; ++i) {
    pace.committed(std::chrono::milliseconds(8));
  }
  EXPECT_EQ(pace.commit(), std::chrono::milliseconds(8));
  EXPECT_LT(pace.steady_rows(), before * 7 / 10);
  for (int i = 0; i < 256; ++i) {
    pace.committed(std::chrono::milliseconds(100));  // a disk that cannot
  }
  EXPECT_GE(pace.steady_rows(), 400U) << "half of the objective is always left for steps";
}

TEST(Pace, SaysWhenOneRowAloneIsTooSlow) {
  Pace slow(std::chrono::milliseconds(20), {.fixed_ns = 0, .row_ns = 30 * kMs});
  EXPECT_TRUE(slow.out_of_reach()) << "known before the first row";
  EXPECT_EQ(slow.steady_rows(), 1U);
  for (int i = 0; i < 400; ++i) {
    slow.stepped(1, std::chrono::milliseconds(18));
  }
  EXPECT_TRUE(slow.out_of_reach()) << "within the margin it does not change its mind";
  for (int i = 0; i < 400; ++i) {
    slow.stepped(1, std::chrono::milliseconds(5));
  }
  EXPECT_FALSE(slow.out_of_reach());
}

TEST(Pace, WithoutAnObjectiveNothingIsBounded) {
  Pace pace;
  for (int i = 0; i < 100; ++i) {
    pace.stepped(1, std::chrono::milliseconds(5));
  }
  EXPECT_EQ(pace.rows(Nanos{0}), CostLine::kMostRows);
  EXPECT_FALSE(pace.out_of_reach());
}

TEST(Pace, ForgetsDecisionsOfLongAgo) {
  Pace pace(std::chrono::milliseconds(20));
  EXPECT_EQ(pace.met(), 1.0);
  const auto at = [](int second) { return MonoTime{second * 1'000'000'000LL}; };
  pace.decided(100, std::chrono::milliseconds(30), at(1));
  EXPECT_EQ(pace.met(), 0.0);
  pace.decided(100, std::chrono::milliseconds(20), at(1));
  EXPECT_EQ(pace.met(), 0.5);
  pace.decided(100, std::chrono::milliseconds(1), at(61));
  EXPECT_GT(pace.met(), 0.99);
}

}  // namespace
}  // namespace headwater
