#include "pipeline/intake.h"

#include <gmock/gmock.h>

#include <random>

#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr Nanos kNever = std::chrono::hours(1);

using Texts = std::vector<std::string>;

TEST(Intake, AcknowledgesNothingBeforeItsCommit) {
  Rig rig;
  rig.options.commit_delay = kNever;
  ASSERT_TRUE(rig.build());
  rig.feed->add("press-1 1");
  rig.feed->add("press-1 2");
  rig.pump();
  rig.intake->on_commit(rig.spool->committed());
  EXPECT_THAT(rig.feed->acknowledged, IsEmpty());
  EXPECT_EQ(rig.intake->counts().in_flight.get(), 2U);
  EXPECT_FALSE(rig.intake->settled());
  ASSERT_TRUE(rig.commit());
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 2)));
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("press-1 1", "press-1 2"));
  EXPECT_EQ(rig.intake->counts().stored.get(), 2U);
  EXPECT_TRUE(rig.intake->settled());
}

TEST(Intake, AcknowledgesOnReceiptWhereThatWasAskedFor) {
  Rig rig;
  rig.options.commit_delay = kNever;
  rig.on_receipt = true;
  ASSERT_TRUE(rig.build());
  rig.feed->add("press-1 1");
  rig.feed->add("press-1 2");
  rig.pump();
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 2)));
  EXPECT_EQ(rig.intake->counts().stored.get(), 0U) << "counted when it is on disk";
  ASSERT_TRUE(rig.commit());
  EXPECT_EQ(rig.intake->counts().stored.get(), 2U);
  EXPECT_EQ(rig.feed->acknowledged.size(), 1U);
}

TEST(Intake, ABatchThatLeavesNothingWaitsForWhatWasTakenBeforeIt) {
  Rig rig;
  rig.options.commit_delay = kNever;
  rig.filters = [] { return only<Above>(0.0); };
  ASSERT_TRUE(rig.build());
  rig.feed->add("a -1");  // teaches the decoder something: that is committed
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.feed->acknowledged.clear();
  rig.feed->add("a -1");
  rig.pump();
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 2))) << "nothing is before it";
  rig.feed->add("a 1 id=7");
  rig.pump();
  rig.feed->add("a -1");
  rig.pump();
  rig.feed->add("a 1 id=7",
                2);  // a repeat of a row that is not committed yet, on another connection
  rig.pump();
  EXPECT_EQ(rig.feed->acknowledged.size(), 1U);
  ASSERT_TRUE(rig.commit());
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 2), Pair(1, 3), Pair(1, 4), Pair(2, 1)));
  EXPECT_EQ(rig.intake->counts().filtered.get(), 3U);
  EXPECT_EQ(rig.intake->counts().duplicate.get(), 1U);
}

TEST(Intake, AcknowledgesEachPartitionUpToItsLastRow) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1", 7);
  rig.feed->add("b 1", 8);
  rig.feed->add("a 2", 7);
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(7, 1), Pair(8, 1), Pair(7, 2)));
}

