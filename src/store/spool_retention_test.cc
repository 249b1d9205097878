// Limits of lanes, the order in which rows are let go, and the uptime that age is counted in.
#include <gtest/gtest.h>

#include <algorithm>

#include "store/fsck.h"
#include "store/testing.h"

namespace headwater {
namespace {

using Texts = std::vector<std::string>;
constexpr Nanos kDay = std::chrono::hours(24);
constexpr Nanos kTenYears = 3650 * kDay;

struct SpoolRetention : ::testing::Test {
  SpoolRetention() {
    options.clock = &clock;
    options.max_bytes = std::uint64_t{8} << 20;
  }
  std::unique_ptr<Spool> open() {
    auto spool = Spool::open(disk, options);
    HW_CHECK(spool.ok(), spool ? "" : spool.error().text());
    return std::move(spool).value();
  }
  LaneLimits& limits(Lane lane) { return options.lanes[index_of(lane)]; }
  static LaneStats lane(const Spool& spool, Lane lane) {
    return spool.stats().lanes[index_of(lane)];
  }
  // Rows of 20 kB: 11 or 12 fill a segment.
  static void fill(Spool& spool, Lane lane, std::size_t rows) {
    for (std::size_t i = 0; i < rows; ++i) {
      append(spool, kBig, lane);
      HW_CHECK(spool.flush(kPatience).ok(), "the disk works");
    }
  }
  // What was let go because of time is let go behind a commit: this one.
  static void commit(Spool& spool) {
    Transaction transaction;
    transaction.state("tick", "t");
    HW_CHECK(spool.submit(transaction).ok() && spool.flush(kPatience).ok(), "the disk works");
  }
  static void deliver(Spool& spool, std::string_view consumer, Lane lane, std::uint64_t upto) {
    Transaction transaction;
    transaction.cursor(consumer, lane, kAllStreams, upto);
    HW_CHECK(spool.submit(transaction).ok() && spool.flush(kPatience).ok(), "the disk works");
  }
  static inline const std::string kBig = std::string(20'000, 'x');

  FakeClock clock;
  io::FaultFiles disk{11};
  SpoolOptions options = small_options();
};

TEST_F(SpoolRetention, ALaneKeepsToItsBytesAndItsSegmentsAreFree) {
  limits(Lane::kReadings).max_bytes = 500'000;
  auto spool = open();
  fill(*spool, Lane::kReadings, 200);
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kReadings).bytes <= 500'000; }));
  EXPECT_GT(lane(*spool, Lane::kReadings).bytes, 200'000U);
  EXPECT_LE(spool->stats().segments, 4U) << "what holds no row is given back";
  const std::uint64_t oldest = lane(*spool, Lane::kReadings).oldest_sequence;
  ASSERT_EQ(spool->gaps().size(), 1U);
  EXPECT_EQ(spool->gaps()[0].reason, GapReason::kShed);
  EXPECT_EQ(spool->gaps()[0].count, oldest - 1);
  const Texts rows = read_lane(*spool, Lane::kReadings);
  ASSERT_EQ(rows.size(), 200 - (oldest - 1) + 1);
  EXPECT_EQ(rows[0], fmt::format("shed 1-{}", oldest - 1));
  spool.reset();
  disk.restart(0.0);
  spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), rows);
}

TEST_F(SpoolRetention, OneLaneIsLetGoWhereOthersStay) {
  limits(Lane::kDebug).max_bytes = 300'000;
  auto spool = open();
  for (int i = 0; i < 60; ++i) {
    append(*spool, fmt::format("alert {}", i), Lane::kAlerts);
    append(*spool, fmt::format("reading {}", i));
    fill(*spool, Lane::kDebug, 1);
  }
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kDebug).bytes <= 300'000; }));
  const std::uint64_t floor = lane(*spool, Lane::kDebug).oldest_sequence;
  ASSERT_GT(floor, 30U);
  ASSERT_EQ(spool->gaps().size(), 1U);
  EXPECT_EQ(lane(*spool, Lane::kDebug).shed_rows, floor - 1);
  EXPECT_EQ(read_lane(*spool, Lane::kReadings).size(), 60U);
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts).size(), 60U);
  const Texts debug = read_lane(*spool, Lane::kDebug);
  EXPECT_EQ(debug[0], fmt::format("shed 1-{}", floor - 1));
  EXPECT_EQ(debug.size(), 61 - floor + 1);
  EXPECT_EQ(read_lane(*spool, Lane::kDebug, floor - 2)[0],
            fmt::format("shed {}-{}", floor - 2, floor - 1))
      << "a reader that begins below";
  spool.reset();
  disk.restart(0.0);

  const auto report = fsck_spool(disk, "spool");
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->sound());
  const LaneReport& checked = report->lanes[index_of(Lane::kDebug)];
  EXPECT_EQ(checked.floor, floor);
  EXPECT_EQ(checked.first, floor);
  EXPECT_EQ(checked.rows, 61 - floor);
  EXPECT_EQ(checked.gap_rows[0], floor - 1);
  const auto view = SpoolView::open(disk, "spool");
  ASSERT_TRUE(view.ok());
  EXPECT_EQ((*view)->oldest_sequence(Lane::kDebug), floor);
  EXPECT_EQ(read_lane(*(*view)->read(Lane::kDebug, 1)), debug);
  EXPECT_EQ(read_lane(*open(), Lane::kDebug), debug);
}

