#include "pipeline/cost_learner.h"

#include <gtest/gtest.h>

#include <random>

namespace headwater {
namespace {

// A machine whose calls cost fixed + row × rows, up to a tenth more, and now and then a spike.
class Machine {
 public:
  double fixed = 3'000;
  double row = 50;
  double spike_rate = 0.05;
  double spike_ns = 4e6;  // a tick of the scheduler

  Nanos call(std::size_t rows) {
    double ns = (fixed + row * static_cast<double>(rows)) * (1 + 0.1 * uniform_(random_));
    if (uniform_(random_) < spike_rate) {
      ns += spike_ns * uniform_(random_);
    }
    return Nanos(static_cast<std::int64_t>(ns));
  }
  // Rows of a call whose size follows the load: most are about `typical`.
  std::size_t rows(double typical) {
    return 1 + static_cast<std::size_t>(2 * typical * uniform_(random_));
  }
  void feed(CostLearner& cost, double typical, int calls) {
    for (int i = 0; i < calls; ++i) {
      const std::size_t n = rows(typical);
      cost.add(n, call(n));
    }
  }

 private:
  std::mt19937 random_{7};
  std::uniform_real_distribution<double> uniform_{0, 1};
};

void expect_close(const CostLearner& cost, const Machine& machine, std::size_t rows, double by) {
  const double truth = machine.fixed + machine.row * static_cast<double>(rows);
  EXPECT_NEAR(cost.curve().at(rows), truth, by * truth) << rows << " rows";
}

TEST(CostLearner, FindsFixedAndRowCostUnderANeighboursSpikes) {
  Machine machine;
  CostLearner cost;
  for (int i = 0; i < 40; ++i) {
    machine.feed(cost, 2, 25);
    machine.feed(cost, 40, 25);
    machine.feed(cost, 400, 25);
  }
  EXPECT_NEAR(cost.curve().fixed_ns, machine.fixed, 0.2 * machine.fixed);
  EXPECT_NEAR(cost.curve().row_ns, machine.row, 0.15 * machine.row);
  EXPECT_GT(cost.tail_ns(), 1e6) << "5 of 100 calls have a spike of 2 ms on average";
  EXPECT_LE(cost.tail_ns(), 4.1e6);
}

TEST(CostLearner, HasNoTailToSpeakOfOnAQuietMachine) {
  Machine machine;
  machine.spike_rate = 0;
  CostLearner cost;
  machine.feed(cost, 100, 2000);
  EXPECT_LT(cost.tail_ns(), 0.15 * cost.curve().at(200));
}

TEST(CostLearner, FollowsAMachineThatBecomesSlowerAndFasterWithinSomeTensOfCalls) {
  Machine machine;
  CostLearner cost;
  machine.feed(cost, 100, 2000);
  expect_close(cost, machine, 100, 0.15);
  machine.fixed *= 3;
  machine.row *= 3;
  machine.feed(cost, 100, 200);
  expect_close(cost, machine, 100, 0.25);
  machine.fixed /= 6;
  machine.row /= 6;
  machine.feed(cost, 100, 200);
  expect_close(cost, machine, 100, 0.25);
}

TEST(CostLearner, ASingleSizeKeepsTheShapeOfTheStart) {
  CostLearner cost({.fixed_ns = 10'000, .row_ns = 100});
  EXPECT_EQ(cost.curve().at(100), 20'000);
  for (int i = 0; i < 400; ++i) {
    cost.add(64, Nanos(2 * (10'000 + 6'400)));  // the machine has half of the speed
  }
  EXPECT_NEAR(cost.curve().at(64), 32'800, 300);
  EXPECT_GT(cost.curve().at(512), cost.curve().at(64)) << "still a cost per row";
}

TEST(CostLearner, IsNeverNegative) {
  CostLearner cost;
  for (int i = 0; i < 200; ++i) {  // larger calls cost less: caches, or chance
    cost.add(1, Nanos(50'000));
    cost.add(500, Nanos(40'000));
  }
  EXPECT_GE(cost.curve().fixed_ns, 0);
  EXPECT_GE(cost.curve().row_ns, 0);
  CostLearner steep;
  for (int i = 0; i < 200; ++i) {  // dearer by the row the more there are
    steep.add(1, Nanos(10));
    steep.add(500, Nanos(500'000));
  }
  EXPECT_GE(steep.curve().fixed_ns, 0);
  EXPECT_GE(steep.curve().row_ns, 0);
}

TEST(CostLearner, SaysSomethingFromTheFirstCallOn) {
  CostLearner cost;
  EXPECT_FALSE(cost.curve().known());
  cost.add(10, Nanos(1000));
  EXPECT_TRUE(cost.curve().known());
  EXPECT_EQ(cost.curve().at(10), 1000);
}

TEST(CostLine, RowsWithinATime) {
  const CostLine line{.fixed_ns = 1000, .row_ns = 10};
  EXPECT_EQ(line.rows_within(2000), 100U);
  EXPECT_EQ(line.rows_within(1), 1U) << "a call has a row";
  EXPECT_EQ((CostLine{.fixed_ns = 5, .row_ns = 0}).rows_within(10), CostLine::kMostRows);
}

}  // namespace
}  // namespace headwater
