#include "uplink/lane_stream.h"

#include <random>

#include "base/strings.h"
#include "uplink/testing.h"

namespace headwater {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LaneStreamTest : public UplinkTest {
 protected:
  LaneStreamTest() {
    parts.limits.rows = 10;
    parts.limits.bytes = 1U << 20;
    parts.limits.every = seconds(60);
    parts.limits.score_wait = seconds(30);
  }
  std::uint64_t cursor(Lane lane = Lane::kReadings) const {
    return spool->cursor(kUplinkConsumer, lane, kAllStreams).value_or(0);
  }
};

TEST_F(LaneStreamTest, SendsBatchesOneAfterTheOtherInOrder) {
  add_rows(35);
  make();
  store_all();
  EXPECT_THAT(target.sent, ElementsAre("1-10", "11-20", "21-30"));
  EXPECT_EQ(stream->pending(), 5U);
  pass(seconds(61));
  store_all();
  EXPECT_THAT(target.sent, ElementsAre("1-10", "11-20", "21-30", "31-35"));
  EXPECT_EQ(cursor(), 35U);
  EXPECT_TRUE(stream->settled());
  EXPECT_EQ(stream->counts().rows.get(), 35U);
  EXPECT_EQ(stream->counts().batches.get(), 4U);
  EXPECT_EQ(stream->counts().retries.get(), 0U);
}

TEST_F(LaneStreamTest, ForgetsTheBoundariesOfWhatIsStored) {
  add_rows(12);
  make();
  pump();
  EXPECT_NE(spool->state("uplink/batch/readings"), "");
  target.answer(Receipt::kStored);
  commit();
  EXPECT_EQ(spool->state("uplink/batch/readings"), "");
  EXPECT_EQ(cursor(), 10U);
}

TEST_F(LaneStreamTest, SendsNothingBeforeItsBoundariesAreOnDisk) {
  add_rows(12);
  make();
  disk.fail(io::DiskCall::kSync, EIO, 1'000'000);
  disk.fail(io::DiskCall::kWrite, EIO, 1'000'000);
  for (int i = 0; i < 20; ++i) {
    (void)stream->pump(clock);
    (void)spool->flush(milliseconds(2));
  }
  EXPECT_THAT(target.sent, IsEmpty());
  disk.clear_faults();
  commit();
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-10"));
}

TEST_F(LaneStreamTest, SendsTheSameRowsAfterARestart) {
  add_rows(25);
  make();
  pump();
  ASSERT_THAT(target.sent, ElementsAre("1-10"));
  const std::string body = target.bodies[0];
  restart();
  add_rows(25);
  parts.limits.rows = 20;  // a new config: the old boundaries hold
  make();
  store_all();
  EXPECT_THAT(target.sent, ElementsAre("1-10", "11-30", "31-50"));
  EXPECT_EQ(target.bodies[0], body);
  EXPECT_EQ(cursor(), 50U);
}

TEST_F(LaneStreamTest, SendsNothingAgainThatWasStored) {
  add_rows(10);
  make();
  store_all();
  restart();
  make();
  store_all();
  EXPECT_THAT(target.sent, IsEmpty());
}

TEST_F(LaneStreamTest, TriesAgainWithBackoff) {
  add_rows(10);
  make();
  pump();
  for (int i = 0; i < 20; ++i) {
    target.answer(Receipt::kRetry);
    const LaneStream::Next next = pump();
    ASSERT_FALSE(target.waiting());
    EXPECT_EQ(stream->state(), LaneState::kWaiting);
    EXPECT_LE(next.at, clock.mono + seconds(60));
    clock.mono = next.at;
    pump();
    ASSERT_TRUE(target.waiting()) << "at the time that pump() named";
  }
  EXPECT_EQ(stream->counts().retries.get(), 20U);
  EXPECT_EQ(stream->trouble(), "told so");
  target.answer(Receipt::kStored);
  pump();
  EXPECT_EQ(stream->state(), LaneState::kIdle);
  EXPECT_EQ(stream->trouble(), "");
  EXPECT_THAT(target.sent, testing::Each("1-10"));
}

TEST_F(LaneStreamTest, WaitsAsLongAsTheReceiverAsks) {
  add_rows(10);
  make();
  pump();
  target.answer(Receipt::kRetry, seconds(200));
  EXPECT_EQ(pump().at, clock.mono + seconds(200));
  pass(seconds(199));
  pump();
  EXPECT_FALSE(target.waiting());
  pass(seconds(1));
  pump();
  EXPECT_TRUE(target.waiting());
}

TEST_F(LaneStreamTest, AfterASilenceItTriesAtOnceAndAfterTheThirdTheTargetStartsAnew) {
  std::size_t restarts = 0;
  parts.restart = [&] { ++restarts; };
  add_rows(10);
  make();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 3; ++i) {
      pump();
      ASSERT_TRUE(target.waiting());
      EXPECT_EQ(restarts, static_cast<std::size_t>(round));
      target.answer(Receipt::kRetry, {}, true);
    }
    EXPECT_EQ(restarts, static_cast<std::size_t>(round) + 1);
  }
  EXPECT_EQ(stream->counts().silences.get(), 6U);
  pump();
  target.answer(Receipt::kRetry, {}, true);
  pump();
  target.answer(Receipt::kRetry);
  clock.mono = pump().at;
  for (int i = 0; i < 2; ++i) {
    pump();
    target.answer(Receipt::kRetry, {}, true);
  }
  EXPECT_EQ(restarts, 2U) << "an answer in between: not silent for three in succession";
}

