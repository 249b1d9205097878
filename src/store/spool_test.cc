#include "store/spool.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <limits>
#include <mutex>
#include <thread>

#include "store/testing.h"

namespace headwater {
namespace {

using Texts = std::vector<std::string>;

struct Fixture : ::testing::Test {
  std::unique_ptr<Spool> open() { return open(options); }
  std::unique_ptr<Spool> open(const SpoolOptions& with) {
    auto spool = Spool::open(disk, with);
    HW_CHECK(spool.ok(), spool ? "" : spool.error().text());
    return std::move(spool).value();
  }
  io::FaultFiles disk{7};
  SpoolOptions options = small_options();
};

using SpoolTest = Fixture;

TEST_F(SpoolTest, RowsComeBackAsTheyWentIn) {
  auto spool = open();
  Transaction transaction;
  StoredRow row = sample_row("{\"t\":1}");
  row.identity = {1, 2};
  row.partition = 7;
  row.position = 99;
  row.flags = 5;
  EXPECT_EQ(transaction.append(Lane::kReadings, 3, row), 0U);
  EXPECT_EQ(transaction.append(Lane::kReadings, 3, sample_row("b")), 1U);
  EXPECT_EQ(transaction.append(Lane::kDeadLetter, 3, sample_row("broken")), 0U);
  const auto submitted = spool->submit(transaction).value();
  EXPECT_TRUE(transaction.empty());
  EXPECT_EQ(submitted.first_sequence[index_of(Lane::kReadings)], 1U);
  EXPECT_EQ(submitted.first_sequence[index_of(Lane::kDeadLetter)], 1U);
  EXPECT_EQ(submitted.first_sequence[index_of(Lane::kAlerts)], 0U);
  ASSERT_TRUE(spool->flush(kPatience).ok());

  auto reader = spool->read(Lane::kReadings, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  const ReadRow& got = reader->row();
  EXPECT_EQ(got.sequence, 1U);
  EXPECT_EQ(got.stream, 3U);
  EXPECT_EQ(got.row.payload, "{\"t\":1}");
  EXPECT_EQ(got.row.device, "press-7");
  EXPECT_EQ(got.row.topic, "sensors/press-7/readings");
  EXPECT_EQ(got.row.sender, "press-7");
  EXPECT_EQ(got.row.time, row.time);
  EXPECT_EQ(got.row.received, row.received);
  EXPECT_EQ(got.row.identity, row.identity);
  EXPECT_EQ(got.row.partition, 7U);
  EXPECT_EQ(got.row.position, 99U);
  EXPECT_EQ(got.row.flags, 5U);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_EQ(reader->row().row.payload, "b");
  EXPECT_EQ(reader->row().row.flags, 0U);
  EXPECT_EQ(reader->next().value(), ReadItem::kEnd);
  EXPECT_EQ(read_lane(*spool, Lane::kDeadLetter), Texts{"broken"});
}

TEST_F(SpoolTest, AReaderGoesOnWhenMoreIsCommitted) {
  auto spool = open();
  auto reader = spool->read(Lane::kReadings, 1);
  EXPECT_EQ(reader->next().value(), ReadItem::kEnd);
  append(*spool, "a");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(read_lane(*reader), Texts{"a"});
  append(*spool, "b");
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(read_lane(*reader), Texts{"b"});
}

TEST_F(SpoolTest, AReaderStartsAtItsSequence) {
  auto spool = open();
  for (const char* text : {"a", "b", "c", "d"}) {
    append(*spool, text);
  }
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(read_lane(*spool, Lane::kReadings, 3), (Texts{"c", "d"}));
  EXPECT_EQ(read_lane(*spool, Lane::kReadings, 5), Texts{});
}

TEST_F(SpoolTest, StateSurvivesReopening) {
  {
    auto spool = open();
    Transaction transaction;
    transaction.append(Lane::kReadings, 2, sample_row("a"));
    transaction.append(Lane::kReadings, 2, sample_row("b"));
    transaction.cursor("uplink", Lane::kReadings, kAllStreams, 1);
    transaction.cursor_to_own("decided/main", Lane::kReadings, 2);
    transaction.state("window/a", "one");
    transaction.state("window/b", "two");
    transaction.state("other", "three");
    ASSERT_TRUE(spool->submit(transaction).ok());
    transaction.state("window/b", "");
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  disk.restart(0.0);
  auto spool = open();
  EXPECT_EQ(spool->cursor("uplink", Lane::kReadings, kAllStreams), 1U);
  EXPECT_EQ(spool->cursor("decided/main", Lane::kReadings, 2), 2U);
  EXPECT_EQ(spool->cursor("decided/main", Lane::kReadings, 1), std::nullopt);
  EXPECT_EQ(spool->state("window/a"), "one");
  EXPECT_EQ(spool->state("window/b"), "");
  Texts keys;
  spool->for_each_state("window/", [&](std::string_view key, std::string_view blob) {
    keys.push_back(std::string(key) + "=" + std::string(blob));
  });
  EXPECT_EQ(keys, Texts{"window/a=one"});
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{"a", "b"}));
  EXPECT_EQ(append(*spool, "c").first_sequence[index_of(Lane::kReadings)], 3U);
  EXPECT_EQ(spool->epoch(), 2U);
}

TEST_F(SpoolTest, DecisionsNameTheirRows) {
  auto spool = open();
  append(*spool, "earlier");
  Transaction transaction;
  transaction.append(Lane::kReadings, 1, sample_row("a"));
  transaction.append(Lane::kReadings, 1, sample_row("b"));
  const double scores[] = {0.25, std::numeric_limits<double>::quiet_NaN()};
  const std::uint8_t alerted[] = {1, 0};
  transaction.decide({.pipeline = "main",
                      .lane = Lane::kReadings,
                      .stream = 1,
                      .first = 0,
                      .count = 2,
                      .sequences = {},
                      .own_rows = true,
                      .model_digest = "sha256:ab",
                      .revision = 300,
                      .scores = scores,
                      .alerted = alerted});
  ASSERT_TRUE(spool->submit(transaction).ok());
  const std::uint64_t list[] = {1, 3};
  transaction.decide({.pipeline = "p2",
                      .lane = Lane::kReadings,
                      .stream = 1,
                      .first = 0,
                      .count = 0,
                      .sequences = list,
                      .own_rows = false,
                      .model_digest = "",
                      .revision = 0,
                      .scores = {},
                      .alerted = {}});
  ASSERT_TRUE(spool->submit(transaction).ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());

  auto reader = spool->read(Lane::kReadings, 1, {.stream = 1, .decisions = true});
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  ASSERT_EQ(reader->next().value(), ReadItem::kDecisions);
  const Decisions& first = reader->decisions();
  EXPECT_EQ(first.pipeline, "main");
  EXPECT_EQ(first.first, 2U);
  EXPECT_EQ(first.count, 2U);
  EXPECT_EQ(first.model_digest, "sha256:ab");
  EXPECT_EQ(first.revision, 300U);
  ASSERT_EQ(first.scores.size(), 2U);
  EXPECT_EQ(first.scores[0], 0.25);
  EXPECT_TRUE(std::isnan(first.scores[1]));
  EXPECT_EQ(first.alerted[0], 1U);
  EXPECT_EQ(first.alerted[1], 0U);
  ASSERT_EQ(reader->next().value(), ReadItem::kDecisions);
  EXPECT_EQ(std::vector<std::uint64_t>(reader->decisions().sequences.begin(),
                                       reader->decisions().sequences.end()),
            (std::vector<std::uint64_t>{1, 3}));
  EXPECT_TRUE(reader->decisions().scores.empty());
  EXPECT_EQ(reader->next().value(), ReadItem::kEnd);
}

TEST_F(SpoolTest, ReadersCrossSegmentsAndGapsAreTold) {
  options.max_bytes = 8 << 20;
  auto spool = open();
  const std::string big(20'000, 'x');
  Texts sent;
  for (int i = 0; i < 60; ++i) {  // 1.2 MB in segments of 256 KiB
    sent.push_back(std::to_string(i) + big);
    append(*spool, sent.back());
  }
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_GT(spool->stats().segments, 4U);
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), sent);
  for (const std::uint64_t from : {1U, 13U, 37U, 60U}) {
    EXPECT_EQ(read_lane(*spool, Lane::kReadings, from),
              Texts(sent.begin() + static_cast<std::ptrdiff_t>(from) - 1, sent.end()));
  }
}

TEST_F(SpoolTest, TicketsAreToldInOrderAndOnceCommitted) {
  auto spool = open();
  std::mutex mutex;
  std::vector<Ticket> told;
  spool->on_commit([&](Ticket upto, const Status& status) {
    const std::lock_guard guard(mutex);
    EXPECT_TRUE(status.ok());
    told.push_back(upto);
  });
  Ticket last = 0;
  for (int i = 0; i < 200; ++i) {
    const Ticket ticket = append(*spool, "x").ticket;
    EXPECT_EQ(ticket, last + 1);
    last = ticket;
  }
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(spool->committed(), last);
  spool.reset();
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), last);
}

