#include "pipeline/delivery.h"

#include <gmock/gmock.h>

#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Texts = std::vector<std::string>;

constexpr std::uint16_t kOurs = 2;

class DeliveryTest : public testing::Test {
 protected:
  void SetUp() override { start(); }
  void TearDown() override { stop(); }

  void start() {
    spool = Spool::open(disk, options).value();
    taken->closed = false;
    sink = std::make_unique<FakeSink>(taken);
    delivery = std::make_unique<Delivery>(Delivery::Parts{.name = "pager",
                                                          .sink = sink.get(),
                                                          .spool = spool.get(),
                                                          .loop = loop.get(),
                                                          .cursor_every = cursor_every,
                                                          .retry_after = Nanos{0}});
    delivery->add_stream(kOurs);
  }
  void stop() {
    delivery.reset();
    sink.reset();
    spool.reset();
  }
  void crash() {
    disk.power_off();
    stop();
    disk.restart(0.0);
    taken = std::make_shared<Taken>();
    start();
  }
  void alert(std::string_view text, std::uint16_t stream = kOurs) {
    Transaction transaction;
    transaction.append(Lane::kAlerts, stream, sample_row(text));
    ASSERT_TRUE(spool->submit(transaction).ok());
  }
  void alerts(int first, int last) {
    for (int i = first; i <= last; ++i) {
      alert(std::to_string(i));
    }
    commit();
  }
  void commit() { ASSERT_TRUE(spool->flush(kPatience).ok()); }
  std::uint64_t cursor() {
    return spool->cursor("sink/pager", Lane::kAlerts, kAllStreams).value_or(0);
  }
  static Texts numbers(int first, int last) {
    Texts made;
    for (int i = first; i <= last; ++i) {
      made.push_back(std::to_string(i));
    }
    return made;
  }

  io::FaultFiles disk{1};
  SpoolOptions options = small_options();
  Nanos cursor_every{0};
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  std::shared_ptr<Taken> taken = std::make_shared<Taken>();
  std::unique_ptr<Spool> spool;
  std::unique_ptr<FakeSink> sink;
  std::unique_ptr<Delivery> delivery;
};

TEST_F(DeliveryTest, SendsWhatIsCommittedInOrderAndNothingElse) {
  options.commit_delay = std::chrono::hours(1);
  stop();
  start();
  alert("1");
  alert("2");
  delivery->pump();
  EXPECT_THAT(taken->payloads, IsEmpty());
  commit();
  delivery->pump();
  EXPECT_THAT(taken->payloads, ElementsAre("1", "2"));
  EXPECT_EQ(delivery->counts().submitted.get(), 2U);
  EXPECT_EQ(delivery->counts().delivered.get(), 2U);
  EXPECT_TRUE(delivery->settled());
  EXPECT_EQ(delivery->pending(), 0U);
}

TEST_F(DeliveryTest, AlertsOfOtherStreamsPassBy) {
  alert("theirs", 3);
  alert("ours");
  alert("theirs", 3);
  commit();
  delivery->pump();
  EXPECT_THAT(taken->payloads, ElementsAre("ours"));
  EXPECT_TRUE(delivery->settled());
  commit();
  EXPECT_EQ(cursor(), 3U);
}

TEST_F(DeliveryTest, NoMoreThanTheWindowIsUnanswered) {
  taken->answers = false;
  alerts(1, 300);
  delivery->pump();
  delivery->pump();
  EXPECT_THAT(taken->payloads, SizeIs(Delivery::kWindow));
  EXPECT_EQ(delivery->pending(), 300U);
  for (std::size_t i = 0; i < 10; ++i) {
    taken->outcomes.push_back({taken->tokens[i], 0, Verdict::kOk});
  }
  delivery->pump();
  EXPECT_THAT(taken->payloads, SizeIs(Delivery::kWindow + 10));
  EXPECT_FALSE(delivery->settled());
  for (std::size_t i = 10; i < taken->tokens.size(); ++i) {
    taken->outcomes.push_back({taken->tokens[i], 0, Verdict::kOk});
  }
  delivery->pump();
  taken->answers = true;
  for (std::size_t i = Delivery::kWindow + 10; i < taken->tokens.size(); ++i) {
    taken->outcomes.push_back({taken->tokens[i], 0, Verdict::kOk});
  }
  EXPECT_TRUE(delivery->settled());
  EXPECT_EQ(taken->payloads, numbers(1, 300));
}

