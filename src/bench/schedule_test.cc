#include "bench/schedule.h"

#include <gtest/gtest.h>

namespace headwater::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr MonoTime kStart{1'000'000'000'000};

TEST(Schedule, NothingIsDueBeforeAPace) {
  Schedule schedule;
  EXPECT_FALSE(schedule.active());
  EXPECT_EQ(schedule.waiting(kStart), 0U);
}

TEST(Schedule, MessagesAreDueAtEvenTimesTheFirstAtOnce) {
  Schedule schedule;
  schedule.pace(1000, kStart);
  EXPECT_EQ(schedule.waiting(kStart), 1U);
  EXPECT_EQ(schedule.waiting(kStart + milliseconds(10)), 11U);
  EXPECT_EQ(schedule.due(1), kStart);
  EXPECT_EQ(schedule.due(11), kStart + milliseconds(10));
}

// Whoever is slow finds more waiting: the load does not slow down with him.
TEST(Schedule, WhatIsNotTakenWaitsAndKeepsItsTime) {
  Schedule schedule;
  schedule.pace(1000, kStart);
  schedule.take(5);
  EXPECT_EQ(schedule.waiting(kStart + seconds(2)), 1996U);
  EXPECT_EQ(schedule.next(), kStart + milliseconds(5));
}

TEST(Schedule, ANewPaceGoesOnWithTheNextNumberAndForgetsWhatWaited) {
  Schedule schedule;
  schedule.pace(1000, kStart);
  schedule.take(5);
  schedule.pace(100, kStart + seconds(1));
  EXPECT_EQ(schedule.waiting(kStart + seconds(1)), 1U);
  EXPECT_EQ(schedule.due(5), kStart + milliseconds(4));
  EXPECT_EQ(schedule.due(6), kStart + seconds(1));
  EXPECT_EQ(schedule.due(7), kStart + seconds(1) + milliseconds(10));
}

TEST(Schedule, APaceOfNoneEndsIt) {
  Schedule schedule;
  schedule.pace(1000, kStart);
  schedule.pace(0, kStart + seconds(1));
  EXPECT_FALSE(schedule.active());
  EXPECT_EQ(schedule.waiting(kStart + seconds(9)), 0U);
}

TEST(Schedule, ManyPacesKeepTheTimesOfTheLast) {
  Schedule schedule;
  for (int i = 0; i < 100; ++i) {
    schedule.pace(1000, kStart + seconds(i));
    schedule.take(10);
  }
  EXPECT_EQ(schedule.due(1000), kStart + seconds(99) + milliseconds(9));
  EXPECT_EQ(schedule.due(985), kStart + seconds(98) + milliseconds(4));
}

}  // namespace
}  // namespace headwater::bench