TEST_F(LaneStreamTest, WhatWasOnItsWayGoesAgainAfterTheTargetWasClosed) {
  add_rows(10);
  make();
  pump();
  target.close();
  stream->give_up();
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-10", "1-10"));
  target.answer(Receipt::kStored);
  pump();
  EXPECT_EQ(cursor(), 10U);
}

TEST_F(LaneStreamTest, ParksAndKeepsEverything) {
  add_rows(30);
  make();
  pump();
  target.answer(Receipt::kPark);
  const LaneStream::Next next = pump();
  EXPECT_EQ(stream->state(), LaneState::kParked);
  EXPECT_GE(next.at, clock.mono + minutes(3));
  EXPECT_LE(next.at, clock.mono + minutes(5));
  EXPECT_EQ(stream->pending(), 30U);
  clock.mono = next.at;
  pump();
  EXPECT_EQ(stream->state(), LaneState::kParked) << "while it tries, too";
  target.answer(Receipt::kStored);
  store_all();
  EXPECT_EQ(stream->state(), LaneState::kIdle);
  EXPECT_EQ(cursor(), 30U);
}

TEST_F(LaneStreamTest, HalvesWhatIsTooLarge) {
  add_rows(20);
  make();
  pump();
  target.answer(Receipt::kTooLarge);
  pump();
  target.answer(Receipt::kTooLarge);
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-10", "1-5", "1-2"));
  pass(seconds(61));
  store_all();
  std::uint64_t next = 1;
  for (std::size_t i = 2; i < target.sent.size(); ++i) {
    EXPECT_THAT(target.sent[i], testing::StartsWith(fmt::format("{}-", next)));
    next = std::stoull(target.sent[i].substr(target.sent[i].find('-') + 1)) + 1;
  }
  EXPECT_EQ(next, 21U);
  EXPECT_EQ(cursor(), 20U);
}

TEST_F(LaneStreamTest, FindsTheRowThatAReceiverRefusesAndKeepsItAsADeadLetter) {
  add_rows(20);
  make();
  pump();
  while (target.waiting()) {
    const std::string& sent = target.sent.back();
    const bool holds_13 =
        std::stoull(sent) <= 13 && std::stoull(sent.substr(sent.find('-') + 1)) >= 13;
    target.answer(holds_13 && target.bodies.back() != "13-13:refused" ? Receipt::kRefused
                                                                      : Receipt::kStored);
    pass(seconds(61));
    pump();
  }
  EXPECT_EQ(cursor(), 20U);
  EXPECT_EQ(stream->counts().refused.get(), 1U);
  EXPECT_EQ(stream->counts().rows.get(), 19U);
  const auto letters = spool->read(Lane::kDeadLetter, 1);
  ASSERT_EQ(letters->next().value(), ReadItem::kRow);
  EXPECT_EQ(std::string(letters->row().row.note), "uplink: readings 13: told so");
  EXPECT_EQ(letters->next().value(), ReadItem::kEnd);
}