TEST_F(DeliveryTest, TheCursorStopsBeforeTheFirstThatIsUnanswered) {
  taken->answers = false;
  alerts(1, 3);
  delivery->pump();
  taken->outcomes.push_back({taken->tokens[0], 0, Verdict::kOk});
  taken->outcomes.push_back({taken->tokens[2], 0, Verdict::kOk});
  delivery->pump();
  commit();
  EXPECT_EQ(cursor(), 1U);
  EXPECT_EQ(delivery->pending(), 2U);
  taken->outcomes.push_back({taken->tokens[1], 0, Verdict::kOk});
  delivery->pump();
  commit();
  EXPECT_EQ(cursor(), 3U);
}

TEST_F(DeliveryTest, ASinkThatTakesNothingGetsAllLaterInOrder) {
  for (const Error& refusal :
       {Error::unavailable("no connection"), Error::exhausted("queue is full"),
        Error::corrupt("input/output error"), Error::internal("a bug")}) {
    SCOPED_TRACE(refusal.text());
    taken->refuse = refusal;
    taken->payloads.clear();
    taken->submits = 0;
    const std::uint64_t retried = delivery->counts().retried.get();
    alerts(1, 3);
    delivery->pump();
    EXPECT_EQ(taken->submits, 1U) << "what comes behind it waits";
    delivery->pump();
    delivery->pump();
    EXPECT_EQ(taken->submits, 3U);
    EXPECT_EQ(delivery->trouble(), refusal.text());
    EXPECT_FALSE(delivery->settled());
    taken->refuse.reset();
    delivery->pump();
    EXPECT_THAT(taken->payloads, ElementsAre("1", "2", "3"));
    EXPECT_EQ(delivery->counts().retried.get(), retried + 1);
    EXPECT_TRUE(delivery->settled());
    EXPECT_EQ(delivery->trouble(), "");
  }
  EXPECT_EQ(delivery->counts().rejected.get(), 0U);
  EXPECT_EQ(delivery->counts().submitted.get(), 12U);
  EXPECT_EQ(delivery->counts().delivered.get(), 12U);
}

TEST_F(DeliveryTest, WaitsBetweenAttempts) {
  stop();
  spool = Spool::open(disk, options).value();
  sink = std::make_unique<FakeSink>(taken);
  delivery = std::make_unique<Delivery>(Delivery::Parts{.name = "pager",
                                                        .sink = sink.get(),
                                                        .spool = spool.get(),
                                                        .loop = loop.get(),
                                                        .cursor_every = Nanos{0},
                                                        .retry_after = std::chrono::hours(1)});
  delivery->add_stream(kOurs);
  taken->refuse = Error::unavailable("no connection");
  alerts(1, 1);
  for (int i = 0; i < 5; ++i) {
    delivery->pump();
  }
  EXPECT_EQ(taken->submits, 2U) << "the first, and one retry at once";
}

TEST_F(DeliveryTest, ARowThatTheReceiverWantsAgainIsSentAgainBeforeNewerOnes) {
  taken->answers = false;
  alerts(1, 3);
  delivery->pump();
  taken->outcomes.push_back({taken->tokens[1], 0, Verdict::kRetry});
  taken->outcomes.push_back({taken->tokens[2], 0, Verdict::kOk});
  alerts(4, 4);
  delivery->pump();
  EXPECT_THAT(taken->payloads, ElementsAre("1", "2", "3", "2", "4"));
  EXPECT_EQ(delivery->counts().retried.get(), 1U);
  EXPECT_EQ(delivery->counts().submitted.get(), 4U);
  taken->outcomes.push_back({taken->tokens[0], 0, Verdict::kOk});
  taken->outcomes.push_back({taken->tokens[3], 0, Verdict::kOk});
  taken->outcomes.push_back({taken->tokens[4], 0, Verdict::kOk});
  EXPECT_TRUE(delivery->settled());
}

TEST_F(DeliveryTest, ARowThatIsRefusedForGoodIsCountedAndPassed) {
  taken->verdict = Verdict::kReject;
  alerts(1, 1);
  delivery->pump();
  taken->verdict = Verdict::kOk;
  taken->refuse = Error::invalid("topic has a wildcard");
  alerts(2, 2);
  delivery->pump();
  EXPECT_EQ(delivery->trouble(), "topic has a wildcard");
  taken->refuse.reset();
  alerts(3, 3);
  delivery->pump();
  EXPECT_THAT(taken->payloads, ElementsAre("1", "3"));
  EXPECT_EQ(delivery->counts().rejected.get(), 2U);
  EXPECT_EQ(delivery->counts().delivered.get(), 1U);
  EXPECT_TRUE(delivery->settled());
}