TEST_F(SpoolRetention, AReaderInsideWhatIsLetGoGetsTheGap) {
  auto spool = open();
  fill(*spool, Lane::kReadings, 40);
  const auto reader = spool->read(Lane::kReadings, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  spool.reset();
  limits(Lane::kReadings).max_age = kDay;
  spool = open();
  const auto late = spool->read(Lane::kReadings, 1);
  ASSERT_EQ(late->next().value(), ReadItem::kRow);
  clock.advance(2 * kDay);
  commit(*spool);
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kReadings).expired_rows > 0; }));
  const std::uint64_t floor = lane(*spool, Lane::kReadings).oldest_sequence;
  ASSERT_EQ(late->next().value(), ReadItem::kGap);
  EXPECT_EQ(late->gap().first, 2U);
  EXPECT_EQ(late->gap().last, floor - 1);
  ASSERT_EQ(late->next().value(), ReadItem::kRow);
  EXPECT_EQ(late->row().sequence, floor);
}

TEST_F(SpoolRetention, DeliveredRowsExpireWithoutARecordAndHeldOnesWithOne) {
  limits(Lane::kReadings).max_age = kDay;
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  spool->hold_for("decided/main", Lane::kReadings);
  fill(*spool, Lane::kReadings, 40);
  deliver(*spool, "uplink", Lane::kReadings, 40);
  deliver(*spool, "decided/main", Lane::kReadings, 15);
  clock.advance(2 * kDay);
  commit(*spool);
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kReadings).oldest_sequence > 20; }));
  const std::uint64_t floor = lane(*spool, Lane::kReadings).oldest_sequence;
  ASSERT_EQ(spool->gaps().size(), 1U);
  EXPECT_EQ(spool->gaps()[0].reason, GapReason::kExpired);
  EXPECT_EQ(spool->gaps()[0].first, 16U);
  EXPECT_EQ(spool->gaps()[0].last, floor - 1);
  EXPECT_EQ(spool->gaps()[0].count, floor - 16);
}

TEST_F(SpoolRetention, AlertsHaveNoLimitButTheirOwn) {
  for (const Lane lane : kAllLanes) {
    limits(lane).max_age = lane == Lane::kAlerts ? Nanos{0} : kDay;
  }
  auto spool = open();
  append(*spool, "alert", Lane::kAlerts);
  fill(*spool, Lane::kReadings, 40);
  clock.advance(30 * kDay);
  commit(*spool);
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kReadings).expired_rows > 20; }));
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts), Texts{"alert"});
  spool.reset();
  limits(Lane::kAlerts).max_age = kDay;
  spool = open();
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kAlerts).expired_rows == 1; }));
}

