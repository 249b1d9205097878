// Full disks, failing disks, limits.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>

#include "store/ahead.h"
#include "store/testing.h"

namespace headwater {
namespace {

using Texts = std::vector<std::string>;
using io::DiskCall;

struct SpoolFull : ::testing::Test {
  std::unique_ptr<Spool> open() {
    auto spool = Spool::open(disk, options);
    HW_CHECK(spool.ok(), spool ? "" : spool.error().text());
    return std::move(spool).value();
  }
  // Appends rows of 20 kB until one is refused; returns how many were taken.
  static std::size_t fill(Spool& spool, std::size_t most) {
    Transaction transaction;
    for (std::size_t i = 0; i < most; ++i) {
      transaction.clear();
      transaction.append(Lane::kReadings, 0, sample_row(fmt::format("{} {}", i, kBig)));
      if (!spool.submit(transaction)) {
        return i;
      }
      HW_CHECK(spool.flush(kPatience).ok(), "the disk works");
    }
    return most;
  }
  static inline const std::string kBig = std::string(20'000, 'x');

  io::FaultFiles disk{5};
  SpoolOptions options = small_options();
};

TEST_F(SpoolFull, ShedsTheOldestSegmentBehindAGapRecord) {
  auto spool = open();
  EXPECT_EQ(fill(*spool, 200), 200U);
  const auto stats = spool->stats();
  EXPECT_LE(stats.bytes, options.max_bytes);
  const std::uint64_t oldest = stats.lanes[1].oldest_sequence;
  ASSERT_GT(oldest, 100U);
  EXPECT_EQ(stats.lanes[1].shed_rows, oldest - 1);
  ASSERT_EQ(spool->gaps().size(), 1U) << "they touch: one record";
  const Gap gap = spool->gaps()[0];
  EXPECT_EQ(gap.first, 1U);
  EXPECT_EQ(gap.last, oldest - 1);
  EXPECT_EQ(gap.count, oldest - 1);
  EXPECT_EQ(gap.reason, GapReason::kShed);
  const auto rows = read_lane(*spool, Lane::kReadings);
  EXPECT_EQ(rows[0], fmt::format("shed 1-{}", oldest - 1));
  EXPECT_EQ(rows.size(), 200 - (oldest - 1) + 1);
  spool.reset();
  disk.restart(0.0);
  spool = open();
  EXPECT_EQ(spool->gaps(), std::vector<Gap>{gap});
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), rows);
}

TEST_F(SpoolFull, DeliveredRowsAreLetGoWithoutARecord) {
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(fill(*spool, 10), 10U);
    Transaction transaction;
    transaction.cursor("uplink", Lane::kReadings, kAllStreams,
                       spool->stats().lanes[1].next_sequence - 1);
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  EXPECT_GT(spool->stats().lanes[1].oldest_sequence, 1U);
  EXPECT_TRUE(spool->gaps().empty());
}

// Of 100 rows the consumer has had 1 to 10 and, in front of the backlog, 21 to 30 and 41 to 60.
TEST_F(SpoolFull, RowsThatWentAheadOfABacklogAreInNoGapRecord) {
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  const std::vector<SequenceRange> ahead = {{21, 30}, {41, 60}};
  Transaction transaction;
  transaction.cursor("uplink", Lane::kReadings, kAllStreams, 10);
  transaction.state(ahead_key("uplink", Lane::kReadings), encode_ahead(ahead));
  ASSERT_TRUE(spool->submit(transaction).ok());
  ASSERT_EQ(fill(*spool, 100), 100U);
  const std::uint64_t oldest = spool->stats().lanes[1].oldest_sequence;
  ASSERT_GT(oldest, 61U);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const Gap& gap : spool->gaps()) {
    EXPECT_EQ(gap.count, gap.last - gap.first + 1);
    ranges.emplace_back(gap.first, gap.last);
  }
  EXPECT_EQ(ranges, (std::vector<std::pair<std::uint64_t, std::uint64_t>>{
                        {11, 20}, {31, 40}, {61, oldest - 1}}));
  EXPECT_EQ(spool->stats().lanes[1].shed_rows, oldest - 1 - 40);
}

