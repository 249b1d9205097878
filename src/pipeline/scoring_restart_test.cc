#include <gmock/gmock.h>

#include <random>

#include "pipeline/scoring.h"
#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Texts = std::vector<std::string>;

TEST(Scoring, WhatIsStoredAndUndecidedIsScoredAfterARestartOnceAndInOrder) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  rig.feed->add("d 3");
  rig.feed->add("d 4");
  rig.pump();  // acknowledged, never scored
  ASSERT_TRUE(rig.commit());
  EXPECT_THAT(rig.feed->acknowledged.back(), testing::Pair(1, 4));
  rig.crash(0.0);

  rig.feed = std::make_shared<Feed>();
  rig.feed->add("d 5");
  ASSERT_TRUE(rig.build());
  EXPECT_FALSE(rig.scoring->idle());
  ASSERT_TRUE(rig.settle());
  expect_each_decided_once(rig);
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("d n=3 sum=6"));
  EXPECT_EQ(rig.scoring->counts().replayed.get(), 5U) << "1 and 2 for the state, 5 while behind";
  EXPECT_EQ(rig.scoring->counts().scored.get(), 3U);
  rig.crash(0.0);

  rig.feed = std::make_shared<Feed>();
  ASSERT_TRUE(rig.build());
  ASSERT_TRUE(rig.settle());
  expect_each_decided_once(rig);
  EXPECT_EQ(rig.scoring->counts().scored.get(), 0U);
}

// A run of 40 rows that may be cut anywhere; the source resumes as a file does.
struct Story {
  explicit Story(Rig& of) : rig(of) {
    rig.room = 3;
    rig.replay_rows = 4;
    rig.feed = make_feed();
  }
  static std::shared_ptr<Feed> make_feed() {
    auto feed = std::make_shared<Feed>();
    feed->resumes = true;
    for (int i = 0; i < 40; ++i) {
      feed->add(i % 11 == 10  ? fmt::format("bad {}", i)
                : i % 13 == 5 ? fmt::format("gone {}", i)
                              : fmt::format("{} {}", i % 3 == 0 ? "a" : "b", i));
    }
    return feed;
  }
  // False when the power went.
  bool run() {
    if (!rig.build()) {
      return false;
    }
    const MonoTime until = io::mono_now() + kPatience;
    for (int round = 0; io::mono_now() < until; ++round) {
      rig.pump();
      if (round % 3 != 0) {
        rig.step();
      }
      if (round % 4 == 3) {
        rig.scoring->checkpoint();
      }
      if (round % 2 == 1 && !rig.commit()) {
        return false;
      }
      if (rig.disk.is_off()) {
        return false;
      }
      if (rig.feed->taken == rig.feed->messages.size() && rig.intake->settled() &&
          rig.scoring->idle()) {
        return true;
      }
    }
    ADD_FAILURE() << "does not end";
    return false;
  }

  Rig& rig;
};

struct Ending {
  Texts readings;
  Texts dead_letters;
  Texts alerts;
  std::map<std::uint64_t, Texts> decisions;
  friend bool operator==(const Ending&, const Ending&) = default;
};

Ending ending(const Rig& rig) {
  return {rig.lane(Lane::kReadings), rig.lane(Lane::kDeadLetter), rig.lane(Lane::kAlerts),
          read_decisions(*rig.spool)};
}

TEST(Scoring, ACrashAtAnyPointChangesNothingOfWhatIsStoredAndDecided) {
  Rig plain(7);
  Story uninterrupted(plain);
  ASSERT_TRUE(uninterrupted.run());
  const Ending expected = ending(plain);
  ASSERT_THAT(expected.readings, SizeIs(37));
  ASSERT_THAT(expected.alerts, SizeIs(14));
  const std::size_t changes = plain.disk.changes();
  ASSERT_GT(changes, 20U);
  for (std::size_t point = 1; point <= changes; ++point) {
    SCOPED_TRACE(point);
    Rig rig(point);
    Story story(rig);
    rig.disk.power_off_after(point);
    Feed told;
    rig.feed->on_acknowledge = [&](Partition, Position upto) {
      told.acknowledged.emplace_back(1, upto);
    };
    if (!story.run()) {
      rig.drop();
      rig.disk.restart();
      rig.feed = Story::make_feed();
      ASSERT_TRUE(rig.build());
      const Position durable = rig.feed->taken;
      if (!told.acknowledged.empty()) {
        ASSERT_GE(durable, told.acknowledged.back().second) << "acknowledged and lost";
      }
      ASSERT_TRUE(rig.settle());
    }
    ASSERT_EQ(ending(rig), expected);
  }
}

