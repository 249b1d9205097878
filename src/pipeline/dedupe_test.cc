#include "pipeline/dedupe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace headwater {
namespace {

TEST(DedupeSet, KnowsAnIdUntilCapacityOthersCame) {
  DedupeSet set(3);
  EXPECT_TRUE(set.insert({1, 1}));
  EXPECT_FALSE(set.insert({1, 1}));
  EXPECT_TRUE(set.insert({2, 2}));
  EXPECT_TRUE(set.insert({3, 3}));
  EXPECT_TRUE(set.contains({1, 1}));
  EXPECT_TRUE(set.insert({4, 4}));
  EXPECT_FALSE(set.contains({1, 1}));
  EXPECT_TRUE(set.contains({2, 2}));
}

TEST(DedupeSet, ZeroIsAnIdLikeOthers) {
  DedupeSet set(2);
  EXPECT_FALSE(set.contains({0, 0}));
  EXPECT_TRUE(set.insert({0, 0}));
  EXPECT_FALSE(set.insert({0, 0}));
}

TEST(DedupeSet, ForgetsAnIdAsIfItHadNeverCome) {
  DedupeSet set(3);
  set.forget({9, 9});
  set.insert({1, 1});
  set.insert({2, 2});
  set.forget({2, 2});
  EXPECT_FALSE(set.contains({2, 2}));
  EXPECT_TRUE(set.insert({2, 2}));
  set.insert({3, 3});  // the place of 1
  set.insert({4, 4});  // the first place of 2, which has another now
  EXPECT_TRUE(set.contains({2, 2}));
  set.insert({5, 5});  // its place
  EXPECT_FALSE(set.contains({2, 2}));
}

TEST(DedupeSet, IdsThatAreTakenBackPushNoOthersOut) {
  DedupeSet set(3);
  set.insert({1, 1});
  for (std::uint64_t n = 10; n < 20; ++n) {
    set.insert({n, n});
    set.insert({n + 100, n});
    set.take_back({n + 100, n});
    set.take_back({n, n});
    set.take_back({n, n});  // not there
  }
  EXPECT_TRUE(set.contains({1, 1}));
  set.insert({2, 2});
  set.insert({3, 3});
  set.insert({4, 4});  // the place of 1
  set.take_back({4, 4});
  EXPECT_TRUE(set.contains({2, 2}));
  EXPECT_FALSE(set.contains({4, 4}));
  EXPECT_TRUE(set.insert({4, 4}));
  EXPECT_TRUE(set.contains({2, 2}));
}

TEST(DedupeSet, EqualsASimpleModelOnRandomIds) {
  std::mt19937_64 random(7);
  DedupeSet set(64);
  std::deque<Id128> model;
  for (int i = 0; i < 20'000; ++i) {
    // Few distinct values and few distinct hashes, so that probes collide and wrap.
    const Id128 id{random() % 8, (random() % 16) << 28};
    const bool fresh = std::find(model.begin(), model.end(), id) == model.end();
    ASSERT_EQ(set.contains(id), !fresh) << i;
    ASSERT_EQ(set.insert(id), fresh) << i;
    if (fresh) {
      model.push_back(id);
      if (model.size() > 64) {
        model.pop_front();
      }
    }
  }
}

}  // namespace
}  // namespace headwater