TEST_F(SpoolFull, ASegmentAllOfWhichWentAheadIsRoomForMore) {
  options.on_full = OnFull::kRefuse;
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  const std::size_t fitted = fill(*spool, 1000);
  ASSERT_LT(fitted, 1000U);
  const std::vector<SequenceRange> ahead = {{1, fitted}};
  Transaction transaction;
  transaction.state(ahead_key("uplink", Lane::kReadings), encode_ahead(ahead));
  ASSERT_TRUE(spool->submit(transaction).ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_GT(fill(*spool, 1000), 0U);
  EXPECT_TRUE(spool->gaps().empty());
}

TEST(Ahead, RangesSurviveTheirTextAndNonsenseIsNone) {
  const std::vector<SequenceRange> ranges = {{1, 1}, {3, 300}, {1'000'000, 2'000'000}};
  EXPECT_EQ(decode_ahead(encode_ahead(ranges)), ranges);
  EXPECT_EQ(encode_ahead({}), "");
  const std::vector<std::vector<SequenceRange>> wrong = {{{5, 4}}, {{0, 1}}, {{1, 5}, {5, 6}}};
  for (const auto& nonsense : wrong) {
    EXPECT_TRUE(decode_ahead(encode_ahead(nonsense)).empty());
  }
  EXPECT_TRUE(decode_ahead("\x01").empty());
}

TEST_F(SpoolFull, RowsThatAReplayNeedsAreNotLetGoInSilenceThoughTheyWereDelivered) {
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  spool->hold_for("decided/main", Lane::kReadings);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(fill(*spool, 10), 10U);
    const std::uint64_t last = spool->stats().lanes[1].next_sequence - 1;
    Transaction transaction;
    transaction.cursor("uplink", Lane::kReadings, kAllStreams, last);
    transaction.cursor("decided/main", Lane::kReadings, kAllStreams, i == 0 ? last : 10);
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  const std::uint64_t oldest = spool->stats().lanes[1].oldest_sequence;
  ASSERT_GT(oldest, 11U);
  ASSERT_EQ(spool->gaps().size(), 1U);
  EXPECT_EQ(spool->gaps()[0].first, 11U);
  EXPECT_EQ(spool->gaps()[0].last, oldest - 1);
}

TEST_F(SpoolFull, AConsumerThatOnlyHoldsMakesNothingDelivered) {
  auto spool = open();
  spool->hold_for("decided/main", Lane::kReadings);
  Transaction transaction;
  transaction.cursor("decided/main", Lane::kReadings, kAllStreams, 1000);
  ASSERT_TRUE(spool->submit(transaction).ok());
  ASSERT_EQ(fill(*spool, 100), 100U);
  EXPECT_EQ(spool->stats().lanes[1].shed_rows, spool->stats().lanes[1].oldest_sequence - 1);
  EXPECT_GT(spool->stats().lanes[1].shed_rows, 0U);
}

TEST_F(SpoolFull, ADiskThatCannotMakeASpareLosesNoStoredRow) {
  options.max_bytes = std::uint64_t{4} << 20;
  auto spool = open();
  ASSERT_EQ(fill(*spool, 15), 15U);
  ASSERT_GE(spool->stats().segments, 2U);
  disk.fail(DiskCall::kAllocate, EIO, 6);
  ASSERT_EQ(fill(*spool, 15), 15U);
  EXPECT_TRUE(spool->gaps().empty());
  EXPECT_EQ(read_lane(*spool, Lane::kReadings).size(), 30U);
}

TEST_F(SpoolFull, ASegmentThatCannotBeRemovedStaysInTheLog) {
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  disk.fail(DiskCall::kRename, EIO, 1, 0, ".log");
  disk.fail(DiskCall::kRemove, EIO, 1, 0, ".log");
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(fill(*spool, 10), 10U);
    Transaction transaction;
    transaction.cursor("uplink", Lane::kReadings, kAllStreams,
                       spool->stats().lanes[1].next_sequence - 1);
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  EXPECT_GT(spool->stats().lanes[1].oldest_sequence, 1U);
  spool.reset();
  disk.restart(0.0);
  spool = open();
  for (const std::string& row : read_lane(*spool, Lane::kReadings)) {
    EXPECT_FALSE(row.starts_with("corrupt")) << row;
  }
  EXPECT_TRUE(spool->gaps().empty());
}

TEST_F(SpoolFull, AlertsThatWereNotDeliveredAreCarriedForward) {
  auto spool = open();
  spool->deliver_to("pager", Lane::kAlerts);
  for (int i = 0; i < 5; ++i) {
    append(*spool, fmt::format("alert {}", i), Lane::kAlerts);
  }
  ASSERT_EQ(fill(*spool, 100), 100U);
  append(*spool, "alert 5", Lane::kAlerts);
  ASSERT_TRUE(spool->flush(kPatience).ok());
  const Texts all = {"alert 0", "alert 1", "alert 2", "alert 3", "alert 4", "alert 5"};
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts), all);
  EXPECT_EQ(spool->stats().lanes[0].shed_rows, 0U);
  spool.reset();
  disk.restart(0.0);
  spool = open();
  spool->deliver_to("pager", Lane::kAlerts);
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts), all);
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts, 3), Texts(all.begin() + 2, all.end()));
  // Once delivered they are not carried any longer.
  Transaction transaction;
  transaction.cursor("pager", Lane::kAlerts, kAllStreams, 5);
  ASSERT_TRUE(spool->submit(transaction).ok());
  ASSERT_EQ(fill(*spool, 60), 60U);
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts, 6), Texts{"alert 5"});
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts, 1), Texts{"alert 5"});
}