TEST_F(SpoolTest, ManyThreadsGetDistinctSequencesInLogOrder) {
  options.max_bytes = 64 << 20;
  options.commit_delay = std::nullopt;
  auto spool = open();
  constexpr std::uint16_t kThreads = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  for (std::uint16_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Transaction transaction;
      for (int i = 0; i < kEach; ++i) {
        transaction.append(Lane::kReadings, t, sample_row(fmt::format("{}", i)));
        transaction.append(Lane::kReadings, t, sample_row(fmt::format("{}b", i)));
        ASSERT_TRUE(spool->submit(transaction).ok());
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  ASSERT_TRUE(spool->flush(kPatience).ok());
  auto reader = spool->read(Lane::kReadings, 1);
  std::vector<int> at(kThreads, 0);
  std::uint64_t expected = 1;
  while (reader->next().value() == ReadItem::kRow) {
    const ReadRow& row = reader->row();
    EXPECT_EQ(row.sequence, expected++);
    int& i = at[row.stream];
    EXPECT_EQ(row.row.payload, fmt::format("{}{}", i / 2, i % 2 == 0 ? "" : "b"));
    ++i;
  }
  EXPECT_EQ(expected, 2U * kThreads * kEach + 1);
  EXPECT_LT(spool->stats().commits, std::uint64_t{kThreads} * kEach + 10);
}

TEST_F(SpoolTest, PatientRowsWaitInMemoryForOneThatIsNot) {
  options.lanes[index_of(Lane::kReadings)].patience = std::chrono::hours(1);
  auto spool = Spool::open(disk, options).value();
  const std::uint64_t before = spool->stats().commits;
  Transaction transaction;
  for (int i = 0; i < 20; ++i) {
    transaction.append(Lane::kReadings, 0, sample_row("patient"));
    ASSERT_TRUE(spool->submit(transaction).ok());
    transaction.cursor("decided", Lane::kReadings, 0, static_cast<std::uint64_t>(i));
    transaction.may_wait_with(Lane::kReadings);
    ASSERT_TRUE(spool->submit(transaction).ok());
  }
  EXPECT_EQ(spool->committed(), 0U);
  transaction.append(Lane::kAlerts, 0, sample_row("not"));
  const Ticket last = spool->submit(transaction).value().ticket;
  EXPECT_TRUE(until([&] { return spool->committed() == last; }));
  EXPECT_EQ(spool->stats().commits, before + 1) << "all that waited went with it";
}

TEST_F(SpoolTest, CursorsAreNotPatientAndNothingIsInAHurry) {
  options.lanes[index_of(Lane::kReadings)].patience = std::chrono::hours(1);
  auto spool = Spool::open(disk, options).value();
  Transaction transaction;
  transaction.append(Lane::kReadings, 0, sample_row("patient"));
  ASSERT_TRUE(spool->submit(transaction).ok());
  transaction.cursor("uplink", Lane::kAlerts, kAllStreams, 1);
  Ticket last = spool->submit(transaction).value().ticket;
  EXPECT_TRUE(until([&] { return spool->committed() == last; })) << "a receiver's cursor";
  transaction.append(Lane::kReadings, 0, sample_row("patient"));
  last = spool->submit(transaction).value().ticket;
  EXPECT_LT(spool->committed(), last);
  spool->hurry();
  EXPECT_TRUE(until([&] { return spool->committed() == last; }));
  transaction.append(Lane::kReadings, 0, sample_row("not patient any more"));
  last = spool->submit(transaction).value().ticket;
  EXPECT_TRUE(until([&] { return spool->committed() == last; }));
}

TEST_F(SpoolTest, PatienceHasAnEndAndALimitInBytes) {
  options.lanes[index_of(Lane::kReadings)].patience = std::chrono::milliseconds(20);
  options.lanes[index_of(Lane::kDebug)].patience = std::chrono::hours(1);
  options.max_queue_bytes = 100'000;
  auto spool = Spool::open(disk, options).value();
  Transaction transaction;
  transaction.append(Lane::kDebug, 0, sample_row("waits for the next"));
  ASSERT_TRUE(spool->submit(transaction).ok());
  transaction.append(Lane::kReadings, 0, sample_row("patient"));
  Ticket last = spool->submit(transaction).value().ticket;
  EXPECT_TRUE(until([&] { return spool->committed() == last; })) << "after 20 ms";
  for (int i = 0; i < 6; ++i) {
    transaction.append(Lane::kDebug, 0, sample_row(std::string(10'000, 'd')));
    const Ticket ticket = spool->submit(transaction).value().ticket;
    last = i == 0 ? ticket : last;
  }
  EXPECT_TRUE(until([&] { return spool->committed() >= last; }))
      << "half of what may wait is there";
}

TEST_F(SpoolTest, AStoreThatIsFullAtStartKnowsItsConsumersOfBefore) {
  const std::string big(50'000, 'b');
  {
    auto spool = Spool::open(disk, options).value();
    spool->deliver_to("uplink", Lane::kReadings);
    spool->deliver_to("gone", Lane::kReadings);
    spool->hold_for("decided", Lane::kReadings);
    ASSERT_TRUE(spool->consumers_known().ok());
    Transaction transaction;
    for (int i = 0; i < 12; ++i) {
      transaction.append(Lane::kReadings, 0, sample_row(big));
      ASSERT_TRUE(spool->submit(transaction).ok());
    }
    for (const char* who : {"uplink", "gone", "decided"}) {
      transaction.cursor(who, Lane::kReadings, kAllStreams, 12);
    }
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  auto spool = Spool::open(disk, options).value();
  EXPECT_NE(spool->state("store/consumers").find("decided"), std::string::npos);
  Transaction transaction;
  for (int i = 0; i < 30; ++i) {
    transaction.append(Lane::kReadings, 0, sample_row(big));
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  EXPECT_FALSE(spool->gaps().empty()) << "more was let go than was delivered";
  for (const Gap& gap : spool->gaps()) {
    EXPECT_GT(gap.first, 12U) << "what the uplink has leaves no record, though it is not there yet";
  }
  spool->deliver_to("uplink", Lane::kReadings);
  ASSERT_TRUE(spool->consumers_known().ok());
  ASSERT_TRUE(spool->flush(kPatience).ok());
  EXPECT_EQ(spool->state("store/consumers").find("gone"), std::string::npos);
}

TEST_F(SpoolTest, OnlyOneMayWrite) {
  auto spool = open();
  auto second = Spool::open(disk, options);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kUnavailable);
  EXPECT_NE(second.error().text().find("process"), std::string::npos);
}

TEST_F(SpoolTest, ATransactionLargerThanHalfASegmentIsRefused) {
  auto spool = open();
  Transaction transaction;
  transaction.append(Lane::kReadings, 0, sample_row(std::string(150'000, 'x')));
  const auto refused = spool->submit(transaction);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kInvalid);
  EXPECT_EQ(transaction.rows(), 1U) << "it stays as it was";
}

TEST_F(SpoolTest, OptionsOutOfBoundsAreRefused) {
  options.max_bytes = 100'000;
  EXPECT_EQ(Spool::open(disk, options).error().code(), Code::kInvalid);
  options = small_options();
  options.segment_bytes = 1000;
  EXPECT_EQ(Spool::open(disk, options).error().code(), Code::kInvalid);
}

TEST(SpoolOnDisk, WorksOnTheRealDiskAndReopens) {
  std::string dir = "/tmp/hw_spool_XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  SpoolOptions options = small_options();
  options.dir = dir + "/data/spool";
  {
    auto spool = Spool::open(io::real_files(), options).value();
    for (int i = 0; i < 100; ++i) {
      append(*spool, fmt::format("row {} {}", i, std::string(5000, 'y')));
    }
    ASSERT_TRUE(spool->flush(kPatience).ok());
    EXPECT_EQ(Spool::open(io::real_files(), options).error().code(), Code::kUnavailable);
  }
  auto spool = Spool::open(io::real_files(), options).value();
  const auto rows = read_lane(*spool, Lane::kReadings);
  ASSERT_EQ(rows.size(), 100U);
  EXPECT_EQ(rows[99].substr(0, 6), "row 99");
  EXPECT_LE(spool->stats().bytes, options.max_bytes);
  spool.reset();
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace headwater
