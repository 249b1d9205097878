// AdmissionThinning past the high-water mark: what is stored, scored, counted and acknowledged.
#include "pipeline/admission_thinning.h"

#include <gmock/gmock.h>

#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;

TEST(AdmissionThinning, KeepsTheFirstOfEachDeviceAndThenEveryNth) {
  AdmissionThinning thinning({.above = 0.5, .keep_one_in = 3}, "s");
  EXPECT_FALSE(thinning.update(0.5));
  EXPECT_TRUE(thinning.update(0.51));
  std::string kept;
  for (int i = 0; i < 7; ++i) {
    kept += thinning.keeps("a") ? 'a' : '.';
    kept += thinning.keeps("b") ? 'b' : '.';
  }
  EXPECT_EQ(kept, "ab....ab....ab");
}

TEST(AdmissionThinning, EndsBelowTheMarkAndBeginsAnew) {
  AdmissionThinning thinning({.above = 0.5, .keep_one_in = 2}, "s");
  EXPECT_TRUE(thinning.update(0.6));
  EXPECT_TRUE(thinning.keeps("a"));
  EXPECT_TRUE(thinning.update(0.41));
  EXPECT_FALSE(thinning.update(0.39));
  EXPECT_FALSE(thinning.update(0.45));
  EXPECT_TRUE(thinning.update(0.6));
  EXPECT_TRUE(thinning.keeps("a"));
  EXPECT_FALSE(AdmissionThinning({}, "s").update(5)) << "off";
}

TEST(AdmissionThinning, ForgetsRatherThanGrows) {
  AdmissionThinning thinning({.above = 0.5, .keep_one_in = 1000}, "s");
  thinning.update(1);
  for (std::size_t i = 0; i < AdmissionThinning::kMostDevices; ++i) {
    EXPECT_TRUE(thinning.keeps(std::to_string(i)));
  }
  EXPECT_TRUE(thinning.keeps("0"));
}

TEST(IntakeThins, PastTheHighWaterMarkAndNotBelow) {
  Rig rig;
  rig.stages = [] { return only<Score>(); };
  rig.thin = {.above = 0.5, .keep_one_in = 4};
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  const std::string pad(2000, 'x');
  int sent = 0;
  while (rig.intake->counts().thinned.get() == 0) {
    ASSERT_LT(sent, 1000);
    for (int i = 0; i < 8; ++i) {
      rig.feed->add(fmt::format("{} {} id={} {}", i % 2 == 0 ? "a" : "b", sent, sent, pad));
      ++sent;
    }
    rig.pump();
    ASSERT_TRUE(rig.commit());
    rig.step();
  }
  EXPECT_GT(rig.spool->fill(), 0.5);
  const IntakeCounts& counts = rig.intake->counts();
  EXPECT_EQ(counts.thinned.get(), 6U) << "of each device one of four";
  EXPECT_EQ(counts.acknowledged.get(), static_cast<std::uint64_t>(sent));
  EXPECT_EQ(rig.feed->acknowledged.back().second, static_cast<Position>(sent));
  expect_conserved(counts);
  std::size_t thinned = 0;
  for (const auto& [position, fate] : rig.feed->fates) {
    thinned += fate == Fate::kThinned ? 1 : 0;
  }
  EXPECT_EQ(thinned, 6U);
  const LaneStats lane = rig.spool->stats().lanes[index_of(Lane::kReadings)];
  EXPECT_EQ(lane.next_sequence - 1, static_cast<std::uint64_t>(sent)) << "each has a sequence";
  EXPECT_EQ(lane.shed_rows, 6U);
  EXPECT_EQ(lane.rows, counts.stored.get());
  std::vector<std::string> rows = rig.lane(Lane::kReadings);
  EXPECT_EQ(rows.back(), fmt::format("shed {}-{}", sent - 5, sent));
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(read_decisions(*rig.spool).size(), counts.stored.get()) << "what is stored is scored";

  // A repeat of a thinned one is a repeat. Below the mark everything is stored again.
  Transaction cursor;
  cursor.cursor("uplink", Lane::kReadings, kAllStreams, lane.next_sequence - 1);
  ASSERT_TRUE(rig.spool->submit(cursor).ok());
  ASSERT_TRUE(rig.commit());
  rig.feed->add(fmt::format("b {} id={} {}", sent - 1, sent - 1, pad));
  const std::uint64_t stored = counts.stored.get();
  for (int i = 0; i < 8; ++i) {
    rig.feed->add(fmt::format("a 1 {}", pad));
  }
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(counts.duplicate.get(), 1U);
  EXPECT_EQ(counts.stored.get(), stored + 8);
  EXPECT_EQ(counts.thinned.get(), 6U);
  expect_conserved(counts);
}

TEST(IntakeThins, ACrashLosesNeitherRowsNorTheirCount) {
  Rig rig;
  rig.thin = {.above = 0.2, .keep_one_in = 3};
  rig.room = 7;
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  for (int i = 0; i < 400; ++i) {
    rig.feed->add(fmt::format("d{} {} {}", i % 3, i, std::string(1500, 'x')));
  }
  ASSERT_TRUE(rig.settle());
  const std::uint64_t thinned = rig.intake->counts().thinned.get();
  EXPECT_GT(thinned, 50U);
  expect_conserved(rig.intake->counts());
  rig.crash(0.0);
  ASSERT_TRUE(rig.build());
  const LaneStats lane = rig.spool->stats().lanes[index_of(Lane::kReadings)];
  EXPECT_EQ(lane.next_sequence, 401U);
  EXPECT_EQ(lane.shed_rows, thinned);
}

}  // namespace
}  // namespace headwater