TEST_F(SpoolFull, MoreAlertsThanCanBeCarriedLeaveAGapRecord) {
  auto spool = open();
  spool->deliver_to("pager", Lane::kAlerts);
  for (int i = 0; i < 300; ++i) {
    append(*spool, kBig.substr(0, 10'000), Lane::kAlerts);
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  auto reader = spool->read(Lane::kAlerts, 1);
  std::uint64_t expected = 1;
  std::uint64_t rows = 0;
  std::uint64_t shed = 0;
  for (ReadItem item = reader->next().value(); item != ReadItem::kEnd;
       item = reader->next().value()) {
    if (item == ReadItem::kGap) {
      EXPECT_EQ(reader->gap().reason, GapReason::kShed);
      EXPECT_EQ(reader->gap().first, expected);
      expected = reader->gap().last + 1;
      shed += reader->gap().count;
    } else {
      EXPECT_EQ(reader->row().sequence, expected++);
      ++rows;
    }
  }
  EXPECT_EQ(rows + shed, 300U);
  EXPECT_EQ(spool->stats().lanes[0].shed_rows, shed);
}

TEST_F(SpoolFull, RefusesWhenFullAndTakesAgainAfterDelivery) {
  for (const OnFull on_full : {OnFull::kRefuse, OnFull::kBlock}) {
    disk.restart(0.0);
    options.dir = on_full == OnFull::kRefuse ? "refuse" : "block";
    options.on_full = on_full;
    auto spool = open();
    spool->deliver_to("uplink", Lane::kReadings);
    const std::size_t taken = fill(*spool, 1000);
    EXPECT_GT(taken, 15U);
    EXPECT_LT(taken, 60U);
    Transaction transaction;
    transaction.append(Lane::kReadings, 0, sample_row(kBig));
    EXPECT_EQ(spool->submit(transaction).error().code(), Code::kExhausted);
    EXPECT_EQ(transaction.rows(), 1U);
    EXPECT_EQ(spool->stats().refused, 2U);
    // Alerts about what is stored have a reserve of their own.
    append(*spool, "alert", Lane::kAlerts);
    ASSERT_TRUE(spool->flush(kPatience).ok());
    EXPECT_FALSE(spool->takes_rows().ok());
    EXPECT_LE(spool->stats().bytes, options.max_bytes);
    EXPECT_TRUE(spool->gaps().empty());
    // What makes room is taken, rows beside it too.
    Transaction kept;
    kept.append(Lane::kDeadLetter, 0, sample_row(kBig));
    kept.to_make_room();
    EXPECT_TRUE(spool->submit(kept).ok());
    Transaction cursor;
    cursor.cursor("uplink", Lane::kReadings, kAllStreams, taken);
    ASSERT_TRUE(spool->submit(cursor).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
    EXPECT_TRUE(spool->submit(transaction).ok());
    EXPECT_GT(fill(*spool, 10), 9U);
    EXPECT_TRUE(spool->gaps().empty());
  }
}

TEST_F(SpoolFull, AFullDiskIsReportedKeptOutAndOutlived) {
  disk.set_capacity(600'000);  // two segments
  options.on_full = OnFull::kRefuse;
  std::atomic<bool> told = false;
  auto spool = open();
  const std::size_t taken = fill(*spool, 1000);
  EXPECT_GT(taken, 5U);
  EXPECT_LT(taken, 30U);
  Transaction transaction;
  transaction.append(Lane::kReadings, 0, sample_row(kBig));
  EXPECT_FALSE(spool->submit(transaction).ok());
  EXPECT_EQ(spool->takes_rows().error().code(), Code::kExhausted);
  spool->on_commit([&](Ticket, const Status& status) { told = status.ok(); });
  disk.set_capacity(~std::uint64_t{0});
  // There is a look for room, without a commit, and those who wait are told.
  EXPECT_TRUE(until([&] { return spool->takes_rows().ok(); }));
  EXPECT_TRUE(until([&] { return told.load(); }));
  EXPECT_TRUE(spool->submit(transaction).ok());
}

// Rows skipped at admission, then let go with the others of their segment, of which the receiver
// had a part: every sequence is delivered, stored or counted once.
TEST_F(SpoolFull, SkippedRowsAreCountedOnceAlsoWhenTheirSegmentIsLetGo) {
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  std::vector<bool> is_row = {false};  // by sequence
  std::uint64_t cursor = 0;
  Transaction transaction;
  for (int i = 0; i < 120; ++i) {
    transaction.append(Lane::kReadings, 0, sample_row(fmt::format("{} {}", i, kBig)));
    is_row.push_back(true);
    const std::uint64_t skipped = i % 3 == 2 ? 0U : static_cast<std::uint64_t>(i % 7 + 1);
    transaction.skip(Lane::kReadings, skipped, {1}, {2});
    is_row.insert(is_row.end(), skipped, false);
    if (i == 30) {
      cursor = is_row.size() - 5;  // within a segment
      transaction.cursor("uplink", Lane::kReadings, kAllStreams, cursor);
    }
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  const auto check = [&] {
    const std::uint64_t oldest = spool->stats().lanes[1].oldest_sequence;
    ASSERT_GT(oldest, cursor);
    std::uint64_t expected = 0;
    for (std::uint64_t sequence = 1; sequence < is_row.size(); ++sequence) {
      expected += !is_row[sequence] || (sequence > cursor && sequence < oldest) ? 1 : 0;
    }
    EXPECT_EQ(spool->stats().lanes[1].shed_rows, expected);
    EXPECT_LT(spool->gaps().size(), 10U) << "one a segment";
    // A reader's counts are the holes.
    const auto reader = spool->read(Lane::kReadings, cursor + 1);
    std::uint64_t at = cursor;
    std::uint64_t holes = 0;
    for (ReadItem item = reader->next().value(); item != ReadItem::kEnd;
         item = reader->next().value()) {
      if (item == ReadItem::kGap) {
        EXPECT_EQ(reader->gap().reason, GapReason::kShed);
        EXPECT_EQ(reader->gap().first, at + 1);
        EXPECT_EQ(reader->gap().count, reader->gap().last - reader->gap().first + 1);
        holes += reader->gap().count;
        at = reader->gap().last;
      } else {
        EXPECT_EQ(reader->row().sequence, ++at);
        EXPECT_TRUE(is_row[at]);
      }
    }
    EXPECT_EQ(at, is_row.size() - 1) << "the last ones were skipped: the reader says so";
    std::uint64_t rows = 0;
    for (std::uint64_t sequence = cursor + 1; sequence < is_row.size(); ++sequence) {
      rows += is_row[sequence] && sequence >= oldest ? 1 : 0;
    }
    EXPECT_EQ(holes + rows, is_row.size() - 1 - cursor);
  };
  check();
  spool.reset();
  disk.restart(0.0);
  spool = open();
  check();
}

TEST_F(SpoolFull, TellsHowMuchIsNeeded) {
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  EXPECT_LT(spool->fill(), 0.1);
  ASSERT_EQ(fill(*spool, 100), 100U);
  EXPECT_GT(spool->fill(), 0.5);
  EXPECT_LE(spool->fill(), 1.0);
  Transaction cursor;
  cursor.cursor("uplink", Lane::kReadings, kAllStreams, 100);
  ASSERT_TRUE(spool->submit(cursor).ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_LT(spool->fill(), 0.3) << "the active segment";
}

TEST_F(SpoolFull, SaysWhetherItTakesRows) {
  options.on_full = OnFull::kBlock;
  options.max_queue_bytes = 100'000;
  options.commit_delay = std::chrono::hours(1);
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  Transaction transaction;
  while (true) {
    transaction.clear();
    transaction.append(Lane::kReadings, 0, sample_row(kBig));
    if (!spool->submit(transaction)) {
      break;
    }
  }
  EXPECT_TRUE(spool->takes_rows().ok()) << "only the queue is full";
  ASSERT_TRUE(spool->flush(kPatience).ok());
  const std::size_t taken = 4 + fill(*spool, 1000);
  EXPECT_EQ(spool->takes_rows().error().code(), Code::kExhausted);
  Transaction cursor;
  cursor.cursor("uplink", Lane::kReadings, kAllStreams, taken);
  ASSERT_TRUE(spool->submit(cursor).ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_TRUE(spool->takes_rows().ok());
  disk.fail(DiskCall::kWrite, EIO, 1'000'000);
  ASSERT_TRUE(spool->submit(transaction).ok());
  (void)spool->flush(std::chrono::milliseconds(1));
  EXPECT_TRUE(until([&] { return !spool->takes_rows().ok(); }));
  EXPECT_EQ(spool->takes_rows().error().code(), Code::kUnavailable);
  disk.clear_faults();
}

TEST_F(SpoolFull, WithoutSpaceForANewSegmentItShedsWithinWhatItHas) {
  disk.set_capacity(800'000);  // three segments, though max_bytes allows four
  auto spool = open();
  EXPECT_EQ(fill(*spool, 100), 100U);
  EXPECT_EQ(spool->stats().health, SpoolHealth::kOk);
  EXPECT_GT(spool->stats().lanes[1].shed_rows, 0U);
}

TEST_F(SpoolFull, ENOSPCOnWriteKeepsTheFramesAndResumesByItself) {
  auto spool = open();
  append(*spool, "before");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  std::atomic<bool> told{false};
  spool->on_commit([&](Ticket, const Status& status) {
    if (!status) {
      told = status.error().code() == Code::kExhausted;
    }
  });
  disk.fail(DiskCall::kWrite, ENOSPC, 1'000'000);
  append(*spool, "kept");
  ASSERT_TRUE(until([&] { return spool->stats().health == SpoolHealth::kDiskFull; }));
  ASSERT_TRUE(until([&] { return told.load(); }));
  Transaction transaction;
  transaction.append(Lane::kReadings, 0, sample_row("refused"));
  EXPECT_EQ(spool->submit(transaction).error().code(), Code::kExhausted);
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), Texts{"before"});
  disk.clear_faults();
  ASSERT_TRUE(spool->flush(kPatience).ok());
  ASSERT_TRUE(until([&] { return spool->stats().health == SpoolHealth::kOk; }));
  EXPECT_TRUE(spool->submit(transaction).ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{"before", "kept", "refused"}));
}

TEST_F(SpoolFull, AFailedSyncIsNotRetriedButWrittenAgainElsewhere) {
  auto spool = open();
  append(*spool, "before");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  const std::uint64_t segments = spool->stats().segments;
  disk.fail(DiskCall::kSync, EIO);
  append(*spool, "after");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(spool->stats().segments, segments + 1);
  EXPECT_EQ(spool->stats().failed_writes, 1U);
  ASSERT_TRUE(until([&] { return spool->stats().health == SpoolHealth::kOk; }));
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{"before", "after"}));
  // The disk lost the sectors whose sync failed; nothing that was acknowledged is among them.
  spool.reset();
  disk.restart(0.0);
  spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{"before", "after"}));
}

TEST_F(SpoolFull, ADiskThatFailsForAWhileLosesNothing) {
  auto spool = open();
  append(*spool, "before");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  disk.fail(DiskCall::kSync, EIO, 30);
  disk.fail(DiskCall::kWrite, EIO, 10, 3);
  append(*spool, "during");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  spool.reset();
  disk.restart(0.0);
  spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{"before", "during"}));
}