TEST(Scoring, CrashesInARowChangeNothingHoweverRowsAreCutAndHoweverFewMayWait) {
  Rig plain(7);
  Story uninterrupted(plain);
  ASSERT_TRUE(uninterrupted.run());
  const Ending expected = ending(plain);
  std::mt19937_64 random(11);
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Rig rig(seed);
    Story story(rig);
    rig.room = 1 + random() % 9;
    rig.replay_rows = 1 + random() % 5;
    rig.max_waiting_rows = 1 + random() % 12;
    rig.checkpoint_every = random() % 2 == 0 ? Nanos{0} : Nanos(std::chrono::hours(1));
    rig.disk.power_off_after(1 + random() % 60);
    for (int life = 0; life < 4 && !story.run(); ++life) {
      rig.drop();
      rig.disk.restart(static_cast<double>(random() % 3) / 2);
      rig.feed = Story::make_feed();
      if (life < 2) {
        rig.disk.power_off_after(1 + random() % 40);
      }
    }
    ASSERT_EQ(ending(rig), expected);
  }
}

TEST(Scoring, AStateThatWasSavedWhileRebuildingIsNotTakenForANewerOne) {
  Rig rig;
  rig.replay_rows = 2;
  ASSERT_TRUE(rig.build());
  for (int i = 1; i <= 8; ++i) {
    rig.feed->add(fmt::format("d {}", i));
  }
  ASSERT_TRUE(rig.settle());
  rig.crash(0.0);
  rig.feed = std::make_shared<Feed>();
  ASSERT_TRUE(rig.build());
  rig.step();  // rows 1 and 2 are back in the state
  rig.scoring->checkpoint();
  ASSERT_TRUE(rig.commit());
  rig.crash(0.0);
  rig.feed = std::make_shared<Feed>();
  rig.feed->add("d 9");
  ASSERT_TRUE(rig.build());
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("d n=3 sum=6", "d n=6 sum=21", "d n=9 sum=45"));
  expect_each_decided_once(rig);
}

TEST(Scoring, ACleanStopLeavesNothingToReplay) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  for (int i = 1; i <= 4; ++i) {
    rig.feed->add(fmt::format("d {}", i));
  }
  ASSERT_TRUE(rig.settle());
  append(*rig.spool, "another pipeline's");
  ASSERT_TRUE(rig.commit());
  rig.scoring->checkpoint();
  ASSERT_TRUE(rig.commit());
  rig.crash(0.0);
  rig.feed = std::make_shared<Feed>();
  rig.feed->add("d 5");
  rig.feed->add("d 6");
  ASSERT_TRUE(rig.build());
  EXPECT_TRUE(rig.scoring->idle());
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->counts().replayed.get(), 0U);
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("d n=3 sum=6", "d n=6 sum=21"));
}

TEST(Scoring, TooMuchWaitingIsReadBackNothingLostNothingTwice) {
  Rig rig;
  rig.room = 10;
  rig.max_waiting_rows = 25;
  rig.replay_rows = 7;
  ASSERT_TRUE(rig.build());
  for (int i = 1; i <= 200; ++i) {
    rig.feed->add(fmt::format("{} {}", i % 2 == 0 ? "a" : "b", i));
  }
  for (int i = 0; i < 15; ++i) {
    rig.pump();
  }
  EXPECT_LE(rig.scoring->counts().pending_rows.get(), 25U);
  EXPECT_EQ(rig.scoring->counts().pending_rows.get() + rig.scoring->counts().behind_rows.get(),
            150U);
  // New rows come while the old are read back.
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(rig.commit());
    rig.step();
    rig.pump();
  }
  ASSERT_TRUE(rig.settle());
  expect_each_decided_once(rig);
  EXPECT_EQ(rig.scoring->counts().rows.get(), 200U);
  EXPECT_EQ(rig.scoring->counts().behind_rows.get(), 0U);
  EXPECT_GT(rig.scoring->counts().replayed.get(), 100U);
  EXPECT_THAT(rig.lane(Lane::kAlerts), SizeIs(66));
  // Caught up: what comes now is scored from memory, also before its commit.
  const std::uint64_t replayed = rig.scoring->counts().replayed.get();
  rig.feed->add("a 1");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->counts().replayed.get(), replayed);
}

