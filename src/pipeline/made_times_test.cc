#include "pipeline/made_times.h"

#include <gtest/gtest.h>

namespace headwater {
namespace {

MonoTime at(std::int64_t seconds) {
  return {seconds * 1'000'000'000};
}

TEST(MadeTimes, EachSequenceHasTheTimeOfTheFirstMarkThatHoldsIt) {
  MadeTimes times;
  times.note(10, at(1));
  times.note(10, at(2));
  times.note(20, at(3));
  EXPECT_EQ(times.of(1, at(9)), at(1));
  EXPECT_EQ(times.of(10, at(9)), at(1));
  EXPECT_EQ(times.of(11, at(9)), at(3));
  EXPECT_EQ(times.of(20, at(9)), at(3));
  EXPECT_EQ(times.of(21, at(9)), at(9)) << "never noted: now";
  times.forget(10);
  EXPECT_EQ(times.of(11, at(9)), at(3));
  times.forget(20);
  EXPECT_EQ(times.of(11, at(9)), at(9));
}

TEST(MadeTimes, WhenThereAreTooManyNothingLooksYounger) {
  MadeTimes times;
  for (std::int64_t i = 1; i <= 100'000; ++i) {
    times.note(static_cast<std::uint64_t>(i), at(i));
  }
  for (std::int64_t i = 1; i <= 100'000; i += 7) {
    EXPECT_LE(times.of(static_cast<std::uint64_t>(i), at(200'000)), at(i));
  }
  EXPECT_GT(times.of(100'000, at(200'000)), at(99'000)) << "the newest keep their time about";
}

}  // namespace
}  // namespace headwater
