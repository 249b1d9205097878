#include "uplink/lane_plan.h"

#include "uplink/testing.h"

namespace headwater {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr MonoTime kNever{std::numeric_limits<std::int64_t>::max()};

class LanePlanTest : public UplinkTest {
 protected:
  LanePlan plan_of(ScoredStreams scored = {}) {
    LanePlan plan(*spool, Lane::kReadings, std::move(scored));
    plan.sent(0);
    return plan;
  }
  void read_all(LanePlan& plan) {
    while (plan.read(100, clock.mono).value()) {
    }
  }
  // The last sequence of the next batch; 0: none yet.
  std::uint64_t close(const LanePlan& plan, bool flush = false) {
    at = kNever;
    return plan.close(limits, clock, flush, &at).value_or(0);
  }
  std::string built(LanePlan& plan, std::uint64_t first, std::uint64_t last) {
    BatchWriter writer;
    BatchHeader header;
    header.lane = "readings";
    header.first = first;
    writer.begin(header);
    const Status status = plan.build(first, last, writer);
    return status ? contents(writer.finish(last, {}, 1).value()) : status.error().text();
  }

  LanePlan::Limits limits{100, 1U << 20, seconds(60), seconds(30)};
  MonoTime at;
};

TEST_F(LanePlanTest, ClosesABatchByRows) {
  add_rows(250);
  LanePlan plan = plan_of();
  read_all(plan);
  EXPECT_EQ(close(plan), 100U);
  plan.sent(100);
  EXPECT_EQ(close(plan), 200U);
  plan.sent(200);
  EXPECT_EQ(close(plan), 0U);
}

TEST_F(LanePlanTest, ClosesABatchByBytes) {
  add_rows(50, 0, Lane::kReadings, 1000);
  limits.bytes = 10'000;
  LanePlan plan = plan_of();
  read_all(plan);
  const std::uint64_t last = close(plan);
  EXPECT_GE(last, 7U);
  EXPECT_LE(last, 9U);
  limits.bytes = 10;
  EXPECT_EQ(close(plan), 1U) << "one row may be larger than the limit";
}

TEST_F(LanePlanTest, ClosesABatchByTheAgeOfItsFirstRow) {
  add_rows(5);
  clock.wall = io::wall_now();
  LanePlan plan = plan_of();
  read_all(plan);
  EXPECT_EQ(close(plan), 0U);
  EXPECT_GT(at, clock.mono + seconds(50));
  EXPECT_LE(at, clock.mono + seconds(60));
  pass(seconds(59));
  add_rows(5);
  read_all(plan);
  EXPECT_EQ(close(plan), 0U);
  pass(seconds(2));
  EXPECT_EQ(close(plan), 10U) << "with what came since";
  EXPECT_EQ(plan.oldest().has_value(), true);
}

TEST_F(LanePlanTest, KeepsTheAgeWhenTheWallClockIsSetBack) {
  add_rows(5);
  LanePlan plan = plan_of();
  read_all(plan);
  clock.mono = clock.mono + seconds(61);
  clock.wall = clock.wall - seconds(3600);
  EXPECT_EQ(close(plan), 5U);
}

TEST_F(LanePlanTest, FlushesWhatIsThere) {
  add_rows(5);
  LanePlan plan = plan_of();
  read_all(plan);
  EXPECT_EQ(close(plan, true), 5U);
}

TEST_F(LanePlanTest, ReadingsWaitForTheirScore) {
  limits.every = Nanos{0};
  add_rows(4);
  LanePlan plan = plan_of({{0, "decided/main/0"}});
  read_all(plan);
  EXPECT_EQ(close(plan), 0U);
  EXPECT_EQ(at, clock.mono + seconds(30));
  decide(1, {0.5, 0.25});
  read_all(plan);
  EXPECT_EQ(close(plan), 2U) << "what is ready goes when it is due";
  EXPECT_EQ(built(plan, 1, 2), "1=0.5! 2=0.25!");
  decide(3, {std::nan(""), 0.75});
  read_all(plan);
  EXPECT_EQ(close(plan), 4U);
  EXPECT_EQ(built(plan, 1, 4), "1=0.5! 2=0.25! 3=nan! 4=0.75!");
}

TEST_F(LanePlanTest, ReadingsGoWithoutAScoreThatDoesNotCome) {
  limits.every = Nanos{0};
  add_rows(2);
  LanePlan plan = plan_of({{0, "decided/main/0"}});
  read_all(plan);
  EXPECT_EQ(close(plan), 0U);
  pass(seconds(30));
  EXPECT_EQ(close(plan), 2U);
  EXPECT_EQ(built(plan, 1, 2), "1 2");
}

TEST_F(LanePlanTest, ReadingsThatNobodyDecidesOnDoNotWait) {
  limits.every = Nanos{0};
  add_rows(2, 5);
  LanePlan plan = plan_of({{0, "decided/main/0"}});
  read_all(plan);
  EXPECT_EQ(close(plan), 2U);
}

TEST_F(LanePlanTest, ACursorBeyondARowSaysThatNoDecisionWillCome) {
  limits.every = Nanos{0};
  add_rows(2);
  Transaction transaction;
  transaction.cursor("decided/main/0", Lane::kReadings, kAllStreams, 2);
  ASSERT_TRUE(spool->submit(transaction).ok());
  commit();
  LanePlan plan = plan_of({{0, "decided/main/0"}});
  read_all(plan);
  EXPECT_EQ(close(plan), 2U);
}

TEST_F(LanePlanTest, FindsDecisionsThatLieFarBehindTheirRows) {
  limits.every = Nanos{0};
  limits.rows = 10'000;
  limits.bytes = std::uint64_t{1} << 30;
  SpoolOptions options = small_options();
  options.max_bytes = std::uint64_t{64} << 20;
  spool.reset();
  spool = Spool::open(disk, options).value();
  constexpr std::uint64_t kRows = LanePlan::kMost + 30'000;
  for (std::uint64_t added = 0; added < kRows; added += 1'000) {
    add_rows(std::min<std::uint64_t>(1'000, kRows - added));
  }
  for (std::uint64_t first = 1; first <= kRows; first += 1'000) {
    decide(first, std::vector<double>(std::min<std::uint64_t>(1'000, kRows - first + 1),
                                      static_cast<double>(first)));
  }
  LanePlan plan = plan_of({{0, "decided/main/0"}});
  std::uint64_t sent = 0;
  for (int rounds = 0; sent < kRows && rounds < 100; ++rounds) {
    read_all(plan);
    const std::uint64_t last = close(plan);
    ASSERT_GT(last, sent);
    const std::string text = built(plan, last, last);
    EXPECT_EQ(text, fmt::format("{}={}!", last, (last - 1) / 1'000 * 1'000 + 1));
    sent = last;
    plan.sent(sent);
  }
  EXPECT_EQ(sent, kRows);
}

TEST_F(LanePlanTest, TellsWhatWasLetGo) {
  for (int i = 0; i < 60; ++i) {
    add_rows(100, 0, Lane::kReadings, 300);  // 1.8 MB into a store of 1 MiB
  }
  const std::uint64_t oldest = spool->stats().lanes[index_of(Lane::kReadings)].oldest_sequence;
  ASSERT_GT(oldest, 1U);
  LanePlan plan = plan_of();
  read_all(plan);
  EXPECT_EQ(built(plan, 1, oldest), fmt::format("1-{}:shed {}", oldest - 1, oldest));
  EXPECT_EQ(built(plan, 5, 10), "5-10:shed") << "a gap is cut to the batch";
}

TEST_F(LanePlanTest, TellsWhatWasLetGoBeforeItWasThere) {
  for (int i = 0; i < 60; ++i) {
    add_rows(100, 0, Lane::kReadings, 300);
    Transaction transaction;  // delivered at once: let go without a record
    transaction.cursor(kUplinkConsumer, Lane::kReadings, kAllStreams,
                       100 * static_cast<std::uint64_t>(i + 1));
    ASSERT_TRUE(spool->submit(transaction).ok());
  }
  commit();
  const std::uint64_t oldest = spool->stats().lanes[index_of(Lane::kReadings)].oldest_sequence;
  ASSERT_GT(oldest, 1U);
  ASSERT_TRUE(spool->gaps().empty());
  LanePlan plan = plan_of();
  read_all(plan);
  EXPECT_EQ(built(plan, 1, oldest), fmt::format("1-{}:released {}", oldest - 1, oldest));
}

}  // namespace
}  // namespace headwater
