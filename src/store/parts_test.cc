// The small parts: gap list, commit pacer, fsck, read-only views.
#include <gtest/gtest.h>

#include <cmath>

#include "store/commit_pacer.h"
#include "store/fsck.h"
#include "store/gap_list.h"
#include "store/testing.h"

namespace headwater {
namespace {

using Texts = std::vector<std::string>;

Gap gap(std::uint64_t first, std::uint64_t last, GapReason reason = GapReason::kShed,
        Lane lane = Lane::kReadings) {
  return {.lane = lane,
          .reason = reason,
          .first = first,
          .last = last,
          .count = last - first + 1,
          .from = {static_cast<std::int64_t>(first)},
          .to = {static_cast<std::int64_t>(last)}};
}

TEST(GapList, TouchingRecordsBecomeOne) {
  GapList list;
  list.add(gap(1, 5));
  list.add(gap(11, 20));
  list.add(gap(6, 10));
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list.all()[0], gap(1, 20));
}

TEST(GapList, OnlyWhatIsNotCoveredIsAdded) {
  GapList list;
  list.add(gap(5, 10, GapReason::kCorrupt));
  const auto added = list.add(gap(1, 20));
  ASSERT_EQ(added.size(), 2U);
  EXPECT_EQ(added[0].last, 4U);
  EXPECT_EQ(added[1].first, 11U);
  EXPECT_EQ(list.rows(Lane::kReadings, GapReason::kShed), 14U);
  EXPECT_EQ(list.rows(Lane::kReadings, GapReason::kCorrupt), 6U);
  EXPECT_TRUE(list.add(gap(3, 15)).empty());
  EXPECT_EQ(list.size(), 3U);
}

TEST(GapList, LanesAndReasonsStayApart) {
  GapList list;
  list.add(gap(1, 5));
  list.add(gap(6, 9, GapReason::kExpired));
  list.add(gap(6, 9, GapReason::kShed, Lane::kDebug));
  EXPECT_EQ(list.size(), 3U);
  EXPECT_EQ(list.find(Lane::kReadings, 6, 6)->reason, GapReason::kExpired);
  EXPECT_EQ(list.find(Lane::kReadings, 10, 99), nullptr);
  EXPECT_EQ(list.find(Lane::kDebug, 1, 99)->first, 6U);
}

TEST(GapList, StaysBoundedAndKeepsTheCount) {
  GapList list;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    list.add(gap(10 * i + 1, 10 * i + 2, GapReason::kCorrupt));
  }
  EXPECT_LE(list.size(), 1024U);
  EXPECT_EQ(list.rows(Lane::kReadings, GapReason::kCorrupt), 6000U);
}