TEST_F(SpoolFull, ADeadDiskDoesNotHoldUpTheEnd) {
  auto spool = open();
  disk.power_off();
  append(*spool, "never");
  ASSERT_TRUE(until([&] { return spool->stats().health == SpoolHealth::kIoError; }));
  EXPECT_EQ(spool->flush(Nanos{1}).error().code(), Code::kUnavailable);
  Transaction transaction;
  transaction.append(Lane::kReadings, 0, sample_row("x"));
  EXPECT_EQ(spool->submit(transaction).error().code(), Code::kUnavailable);
  spool.reset();
  disk.restart(0.0);
  EXPECT_EQ(read_lane(*open(), Lane::kReadings), Texts{});
}

TEST_F(SpoolFull, TheQueueIsBounded) {
  options.max_queue_bytes = 100'000;
  auto spool = open();
  disk.fail(DiskCall::kWrite, ENOSPC, 1'000'000);
  Transaction transaction;
  std::size_t taken = 0;
  for (; taken < 100; ++taken) {
    transaction.clear();
    transaction.append(Lane::kReadings, 0, sample_row(kBig));
    if (const auto submitted = spool->submit(transaction); !submitted) {
      EXPECT_EQ(submitted.error().code(), Code::kExhausted);
      break;
    }
  }
  EXPECT_LE(taken, 5U);
  disk.clear_faults();
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(read_lane(*spool, Lane::kReadings).size(), taken);
}