TEST_F(SpoolRetention, AWallClockThatJumpsAndABootWithoutOneExpireNothing) {
  limits(Lane::kReadings).max_age = kDay;
  auto spool = open();
  fill(*spool, Lane::kReadings, 40);
  for (const Nanos jump : {kTenYears, -2 * kTenYears, kTenYears}) {
    clock.jump_wall(jump);
    commit(*spool);
    spool.reset();
    clock.reboot();
    spool = open();
    commit(*spool);
  }
  clock.jump_wall(-Nanos{clock.wall().ns});  // 1970
  commit(*spool);
  spool.reset();
  spool = open();
  commit(*spool);
  EXPECT_EQ(read_lane(*spool, Lane::kReadings).size(), 40U);
  EXPECT_TRUE(spool->gaps().empty());
}

TEST_F(SpoolRetention, AgeIsTimeInThisBootAndKnownTimeOfOthers) {
  limits(Lane::kReadings).max_age = 10 * kDay;
  auto spool = open();
  fill(*spool, Lane::kReadings, 40);
  clock.advance(4 * kDay);  // seen: a frame tells
  commit(*spool);
  spool.reset();
  clock.advance(100 * kDay);  // no frame tells of it
  clock.reboot();
  spool = open();
  clock.advance(3 * kDay);
  commit(*spool);
  EXPECT_EQ(lane(*spool, Lane::kReadings).expired_rows, 0U) << "7 days are known";
  spool.reset();
  clock.advance(2 * kDay);  // stopped, in the same boot: it counts
  spool = open();
  commit(*spool);
  EXPECT_EQ(lane(*spool, Lane::kReadings).expired_rows, 0U) << "9 days are known";
  spool.reset();
  clock.advance(kDay + kDay / 2);
  spool = open();
  EXPECT_TRUE(until([&] { return lane(*spool, Lane::kReadings).expired_rows > 20; }));
}

TEST_F(SpoolRetention, AClockMapOfAnEarlierBootDoesNotHideTheUptimeOfTheLast) {
  limits(Lane::kReadings).max_age = 10 * kDay;
  auto spool = open();
  clock.jump_wall(kTenYears);
  fill(*spool, Lane::kReadings, 20);
  ASSERT_EQ(spool->clock_maps().size(), 1U);
  spool.reset();
  clock.reboot();
  spool = open();
  clock.advance(8 * kDay);
  fill(*spool, Lane::kReadings, 20);  // a segment begins: the map is in its checkpoint
  spool.reset();
  clock.reboot();
  spool = open();
  clock.advance(3 * kDay);
  commit(*spool);
  EXPECT_TRUE(until([&] { return lane(*spool, Lane::kReadings).expired_rows > 0; }))
      << "11 days are known";
}

