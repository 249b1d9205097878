#include "uplink/lane_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(LaneProgress, MovesItsCursorOverWhatJoinsIt) {
  LaneProgress progress(10, {});
  progress.add(11, 20);
  EXPECT_EQ(progress.cursor(), 20U);
  EXPECT_EQ(progress.end(), 20U);
  EXPECT_THAT(progress.ahead(), IsEmpty());
}

TEST(LaneProgress, KeepsWhatWentAheadUntilTheCursorReachesIt) {
  LaneProgress progress(10, {});
  progress.add(31, 40);
  progress.add(41, 45);
  progress.add(51, 60);
  EXPECT_THAT(progress.ahead(), ElementsAre(SequenceRange{31, 45}, SequenceRange{51, 60}));
  EXPECT_EQ(progress.ahead_rows(), 25U);
  EXPECT_EQ(progress.cursor(), 10U);
  EXPECT_EQ(progress.end(), 60U);
  progress.add(11, 30);
  EXPECT_EQ(progress.cursor(), 45U);
  EXPECT_THAT(progress.ahead(), ElementsAre(SequenceRange{51, 60}));
  progress.add(46, 50);
  EXPECT_EQ(progress.cursor(), 60U);
  EXPECT_THAT(progress.ahead(), IsEmpty());
}

TEST(LaneProgress, LeavesOutRangesThatItsCursorHasPassed) {
  const LaneProgress progress(35, {{10, 20}, {31, 40}, {51, 60}});
  EXPECT_EQ(progress.cursor(), 40U);
  EXPECT_THAT(progress.ahead(), ElementsAre(SequenceRange{51, 60}));
}

}  // namespace
}  // namespace headwater
