#include <gmock/gmock.h>

#include "pipeline/delivery.h"
#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class EarlyDeliveryTest : public testing::Test {
 protected:
  void make(Nanos retry_for = std::chrono::seconds(10)) {
    delivery = std::make_unique<EarlyDelivery>(EarlyDelivery::Parts{.name = "siren",
                                                                    .sink = &sink,
                                                                    .loop = loop.get(),
                                                                    .retry_after = Nanos{0},
                                                                    .retry_for = retry_for});
  }
  static BatchRef rows(std::initializer_list<std::string_view> texts) {
    auto made = std::make_shared<Batch>();
    for (const std::string_view text : texts) {
      Row row;
      row.payload = made->arena().copy(text);
      made->add_row(row);
    }
    return made;
  }
  // Rounds of the loop until `done`.
  template <class Done>
  void turn(Done done) {
    const MonoTime until = io::mono_now() + kPatience;
    while (!done()) {
      ASSERT_LT(io::mono_now(), until);
      loop->run_once(std::chrono::milliseconds(1));
    }
  }

  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  std::shared_ptr<Taken> taken = std::make_shared<Taken>();
  FakeSink sink{taken};
  std::unique_ptr<EarlyDelivery> delivery;
};

TEST_F(EarlyDeliveryTest, CountsWhatTheSinkAnswers) {
  make();
  delivery->give(rows({"1", "2"}));
  EXPECT_EQ(delivery->counts().delivered.get(), 2U);
  taken->verdict = Verdict::kReject;
  delivery->give(rows({"3"}));
  taken->verdict = Verdict::kExpired;
  delivery->give(rows({"4"}));
  EXPECT_EQ(delivery->counts().submitted.get(), 4U);
  EXPECT_EQ(delivery->counts().rejected.get(), 1U);
  EXPECT_EQ(delivery->counts().expired.get(), 1U);
}

TEST_F(EarlyDeliveryTest, TriesAgainWhatTheSinkCannotTakeNowAndOnlyThat) {
  make();
  taken->refuse = Error::unavailable("no connection");
  delivery->give(rows({"1"}));
  EXPECT_THAT(delivery->trouble(), HasSubstr("no connection"));
  taken->refuse.reset();
  taken->answers = false;
  delivery->give(rows({"2", "3"}));
  taken->outcomes.push_back({taken->tokens.back(), 0, Verdict::kRetry});
  taken->outcomes.push_back({taken->tokens.back(), 1, Verdict::kOk});
  taken->answers = true;
  delivery->pump();
  turn([&] { return delivery->counts().delivered.get() == 3; });
  EXPECT_THAT(taken->payloads, ElementsAre("2", "3", "1", "2"));
  EXPECT_EQ(delivery->counts().retried.get(), 2U);
  EXPECT_EQ(delivery->counts().submitted.get(), 3U);
  EXPECT_EQ(delivery->trouble(), "");
}

TEST_F(EarlyDeliveryTest, ARowKeepsTheTimeItWasFirstGivenAt) {
  make();
  taken->verdict = Verdict::kRetry;
  const MonoTime before = io::mono_now();
  delivery->give(rows({"1"}));
  const MonoTime after = io::mono_now();
  turn([&] { return taken->submits >= 3; });
  EXPECT_GE(taken->made.back().first, before);
  EXPECT_LE(taken->made.back().first, after);
}

TEST_F(EarlyDeliveryTest, GivesUpAfterItsTimeAndWhenTooManyWait) {
  make(Nanos{0});
  taken->refuse = Error::unavailable("no connection");
  delivery->give(rows({"1"}));
  EXPECT_EQ(delivery->counts().rejected.get(), 1U);
  make();
  for (std::size_t i = 0; i < EarlyDelivery::kMaxRetries + 3; ++i) {
    delivery->give(rows({"1"}));
  }
  EXPECT_EQ(delivery->counts().rejected.get(), 3U);
}

TEST(EarlyRows, ToldApartAreReadingsOfThisProcessAndOfEarlierOnes) {
  Batch batch;
  const WallTime now{1'000'000'000'000};
  const MonoTime mono = io::mono_now();
  for (const std::uint64_t sequence : {7U, 9U, 10U}) {
    Row row;
    row.topic = batch.arena().copy("t");
    row.sequence = sequence;
    row.received = now - std::chrono::seconds(5);
    row.flags = sequence == 10 ? 0U : kRowReplayed;
    batch.add_row(row);
  }
  std::vector<Alert> alerts;
  for (std::uint32_t row = 0; row < 3; ++row) {
    alerts.push_back(sample_alert("a", &batch, row));
  }
  alerts.push_back(sample_alert("of a timer"));
  alerts.back().row = Alert::kNoRow;
  const auto made = early_rows(batch, alerts, 9, now, mono);
  ASSERT_EQ(made->rows(), 4U);
  EXPECT_EQ(made->row(0).flags, kRowReplayed);
  EXPECT_EQ(made->row(1).flags, 0U);
  EXPECT_EQ(made->row(1).arrived, mono - std::chrono::seconds(5));
  EXPECT_EQ(made->row(2).arrived, mono);
  EXPECT_EQ(made->row(2).topic, "t");
  EXPECT_EQ(made->row(3).payload, "of a timer");
}

}  // namespace
}  // namespace headwater