TEST(Intake, ConservesRandomMixesAndAcknowledgesInOrderWhatIsDurable) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    Rig rig(seed);
    rig.room = 1 + random() % 7;
    rig.filters = [] {
      auto made = only<Above>(0.0);
      made.push_back(std::make_unique<Above>(1.0));
      return made;
    };
    ASSERT_TRUE(rig.build());
    std::map<Partition, Position> last;
    rig.feed->on_acknowledge = [&](Partition partition, Position upto) {
      EXPECT_GT(upto, last[partition]);
      last[partition] = upto;
      // Every message up to here is stored, a dead letter, or had a reason to be dropped.
      std::multiset<std::string> durable;
      for (const Lane lane : {Lane::kReadings, Lane::kDeadLetter}) {
        const Texts rows = rig.lane(lane);
        durable.insert(rows.begin(), rows.end());
      }
      for (const Feed::Message& message : rig.feed->messages) {
        const bool dropped = message.payload.find(" 0") != std::string::npos ||
                             message.payload.find(" 1 ") != std::string::npos;
        if (message.partition == partition && message.position <= upto && !dropped) {
          // A repeat is durable through the row it repeats.
          EXPECT_TRUE(durable.contains(message.payload)) << message.payload;
        }
      }
    };
    std::uint64_t expected_bad = 0;
    std::uint64_t expected_filtered = 0;
    std::uint64_t repeats = 0;
    std::set<std::string> ids;
    for (int round = 0; round < 40; ++round) {
      for (std::uint64_t i = random() % 5; i > 0; --i) {
        const Partition partition = 1 + static_cast<Partition>(random() % 3);
        const std::string unique = std::to_string(rig.feed->messages.size());
        switch (random() % 5) {
          case 0:
            rig.feed->add("bad " + unique, partition);
            ++expected_bad;
            break;
          case 1:
            rig.feed->add("d 0 " + unique, partition);
            ++expected_filtered;
            break;
          case 2:
            rig.feed->add("d 1 " + unique, partition);
            ++expected_filtered;
            break;
          case 3: {
            const std::string id = std::to_string(random() % 10);
            repeats += ids.insert(id).second ? 0 : 1;
            rig.feed->add("d 2 id=" + id, partition);
            break;
          }
          default:
            rig.feed->add("d 3 " + unique, partition);
        }
      }
      rig.pump();
      expect_conserved(rig.intake->counts());
      if (random() % 3 == 0) {
        ASSERT_TRUE(rig.commit());
      }
      rig.step();
      expect_conserved(rig.intake->counts());
    }
    ASSERT_TRUE(rig.settle());
    const IntakeCounts& counts = rig.intake->counts();
    expect_conserved(counts);
    EXPECT_EQ(counts.in_flight.get(), 0U);
    EXPECT_EQ(counts.taken.get(), rig.feed->messages.size());
    EXPECT_EQ(counts.acknowledged.get(), rig.feed->messages.size());
    EXPECT_EQ(counts.dead_letter.get(), expected_bad);
    EXPECT_EQ(counts.filtered.get(), expected_filtered);
    EXPECT_EQ(counts.duplicate.get(), repeats);
    EXPECT_EQ(counts.stored.get(), rig.lane(Lane::kReadings).size());
    EXPECT_EQ(last, rig.feed->positions);
    EXPECT_EQ(rig.scoring->counts().rows.get(), counts.stored.get());
  }
}

TEST(Intake, ASpoolThatIsFullPausesTheSourceLosesNothingAndGoesOn) {
  Rig rig;
  rig.options.on_full = OnFull::kBlock;
  rig.stages = [] { return only<Score>(); };
  rig.room = 10;
  ASSERT_TRUE(rig.build());
  rig.spool->deliver_to("uplink", Lane::kReadings);
  const std::string pad(2000, 'x');
  for (int i = 0; i < 600; ++i) {
    rig.feed->add(fmt::format("d 1 {} {}", i, pad));
  }
  while (!rig.feed->paused) {
    ASSERT_LT(rig.feed->taken, 600U) << "1 MiB does not hold 1.2 MB";
    rig.pump();
    ASSERT_TRUE(rig.commit());
    rig.step();
  }
  EXPECT_THAT(rig.intake->trouble(), HasSubstr("full"));
  const std::size_t taken = rig.feed->taken;
  rig.feed->rooms.clear();
  rig.pump();
  rig.pump();
  EXPECT_THAT(rig.feed->rooms, ElementsAre(0, 0)) << "control traffic goes on";
  EXPECT_EQ(rig.feed->taken, taken);
  EXPECT_EQ(rig.intake->counts().in_flight.get(), 10U);
  EXPECT_FALSE(rig.intake->settled());
  expect_conserved(rig.intake->counts());

  Texts kept = rig.lane(Lane::kReadings);
  Transaction cursor;
  cursor.cursor("uplink", Lane::kReadings, kAllStreams, kept.size());
  ASSERT_TRUE(rig.spool->submit(cursor).ok());
  ASSERT_TRUE(rig.commit());
  rig.pump();
  EXPECT_FALSE(rig.feed->paused);
  EXPECT_EQ(rig.intake->trouble(), "");
  rig.feed->messages.resize(rig.feed->taken + 5);  // fewer than would fill it again
  ASSERT_TRUE(rig.settle());
  const Texts rest = read_lane(*rig.spool, Lane::kReadings, kept.size() + 1);
  kept.insert(kept.end(), rest.begin(), rest.end());
  ASSERT_EQ(kept.size(), rig.feed->messages.size());
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(kept[i], rig.feed->messages[i].payload);
  }
  EXPECT_EQ(rig.feed->acknowledged.back(), (std::pair<Partition, Position>(1, kept.size())));
}

