#include "store/repair.h"

#include <gmock/gmock.h>

#include "store/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Texts = std::vector<std::string>;

struct RepairTest : testing::Test {
  // Rows "0 xxx…", "1 xxx…", …, one commit each, over several segments.
  void fill(int rows) {
    auto spool = Spool::open(disk, options).value();
    const std::string pad(10'000, 'x');
    for (int i = 0; i < rows; ++i) {
      append(*spool, std::to_string(i) + " " + pad);
      ASSERT_TRUE(spool->flush(kPatience).ok());
    }
  }
  std::vector<std::string> logs() {
    std::vector<std::string> paths;
    const Texts names = disk.list("spool").value();
    for (const std::string& name : names) {
      if (name.ends_with(".log")) {
        paths.push_back("spool/" + name);
      }
    }
    return paths;
  }
  RepairReport repair() {
    auto repaired = repair_spool(disk, "spool");
    HW_CHECK(repaired.ok(), repaired ? "" : repaired.error().text());
    return std::move(repaired).value();
  }
  // The numbers of the readings, gaps as "corrupt 3-5".
  Texts read() {
    const auto spool = Spool::open(disk, options).value();
    Texts texts = read_lane(*spool, Lane::kReadings);
    for (std::string& text : texts) {
      text = text.starts_with("corrupt") ? text : text.substr(0, text.find(' '));
    }
    return texts;
  }
  // Row `payload` of a closed segment.
  void damage_row(int row) {
    const std::string wanted = std::to_string(row) + " xxxx";
    for (const std::string& path : logs()) {
      const std::size_t at = disk.contents(path).find(wanted);
      if (at != std::string::npos) {
        disk.flip_bit(path, (at + 100) * 8);
        return;
      }
    }
    FAIL() << "no row " << row;
  }

  io::FaultFiles disk{5};
  SpoolOptions options = [] {
    SpoolOptions made = small_options();
    made.max_bytes = std::uint64_t{8} << 20;
    return made;
  }();
};

TEST_F(RepairTest, ASoundSpoolIsLeftAlone) {
  fill(3);
  const std::size_t before = disk.changes();
  const RepairReport report = repair();
  EXPECT_FALSE(report.changed);
  EXPECT_EQ(disk.changes(), before);
}

TEST_F(RepairTest, PutsEveryLostRowOnRecordAndKeepsAllOthers) {
  fill(90);
  ASSERT_GE(logs().size(), 4U);
  damage_row(31);
  damage_row(32);
  damage_row(60);
  const RepairReport report = repair();
  EXPECT_TRUE(report.changed);
  EXPECT_FALSE(report.before.sound());
  EXPECT_TRUE(report.after.sound());
  EXPECT_EQ(report.after.spool_id, report.before.spool_id);
  ASSERT_EQ(report.recorded.size(), 2U);
  EXPECT_EQ(report.recorded[0].first, 32U) << "sequences begin at 1";
  EXPECT_EQ(report.recorded[0].last, 33U);
  EXPECT_EQ(report.recorded[1].first, 61U);
  EXPECT_EQ(report.recorded[1].reason, GapReason::kCorrupt);
  Texts expected;
  for (int i = 0; i < 90; ++i) {
    if (i == 31 || i == 60) {
      expected.push_back(i == 31 ? "corrupt 32-33" : "corrupt 61-61");
    } else if (i != 32) {
      expected.push_back(std::to_string(i));
    }
  }
  EXPECT_EQ(read(), expected);
  EXPECT_FALSE(repair().changed);
}

TEST_F(RepairTest, AWholeSegmentThatDoesNotReadIsOnRecordToo) {
  fill(90);
  const std::string path = logs().at(1);
  disk.set_contents(path, std::string(disk.contents(path).size(), '\x5a'));
  const RepairReport report = repair();
  EXPECT_TRUE(report.after.sound());
  ASSERT_EQ(report.recorded.size(), 1U);
  EXPECT_EQ(report.recorded[0].count, 90 - (read().size() - 1));
}

TEST_F(RepairTest, DamageThatComesLaterIsNotCoveredByTheMark) {
  fill(60);
  damage_row(20);
  EXPECT_TRUE(repair().after.sound());
  fill(60);
  EXPECT_TRUE(fsck_spool(disk, "spool")->sound()) << "the mark goes on with the log";
  damage_row(40);  // before the mark, but its row has no gap record
  EXPECT_FALSE(fsck_spool(disk, "spool")->sound());
  EXPECT_TRUE(repair().after.sound());
}

TEST_F(RepairTest, RefusesASpoolInUseAndOneOfWhichNothingReads) {
  fill(5);
  const std::string path = logs().at(0);
  const std::string whole = disk.contents(path);
  disk.set_contents(path, std::string(12'000, '\x5a') + whole.substr(12'000));
  const auto nothing = repair_spool(disk, "spool");
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.error().code(), Code::kCorrupt) << nothing.error().text();
  EXPECT_EQ(repair_spool(disk, "elsewhere").error().code(), Code::kNotFound);
  disk.set_contents(path, whole);
  fill(60);
  damage_row(20);
  const auto spool = Spool::open(disk, options).value();
  const auto busy = repair_spool(disk, "spool");
  ASSERT_FALSE(busy.ok());
  EXPECT_EQ(busy.error().code(), Code::kUnavailable) << busy.error().text();
}

}  // namespace
}  // namespace headwater
