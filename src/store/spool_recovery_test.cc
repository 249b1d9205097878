// Damage by hand: every truncation, flipped bits, stale and foreign bytes.
#include <gtest/gtest.h>

#include "store/fsck.h"
#include "store/testing.h"

namespace headwater {
namespace {

using Texts = std::vector<std::string>;

struct SpoolRecovery : ::testing::Test {
  Result<std::unique_ptr<Spool>> try_open() { return Spool::open(disk, options); }
  std::unique_ptr<Spool> open() {
    auto spool = try_open();
    HW_CHECK(spool.ok(), spool ? "" : spool.error().text());
    return std::move(spool).value();
  }
  // One commit each, so that each says of the one before that it was synced.
  void commit(Spool& spool, std::string_view payload) {
    append(spool, payload);
    HW_CHECK(spool.flush(kPatience).ok(), "the disk works");
  }
  // Paths of the segments, oldest first.
  static std::vector<std::string> logs(io::FaultFiles& on) {
    std::vector<std::string> paths;
    const std::vector<std::string> names = on.list("spool").value();
    for (const std::string& name : names) {
      if (name.ends_with(".log")) {
        paths.push_back("spool/" + name);
      }
    }
    return paths;
  }
  std::string newest() { return logs(disk).back(); }
  std::uint64_t log_end() { return fsck_spool(disk, "spool").value().segments.back().end; }

  io::FaultFiles disk{11};
  SpoolOptions options = small_options();
};

TEST_F(SpoolRecovery, CutAtEveryByteTheLogIsAPrefixOfWhatWasCommitted) {
  {
    auto spool = open();
    for (const char* text : {"one", "two", "three"}) {
      commit(*spool, text);
    }
  }
  const std::string path = newest();
  const std::string whole = disk.contents(path);
  const std::uint64_t end = log_end();
  const Texts all = {"one", "two", "three"};
  std::size_t most = 0;
  for (std::uint64_t cut = spool_format::kPageBytes; cut <= end; ++cut) {
    io::FaultFiles copy(cut);
    std::string bytes = whole;
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(cut), bytes.end(), '\0');
    copy.set_contents(path, bytes);
    auto spool = Spool::open(copy, options);
    ASSERT_TRUE(spool.ok()) << cut << ": " << spool.error().text();
    const Texts rows = read_lane(**spool, Lane::kReadings);
    ASSERT_LE(rows.size(), all.size());
    EXPECT_EQ(rows, Texts(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(rows.size())));
    EXPECT_GE(rows.size(), most);
    most = rows.size();
    // And it goes on from there.
    EXPECT_EQ(append(**spool, "next").first_sequence[1], rows.size() + 1);
    ASSERT_TRUE((*spool)->flush(kPatience).ok());
    Texts more = rows;
    more.emplace_back("next");
    EXPECT_EQ(read_lane(**spool, Lane::kReadings), more);
  }
  EXPECT_EQ(most, all.size());
}

TEST_F(SpoolRecovery, EveryFlippedByteIsEitherATornTailOrAGap) {
  {
    auto spool = open();
    for (const char* text : {"one", "two", "three", "four"}) {
      commit(*spool, text);
    }
  }
  const std::string path = newest();
  const std::string whole = disk.contents(path);
  const std::uint64_t end = log_end();
  for (std::uint64_t at = 0; at < end; at += at < spool_format::kPageBytes ? 61 : 1) {
    io::FaultFiles copy(at);
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x20);
    copy.set_contents(path, bytes);
    auto spool = Spool::open(copy, options);
    if (!spool) {  // the page of the only segment: nobody else tells the spool's id
      ASSERT_LT(at, spool_format::kPageBytes);
      ASSERT_EQ(spool.error().code(), Code::kCorrupt);
      continue;
    }
    const Texts rows = read_lane(**spool, Lane::kReadings);
    std::uint64_t next = 1;
    for (const std::string& text : rows) {
      std::uint64_t first = 0;
      std::uint64_t last = 0;
      if (std::sscanf(text.c_str(), "corrupt %lu-%lu", &first, &last) == 2) {
        EXPECT_EQ(first, next) << at;
        next = last + 1;
        continue;
      }
      const Texts all = {"one", "two", "three", "four"};
      ASSERT_LE(next, all.size()) << at;
      EXPECT_EQ(text, all[next - 1]) << at;
      ++next;
    }
    // Only damage to the last committed frame may look like a torn tail.
    EXPECT_GE(next, 4U) << at;
    EXPECT_GE(append(**spool, "next").first_sequence[1], 4U);
  }
}

