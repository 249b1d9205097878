// Live rows in front of a backlog: LaneStream with `live_first`.
#include <map>
#include <random>

#include "base/strings.h"
#include "uplink/lane_stream.h"
#include "uplink/testing.h"

namespace headwater {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

class LiveFirst : public UplinkTest {
 protected:
  LiveFirst() {
    parts.limits.rows = 40;
    parts.limits.bytes = 1U << 20;
    parts.limits.every = seconds(10);
    parts.limits.score_wait = seconds(30);
    parts.live_first = true;
    target.most_open = 2;
  }
  // 1 to 100 wait for an hour; the first batch is stored then, and 11 rows more come.
  void fall_behind() {
    add_rows(100);
    make();
    pass(hours(1));
    pump();
    ASSERT_THAT(target.on_the_way(), ElementsAre("1-40"));
    target.answer(Receipt::kStored);
    pump();
    add_rows(11);
    pump();
  }
  void store_live_every_10_seconds() {
    pass(seconds(11));
    add_rows(1);  // rows of the spool are as old as the real clock says
  }
  std::vector<SequenceRange> ahead() {
    commit();
    return decode_ahead(spool->state(ahead_key(kUplinkConsumer, Lane::kReadings)));
  }
  std::uint64_t cursor() {
    commit();
    return spool->cursor(kUplinkConsumer, Lane::kReadings, kAllStreams).value_or(0);
  }
  void answer_all(Receipt receipt = Receipt::kStored) {
    while (target.waiting()) {
      target.answer(receipt);
      pump();
    }
  }
};

TEST_F(LiveFirst, WhatComesInGoesInFrontOfWhatStaysBehind) {
  fall_behind();
  EXPECT_THAT(target.on_the_way(), ElementsAre("41-80", "101-111"));
  EXPECT_TRUE(stream->is_split());
  target.answer("101-111", Receipt::kStored);
  EXPECT_THAT(ahead(), ElementsAre(SequenceRange{101, 111}));
  EXPECT_EQ(cursor(), 40U);
  EXPECT_EQ(stream->pending(), 60U);
  EXPECT_EQ(stream->ahead(), 11U);
  EXPECT_EQ(stream->counts().live_rows.get(), 11U);
}

TEST_F(LiveFirst, WhatCameShortlyBeforeCountsAsLive) {
  add_rows(100);
  make();
  pass(hours(1));
  pump();
  ASSERT_THAT(target.on_the_way(), ElementsAre("1-40"));
  pass(seconds(15));  // within twice `every`
  add_rows(7);
  pump();
  target.answer(Receipt::kStored);
  pump();
  EXPECT_THAT(target.on_the_way(), testing::UnorderedElementsAre("41-80", "101-107"));
  answer_all();
  EXPECT_EQ(cursor(), 107U);
}

TEST_F(LiveFirst, ManyBatchesInFrontAreABacklogAtOnce) {
  add_rows(500);
  make();
  pump();
  ASSERT_THAT(target.on_the_way(), ElementsAre("1-40"));
  target.answer(Receipt::kStored);
  pump();
  add_rows(40);
  pump();
  EXPECT_TRUE(stream->is_split());
  EXPECT_THAT(target.on_the_way(), testing::UnorderedElementsAre("41-80", "501-540"));
  answer_all();
  EXPECT_EQ(cursor(), 540U);
}

TEST_F(LiveFirst, TheBacklogJumpsOverWhatWentAhead) {
  fall_behind();
  answer_all();
  EXPECT_THAT(target.sent, ElementsAre("1-40", "41-80", "101-111", "81-90", "91-100"))
      << "in quarters while live rows are sent";
  EXPECT_FALSE(stream->is_split());
  EXPECT_EQ(cursor(), 111U);
  EXPECT_THAT(ahead(), IsEmpty());
  EXPECT_TRUE(stream->settled());
}

TEST_F(LiveFirst, ABatchOfLiveRowsThatIsOnItsWayWhenTheBacklogComesToItIsSentOnce) {
  fall_behind();
  target.answer("41-80", Receipt::kStored);
  pump();
  target.answer("81-90", Receipt::kStored);
  pump();
  target.answer("91-100", Receipt::kStored);
  pump();
  EXPECT_THAT(target.on_the_way(), ElementsAre("101-111"));
  EXPECT_FALSE(stream->is_split());
  EXPECT_EQ(cursor(), 100U);
  answer_all();
  EXPECT_EQ(cursor(), 111U);
  EXPECT_EQ(target.sent.size(), 5U);
}

TEST_F(LiveFirst, StrictOrderSendsTheOldest) {
  parts.live_first = false;
  target.most_open = 1;
  fall_behind();
  EXPECT_THAT(target.on_the_way(), ElementsAre("41-80"));
  answer_all();
  EXPECT_THAT(target.sent, ElementsAre("1-40", "41-80", "81-111"));
}

TEST_F(LiveFirst, WhatFitsIntoTheNextBatchIsNoBacklog) {
  add_rows(40);
  make();
  pass(hours(1));
  pump();
  target.answer(Receipt::kStored);
  add_rows(30);
  pass(hours(1));
  pump();
  EXPECT_THAT(target.on_the_way(), ElementsAre("41-70"));
  EXPECT_FALSE(stream->is_split());
}

TEST_F(LiveFirst, WhileTheTargetDoesNotAnswerNothingGoesInFront) {
  add_rows(100);
  make();
  pass(hours(1));
  for (int i = 0; i < 20; ++i) {
    pump();
    add_rows(10);
    if (target.waiting()) {
      target.answer(Receipt::kRetry);
    }
    pass(seconds(70));
  }
  EXPECT_THAT(target.sent, testing::Each("1-40"));
  EXPECT_FALSE(stream->is_split());
}

TEST_F(LiveFirst, AfterAnotherOutageItJumpsToTheEndAndLeavesAHole) {
  fall_behind();
  target.answer("101-111", Receipt::kStored);
  pump();
  add_rows(40);
  pump();
  ASSERT_THAT(target.on_the_way(), ElementsAre("41-80", "112-151"));
  target.answer("112-151", Receipt::kRetry);
  pump();
  add_rows(160);  // 152 to 311, an hour without an answer
  pass(hours(1));
  pump();
  ASSERT_THAT(target.on_the_way(), ElementsAre("41-80", "112-151"));
  target.answer("112-151", Receipt::kStored);
  pump();
  add_rows(5);
  pass(seconds(11));
  pump();
  EXPECT_THAT(target.on_the_way(), ElementsAre("41-80", "312-316"));
  target.answer("312-316", Receipt::kStored);
  EXPECT_THAT(ahead(), ElementsAre(SequenceRange{101, 151}, SequenceRange{312, 316}));
  answer_all();
  EXPECT_EQ(cursor(), 316U);
  EXPECT_THAT(ahead(), IsEmpty());
  std::map<std::uint64_t, std::uint64_t> ranges;
  for (const std::string& name : target.sent) {
    ranges[std::stoull(name)] = std::stoull(name.substr(name.find('-') + 1));
  }
  std::uint64_t next = 1;
  for (const auto& [first, last] : ranges) {
    EXPECT_EQ(first, next);
    next = last + 1;
  }
  EXPECT_EQ(next, 317U);
  EXPECT_EQ(ranges.size() + 1, target.sent.size()) << "nothing but 112-151 twice";
}

TEST_F(LiveFirst, KeepsBothBatchesAndWhatWentAheadOverARestart) {
  fall_behind();
  target.answer("101-111", Receipt::kStored);
  pump();
  add_rows(3);
  pass(seconds(11));
  pump();
  ASSERT_THAT(target.on_the_way(), ElementsAre("41-80", "112-114"));
  restart();
  make();
  EXPECT_EQ(stream->pending(), 63U);
  EXPECT_EQ(stream->ahead(), 11U);
  pump();
  EXPECT_THAT(target.on_the_way(), testing::UnorderedElementsAre("41-80", "112-114"));
  answer_all();
  EXPECT_EQ(cursor(), 114U);
  EXPECT_TRUE(stream->settled());
  EXPECT_THAT(target.sent, testing::UnorderedElementsAre("41-80", "112-114", "81-90", "91-100"));
}

TEST_F(LiveFirst, KeepsTheFirstBatchBehindAJumpOverARestart) {
  fall_behind();
  target.answer("101-111", Receipt::kStored);
  pump();
  add_rows(60);
  pass(hours(1));
  pump();  // over 112 to 171
  add_rows(4);
  pump();
  ASSERT_THAT(target.on_the_way(), ElementsAre("41-80", "172-175"));
  restart();
  add_rows(4);
  make();
  pump();
  EXPECT_THAT(target.on_the_way(), testing::UnorderedElementsAre("41-80", "172-175"));
  for (int i = 0; i < 100 && !stream->settled(); ++i) {
    pass(seconds(11));
    pump();
    answer_all();
  }
  EXPECT_EQ(cursor(), 179U);
}

TEST_F(LiveFirst, StrictOrderAfterARestartFinishesWhatWasOnItsWay) {
  fall_behind();
  restart();
  parts.live_first = false;
  target.most_open = 2;
  make();
  pump();
  EXPECT_THAT(target.on_the_way(), testing::UnorderedElementsAre("41-80", "101-111"));
  target.answer("101-111", Receipt::kStored);
  pump();
  add_rows(30);
  pass(minutes(1));
  pump();
  EXPECT_THAT(target.on_the_way(), ElementsAre("41-80"));
  answer_all();
  EXPECT_EQ(cursor(), 141U);
  EXPECT_EQ(target.sent.back(), "112-141");
}

TEST_F(LiveFirst, RowsInFrontOfTheLiveRangeThatAreLetGoAreCountedExactly) {
  fall_behind();
  std::uint64_t added = 111;
  for (int i = 0; i < 60; ++i) {  // 1.8 MB into a store of 1 MiB; all but 41-80 is delivered
    if (target.on_the_way().size() == 2) {
      target.answer(target.on_the_way().back(), Receipt::kStored);
      pump();
    }
    add_rows(40, 0, Lane::kReadings, 800);
    added += 40;
    pass(seconds(11));
    pump();
  }
  const LaneStats stats = spool->stats().lanes[index_of(Lane::kReadings)];
  ASSERT_GT(stats.oldest_sequence, 111U);
  EXPECT_EQ(stats.shed_rows, 60U) << "41 to 100, and nothing that went ahead";
  for (int rounds = 0; rounds < 100 && !stream->settled(); ++rounds) {
    pass(seconds(11));
    pump();
    answer_all();
  }
  EXPECT_EQ(cursor(), added);
  EXPECT_THAT(target.bodies, testing::Contains("81-90:shed"));
  EXPECT_EQ(stream->counts().rows.get(), added - 60 + 40) << "41-80 were on their way";
}

TEST_F(LiveFirst, LiveRowsUseTheBudgetFirst) {
  Pacer pacer(400);
  parts.pacer = &pacer;
  fall_behind();
  EXPECT_THAT(target.on_the_way(), ElementsAre("101-111"))
      << "the debt of 1-40 holds 41-80 back alone";
}

// The wall clock of the process, moved as a person or NTP may.
class ClockSet : public LiveFirst {
 protected:
  ~ClockSet() override { io::shift_wall_clock(Nanos{0}); }
  void set(Nanos shift) {
    io::shift_wall_clock(shift);
    clock.wall = io::wall_now();
  }
  static constexpr Nanos kTenYears = hours(24 * 3652);
};

TEST_F(ClockSet, NoJumpSendsAnythingEarlyOrLateOrInAnotherOrder) {
  make();
  for (const Nanos shift : {kTenYears, -kTenYears, Nanos{0}, -kTenYears, kTenYears}) {
    add_rows(10);
    set(shift);
    pass(seconds(5));
    pump();
    EXPECT_FALSE(target.waiting()) << "not due";
    EXPECT_FALSE(stream->is_split()) << "nothing stays behind";
    add_rows(10);
    pass(seconds(6));
    pump();
    EXPECT_TRUE(target.waiting()) << "due";
    answer_all();
    EXPECT_EQ(stream->pending(), 0U);
    // So that the rows of the next round are new by the clock that stands still here.
    clock.mono = io::mono_now();
  }
  EXPECT_THAT(target.sent, ElementsAre("1-20", "21-40", "41-60", "61-80", "81-100"));
  EXPECT_THAT(spool->gaps(), IsEmpty());
}

TEST_F(ClockSet, ABacklogIsFoundByTheTimeThatPassed) {
  fall_behind();
  EXPECT_TRUE(stream->is_split());
  set(-kTenYears);
  answer_all();
  EXPECT_EQ(cursor(), 111U);
  set(kTenYears);
  pump();
  EXPECT_FALSE(stream->is_split());
}

TEST_F(ClockSet, TheBatchAroundTheMomentSaysSo) {
  std::vector<std::vector<std::uint64_t>> moments;
  make();
  target.on_send = [&](const BatchHeader& header) {
    moments.emplace_back();
    for (const BatchClock& moment : header.clock) {
      EXPECT_EQ(moment.boot, spool->boot_id());
      moments.back().push_back(moment.sequence);
    }
  };
  add_rows(50);
  set(kTenYears);
  add_rows(10);
  set(-kTenYears);
  add_rows(60);
  pass(seconds(11));
  store_all();
  EXPECT_THAT(target.sent, ElementsAre("1-40", "41-80", "81-120"));
  EXPECT_THAT(moments, ElementsAre(IsEmpty(), ElementsAre(51, 61), IsEmpty()));
}

// Random rows, answers, outages, kills: a receiver that keeps ranges has every sequence once, as a
// row or in a gap, and the gaps of the spool are what it lacks.
class LiveFirstModel : public LiveFirst, public testing::WithParamInterface<unsigned> {
 protected:
  void receive(const std::string& body) {
    for (const std::string_view part : split(body, ' ')) {
      const std::uint64_t first = std::stoull(std::string(part));
      const bool gap = part.find(':') != std::string_view::npos;
      const std::uint64_t last =
          gap ? std::stoull(std::string(part.substr(part.find('-') + 1))) : first;
      for (std::uint64_t sequence = first; sequence <= last; ++sequence) {
        has_.try_emplace(sequence, !gap);
      }
    }
  }
  std::map<std::uint64_t, bool> has_;  // true: as a row
};

TEST_P(LiveFirstModel, AReceiverThatKeepsRangesHasEverythingOnce) {
  std::mt19937 random(GetParam());
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  const bool large = one_in(2);
  std::uint64_t added = 0;
  bool splits = false;
  make();
  for (int step = 0; step < 400; ++step) {
    if (one_in(2)) {
      const std::size_t count = 1 + random() % 60;
      add_rows(count, 0, Lane::kReadings, large ? 800 : 60);
      added += count;
    }
    pass(one_in(20) ? Nanos{hours(1)} : Nanos{milliseconds(random() % 8'000)});
    pump();
    splits = splits || stream->is_split();
    if (target.waiting()) {
      if (one_in(2)) {
        target.answer(target.on_the_way().back(), Receipt::kRetry);
      } else {
        const std::string body = target.body();
        if (!one_in(8)) {
          receive(body);
        }
        target.answer(has_.contains(std::stoull(body)) && !one_in(4) ? Receipt::kStored
                                                                     : Receipt::kRetry);
      }
    }
    if (one_in(40)) {
      restart();
      make();
    }
  }
  for (int rounds = 0; rounds < 2'000 && !stream->settled(); ++rounds) {
    pass(seconds(30));
    pump();
    while (target.waiting()) {
      receive(target.body());
      target.answer(Receipt::kStored);
    }
  }
  EXPECT_TRUE(stream->settled());
  EXPECT_EQ(cursor(), added);
  ASSERT_EQ(has_.size(), added);
  EXPECT_EQ(has_.rbegin()->first, added);
  // Lost is what the spool says is lost, but for rows that were on their way when it let them go.
  const std::uint64_t lost = static_cast<std::uint64_t>(
      std::count_if(has_.begin(), has_.end(), [](const auto& one) { return !one.second; }));
  EXPECT_LE(lost, spool->stats().lanes[index_of(Lane::kReadings)].shed_rows);
  std::uint64_t in_no_gap = lost;
  for (const Gap& gap : spool->gaps()) {
    for (std::uint64_t sequence = gap.first; sequence <= gap.last; ++sequence) {
      in_no_gap -= has_.contains(sequence) && !has_[sequence] ? 1 : 0;
    }
  }
  EXPECT_EQ(in_no_gap, 0U) << "nothing is lost without a record";
  RecordProperty("splits", splits ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LiveFirstModel, testing::Range(1U, 26U));

}  // namespace
}  // namespace headwater