TEST(Scoring, ManyRowsOfOthersAreNotReadInOneStep) {
  Rig rig;
  rig.replay_rows = 2;  // and 32 looks
  rig.open();
  for (int i = 0; i < 10; ++i) {
    Transaction foreign;
    for (int row = 0; row < 10; ++row) {
      foreign.append(Lane::kReadings, 9, sample_row("foreign"));
    }
    ASSERT_TRUE(rig.spool->submit(foreign).ok());
  }
  ASSERT_TRUE(rig.spool->flush(kPatience).ok());
  ASSERT_TRUE(rig.build());
  EXPECT_TRUE(rig.scoring->step(rig.pool));
  EXPECT_EQ(rig.scoring->counts().behind_rows.get(), 100U - 32U);
  ASSERT_TRUE(rig.settle());
  // The next start does not look at them again.
  rig.crash(0.0);
  ASSERT_TRUE(rig.build());
  EXPECT_TRUE(rig.scoring->idle());
}

// State of a size the test sets.
class Heavy final : public Stage {
 public:
  explicit Heavy(const std::size_t* bytes) : bytes_(bytes) {}
  Status process(Batch batch, Outputs& out) override { return out.emit(std::move(batch)); }
  void save(StateWriter& state) override { state.put("blob", std::string(*bytes_, 'x')); }
  Status restore(const StateReader& state) override {
    const std::string blob = state.get("blob");
    return blob.find('!') == std::string::npos ? Status() : Error::corrupt("odd bytes");
  }

 private:
  const std::size_t* bytes_;
};

TEST(Scoring, AStateThatIsTooLargeIsToldAndStopsNoDecision) {
  Rig rig;
  std::size_t bytes = 200'000;
  rig.stages = [&bytes] { return only<Heavy>(&bytes); };
  rig.checkpoint_every = Nanos{0};
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  EXPECT_NE(rig.scoring->trouble(), "");
  expect_each_decided_once(rig);
  EXPECT_EQ(rig.spool->cursor("checkpoint/main/0", Lane::kReadings, kAllStreams), std::nullopt);
  bytes = 100;
  rig.feed->add("d 3");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->trouble(), "");
  EXPECT_EQ(rig.spool->cursor("checkpoint/main/0", Lane::kReadings, kAllStreams), 3U);
}

TEST(Scoring, AStepWhoseStateIsDamagedBeginsAnewAndSaysSo) {
  Rig rig;
  std::size_t bytes = 10;
  rig.stages = [&bytes] { return only<Heavy>(&bytes); };
  rig.open();
  Transaction damaged;
  damaged.state("stage/main/0/0.step/blob", "!");
  ASSERT_TRUE(rig.spool->submit(damaged).ok());
  ASSERT_TRUE(rig.spool->flush(kPatience).ok());
  ASSERT_TRUE(rig.build());
  EXPECT_THAT(rig.scoring->trouble(), HasSubstr("odd bytes"));
  EXPECT_EQ(rig.scoring->counts().failed.get(), 1U);
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  expect_each_decided_once(rig);
}