TEST_F(SpoolRetention, UndeliveredSamplesAreCarriedForwardBehindAlerts) {
  options.max_bytes = std::uint64_t{1} << 20;
  auto spool = open();
  spool->deliver_to("pager", Lane::kAlerts);
  spool->deliver_to("uplink", Lane::kSamples);
  append(*spool, "alert", Lane::kAlerts);
  for (int i = 0; i < 4; ++i) {
    append(*spool, fmt::format("sample {} {}", i, std::string(2'500, 's')), Lane::kSamples);
  }
  fill(*spool, Lane::kReadings, 100);
  ASSERT_GT(lane(*spool, Lane::kSamples).oldest_sequence, 4U);
  Texts samples = read_lane(*spool, Lane::kSamples);
  ASSERT_EQ(samples.size(), 4U) << "three fit in a thirty-second of a segment";
  EXPECT_TRUE(samples[2].starts_with("sample 2"));
  EXPECT_EQ(samples[3], "shed 4-4");
  EXPECT_EQ(lane(*spool, Lane::kSamples).shed_rows, 1U);
  EXPECT_EQ(read_lane(*spool, Lane::kAlerts), Texts{"alert"});
  spool.reset();
  disk.restart(0.0);
  limits(Lane::kSamples).max_bytes = 30'000;
  spool = open();
  spool->deliver_to("pager", Lane::kAlerts);
  spool->deliver_to("uplink", Lane::kSamples);
  EXPECT_EQ(read_lane(*spool, Lane::kSamples), samples);
  // A limit of their own lets carried rows go with those behind them.
  for (int i = 0; i < 30; ++i) {
    append(*spool, std::string(5'000, 't'), Lane::kSamples);
    fill(*spool, Lane::kReadings, 1);
  }
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kSamples).shed_rows > 4; }));
  EXPECT_EQ(read_lane(*spool, Lane::kSamples)[0],
            fmt::format("shed 1-{}", lane(*spool, Lane::kSamples).oldest_sequence - 1));
}

TEST_F(SpoolRetention, CarriedRowsThatWereDeliveredGiveTheirRoomBack) {
  options.max_bytes = std::uint64_t{1} << 20;
  auto spool = open();
  spool->deliver_to("pager", Lane::kAlerts);
  // Together far more than may be carried at a time.
  for (int round = 0; round < 12; ++round) {
    const std::uint64_t first = lane(*spool, Lane::kAlerts).next_sequence;
    for (int i = 0; i < 150; ++i) {
      append(*spool, "a", Lane::kAlerts);
    }
    while (lane(*spool, Lane::kAlerts).oldest_sequence < first + 150) {
      fill(*spool, Lane::kReadings, 5);
    }
    EXPECT_EQ(read_lane(*spool, Lane::kAlerts, first).size(), 150U);
    deliver(*spool, "pager", Lane::kAlerts, first + 149);
  }
  EXPECT_EQ(lane(*spool, Lane::kAlerts).shed_rows, 0U);
}

TEST_F(SpoolRetention, WhenFullDebugRowsGoFirstAllAtOnce) {
  options.max_bytes = std::uint64_t{2} << 20;
  auto spool = open();
  spool->deliver_to("uplink", Lane::kReadings);
  fill(*spool, Lane::kDebug, 30);
  for (int i = 0; i < 12; ++i) {
    fill(*spool, Lane::kDebug, 1);
    append(*spool, "reading");
  }
  while (spool->gaps().empty()) {
    fill(*spool, Lane::kReadings, 1);
  }
  ASSERT_EQ(spool->gaps().size(), 1U);
  EXPECT_EQ(spool->gaps()[0].lane, Lane::kDebug);
  EXPECT_EQ(spool->gaps()[0].first, 1U);
  EXPECT_GE(spool->gaps()[0].last, 20U) << "of two segments in one record";
  EXPECT_EQ(lane(*spool, Lane::kReadings).oldest_sequence, 1U);
}

TEST_F(SpoolRetention, AFullStoreThatRefusesHasRoomAgainWhenALimitLetsGo) {
  options.on_full = OnFull::kRefuse;
  options.max_bytes = std::uint64_t{1} << 20;
  limits(Lane::kReadings).max_age = kDay;
  auto spool = open();
  Transaction transaction;
  std::size_t taken = 0;
  for (;; ++taken) {
    transaction.clear();
    transaction.append(Lane::kReadings, 0, sample_row(kBig));
    if (!spool->submit(transaction)) {
      break;
    }
    ASSERT_TRUE(spool->flush(kPatience).ok());
    ASSERT_LT(taken, 100U);
  }
  clock.advance(2 * kDay);
  commit(*spool);
  EXPECT_TRUE(until([&] { return spool->submit(transaction).ok(); }));
  EXPECT_GT(lane(*spool, Lane::kReadings).expired_rows, 0U);
}

TEST_F(SpoolRetention, ADiskThatFailsWhileRowsAreLetGoLosesNone) {
  limits(Lane::kReadings).max_age = kDay;
  auto spool = open();
  fill(*spool, Lane::kReadings, 40);
  clock.advance(2 * kDay);
  // The first sync is that of the commit, the second that of the record.
  disk.fail(io::DiskCall::kSync, EIO, 1, 1);
  commit(*spool);
  ASSERT_TRUE(until([&] { return spool->stats().failed_writes == 1; }));
  spool.reset();
  disk.restart(0.0);
  spool = open();
  ASSERT_TRUE(until([&] { return lane(*spool, Lane::kReadings).expired_rows > 20; }));
  const std::uint64_t floor = lane(*spool, Lane::kReadings).oldest_sequence;
  const Texts rows = read_lane(*spool, Lane::kReadings);
  EXPECT_EQ(rows[0], fmt::format("expired 1-{}", floor - 1));
  EXPECT_EQ(rows.size(), 41 - floor + 1);
}

}  // namespace
}  // namespace headwater
