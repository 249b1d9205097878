#include "bench/search.h"

#include <gmock/gmock.h>

#include <random>

namespace headwater::bench {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::IsEmpty;
using testing::Le;

Measure holds_up_to(double limit) {
  return [limit](double rate, bool) -> Result<bool> { return rate <= limit; };
}

TEST(Search, FindsTheEdgeOfAMonotoneCurveWithinItsPrecision) {
  for (const double limit : {1.7, 37.0, 999.0, 1000.0, 54'321.0, 1.9e6, 1.5e7}) {
    const auto found = search_rate({}, holds_up_to(limit));
    ASSERT_TRUE(found.ok());
    EXPECT_THAT(found->held, AllOf(Le(limit), Ge(limit / 1.051))) << limit;
    EXPECT_FALSE(found->at_highest);
    EXPECT_TRUE(found->probes.back().confirmation && found->probes.back().holds);
    EXPECT_LT(found->probes.size(), 40U);
  }
}

TEST(Search, NeverHolds) {
  const auto found = search_rate({}, holds_up_to(0.5));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->held, 0);
  EXPECT_EQ(found->probes.back().rate, SearchOptions{}.lowest);
}

TEST(Search, HoldsEverythingAndSaysSo) {
  const auto found = search_rate({.highest = 50'000}, holds_up_to(1e12));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->held, 50'000);
  EXPECT_TRUE(found->at_highest);
}

// One measurement in ten fails although the rate would hold: a neighbour had the CPU.
TEST(Search, LoneFailuresDoNotMakeItSmall) {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    const auto found = search_rate({}, [&](double rate, bool confirmation) -> Result<bool> {
      return rate <= 300'000 && (confirmation || random() % 10 != 0);
    });
    ASSERT_TRUE(found.ok());
    EXPECT_LE(found->held, 300'000);
    EXPECT_GE(found->held, 100'000) << "seed " << seed;
  }
}

// Short measurements miss what long ones show: the answer is what the long ones hold.
TEST(Search, AnAnswerThatDoesNotStandTheLongRunIsLowered) {
  const auto found = search_rate({}, [](double rate, bool confirmation) -> Result<bool> {
    return rate <= (confirmation ? 90'000 : 100'000);
  });
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->held, AllOf(Le(90'000), Ge(80'000)));
}

TEST(Search, NoAnswerWhereNoLongRunHolds) {
  const auto found = search_rate({}, [](double rate, bool confirmation) -> Result<bool> {
    return !confirmation && rate < 5000;
  });
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->held, 0);
}

TEST(Search, AnErrorEndsIt) {
  int asked = 0;
  const auto found = search_rate({}, [&](double, bool) -> Result<bool> {
    ++asked;
    return Error::cancelled("interrupted");
  });
  EXPECT_EQ(found.error().code(), Code::kCancelled);
  EXPECT_EQ(asked, 1);
}

}  // namespace
}  // namespace headwater::bench