TEST(Intake, ADiskThatFailsPausesTheSourceUntilItMends) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  rig.disk.fail(io::DiskCall::kWrite, EIO, 1'000'000);
  rig.disk.fail(io::DiskCall::kOpen, EIO, 1'000'000);
  const MonoTime until = io::mono_now() + kPatience;
  while (!rig.feed->paused && io::mono_now() < until) {
    rig.feed->add("d 2");
    rig.pump();
  }
  ASSERT_TRUE(rig.feed->paused);
  rig.disk.clear_faults();
  ASSERT_TRUE(rig.settle());
  EXPECT_FALSE(rig.feed->paused);
  EXPECT_EQ(rig.lane(Lane::kReadings).size(), rig.feed->messages.size());
  EXPECT_EQ(rig.intake->counts().acknowledged.get(), rig.feed->messages.size());
}

TEST(Intake, WhatASourceTookLastIsStoredAfterARefusalToo) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.disk.fail(io::DiskCall::kWrite, EIO, 1'000'000);
  rig.disk.fail(io::DiskCall::kOpen, EIO, 1'000'000);
  append(*rig.spool, "x", Lane::kDebug);
  const MonoTime until = io::mono_now() + kPatience;
  while (rig.spool->stats().health == SpoolHealth::kOk && io::mono_now() < until) {
  }
  rig.feed->add("d 1");
  rig.feed->ends = true;
  rig.pump();
  EXPECT_TRUE(rig.intake->ended());
  EXPECT_TRUE(rig.feed->paused);
  rig.disk.clear_faults();
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("d 1"));
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 1)));
}

TEST(Intake, WhatCannotBeDecodedIsADeadLetterWithItsReason) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.feed->add("bad thing");
  rig.feed->add("d x");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("d 1", "d x"));
  const auto reader = rig.spool->read(Lane::kDeadLetter, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_EQ(reader->row().row.payload, "bad thing");
  EXPECT_EQ(reader->row().row.note, "no reading");
  EXPECT_EQ(reader->row().row.topic, "t");
  EXPECT_EQ(reader->row().row.position, 2U);
  EXPECT_EQ(reader->next().value(), ReadItem::kEnd);
  EXPECT_EQ(rig.intake->counts().dead_letter.get(), 1U);
  EXPECT_EQ(rig.intake->counts().values_unfit.get(), 1U);
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 3)));
}

TEST(Intake, ADepartureKeepsItsPlaceAmongTheReadingsPastDecoderAndFilters) {
  Rig rig;
  rig.filters = [] { return only<Above>(1.0); };
  ASSERT_TRUE(rig.build());
  for (const char* text : {"gone a", "d 1", "d 2", "gone b", "bad x", "d 3", "gone c"}) {
    rig.feed->add(text);
  }
  rig.feed->add("gone " + std::string(rig.spool->max_transaction_bytes(), 'x'));
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("gone a", "d 2", "gone b", "d 3", "gone c"));
  EXPECT_EQ(rig.lane(Lane::kDeadLetter).size(), 2U) << "bad x, and the one that is too large";
  EXPECT_EQ(rig.intake->counts().stored.get(), 5U);
  EXPECT_EQ(rig.intake->counts().filtered.get(), 1U);
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("a is offline", "b is offline", "c is offline"));
  EXPECT_EQ(rig.scoring->counts().offline.get(), 3U);
  EXPECT_THAT(rig.feed->acknowledged.back(), Pair(1, 8));
  const auto reader = rig.spool->read(Lane::kAlerts, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_EQ(reader->row().row.note, "offline");
  EXPECT_EQ(reader->row().row.device, "a");
}

TEST(Intake, ADecoderThatFailsMakesDeadLettersNotLosses) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.decode->error = Error::internal("no memory");
  rig.feed->add("d 1");
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kDeadLetter), ElementsAre("d 1", "d 2"));
  EXPECT_EQ(rig.intake->counts().dead_letter.get(), 2U);
  EXPECT_EQ(rig.intake->counts().acknowledged.get(), 2U);
  expect_conserved(rig.intake->counts());
}

TEST(Intake, AFilterThatFailsIsToldAndWhatItDroppedIsCounted) {
  Rig rig;
  bool broken = true;
  rig.filters = [&broken] {
    auto made = only<Above>(0.0, &broken);
    made.push_back(std::make_unique<Above>(1.0));
    return made;
  };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 0");
  rig.feed->add("d 1");
  rig.feed->add("d 2");
  rig.pump();
  EXPECT_EQ(rig.intake->trouble(), "above is broken");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("d 2"));
  EXPECT_EQ(rig.intake->counts().filtered.get(), 2U);
  expect_conserved(rig.intake->counts());
  broken = false;
  rig.feed->add("d 3");
  rig.pump();
  EXPECT_EQ(rig.intake->trouble(), "");
}

