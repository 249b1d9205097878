#include "pipeline/shares.h"

#include <gtest/gtest.h>

#include <vector>

namespace headwater {
namespace {

// Pipelines with a step's cost and a weight each; those that are busy always have more to do.
struct Party {
  double step_ns = 1000;
  double weight = 1;
  bool busy = true;
  double cpu_ns = 0;
  std::size_t steps = 0;
  double longest_wait_ns = 0;  // of others' time between two of its steps
  double waited_ns = 0;
};

class SharesTest : public testing::Test {
 protected:
  void add(Party party) {
    parties.push_back(party);
    shares.add();
  }
  // One worker: rounds of 2 ms until so much time has gone.
  void run(double for_ns) {
    double now = 0;
    while (now < for_ns) {
      shares.begin();
      double round = 0;
      while (const auto who = shares.next()) {
        Party& one = parties[*who];
        const double took = one.busy ? one.step_ns : 0;
        shares.used(*who, Nanos(static_cast<std::int64_t>(took)), one.weight, one.busy);
        if (one.busy) {
          account(*who, took);
        }
        round += took;
        if (round > 2e6) {
          break;
        }
      }
      now += std::max(round, 1000.0);
    }
  }
  void account(std::size_t who, double took) {
    parties[who].cpu_ns += took;
    ++parties[who].steps;
    parties[who].longest_wait_ns = std::max(parties[who].longest_wait_ns, parties[who].waited_ns);
    parties[who].waited_ns = 0;
    for (std::size_t i = 0; i < parties.size(); ++i) {
      parties[i].waited_ns += i != who ? took : 0;
    }
  }
  double share(std::size_t who) const {
    double all = 0;
    for (const Party& one : parties) {
      all += one.cpu_ns;
    }
    return parties[who].cpu_ns / all;
  }

  std::vector<Party> parties;
  Shares shares;
};

TEST_F(SharesTest, BusyPipelinesShareTheCpuByWeight) {
  add({.step_ns = 50'000, .weight = 1});
  add({.step_ns = 7'000, .weight = 3});
  add({.step_ns = 400'000, .weight = 6});
  run(5e9);
  EXPECT_NEAR(share(0), 0.1, 0.01);
  EXPECT_NEAR(share(1), 0.3, 0.01);
  EXPECT_NEAR(share(2), 0.6, 0.01);
}

TEST_F(SharesTest, ASlowOneDoesNotStarveTheOthers) {
  add({.step_ns = 100e6});
  add({.step_ns = 100'000});
  run(20e9);
  EXPECT_NEAR(share(0), 0.5, 0.01);
  EXPECT_GT(parties[1].steps, 90'000U);
  EXPECT_LE(parties[1].longest_wait_ns, 100e6) << "one step of the slow one, never two";
}

TEST_F(SharesTest, AnIdleOneLeavesItsShareToTheOthers) {
  add({.weight = 1});
  add({.weight = 100, .busy = false});
  run(1e9);
  EXPECT_EQ(share(0), 1.0);
}

TEST_F(SharesTest, IdleTimeIsNotSavedUp) {
  add({});
  add({.busy = false});
  run(10e9);
  parties[1].busy = true;
  parties[0].cpu_ns = 0;
  parties[0].longest_wait_ns = 0;
  run(1e9);
  EXPECT_NEAR(share(0), 0.5, 0.01);
  EXPECT_LE(parties[0].longest_wait_ns, 10'000.0) << "it never waits for the other to catch up";
}

TEST_F(SharesTest, OneAloneGoesAsOftenAsItLikes) {
  add({});
  run(1e9);
  EXPECT_GT(parties[0].steps, 900'000U);
}

TEST(Shares, NobodyIsAskedTwiceWhoIsDone) {
  Shares shares;
  EXPECT_FALSE(shares.next());
  shares.add();
  shares.add();
  shares.begin();
  EXPECT_EQ(shares.next(), 0U);
  shares.used(0, Nanos(10), 1, false);
  EXPECT_EQ(shares.next(), 1U);
  shares.used(1, Nanos(10), 1, false);
  EXPECT_FALSE(shares.next());
  shares.begin();
  EXPECT_TRUE(shares.next());
}

}  // namespace
}  // namespace headwater
