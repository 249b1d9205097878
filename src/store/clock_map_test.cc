#include "store/clock_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/loop.h"
#include "store/fsck.h"
#include "store/testing.h"

namespace headwater {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Nanos kTenYears = hours(24 * 3652);

TEST(ClockWatch, NoticesWhatIsSetByMoreThanASecond) {
  ClockWatch watch;
  watch.start({1'000}, {5'000'000'001'000});
  EXPECT_EQ(watch.look({2'000}, {5'000'000'002'000}), std::nullopt);
  EXPECT_EQ(watch.look({2'000}, {5'000'900'002'000}), std::nullopt);
  const auto set = watch.look({3'000}, {9'000'000'003'000});
  ASSERT_TRUE(set.has_value());
  EXPECT_EQ(set->mono, MonoTime{3'000});
  EXPECT_EQ(set->before, WallTime{5'000'000'003'000});
  EXPECT_EQ(set->after, WallTime{9'000'000'003'000});
  EXPECT_EQ(watch.look({4'000}, {9'000'000'004'000}), std::nullopt) << "once";
  const auto back = watch.look({5'000}, {1'000'000'005'000});
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->before, WallTime{9'000'000'005'000});
}

TEST(ClockWatch, NoticesADriftOnceItIsASecond) {
  ClockWatch watch;
  watch.start({0}, {1'000'000'000'000});
  std::size_t seen = 0;
  for (std::int64_t minute = 1; minute <= 100; ++minute) {
    const std::int64_t mono = minute * 60'000'000'000;
    seen += watch.look({mono}, {1'000'000'000'000 + mono + minute * 30'000'000}) ? 1 : 0;
  }
  EXPECT_EQ(seen, 2U) << "3 s in all, each time more than one";
}

TEST(ClockMaps, KeepTheNewest) {
  ClockMaps maps;
  for (std::int64_t i = 1; i <= 70; ++i) {
    ClockMap map;
    map.mono = {i};
    maps.add(map);
  }
  ASSERT_THAT(maps.all(), SizeIs(ClockMaps::kMost));
  EXPECT_EQ(maps.all().front().mono, MonoTime{7});
  EXPECT_EQ(maps.all().back().mono, MonoTime{70});
}

TEST(ClockMaps, TheirEntryIsReadBackAndHalfOfOneIsNone) {
  const ClockMap map{{1, 2}, {3}, {-4}, {5}, {6, 7, 8, 9, 1'000'000}};
  std::string body;
  spool_format::put_clock(body, map);
  spool_format::EntryReader entries(body);
  spool_format::Entry entry;
  ASSERT_TRUE(entries.next(&entry));
  EXPECT_EQ(entry.type, spool_format::EntryType::kClock);
  EXPECT_EQ(spool_format::decode_clock(entry.content), map);
  for (std::size_t size = 0; size < entry.content.size(); ++size) {
    EXPECT_EQ(spool_format::decode_clock(entry.content.substr(0, size)), std::nullopt) << size;
  }
}

class SpoolClock : public testing::Test {
 protected:
  SpoolClock() { open(); }
  ~SpoolClock() override { set(-shifted_); }
  void open() { spool = Spool::open(disk, small_options()).value(); }
  void set(Nanos by) {
    shifted_ += by;
    io::shift_wall_clock(shifted_);
  }
  void add(std::string_view payload) {
    append(*spool, payload);
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }

  io::FaultFiles disk{1};
  std::unique_ptr<Spool> spool;
  Nanos shifted_{};
};

TEST_F(SpoolClock, AJumpIsOnRecordWithTheRowsBehindIt) {
  add("1");
  add("2");
  EXPECT_THAT(spool->clock_maps(), IsEmpty());
  set(kTenYears);
  add("3");
  add("4");
  set(-2 * kTenYears);
  add("5");
  const std::vector<ClockMap> maps = spool->clock_maps();
  ASSERT_THAT(maps, SizeIs(2));
  EXPECT_EQ(maps[0].next[index_of(Lane::kReadings)], 3U);
  EXPECT_EQ(maps[1].next[index_of(Lane::kReadings)], 5U);
  EXPECT_EQ(maps[0].boot, spool->boot_id());
  EXPECT_NEAR(static_cast<double>((maps[0].after - maps[0].before).count()),
              static_cast<double>(kTenYears.count()), 1e8);
  EXPECT_NEAR(static_cast<double>((maps[1].after - maps[1].before).count()),
              static_cast<double>(-2 * kTenYears.count()), 1e8);
  EXPECT_LT(maps[0].mono, maps[1].mono);
  EXPECT_THAT(read_lane(*spool, Lane::kReadings), ElementsAre("1", "2", "3", "4", "5"));
}

TEST_F(SpoolClock, RecordsSurviveARestartAndARollAndShowInAView) {
  add("1");
  set(kTenYears);
  add("2");
  const std::vector<ClockMap> maps = spool->clock_maps();
  ASSERT_THAT(maps, SizeIs(1));
  const std::string big(20'000, 'x');
  for (int i = 0; i < 30; ++i) {
    add(big);  // beyond a segment
  }
  EXPECT_EQ(spool->clock_maps(), maps);
  spool.reset();
  disk.restart(0.0);
  open();
  EXPECT_EQ(spool->clock_maps(), maps);
  EXPECT_EQ(SpoolView::open(disk, "spool").value()->clock_maps(), maps);
}

TEST_F(SpoolClock, AJumpBetweenTwoProcessesOfOneBootIsOnRecord) {
  add("1");
  spool.reset();
  disk.restart(0.0);
  set(-kTenYears);
  open();
  add("2");
  const std::vector<ClockMap> maps = spool->clock_maps();
  ASSERT_THAT(maps, SizeIs(1));
  EXPECT_EQ(maps[0].next[index_of(Lane::kReadings)], 2U);
}

TEST_F(SpoolClock, NothingIsLetGoOrReorderedByAJump) {
  for (int i = 0; i < 20; ++i) {
    set(i % 2 == 0 ? kTenYears : -kTenYears);
    add(std::to_string(i));
  }
  EXPECT_THAT(read_lane(*spool, Lane::kReadings), SizeIs(20));
  EXPECT_THAT(spool->gaps(), IsEmpty());
  EXPECT_THAT(spool->clock_maps(), SizeIs(20));
}

}  // namespace
}  // namespace headwater
