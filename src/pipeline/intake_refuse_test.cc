// A full store that refuses: what becomes of rows, their senders and the counts.
#include <gmock/gmock.h>

#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Nanos kNever = std::chrono::hours(1);

// A store that holds 1 MiB and refuses, full of rows that nobody has received.
struct RefusingRig : Rig {
  RefusingRig() {
    options.on_full = OnFull::kRefuse;
    stages = [] { return only<Score>(); };
    refuse = true;
    room = 10;
  }
  void fill() {
    ASSERT_TRUE(build());
    spool->deliver_to("uplink", Lane::kReadings);
    while (intake->counts().refused.get() == 0) {
      ASSERT_LT(feed->messages.size(), 1000U) << "1 MiB does not hold 2 MB";
      feed->add(fmt::format("d 1 {}", std::string(2000, 'x')));
      pump();
      ASSERT_TRUE(commit());
      step();
    }
  }
  void deliver_all() {
    Transaction cursor;
    cursor.cursor("uplink", Lane::kReadings, kAllStreams,
                  spool->stats().lanes[index_of(Lane::kReadings)].next_sequence - 1);
    ASSERT_TRUE(spool->submit(cursor).ok());
    ASSERT_TRUE(commit());
  }
};

TEST(IntakeRefuses, WhatAFullStoreDoesNotTakeAndGoesOn) {
  RefusingRig rig;
  rig.filters = [] { return only<Above>(0.0); };
  rig.fill();
  const std::uint64_t stored = rig.intake->counts().stored.get();
  EXPECT_EQ(rig.lane(Lane::kReadings).size(), stored);
  EXPECT_FALSE(rig.feed->paused) << "others are told no as well";
  EXPECT_TRUE(rig.intake->settled());
  EXPECT_THAT(rig.intake->trouble(), HasSubstr("full"));
  expect_conserved(rig.intake->counts());
  const Position last = rig.feed->positions[1];
  EXPECT_THAT(rig.feed->declined, ElementsAre(Feed::Declined{1, last, last}));
  EXPECT_EQ(rig.feed->acknowledged.back(), std::pair(Partition{1}, last)) << "to answer it";

  // Dead letters are refused too; what was filtered is not.
  const std::string pad(2000, 'x');
  rig.feed->add("d 1 " + pad);
  rig.feed->add("d 2 " + pad);
  rig.feed->add("d -1 " + pad);
  rig.feed->add("bad " + pad);
  rig.feed->add("d 3 " + pad, 2);
  rig.feed->add("d 4 " + pad, 1);
  rig.pump();
  EXPECT_THAT(rig.feed->declined,
              ElementsAre(testing::_, Feed::Declined{1, last + 1, last + 2},
                          Feed::Declined{1, last + 4, last + 4}, Feed::Declined{2, 1, 1},
                          Feed::Declined{1, last + 5, last + 5}));
  EXPECT_EQ(rig.intake->counts().refused.get(), 6U);
  EXPECT_EQ(rig.intake->counts().filtered.get(), 1U);
  EXPECT_EQ(rig.intake->counts().dead_letter.get(), 0U);
  expect_conserved(rig.intake->counts());
  // What the source has to say about it is committed without the rows.
  ASSERT_TRUE(rig.commit());
  EXPECT_EQ(rig.spool->state("source/main/in/declined"), "5");
  rig.pump();
  EXPECT_THAT(rig.intake->trouble(), HasSubstr("full")) << "it still is";

  rig.deliver_all();
  rig.feed->add("e 1 " + pad);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.intake->trouble(), "");
  EXPECT_EQ(rig.intake->counts().stored.get(), stored + 1);
  EXPECT_THAT(rig.decode->seen(), testing::Contains("e"));
  expect_conserved(rig.intake->counts());
}

TEST(IntakeRefuses, AMessageThatComesAgainIsNoRepeat) {
  RefusingRig rig;
  rig.fill();
  const std::string pad(2000, 'x');
  const std::uint64_t refused = rig.intake->counts().refused.get();
  rig.feed->add("d 1 " + pad + " id=7");
  rig.feed->add("d 1 " + pad + " id=7", 2);
  rig.pump();
  EXPECT_EQ(rig.intake->counts().refused.get(), refused + 2)
      << "a repeat of what is not stored is no repeat";
  EXPECT_EQ(rig.intake->counts().duplicate.get(), 0U);
  rig.deliver_all();
  rig.feed->add("d 1 " + pad + " id=7");
  rig.feed->add("d 1 " + pad + " id=7", 2);
  const std::uint64_t stored = rig.intake->counts().stored.get();
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.intake->counts().stored.get(), stored + 1);
  EXPECT_EQ(rig.intake->counts().duplicate.get(), 1U);
  expect_conserved(rig.intake->counts());
}

TEST(IntakeRefuses, OnlyThePartOfABatchThatDoesNotFit) {
  RefusingRig rig;
  rig.room = 4096;
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  for (int i = 0; i < 600; ++i) {  // 1.2 MB in one batch
    rig.feed->add(fmt::format("d {} {} id={}", i, std::string(2000, 'x'), i));
  }
  ASSERT_TRUE(rig.settle());
  const IntakeCounts& counts = rig.intake->counts();
  EXPECT_GT(counts.stored.get(), 100U);
  EXPECT_GT(counts.refused.get(), 100U);
  expect_conserved(counts);
  EXPECT_THAT(rig.feed->declined, ElementsAre(Feed::Declined{1, counts.stored.get() + 1, 600}));
  EXPECT_EQ(rig.lane(Lane::kReadings).size(), counts.stored.get());
  EXPECT_EQ(read_decisions(*rig.spool).size(), counts.stored.get()) << "what is stored is scored";
  EXPECT_EQ(rig.intake->counts().acknowledged.get(), counts.stored.get());
}

TEST(IntakeRefuses, NothingWhileOnlyTheQueueIsFull) {
  RefusingRig rig;
  rig.options.max_queue_bytes = 10'000;
  rig.options.commit_delay = kNever;
  rig.room = 1;
  ASSERT_TRUE(rig.build());
  for (int i = 0; i < 20; ++i) {
    rig.feed->add(fmt::format("d {} {}", i, std::string(2000, 'x')));
  }
  for (int i = 0; i < 20; ++i) {
    rig.pump();
  }
  EXPECT_TRUE(rig.feed->paused);
  EXPECT_EQ(rig.intake->counts().refused.get(), 0U);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.intake->counts().stored.get(), 20U);
  EXPECT_THAT(rig.feed->declined, IsEmpty());
}

TEST(IntakeRefuses, NothingWithoutThePolicy) {
  RefusingRig rig;
  rig.refuse = false;
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  for (int i = 0; i < 600; ++i) {
    rig.feed->add(fmt::format("d {} {}", i, std::string(2000, 'x')));
  }
  while (!rig.feed->paused) {
    ASSERT_LT(rig.feed->taken, 600U);
    rig.pump();
    ASSERT_TRUE(rig.commit());
  }
  EXPECT_THAT(rig.feed->declined, IsEmpty());
}

}  // namespace
}  // namespace headwater