TEST(Intake, ARowThatIsTooLargeIsADeadLetterOfItsFirstBytes) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1 " + std::string(200'000, 'x'));  // a segment is 256 KiB
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("d 2"));
  const auto reader = rig.spool->read(Lane::kDeadLetter, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_TRUE(reader->row().row.payload.starts_with("d 1 xxx"));
  EXPECT_THAT(std::string(reader->row().row.note), HasSubstr("the store takes rows up to"));
  EXPECT_EQ(rig.intake->counts().acknowledged.get(), 2U);
  expect_conserved(rig.intake->counts());
}

TEST(Intake, ABatchLargerThanAFrameIsStoredInSeveral) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  const std::string pad(20'000, 'x');
  for (int i = 0; i < 20; ++i) {
    rig.feed->add(fmt::format("{} {} {}", i % 5 == 4 ? "bad" : "d", i, pad));
  }
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.feed->rooms.front(), 4096U);
  EXPECT_EQ(rig.lane(Lane::kReadings).size(), 16U);
  EXPECT_EQ(rig.lane(Lane::kDeadLetter).size(), 4U);
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 20)));
  const auto decisions = read_decisions(*rig.spool);
  ASSERT_EQ(decisions.size(), 16U);
  EXPECT_THAT(decisions.at(1), ElementsAre("0"));
  EXPECT_THAT(decisions.at(16), ElementsAre("18"));
}

TEST(Intake, AMessageOfSeveralReadingsIsAcknowledgedWhenAllOfThemAreDurable) {
  Rig rig;
  rig.options.commit_delay = kNever;
  ASSERT_TRUE(rig.build());
  const std::string pad(20'000, 'x');
  std::string message;
  for (int i = 0; i < 20; ++i) {  // more than a frame takes
    message += fmt::format("{}d {} {}", i == 0 ? "" : "|", i, pad);
  }
  rig.feed->add("d 100");
  rig.feed->add(message);
  rig.feed->add("d 101");
  rig.pump();
  EXPECT_THAT(rig.feed->acknowledged, IsEmpty());
  EXPECT_EQ(rig.intake->counts().taken.get(), 22U);
  expect_conserved(rig.intake->counts());
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 3)));
  EXPECT_EQ(rig.intake->counts().acknowledged.get(), 22U);
  const Texts stored = rig.lane(Lane::kReadings);
  ASSERT_EQ(stored.size(), 22U);
  EXPECT_EQ(stored.front(), "d 100");
  EXPECT_TRUE(stored[20].starts_with("d 19 ")) << "in the message's place";
  EXPECT_EQ(stored.back(), "d 101");
  expect_each_decided_once(rig);
}

TEST(Intake, RowsOfAMessageThatAreReadBackAreApart) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1|a 2|a 3");
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.crash(1.0);
  rig.feed = std::make_shared<Feed>();
  ASSERT_TRUE(rig.build());
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("a 1", "a 2", "a 3"));
  expect_each_decided_once(rig);
}

TEST(Intake, TellsWhatBecameOfEachReading) {
  Rig rig;
  rig.filters = [] { return only<Above>(0.0); };
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1 id=1");
  rig.feed->add("a 1 id=1|a 0|bad|a 2");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.feed->fates, ElementsAre(Pair(1, Fate::kStored), Pair(2, Fate::kDuplicate),
                                           Pair(2, Fate::kFiltered), Pair(2, Fate::kDeadLetter),
                                           Pair(2, Fate::kStored)));
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 2)));
}

TEST(Intake, WhatTheSourceKnowsToBeNoReadingIsADeadLetterWithItsReason) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1");
  rig.feed->add("a 2");
  rig.feed->messages.back().note = "line 7: two fields";
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("a 1"));
  const auto reader = rig.spool->read(Lane::kDeadLetter, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_EQ(reader->row().row.payload, "a 2");
  EXPECT_EQ(reader->row().row.note, "line 7: two fields");
  EXPECT_THAT(rig.feed->fates, ElementsAre(Pair(1, Fate::kStored), Pair(2, Fate::kDeadLetter)));
  expect_conserved(rig.intake->counts());
}

TEST(Intake, WhereMessagesHoldManyReadingsFewerAreTakenAtOnce) {
  Rig rig;
  rig.room = 100;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1|a 2|a 3|a 4|a 5|a 6|a 7|a 8|a 9|a 10");
  rig.pump();
  rig.pump();
  rig.feed->add("a 11");
  rig.pump();
  rig.pump();
  EXPECT_THAT(rig.feed->rooms, ElementsAre(100, 10, 10, 100));
}