TEST(Scoring, StateOfStepsThatAreNoMoreIsDeleted) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  rig.scoring->checkpoint();
  ASSERT_TRUE(rig.commit());
  const auto keys = [&rig] {
    Texts found;
    rig.spool->for_each_state(
        "stage/", [&](std::string_view key, std::string_view) { found.emplace_back(key); });
    return found;
  };
  EXPECT_THAT(keys(), ElementsAre("stage/main/0/1.step/seen"));
  rig.crash(0.0);
  rig.stage_key = "new";
  ASSERT_TRUE(rig.build());
  rig.scoring->checkpoint();
  ASSERT_TRUE(rig.commit());
  EXPECT_THAT(keys(), ElementsAre("stage/main/0/1.new/seen"));
}

Scoring::Steps steps_of(std::vector<std::unique_ptr<Stage>> stages, Texts keys) {
  Scoring::Steps steps;
  steps.stages = std::move(stages);
  steps.stage_keys = std::move(keys);
  steps.checkpoint_every = std::chrono::hours(1);
  return steps;
}

TEST(Scoring, ReplacedStepsGoOnWithTheStateOfTheirKindAlsoAfterACrash) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.scoring->replace(steps_of(rig.stages(), {"0.score.a", "1.third.a"}));
  rig.feed->add("d 1");
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  rig.scoring->replace(steps_of(rig.stages(), {"0.score.a", "1.third.b"}));
  ASSERT_TRUE(rig.commit());
  rig.feed->add("d 4");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("d n=3 sum=7"));
  // Another kind in the same place begins anew.
  rig.scoring->replace(steps_of(rig.stages(), {"0.score.a", "1.other.b"}));
  rig.feed->add("d 8");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.lane(Lane::kAlerts).size(), 1U);
  Texts keys;
  rig.spool->for_each_state(
      "stage/", [&](std::string_view key, std::string_view) { keys.emplace_back(key); });
  EXPECT_THAT(keys, ElementsAre("stage/main/0/1.other.b/seen"));
  EXPECT_EQ(rig.scoring->trouble(), "");
}

TEST(Scoring, AStepWithOtherOptionsGoesOnWithItsStateAfterARestart) {
  Rig rig;
  rig.stage_key = "third.a";
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  rig.scoring->checkpoint();
  ASSERT_TRUE(rig.commit());
  rig.crash();
  rig.stage_key = "third.b";
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 4");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("d n=3 sum=7"));
}

TEST(Scoring, RowsThatCannotBeDecodedAnyMoreAreDecidedWithoutAScore) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.crash(0.0);
  rig.feed = std::make_shared<Feed>();
  ASSERT_TRUE(rig.build());
  rig.decode->error = Error::internal("no memory");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(read_decisions(*rig.spool).at(1), ElementsAre("-"));
  EXPECT_EQ(rig.scoring->trouble(), "no memory");
}

TEST(Scoring, RowsThatWereLetGoAreSteppedOver) {
  Rig rig;
  rig.options.on_full = OnFull::kShedOldest;
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.drop();
  rig.open();
  const std::string pad(20'000, 'x');
  for (int i = 0; i < 200; ++i) {
    append(*rig.spool, "9 " + pad);
    ASSERT_TRUE(rig.spool->flush(kPatience).ok());
  }
  ASSERT_FALSE(rig.spool->gaps().empty());
  rig.feed = std::make_shared<Feed>();
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.build());
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->counts().scored.get(), 1U);
  EXPECT_EQ(rig.scoring->counts().behind_rows.get(), 0U);
}

TEST(Scoring, ABatchThatIsStoredInPartsIsScoredOnceAlsoAcrossACrashBetweenThem) {
  Rig rig;
  rig.options.on_full = OnFull::kBlock;
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  const std::string pad(30'000, 'x');
  for (int i = 0; i < 60; ++i) {  // 1.8 MB in one batch: the store takes a part of its frames
    rig.feed->add(fmt::format("d {} {}", i, pad));
  }
  rig.pump();
  ASSERT_TRUE(rig.feed->paused);
  ASSERT_TRUE(rig.commit());
  const std::size_t first = rig.lane(Lane::kReadings).size();
  ASSERT_GT(first, 0U);
  ASSERT_LT(first, 60U);
  rig.step();
  rig.scoring->checkpoint();  // must not pass the rows by that are not enqueued yet
  ASSERT_TRUE(rig.commit());
  EXPECT_THAT(rig.feed->acknowledged, IsEmpty());
  rig.crash(0.0);
  rig.feed = std::make_shared<Feed>();
  ASSERT_TRUE(rig.build());
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->counts().scored.get(), first);
  expect_each_decided_once(rig);
}