TEST_F(LaneStreamTest, AReceiverThatRefusesAllItGetsIsGivenNothingUp) {
  add_rows(10);
  make();
  pump();
  while (target.waiting()) {
    target.answer(Receipt::kRefused);
    pump();
  }
  EXPECT_EQ(stream->state(), LaneState::kParked);
  EXPECT_THAT(target.sent, ElementsAre("1-10", "1-5", "1-2", "1-1"));
  EXPECT_EQ(stream->counts().refused.get(), 0U);
  pass(parts.park_every);
  store_all();
  pass(seconds(61));
  store_all();
  EXPECT_EQ(cursor(), 10U);
  EXPECT_EQ(stream->counts().rows.get(), 10U);
}

TEST_F(LaneStreamTest, NoMoreThan16RowsInARowAreGivenUp) {
  parts.limits.rows = 1;
  add_rows(30);
  make();
  pump();
  target.answer(Receipt::kStored);
  pump();
  while (target.waiting()) {
    target.answer(target.bodies.back().ends_with(":refused") ? Receipt::kStored
                                                             : Receipt::kRefused);
    pump();
  }
  EXPECT_EQ(stream->state(), LaneState::kParked);
  EXPECT_EQ(stream->counts().refused.get(), 16U);
  EXPECT_EQ(cursor(), 17U);
}

TEST_F(LaneStreamTest, KeepsTheHalfOverARestart) {
  add_rows(10);
  make();
  pump();
  target.answer(Receipt::kTooLarge);
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-10", "1-5"));
  restart();
  make();
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-5"));
}

TEST_F(LaneStreamTest, ARowThatIsTooLargeAloneGoesAsAGapAndBecomesADeadLetter) {
  parts.limits.rows = 2;
  add_rows(3);
  make();
  pump();
  target.answer(Receipt::kTooLarge);
  pump();
  target.answer(Receipt::kTooLarge);
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-2", "1-1", "1-1"));
  EXPECT_EQ(target.bodies[2], "1-1:refused");
  EXPECT_EQ(stream->counts().refused.get(), 1U);
  const auto letters = spool->read(Lane::kDeadLetter, 1);
  ASSERT_EQ(letters->next().value(), ReadItem::kRow);
  EXPECT_EQ(letters->row().row.payload, "\"xxxxxxxxxxxxxxxxxx\"");
  EXPECT_THAT(std::string(letters->row().row.note), HasSubstr("readings 1"));
  restart();
  make();
  store_all();
  ASSERT_FALSE(target.bodies.empty());
  EXPECT_EQ(target.bodies[0], "1-1:refused") << "after a restart too";
  pass(seconds(61));
  store_all();
  EXPECT_EQ(cursor(), 3U);
}

TEST_F(LaneStreamTest, AlertsGoAtOnce) {
  spool->deliver_to(kUplinkConsumer, Lane::kAlerts);
  parts.limits.every = Nanos{0};
  make(Lane::kAlerts);
  add_rows(1, 0, Lane::kAlerts);
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-1"));
  add_rows(3, 0, Lane::kAlerts);
  target.answer(Receipt::kStored);
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-1", "2-4"));
}