TEST(Intake, DeclaredIdsDedupeAndKeepTheFirst) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1 id=1");
  rig.feed->add("a 2 id=2");
  rig.feed->add("a 1 id=1");
  rig.feed->add("a 1");
  rig.feed->add("a 1");  // equal payloads without an id are two readings
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("a 1 id=1", "a 2 id=2", "a 1", "a 1"));
  EXPECT_EQ(rig.intake->counts().duplicate.get(), 1U);
  EXPECT_EQ(rig.intake->counts().acknowledged.get(), 5U);
}

TEST(Intake, DeclaredIdsDedupeAcrossARestart) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1 id=1");
  ASSERT_TRUE(rig.settle());
  rig.crash();
  rig.feed = std::make_shared<Feed>();
  ASSERT_TRUE(rig.build());
  const auto reader = rig.spool->read(Lane::kReadings, 1);
  while (reader->next().value() == ReadItem::kRow) {
    EXPECT_NE(reader->row().row.flags & kRowDeclaredId, 0U);
    rig.intake->remember(reader->row().row.identity);
  }
  rig.feed->add("a 1 id=1");
  rig.feed->add("a 2 id=2");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("a 1 id=1", "a 2 id=2"));
  EXPECT_THAT(rig.feed->acknowledged, ElementsAre(Pair(1, 2)));
}

TEST(Intake, RowsWithoutAnIdentityGetOneThatNoOtherHas) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1");
  rig.feed->add("a 1");
  ASSERT_TRUE(rig.settle());
  rig.drop();
  rig.feed = std::make_shared<Feed>();
  rig.feed->add("a 1");
  ASSERT_TRUE(rig.build());
  ASSERT_TRUE(rig.settle());
  std::set<std::string> ids;
  const auto reader = rig.spool->read(Lane::kReadings, 1);
  while (reader->next().value() == ReadItem::kRow) {
    ids.insert(reader->row().row.identity.hex());
  }
  EXPECT_EQ(ids.size(), 3U);
}

TEST(Intake, AnErrorOfTheSourceIsToldAndItsRowsAreKept) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->add("a 1");
  rig.feed->take_error = Error::unavailable("line is down");
  rig.pump();
  EXPECT_EQ(rig.intake->trouble(), "line is down");
  EXPECT_EQ(rig.intake->counts().errors.get(), 1U);
  EXPECT_FALSE(rig.intake->ended());
  rig.pump();
  EXPECT_EQ(rig.intake->trouble(), "");
  rig.feed->add("a 2");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("a 1", "a 2"));
}

TEST(Intake, AnAcknowledgementThatFailsIsTold) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.feed->acknowledge_error = Error::internal("who is that");
  rig.feed->add("a 1");
  rig.pump();
  ASSERT_TRUE(rig.commit());
  EXPECT_EQ(rig.intake->trouble(), "who is that");
}

TEST(Intake, CallsTheSourceEachRoundAlsoWhileNothingMayBeTaken) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  rig.pump();
  rig.intake->stop_taking();
  EXPECT_TRUE(rig.feed->paused);
  rig.feed->add("a 1");
  rig.feed->take_error = Error::unavailable("line is down");
  rig.pump();
  rig.pump();
  EXPECT_THAT(rig.feed->rooms, ElementsAre(4096, 0, 0));
  EXPECT_EQ(rig.feed->taken, 0U);
  EXPECT_EQ(rig.intake->trouble(), "line is down");
  EXPECT_TRUE(rig.intake->settled());
}

TEST(Intake, KeepsTheStateOfSourceAndDecoderWithTheRows) {
  Rig rig;
  rig.feed->resumes = true;
  rig.room = 2;
  for (int i = 0; i < 5; ++i) {
    rig.feed->add(fmt::format("d{} {}", i, i));
  }
  ASSERT_TRUE(rig.build());
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.pump();  // taken, not committed: the flusher may or may not have it
  rig.crash(0.0);
  const std::size_t again = rig.feed->taken;
  ASSERT_TRUE(rig.build());
  EXPECT_LE(rig.feed->taken, again);
  EXPECT_GE(rig.feed->taken, 2U);
  EXPECT_EQ(rig.feed->taken, rig.lane(Lane::kReadings).size());
  EXPECT_EQ(rig.decode->seen().size(), rig.feed->taken);
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("d0 0", "d1 1", "d2 2", "d3 3", "d4 4"));
}

}  // namespace
}  // namespace headwater
