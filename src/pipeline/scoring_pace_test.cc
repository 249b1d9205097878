// A pipeline with a latency objective: batches are cut, nothing else changes.
#include <gmock/gmock.h>

#include <algorithm>

#include "pipeline/testing.h"

namespace headwater {
namespace {

// Notes how many rows it was given.
class Sizes final : public Stage {
 public:
  explicit Sizes(std::vector<std::size_t>& sizes) : sizes_(sizes) {}
  Status process(Batch batch, Outputs& out) override {
    sizes_.push_back(batch.selected());
    return out.emit(std::move(batch));
  }

 private:
  std::vector<std::size_t>& sizes_;
};

class ScoringPace : public testing::Test {
 protected:
  ScoringPace() {
    rig.stages = [this] {
      std::vector<std::unique_ptr<Stage>> made;
      made.push_back(std::make_unique<Sizes>(sizes));
      made.push_back(std::make_unique<Score>());
      made.push_back(std::make_unique<EveryThird>());
      return made;
    };
    rig.filters = [] { return only<Above>(0); };
    for (int i = 0; i < 100; ++i) {
      rig.feed->add(i % 7 == 3 ? "gone d" : fmt::format("d{} {}", i % 2, i % 5));
    }
  }

  std::vector<std::size_t> sizes;
  Rig rig;
};

TEST_F(ScoringPace, CutsABatchThatTakesTooLongAndDecidesTheSame) {
  rig.open();
  rig.build();
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(sizes, testing::SizeIs(1));
  const std::vector<std::string> alerts = rig.lane(Lane::kAlerts);
  const auto decisions = read_decisions(*rig.spool);
  EXPECT_EQ(rig.scoring->counts().within.get(), 0U) << "no objective, no account";

  sizes.clear();
  Rig paced;
  paced.stages = rig.stages;
  paced.filters = rig.filters;
  paced.feed->messages = rig.feed->messages;
  paced.objective = std::chrono::seconds(1000);  // so that no noise makes a row late
  paced.start_cost = {.fixed_ns = 0, .row_ns = 50e9};
  paced.open();
  paced.build();
  paced.pump();
  EXPECT_FALSE(paced.scoring->idle());
  paced.step();
  EXPECT_LE(sizes.front(), 10U) << "ten rows take half of the objective";
  ASSERT_TRUE(paced.settle());
  EXPECT_GT(sizes.size(), 8U);
  EXPECT_EQ(paced.lane(Lane::kAlerts), alerts);
  EXPECT_EQ(read_decisions(*paced.spool), decisions);
  expect_each_decided_once(paced);
  const ScoringCounts& counts = paced.scoring->counts();
  EXPECT_EQ(counts.replayed.get(), 0U) << "cut rows are no replay";
  EXPECT_EQ(counts.pending_rows.get(), 0U);
  EXPECT_EQ(counts.within.get(), decisions.size()) << "each counted once its commit is known";
  EXPECT_EQ(counts.late.get(), 0U);
  EXPECT_EQ(counts.met_ppm.get(), 1'000'000U);
  EXPECT_GT(counts.step_rows.get(), 10U) << "it has learned better";
}

TEST_F(ScoringPace, OneRowIsNeverHeldBack) {
  rig.objective = std::chrono::milliseconds(20);
  rig.open();
  rig.build();
  rig.feed->messages.clear();
  rig.feed->positions.clear();
  rig.feed->add("d 1");
  rig.pump();
  rig.step();
  EXPECT_THAT(sizes, testing::ElementsAre(1U));
}

TEST_F(ScoringPace, RowsLetGoFromMemoryAreLateHoweverFastTheyComeBack) {
  rig.objective = std::chrono::seconds(1000);
  rig.max_waiting_rows = 10;
  rig.room = 10;
  rig.open();
  rig.build();
  for (int i = 0; i < 5; ++i) {
    rig.pump();
  }
  ASSERT_TRUE(rig.settle());
  const ScoringCounts& counts = rig.scoring->counts();
  EXPECT_GT(counts.late.get(), 0U);
  EXPECT_EQ(counts.late.get(), counts.replayed.get());
  EXPECT_EQ(counts.late.get() + counts.within.get(), counts.rows.get());
}

TEST_F(ScoringPace, WhatAnEarlierProcessLeftCountsNeitherWay) {
  rig.objective = std::chrono::seconds(1000);
  rig.feed->resumes = true;
  rig.open();
  rig.build();
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.crash(0);
  rig.build();
  ASSERT_TRUE(rig.settle());
  EXPECT_GT(rig.scoring->counts().replayed.get(), 0U);
  EXPECT_EQ(rig.scoring->counts().within.get() + rig.scoring->counts().late.get(), 0U);
}

TEST_F(ScoringPace, SaysThatAnObjectiveIsOutOfReach) {
  rig.objective = std::chrono::milliseconds(2);
  rig.start_cost = {.fixed_ns = 3e6, .row_ns = 0};
  rig.open();
  rig.build();
  EXPECT_THAT(
      rig.scoring->trouble(),
      testing::HasSubstr("the objective of 2ms is out of reach: scoring one row alone takes 3ms"));
  rig.drop();
}

}  // namespace
}  // namespace headwater