TEST_F(SpoolRecovery, DamageInTheMiddleBecomesAGapRecord) {
  {
    auto spool = open();
    for (int i = 0; i < 5; ++i) {
      commit(*spool, fmt::format("row number {}", i));
    }
  }
  const std::string path = newest();
  const std::size_t at = disk.contents(path).find("row number 2");
  disk.flip_bit(path, 8 * at);
  auto spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings),
            (Texts{"row number 0", "row number 1", "corrupt 3-3", "row number 3", "row number 4"}));
  ASSERT_TRUE(spool->flush(kPatience).ok());
  append(*spool, "more");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  ASSERT_EQ(spool->gaps().size(), 1U);
  EXPECT_EQ(spool->gaps()[0].first, 3U);
  EXPECT_EQ(spool->gaps()[0].reason, GapReason::kCorrupt);
  EXPECT_EQ(spool->stats().lanes[1].corrupt_rows, 1U);
}

// The record of a segment's skipped rows has rows between; it is no excuse for theirs.
TEST_F(SpoolRecovery, DamageBetweenSkippedRowsBecomesAGapRecord) {
  {
    auto spool = open();
    for (int i = 0; i < 5; ++i) {
      Transaction transaction;
      transaction.append(Lane::kReadings, 0, sample_row(fmt::format("row number {}", i)));
      transaction.skip(Lane::kReadings, i % 2 == 0 && i != 0 ? 0U : 3U, {1}, {2});
      ASSERT_TRUE(spool->submit(transaction).ok());
      ASSERT_TRUE(spool->flush(kPatience).ok());
    }
  }
  const std::string path = newest();
  disk.flip_bit(path, 8 * disk.contents(path).find("row number 2"));
  auto spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings),
            (Texts{"row number 0", "shed 2-4", "row number 1", "shed 6-8", "corrupt 9-9",
                   "row number 3", "shed 11-13", "row number 4"}));
  append(*spool, "more");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(spool->stats().lanes[1].corrupt_rows, 1U);
  EXPECT_EQ(spool->stats().lanes[1].shed_rows, 9U);
}

TEST_F(SpoolRecovery, ADamagedFrameHeaderIsStillDamageNotTheEnd) {
  {
    auto spool = open();
    for (int i = 0; i < 5; ++i) {
      commit(*spool, fmt::format("row number {}", i));
    }
  }
  const std::string path = newest();
  const std::string bytes = disk.contents(path);
  const std::size_t header = bytes.rfind("HWFR", bytes.find("row number 2"));
  disk.flip_bit(path, 8 * (header + 17));
  auto spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings),
            (Texts{"row number 0", "row number 1", "corrupt 3-3", "row number 3", "row number 4"}));
}

TEST_F(SpoolRecovery, AfterDamageOfALanesLastRowsTheirSequencesAreNotGivenAgain) {
  {
    auto spool = open();
    append(*spool, "alert text", Lane::kAlerts);
    ASSERT_TRUE(spool->flush(kPatience).ok());
    commit(*spool, "reading");
  }
  const std::string path = newest();
  disk.flip_bit(path, 8 * disk.contents(path).find("alert text"));
  auto spool = open();
  EXPECT_GT(append(*spool, "x", Lane::kAlerts).first_sequence[0], 1U);
}

TEST_F(SpoolRecovery, DamageInAClosedSegmentIsFoundByTheReaderAndPutOnRecord) {
  options.max_bytes = 4 << 20;
  const std::string big(30'000, 'x');
  auto spool = open();
  for (int i = 0; i < 20; ++i) {
    commit(*spool, fmt::format("row {} {}", i, big));
  }
  const std::string first = "spool/" + spool_format::segment_name(2);
  const std::size_t at = disk.contents(first).find("row 3 ");
  ASSERT_NE(at, std::string::npos) << first;
  disk.flip_bit(first, 8 * at);
  auto rows = read_lane(*spool, Lane::kReadings);
  ASSERT_EQ(rows.size(), 20U);
  EXPECT_EQ(rows[3], "corrupt 4-4");
  EXPECT_EQ(rows[4].substr(0, 5), "row 4");
  commit(*spool, "makes the record durable");
  spool.reset();
  disk.restart(0.0);
  spool = open();
  ASSERT_EQ(spool->gaps().size(), 1U);
  EXPECT_EQ(spool->gaps()[0].first, 4U);
  EXPECT_EQ(spool->gaps()[0].count, 1U);
}

TEST_F(SpoolRecovery, BytesBehindATornFrameAreNeverResurrected) {
  // Two frames in one commit; the crash keeps the second and tears the first. What is written next
  // has the length of the torn one, so that the stale frame lies exactly where the log ends.
  {
    auto spool = open();
    commit(*spool, "committed");
  }
  const std::string path = newest();
  const std::uint64_t end = log_end();
  {
    options.commit_delay = std::chrono::seconds(10);
    auto spool = open();
    append(*spool, "torn-A");
    append(*spool, "stale-B");
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  options.commit_delay = Nanos{0};
  const std::string after = disk.contents(path);
  const std::size_t torn = after.find("torn-A");
  ASSERT_GT(torn, end);
  disk.flip_bit(path, 8 * torn);
  {
    auto spool = open();
    EXPECT_EQ(read_lane(*spool, Lane::kReadings), Texts{"committed"});
    EXPECT_GT(spool->stats().cut_bytes, 0U);
    commit(*spool, "new-A!");
    EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{"committed", "new-A!"}));
  }
  auto spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{"committed", "new-A!"}));
}