TEST_F(DeliveryTest, ARetryThatIsRefusedForGoodHoldsNothingUp) {
  taken->refuse = Error::unavailable("no connection");
  alerts(1, 2);
  delivery->pump();
  taken->refuse = Error::invalid("never");
  delivery->pump();
  taken->refuse.reset();
  EXPECT_TRUE(delivery->settled());
  EXPECT_EQ(delivery->counts().rejected.get(), 2U);
  alerts(3, 3);
  EXPECT_TRUE(delivery->settled());
  EXPECT_THAT(taken->payloads, ElementsAre("3"));
}

TEST_F(DeliveryTest, AfterARestartGoesOnBehindTheCursor) {
  alerts(1, 3);
  delivery->pump();
  delivery->save_cursor();
  commit();
  alerts(4, 5);
  crash();
  delivery->pump();
  EXPECT_THAT(taken->payloads, ElementsAre("4", "5"));
}

TEST_F(DeliveryTest, SaysWhichAlertsAnEarlierProcessMade) {
  alerts(1, 2);
  crash();
  alerts(3, 3);
  delivery->pump();
  ASSERT_THAT(taken->payloads, ElementsAre("1", "2", "3"));
  EXPECT_TRUE(taken->made[0].second);
  EXPECT_TRUE(taken->made[1].second);
  EXPECT_FALSE(taken->made[2].second);
}

TEST_F(DeliveryTest, AnAlertThatWaitsBehindTheWindowKeepsTheTimeItWasMade) {
  const int window = static_cast<int>(Delivery::kWindow);
  taken->answers = false;
  alerts(1, window + 1);
  delivery->pump();
  ASSERT_EQ(taken->made.size(), Delivery::kWindow);
  const MonoTime before = io::mono_now();
  taken->outcomes.push_back({taken->tokens[0], 0, Verdict::kOk});
  delivery->pump();
  ASSERT_EQ(taken->made.size(), Delivery::kWindow + 1);
  EXPECT_LE(taken->made.back().first, before);
}

TEST_F(DeliveryTest, AnAlertThatIsTooOldIsCountedAndPassed) {
  taken->verdict = Verdict::kExpired;
  alerts(1, 2);
  delivery->pump();
  EXPECT_EQ(delivery->counts().expired.get(), 2U);
  EXPECT_EQ(delivery->counts().rejected.get(), 0U);
  EXPECT_TRUE(delivery->settled());
}

TEST_F(DeliveryTest, OnlyACrashRepeatsAndThenOnlyTheLast) {
  cursor_every = std::chrono::hours(1);
  stop();
  start();
  alerts(1, 2);
  delivery->pump();
  delivery->save_cursor();
  alerts(3, 4);
  delivery->pump();
  EXPECT_EQ(taken->payloads, numbers(1, 4));
  crash();
  delivery->pump();
  EXPECT_THAT(taken->payloads, ElementsAre("3", "4"));
  delivery->save_cursor();
  commit();
  stop();
  taken = std::make_shared<Taken>();
  start();
  delivery->pump();
  EXPECT_THAT(taken->payloads, IsEmpty());
  EXPECT_TRUE(delivery->settled());
}

TEST_F(DeliveryTest, TheCursorPassesAlertsThatWereLetGo) {
  const std::string big(20'000, 'x');
  for (int i = 0; i < 200; ++i) {
    alert(big);
    commit();
  }
  ASSERT_FALSE(spool->gaps().empty());
  const MonoTime until = io::mono_now() + kPatience;
  while (!delivery->settled() && io::mono_now() < until) {
  }
  EXPECT_TRUE(delivery->settled());
  EXPECT_EQ(delivery->pending(), 0U);
  EXPECT_THAT(taken->payloads, SizeIs(testing::Lt(200U)));
  commit();
  EXPECT_EQ(cursor(), 200U);
}

TEST_F(DeliveryTest, GoesOnByItselfWhileSomethingIsOpen) {
  taken->answers = false;
  alerts(1, 1);
  delivery->pump();
  taken->outcomes.push_back({taken->tokens[0], 0, Verdict::kOk});
  const MonoTime until = io::mono_now() + kPatience;
  while (delivery->counts().delivered.get() == 0 && io::mono_now() < until) {
    loop->run_once(std::chrono::seconds(1));
  }
  EXPECT_EQ(delivery->counts().delivered.get(), 1U);
}

TEST_F(DeliveryTest, AnswersThatNobodyAskedForAreIgnored) {
  alerts(1, 1);
  delivery->pump();
  taken->outcomes.push_back({taken->tokens[0], 0, Verdict::kRetry});
  taken->outcomes.push_back({999, 0, Verdict::kOk});
  EXPECT_TRUE(delivery->settled());
  EXPECT_EQ(delivery->counts().delivered.get(), 1U);
  EXPECT_EQ(delivery->counts().retried.get(), 0U);
}

}  // namespace
}  // namespace headwater