TEST(Scoring, TheStateIsSavedByBytesTooSoThatWhatARestartReplaysIsAmongTheNewestRows) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  const std::string pad(20'000, 'x');
  std::uint64_t sequence = 0;
  for (int i = 0; i < 60; ++i) {  // 1.2 MB through a store of 1 MiB
    rig.feed->add(fmt::format("d {} {}", i, pad));
    ASSERT_TRUE(rig.settle());
    const std::uint64_t saved =
        rig.spool->cursor("checkpoint/main/0", Lane::kReadings, kAllStreams).value_or(0);
    ++sequence;
    EXPECT_LE(sequence - saved, 8U) << "rows of half a segment";
  }
  EXPECT_GT(rig.spool->stats().lanes[index_of(Lane::kReadings)].oldest_sequence, 1U);
}

TEST(Scoring, RowsThatTheUplinkHasAndNobodyDecidedAreNotLetGoInSilence) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  const std::string pad(20'000, 'x');
  for (int i = 0; i < 80; ++i) {  // never a step
    rig.feed->add(fmt::format("d {} {}", i, pad));
    rig.pump();
    ASSERT_TRUE(rig.commit());
    Transaction cursor;
    cursor.cursor("uplink", Lane::kReadings, kAllStreams, static_cast<std::uint64_t>(i + 1));
    ASSERT_TRUE(rig.spool->submit(cursor).ok());
  }
  const LaneStats lane = rig.spool->stats().lanes[index_of(Lane::kReadings)];
  ASSERT_GT(lane.oldest_sequence, 1U);
  EXPECT_EQ(lane.shed_rows, lane.oldest_sequence - 1) << "let go undecided: on record";
}

TEST(Scoring, AnIdlePipelineLetsTheRowsOfOthersPass) {
  Rig rig;
  rig.checkpoint_every = Nanos{0};
  ASSERT_TRUE(rig.build());
  Transaction others;
  others.append(Lane::kReadings, 9, sample_row("d 1"));
  others.append(Lane::kReadings, 9, sample_row("d 2"));
  ASSERT_TRUE(rig.spool->submit(others).ok());
  ASSERT_TRUE(rig.commit());
  rig.scoring->tick(io::wall_now());
  ASSERT_TRUE(rig.commit());
  for (const char* cursor : {"decided/main/0", "checkpoint/main/0"}) {
    EXPECT_EQ(rig.spool->cursor(cursor, Lane::kReadings, kAllStreams), 2U) << cursor;
  }
}

TEST(Scoring, ABatchThatIsStoredInPartsWhileBehindIsScoredOnce) {
  Rig rig;
  rig.options.on_full = OnFull::kBlock;
  rig.stages = [] { return only<Score>(); };
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  rig.feed->add("d 1");
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.crash(0.0);
  rig.feed = std::make_shared<Feed>();
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  const std::string pad(30'000, 'x');
  for (int i = 0; i < 40; ++i) {
    rig.feed->add(fmt::format("d {} {}", i, pad));
  }
  rig.pump();
  ASSERT_TRUE(rig.feed->paused);
  ASSERT_TRUE(rig.commit());
  const std::size_t stored = rig.lane(Lane::kReadings).size();
  ASSERT_GT(stored, 1U);
  rig.step();
  rig.step();
  EXPECT_EQ(rig.scoring->counts().rows.get(), 1U) << "the others come with their batch";
  Transaction cursor;
  cursor.cursor("uplink", Lane::kReadings, kAllStreams, stored);
  ASSERT_TRUE(rig.spool->submit(cursor).ok());
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->counts().rows.get(), 41U);
  for (const auto& [sequence, texts] : read_decisions(*rig.spool)) {
    EXPECT_THAT(texts, SizeIs(1)) << "row " << sequence;
  }
}

}  // namespace
}  // namespace headwater