TEST_F(SpoolRecovery, ARecycledSegmentDoesNotResurrectItsOldRows) {
  // Many laps around a store of four segments, reopened after each row or so.
  const std::string big(20'000, 'x');
  std::uint64_t sequence = 0;
  for (int lap = 0; lap < 12; ++lap) {
    auto spool = open();
    for (int i = 0; i < 7; ++i) {
      ++sequence;
      ASSERT_EQ(append(*spool, fmt::format("{} {}", sequence, big)).first_sequence[1], sequence);
    }
    ASSERT_TRUE(spool->flush(kPatience).ok());
    auto reader = spool->read(Lane::kReadings, 1);
    std::uint64_t expected = 1;
    while (true) {
      const ReadItem item = reader->next().value();
      if (item == ReadItem::kEnd) {
        break;
      }
      if (item == ReadItem::kGap) {
        EXPECT_EQ(reader->gap().first, expected);
        EXPECT_EQ(reader->gap().reason, GapReason::kShed);
        expected = reader->gap().last + 1;
        continue;
      }
      EXPECT_EQ(reader->row().sequence, expected);
      EXPECT_EQ(reader->row().row.payload.substr(0, 8),
                fmt::format("{} {}", expected, big).substr(0, 8));
      ++expected;
    }
    EXPECT_EQ(expected, sequence + 1);
    EXPECT_LE(spool->stats().bytes, options.max_bytes);
  }
}

TEST_F(SpoolRecovery, ADamagedHeaderPageIsRebuiltFromTheFirstFrame) {
  options.max_bytes = 4 << 20;
  const std::string big(30'000, 'x');
  {
    auto spool = open();
    for (int i = 0; i < 20; ++i) {
      commit(*spool, fmt::format("row {} {}", i, big));
    }
  }
  disk.flip_bit(logs(disk).front(), 8 * 40);
  auto spool = open();
  const auto rows = read_lane(*spool, Lane::kReadings);
  ASSERT_EQ(rows.size(), 20U);
  EXPECT_EQ(rows[0].substr(0, 5), "row 0");
}

TEST_F(SpoolRecovery, ADamagedCheckpointIsMadeGoodFromTheSegmentBefore) {
  options.max_bytes = 4 << 20;
  const std::string big(30'000, 'x');
  {
    auto spool = open();
    Transaction transaction;
    transaction.state("key", "precious");
    ASSERT_TRUE(spool->submit(transaction).ok());
    for (int i = 0; i < 12; ++i) {
      commit(*spool, fmt::format("row {} {}", i, big));
    }
  }
  disk.flip_bit(newest(), 8 * (spool_format::kPageBytes + spool_format::kFrameHeaderBytes + 20));
  auto spool = open();
  EXPECT_EQ(spool->state("key"), "precious");
  const auto rows = read_lane(*spool, Lane::kReadings);
  ASSERT_EQ(rows.size(), 12U);
  EXPECT_EQ(rows[11].substr(0, 6), "row 11");
}

TEST_F(SpoolRecovery, SegmentsOfAnotherSpoolAreRefused) {
  {
    auto spool = open();
    commit(*spool, "mine");
  }
  io::FaultFiles other(1);
  {
    auto spool = Spool::open(other, options).value();
    append(*spool, "theirs");
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  std::string strange = other.contents(logs(other).back());
  auto header = spool_format::decode_segment_header(strange).value();
  header.generation = 77;
  strange.replace(0, spool_format::kPageBytes, spool_format::encode(header));
  disk.set_contents("spool/" + spool_format::segment_name(77), strange);
  const auto refused = try_open();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kInvalid);
  EXPECT_NE(refused.error().text().find("strangers"), std::string::npos);
}

TEST_F(SpoolRecovery, AFileThatWasNeverBegunIsNoLog) {
  disk.set_contents("spool/" + spool_format::segment_name(1), std::string(256 * 1024, '\0'));
  auto spool = open();
  commit(*spool, "first");
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), Texts{"first"});
  spool.reset();
  disk.set_contents("spool/" + spool_format::segment_name(99), std::string(256 * 1024, 'z'));
  spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), Texts{"first"});
}

}  // namespace
}  // namespace headwater