TEST(CommitPacer, WaitsAboutASyncWhenQuietAndNeverLong) {
  CommitPacer pacer(std::nullopt);
  const auto sync = [&](std::int64_t at, Nanos took) {
    pacer.record({at}, MonoTime{at} + took, 4096);
  };
  std::int64_t at = 1'000'000'000;
  for (int i = 0; i < 100; ++i) {
    sync(at += 10'000'000, std::chrono::microseconds(200));
  }
  const MonoTime quiet{at + 1'000'000'000};
  EXPECT_EQ(pacer.window(quiet), std::chrono::microseconds(200));
  EXPECT_EQ(pacer.quantile(0.5), std::chrono::microseconds(200));
  for (int i = 0; i < 100; ++i) {
    sync(at += 100'000'000, std::chrono::milliseconds(8));
  }
  EXPECT_EQ(pacer.window({at + 1'000'000'000}), std::chrono::milliseconds(1));
  const Nanos busy = pacer.window({at + 8'100'000});
  EXPECT_GT(busy, std::chrono::milliseconds(7));
  EXPECT_LE(busy, std::chrono::milliseconds(8));
  for (int i = 0; i < 100; ++i) {
    sync(at += 1'000'000'000, std::chrono::milliseconds(300));
  }
  EXPECT_EQ(pacer.window({at + 300'100'000}), std::chrono::milliseconds(20));
}

TEST(CommitPacer, KeepsToAWriteBudgetAsLongAsNobodyWaitsMoreThan20Milliseconds) {
  // 1,000 rows a second of 100 bytes on a disk that syncs at once.
  const auto run = [](double budget, double seconds) {
    CommitPacer pacer(std::nullopt, budget);
    std::int64_t now = 1;
    double written = 0;
    const auto end = static_cast<std::int64_t>(seconds * 1e9);
    while (now < end) {
      const Nanos window = pacer.window({now});
      EXPECT_LE(window, std::chrono::milliseconds(20));
      const std::int64_t begin = now + window.count();
      const double rows = 1 + std::floor(static_cast<double>(window.count()) * 1e-6);
      const std::uint64_t device = 4096 + static_cast<std::uint64_t>(rows * 100);
      pacer.record({begin}, {begin + 100'000}, device);
      written += static_cast<double>(device);
      now = begin + 1'000'000;
    }
    return written / seconds;
  };
  const double free = run(0, 300);
  EXPECT_GT(free, 2'000'000);
  EXPECT_NEAR(run(1'000'000, 300) / 1'000'000, 1, 0.25) << "the first minute's worth comes on top";
  const double least = run(1000, 300);
  EXPECT_NEAR(least, 4096 / 0.021 + 100'000, 20'000) << "20 ms apart: no wait is longer";
}

TEST(CommitPacer, AFixedDelayIsTaken) {
  CommitPacer pacer(std::chrono::milliseconds(5));
  pacer.record({0}, {1'000'000'000}, 4096);
  EXPECT_EQ(pacer.window({1}), std::chrono::milliseconds(5));
  EXPECT_EQ(CommitPacer(Nanos{0}).window({1}), Nanos{0});
}

struct Fsck : ::testing::Test {
  void SetUp() override {
    options.max_bytes = 4 << 20;
    auto spool = Spool::open(disk, options).value();
    for (int i = 0; i < 20; ++i) {
      append(*spool, fmt::format("row {} {}", i, std::string(30'000, 'x')));
      ASSERT_TRUE(spool->flush(kPatience).ok());
    }
    append(*spool, "alert", Lane::kAlerts);
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  io::FaultFiles disk{3};
  SpoolOptions options = small_options();
};

TEST_F(Fsck, ASoundSpoolIsCountedWhole) {
  const auto report = fsck_spool(disk, "spool").value();
  EXPECT_TRUE(report.sound());
  EXPECT_GE(report.segments.size(), 3U);
  EXPECT_EQ(report.lanes[1].rows, 20U);
  EXPECT_EQ(report.lanes[1].first, 1U);
  EXPECT_EQ(report.lanes[1].next, 21U);
  EXPECT_EQ(report.lanes[0].rows, 1U);
  EXPECT_EQ(report.torn_bytes, 0U);
  EXPECT_EQ(report.spares.size(), 1U);
}

TEST_F(Fsck, DamageIsNamedWithItsPlace) {
  const std::string path = "spool/" + spool_format::segment_name(2);
  const std::size_t at = disk.contents(path).find("row 2 ");
  disk.flip_bit(path, 8 * at + 3);
  const auto report = fsck_spool(disk, "spool").value();
  EXPECT_FALSE(report.sound());
  ASSERT_EQ(report.damage.size(), 1U);
  EXPECT_EQ(report.damage[0].file, spool_format::segment_name(2));
  EXPECT_LT(report.damage[0].from, at);
  EXPECT_GT(report.damage[0].to, at);
  EXPECT_EQ(report.damage[0].frames, 1U);
  ASSERT_EQ(report.lanes[1].missing.size(), 1U);
  EXPECT_EQ(report.lanes[1].missing[0], (std::pair<std::uint64_t, std::uint64_t>{3, 3}));
}

TEST_F(Fsck, ATornTailIsSound) {
  const auto before = fsck_spool(disk, "spool").value();
  const SegmentReport& last = before.segments.back();
  const std::string path = "spool/" + last.name;
  disk.flip_bit(path, 8 * (last.end - 9));
  const auto report = fsck_spool(disk, "spool").value();
  EXPECT_TRUE(report.sound());
  EXPECT_GT(report.torn_bytes, 0U);
  EXPECT_EQ(report.lanes[0].rows, 0U);
}

TEST_F(Fsck, SaysThatThereIsNone) {
  EXPECT_EQ(fsck_spool(disk, "elsewhere").error().code(), Code::kNotFound);
  EXPECT_EQ(SpoolView::open(disk, "elsewhere").error().code(), Code::kNotFound);
}

TEST_F(Fsck, AViewReadsASpoolThatIsInUse) {
  auto spool = Spool::open(disk, options).value();
  Transaction transaction;
  transaction.cursor("uplink", Lane::kReadings, kAllStreams, 7);
  transaction.state("k", "four");
  ASSERT_TRUE(spool->submit(transaction).ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());
  const std::size_t changes = disk.changes();
  auto view = SpoolView::open(disk, "spool").value();
  EXPECT_EQ(view->id(), spool->id());
  EXPECT_EQ(view->next_sequence(Lane::kReadings), 21U);
  EXPECT_EQ(view->oldest_sequence(Lane::kReadings), 1U);
  auto reader = view->read(Lane::kReadings, 20);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_EQ(reader->row().row.payload.substr(0, 6), "row 19");
  EXPECT_EQ(reader->next().value(), ReadItem::kEnd);
  EXPECT_EQ(read_lane(*view->read(Lane::kAlerts, 1)), Texts{"alert"});
  ASSERT_EQ(view->cursors().size(), 1U);
  EXPECT_EQ(view->cursors()[0].upto, 7U);
  EXPECT_EQ(view->states()[0], (std::pair<std::string, std::size_t>{"k", 4}));
  EXPECT_EQ(view->state("k").size(), 4U);
  EXPECT_EQ(view->state("none"), "");
  EXPECT_EQ(disk.changes(), changes) << "looking changes nothing";
}

}  // namespace
}  // namespace headwater