TEST_F(LaneStreamTest, KeepsWithinTheBudget) {
  Pacer pacer(1000);
  parts.pacer = &pacer;
  parts.limits.rows = 100;
  add_rows(2'000, 0, Lane::kReadings, 40);
  make();
  const MonoTime begin = clock.mono;
  pump();
  while (cursor() < 2'000) {
    if (target.waiting()) {
      target.answer(Receipt::kStored);
    }
    const LaneStream::Next next = pump();
    if (!target.waiting() && next.at.ns != std::numeric_limits<std::int64_t>::max()) {
      clock.mono = std::max(clock.mono, next.at);
      pump();
    }
  }
  const double seconds_taken = static_cast<double>((clock.mono - begin).count()) * 1e-9;
  ASSERT_GT(target.bytes, 3'000U);
  EXPECT_GE(seconds_taken + 2, static_cast<double>(target.bytes) / 1000);
}

TEST_F(LaneStreamTest, RowsThatAreLetGoWhileTheyWaitGoAsAGap) {
  add_rows(10);
  make();
  pump();
  target.answer(Receipt::kRetry);
  for (int i = 0; i < 60; ++i) {
    add_rows(100, 0, Lane::kReadings, 300);
  }
  clock.mono = pump().at;
  pump();
  EXPECT_THAT(target.sent, ElementsAre("1-10", "1-10"));
  EXPECT_EQ(target.bodies[1], "1-10:shed");
}

TEST_F(LaneStreamTest, RowsThatAreLetGoOnTheirWayAreCountedOnce) {
  add_rows(10);
  make();
  pump();
  ASSERT_THAT(target.sent, ElementsAre("1-10"));
  while (spool->stats().lanes[index_of(Lane::kReadings)].shed_rows < 10) {
    add_rows(100, 0, Lane::kReadings, 300);
  }
  target.answer(Receipt::kStored);
  EXPECT_EQ(stream->counts().rows.get(), 10U);
  EXPECT_EQ(stream->counts().underway.get(), 10U) << "both stored and in a gap record";
}

TEST_F(LaneStreamTest, DeliveredRowsAreLetGoWithoutAGap) {
  parts.limits.rows = 1'000;
  make();
  for (int i = 0; i < 60; ++i) {
    add_rows(100, 0, Lane::kReadings, 300);
    pass(seconds(61));
    store_all();
  }
  EXPECT_THAT(spool->gaps(), IsEmpty());
  EXPECT_GT(spool->stats().lanes[index_of(Lane::kReadings)].oldest_sequence, 1U);
}

TEST_F(LaneStreamTest, AFullStoreIsDrained) {
  spool.reset();
  open(OnFull::kBlock);
  bool full = false;
  for (int i = 0; i < 200 && !full; ++i) {
    Transaction transaction;
    const std::string payload(2'000, 'x');
    for (int row = 0; row < 20; ++row) {
      transaction.append(Lane::kReadings, 0, sample_row(payload));
    }
    const auto submitted = spool->submit(transaction);
    full = !submitted.ok();
    commit();
  }
  ASSERT_TRUE(full);
  parts.limits.rows = 100;
  make();
  pass(seconds(61));
  store_all();
  EXPECT_TRUE(stream->settled());
  Transaction transaction;
  transaction.append(Lane::kReadings, 0, sample_row("again"));
  EXPECT_TRUE(spool->submit(transaction).ok());
}

TEST_F(LaneStreamTest, ARefusedRowDoesNotHoldUpAFullStore) {
  spool.reset();
  open(OnFull::kBlock);
  spool->deliver_to(kUplinkConsumer, Lane::kDeadLetter);
  const std::string payload(2'000, 'x');
  for (bool full = false; !full;) {
    Transaction transaction;
    transaction.append(Lane::kReadings, 0, sample_row(payload));
    full = !spool->submit(transaction).ok();
    commit();
  }
  parts.limits.rows = 16;
  make();
  pump();
  while (target.waiting()) {
    const std::string& sent = target.sent.back();
    const bool holds_20 =
        std::stoull(sent) <= 20 && std::stoull(sent.substr(sent.find('-') + 1)) >= 20;
    target.answer(holds_20 && target.bodies.back() != "20-20:refused" ? Receipt::kRefused
                                                                      : Receipt::kStored);
    pass(seconds(61));
    pump();
  }
  EXPECT_TRUE(stream->settled());
  EXPECT_EQ(stream->counts().refused.get(), 1U);
}

TEST_F(LaneStreamTest, HoldsAndFinishesWhatIsOnItsWay) {
  add_rows(30);
  make();
  pump();
  stream->hold();
  EXPECT_FALSE(stream->quiet());
  target.answer(Receipt::kStored);
  pump();
  EXPECT_TRUE(stream->quiet());
  EXPECT_THAT(target.sent, ElementsAre("1-10"));
  EXPECT_EQ(cursor(), 10U);
}

TEST_F(LaneStreamTest, FlushesWhatIsThere) {
  add_rows(3);
  make();
  pump();
  EXPECT_THAT(target.sent, IsEmpty());
  stream->flush();
  store_all();
  EXPECT_THAT(target.sent, ElementsAre("1-3"));
}

TEST_F(LaneStreamTest, GoesOnAfterTheDiskFailed) {
  add_rows(10);
  make();
  disk.fail(io::DiskCall::kSync, EIO, 3);
  pump();
  store_all();
  EXPECT_EQ(cursor(), 10U);
}

// Random rows, decisions, answers, lost answers, kills, a store that is too small: what a receiver
// keeps by ranges has every sequence once and in order, as a row or in a gap.
class LaneStreamModel : public LaneStreamTest, public testing::WithParamInterface<unsigned> {
 protected:
  // As docs/formats/batch.md asks: what lies up to upto_ is a repeat.
  void receive() {
    const std::string& body = target.bodies.back();
    std::uint64_t next = std::stoull(target.sent.back());
    ASSERT_LE(next, upto_ + 1) << "a hole between batches";
    for (const std::string_view part : split(body, ' ')) {
      const std::uint64_t first = std::stoull(std::string(part));
      ASSERT_EQ(first, next) << body;
      const bool gap = part.find(':') != std::string_view::npos;
      const std::uint64_t last =
          gap ? std::stoull(std::string(part.substr(part.find('-') + 1))) : first;
      rows_ += !gap && first > upto_ ? 1 : 0;
      next = last + 1;
    }
    upto_ = std::max(upto_, next - 1);
  }

  std::uint64_t upto_ = 0;
  std::uint64_t rows_ = 0;
};

TEST_P(LaneStreamModel, AReceiverThatKeepsRangesHasEverythingOnce) {
  std::mt19937 random(GetParam());
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  parts.scored = {{1, "decided/main/0"}};
  std::uint64_t added = 0;
  std::uint64_t decided = 0;
  std::uint64_t refused = 0;
  make();
  for (int step = 0; step < 300; ++step) {
    if (one_in(3)) {
      const std::size_t count = 1 + random() % 40;
      add_rows(count, static_cast<std::uint16_t>(random() % 2), Lane::kReadings,
               one_in(5) ? 2'000 : 100);
      added += count;
    }
    if (added > decided && one_in(3)) {
      const std::size_t count = 1 + random() % (added - decided);
      decide(decided + 1, std::vector<double>(count, 0.5), 1);
      decided += count;
    }
    pass(milliseconds(random() % 20'000));
    pump();
    if (target.waiting()) {
      if (one_in(2)) {
        receive();
        target.answer(one_in(4) ? Receipt::kRetry : Receipt::kStored);  // or the answer is lost
      } else {
        target.answer(one_in(4)   ? Receipt::kTooLarge
                      : one_in(6) ? Receipt::kRefused
                      : one_in(4) ? Receipt::kPark
                                  : Receipt::kRetry);
      }
    }
    if (one_in(30)) {
      refused += stream->counts().refused.get();
      restart();
      make();
    }
  }
  for (int rounds = 0; rounds < 1'000 && !stream->settled(); ++rounds) {
    pass(minutes(6));
    pump();
    if (target.waiting()) {
      receive();
      target.answer(Receipt::kStored);
    }
  }
  refused += stream->counts().refused.get();
  EXPECT_EQ(upto_, added);
  EXPECT_EQ(cursor(), added);
  const LaneStats stats = spool->stats().lanes[index_of(Lane::kReadings)];
  EXPECT_LE(rows_, added);
  EXPECT_GE(rows_ + stats.shed_rows + refused, added);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LaneStreamModel, testing::Range(1U, 41U));

}  // namespace
}  // namespace headwater