TEST_F(SpoolFull, StatesThatWouldFillTheCheckpointsAreRefused) {
  auto spool = open();
  Transaction transaction;
  transaction.state("big", std::string(60'000, 's'));
  ASSERT_TRUE(spool->submit(transaction).ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());
  transaction.state("big2", std::string(60'000, 's'));
  EXPECT_EQ(spool->submit(transaction).error().code(), Code::kExhausted);
  EXPECT_EQ(fill(*spool, 100), 100U);
  EXPECT_EQ(spool->state("big").size(), 60'000U);
}

TEST_F(SpoolFull, AReaderKeepsItsSegmentWhileItIsLetGo) {
  auto spool = open();
  ASSERT_EQ(fill(*spool, 10), 10U);
  auto reader = spool->read(Lane::kReadings, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  ASSERT_EQ(fill(*spool, 100), 100U);
  std::uint64_t expected = 2;
  for (ReadItem item = reader->next().value(); item != ReadItem::kEnd;
       item = reader->next().value()) {
    if (item == ReadItem::kGap) {
      EXPECT_EQ(reader->gap().first, expected);
      EXPECT_EQ(reader->gap().reason, GapReason::kShed);
      expected = reader->gap().last + 1;
    } else {
      EXPECT_EQ(reader->row().sequence, expected++);
    }
  }
  EXPECT_EQ(expected, 111U);
}

}  // namespace
}  // namespace headwater
