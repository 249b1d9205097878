#include "bench/trial.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "bench/report.h"
#include "config/load.h"
#include "nodes/testing.h"

namespace headwater::bench {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Nanos kPatience = std::chrono::seconds(30);

bool go_on() {
  return true;
}

// Two sources, one of them a recording that must stay where it is; alerts for every second device.
class TrialTest : public testing::Test {
 protected:
  std::string config(int workers, std::string_view more = "") const {
    return fmt::format(R"(edge: {{id: hall, data_dir: "{0}"}}
sources:
  direct: {{type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]", time: t, message_id: n}}
  tail: {{type: file, path: "{1}", device: d}}
pipelines:
  main: {{from: [direct, tail], steps: [{{filter: {{when: "temperature > 0.0"}}}}, {{decide: {{alert_when: "temperature > 100.0"}}}}], alerts: [out]}}
sinks:
  out: {{type: file, path: "{2}"}}
store: {{max_bytes: 16MiB, segment: 1MiB, min_free: 0B{4}}}
workers: {3}
)",
                       folder.path("data"), folder.path("in.jsonl"), folder.path("out.jsonl"),
                       workers, more);
  }
  void start(const std::string& text, Mode mode, Nanos objective = std::chrono::seconds(5)) {
    std::ofstream(folder.path("in.jsonl")) << R"({"d": "x", "temperature": 200})" << '\n';
    config::Diagnostics diagnostics;
    const auto root = config::load_text(text, "edge.yaml", diagnostics);
    auto plan = std::make_unique<Plan>(*root, metrics, diagnostics);
    ASSERT_TRUE(diagnostics.ok()) << diagnostics.text();
    const SourceFacts facts = source_facts(*plan, "").value();
    EXPECT_EQ(facts.source, "direct");
    for (int i = 0; i < 8; ++i) {
      const std::string device = fmt::format("press-{}", i);
      messages.push_back(
          make_message({"sensors/" + device + "/readings",
                        fmt::format(R"({{"t": "2026-01-01T00:00:00Z", "n": 7, "temperature": {}}})",
                                    i % 2 == 0 ? 60 : 120),
                        device},
                       facts));
    }
    auto started = Trial::start(std::move(plan), metrics, messages,
                                {.version = "0.1.0",
                                 .mode = mode,
                                 .source = facts.source,
                                 .pipeline = facts.pipeline,
                                 .objective = objective});
    ASSERT_TRUE(started.ok()) << started.error().text();
    trial = std::move(*started);
  }
  Measurement measure(double rate) {
    auto measured = trial->measure(rate, milliseconds(100), milliseconds(400), go_on);
    EXPECT_TRUE(measured.ok()) << measured.error().text();
    return measured ? std::move(*measured) : Measurement{};
  }

  TempFolder folder;
  telemetry::Registry metrics;
  std::vector<Message> messages;
  std::unique_ptr<Trial> trial;
};

void expect_counted(const Measurement& measured, const LoadCounts& totals) {
  EXPECT_EQ(measured.holds, measured.why_not.empty());  // how fast this machine is now is its own
  EXPECT_GT(measured.load.sent, 0U);
  EXPECT_GT(measured.decided, 0U);
  EXPECT_GT(measured.alerts, 0U);
  EXPECT_GT(measured.decision.quantile(0.5), 0);
  EXPECT_GT(measured.acknowledged.quantile(0.5), 0);
  EXPECT_EQ(measured.lost, 0U);
  EXPECT_GT(measured.stage_s[static_cast<std::size_t>(CpuStage::kDecode)], 0);
  EXPECT_GT(measured.stage_s[static_cast<std::size_t>(CpuStage::kStore)], 0);
  EXPECT_GT(measured.process_s, measured.generator_s);
  EXPECT_GT(totals.sent, measured.load.sent);
  EXPECT_EQ(totals.sent, totals.acknowledged);
}

TEST_F(TrialTest, MeasuresAPipelineFromInside) {
  start(config(1), Mode::kInProcess);
  const Measurement measured = measure(2000);
  EXPECT_THAT(trial->trouble(), IsEmpty());
  expect_counted(measured, trial->finish());
  EXPECT_FALSE(std::filesystem::exists(folder.path("out.jsonl")));  // alerts stay here
}

TEST_F(TrialTest, MeasuresSeveralWorkers) {
  start(config(3), Mode::kInProcess);
  const Measurement measured = measure(2000);
  expect_counted(measured, trial->finish());
}

TEST_F(TrialTest, MeasuresThroughTheListener) {
  start(config(2), Mode::kListener);
  const Measurement measured = measure(2000);
  EXPECT_THAT(trial->trouble(), IsEmpty());
  expect_counted(measured, trial->finish());
}

TEST_F(TrialTest, ARateBeyondTheObjectiveDoesNotHold) {
  start(config(1), Mode::kInProcess, Nanos{1});
  const Measurement measured = measure(500);
  EXPECT_FALSE(measured.holds);
  EXPECT_THAT(measured.why_not, HasSubstr("p99 of decisions"));
}

// Nothing takes so many: what is due piles up, and is dropped with the pace.
TEST_F(TrialTest, ARateBeyondTheMachineLeavesABacklogThatSettles) {
  start(config(1), Mode::kInProcess, std::chrono::minutes(1));
  const Measurement measured = measure(5e7);
  EXPECT_FALSE(measured.holds);
  EXPECT_GT(measured.load.waiting, 0U);
  EXPECT_TRUE(trial->settle(kPatience, go_on));
  const LoadCounts totals = trial->finish();
  EXPECT_EQ(totals.sent, totals.acknowledged);
}

TEST_F(TrialTest, StopsWhereTheWatchSaysSo) {
  start(config(1), Mode::kInProcess);
  const auto measured = trial->measure(100, kPatience, kPatience, [] { return false; });
  EXPECT_EQ(measured.error().code(), Code::kCancelled);
}

TEST_F(TrialTest, AListenerThatTakesNoSuchTopicIsTold) {
  start(config(1), Mode::kListener);
  trial.reset();
  for (Message& message : messages) {
    message.topic = "elsewhere";
  }
  config::Diagnostics diagnostics;
  const auto root = config::load_text(config(1), "edge.yaml", diagnostics);
  auto started = Trial::start(
      std::make_unique<Plan>(*root, metrics, diagnostics), metrics, messages,
      {.version = "", .mode = Mode::kListener, .source = "direct", .pipeline = "main"});
  ASSERT_TRUE(started.ok());
  const auto measured = (*started)->measure(1000, kPatience, kPatience, go_on);
  EXPECT_EQ(measured.error().code(), Code::kUnavailable);
  EXPECT_THAT(std::string(measured.error().text()), HasSubstr("elsewhere"));
}

// One second at 1,000/s, all of it decided after 1 ms and acknowledged after 2.
Measurement calm() {
  Measurement measured;
  measured.rate = 1000;
  measured.seconds = 1;
  measured.load = {1000, 1000, 0};
  measured.readings = 1000;
  measured.decided = 1000;
  telemetry::Histogram decision;
  decision.record(1e-3, 1000);
  measured.decision = decision.snapshot();
  telemetry::Histogram acknowledged;
  acknowledged.record(2e-3, 1000);
  measured.acknowledged = acknowledged.snapshot();
  return measured;
}

std::string verdict(Measurement measured, Nanos objective, Mode mode = Mode::kInProcess,
                    Nanos commit_wait = Nanos{0}) {
  TrialSetup setup;
  setup.mode = mode;
  setup.objective = objective;
  setup.commit_wait = commit_wait;
  judge(measured, setup);
  EXPECT_EQ(measured.holds, measured.why_not.empty());
  return measured.why_not;
}

TEST(Judge, HoldsWhatIsWithinTheObjective) {
  EXPECT_EQ(verdict(calm(), milliseconds(20)), "");
  EXPECT_EQ(verdict(calm(), milliseconds(20), Mode::kListener), "");
  EXPECT_THAT(verdict(calm(), std::chrono::microseconds(500)), HasSubstr("p99 of decisions"));
}

TEST(Judge, ListenersMustAcknowledgeInTimeToo) {
  const Nanos objective = std::chrono::microseconds(1500);
  EXPECT_EQ(verdict(calm(), objective), "");
  EXPECT_THAT(verdict(calm(), objective, Mode::kListener), HasSubstr("p99 of acknowledgements"));
  Measurement measured = calm();
  measured.commit_p99_s = 0.5e-3;  // that of the disk is not held against it
  EXPECT_EQ(verdict(measured, objective, Mode::kListener), "");
  EXPECT_EQ(verdict(calm(), objective, Mode::kListener, milliseconds(1)), "");
}

TEST(Judge, WithoutDecisionsAcknowledgementsCount) {
  Measurement measured = calm();
  measured.decided = 0;
  measured.decision = {};
  EXPECT_EQ(verdict(measured, milliseconds(20)), "");
  EXPECT_THAT(verdict(measured, milliseconds(1)), HasSubstr("p99 of acknowledgements"));
}

TEST(Judge, AGrowingBacklogDoesNotHoldHoweverLargeTheObjective) {
  Measurement measured = calm();
  measured.backlog_growth = 30;
  EXPECT_EQ(verdict(measured, std::chrono::minutes(1)), "");
  measured.backlog_growth = 200;
  EXPECT_EQ(verdict(measured, std::chrono::minutes(1)), "the backlog grew by 200 in 1.0 s");
}

TEST(Judge, LossAndSilenceDoNotHold) {
  Measurement measured = calm();
  measured.lost = 1;
  EXPECT_THAT(verdict(measured, milliseconds(20)), HasSubstr("the store is full"));
  measured = calm();
  measured.load.acknowledged = 0;
  EXPECT_EQ(verdict(measured, milliseconds(20)), "nothing was acknowledged");
}

TEST(CommitWait, IsWhatTheStoreIsTold) {
  StoreConfig store;
  EXPECT_EQ(commit_wait_of(store), Nanos{0});
  store.commit_delay = "5ms";
  EXPECT_EQ(commit_wait_of(store), milliseconds(5));
  store.commit_delay = "auto";
  store.write_budget = config::ByteSize{1U << 30};
  EXPECT_EQ(commit_wait_of(store), milliseconds(20));
}

TEST(Workplace, IsBesideADataDirThatItDoesNotMake) {
  const TempFolder folder;
  std::string path;
  {
    const auto place = Workplace::make(folder.path("deep/data"), "").value();
    path = place->path();
    EXPECT_TRUE(path.starts_with(folder.path("headwater-bench-"))) << path;
    std::filesystem::create_directories(path + "/spool");
    EXPECT_GT(place->most_bytes(), 0U);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(folder.path("deep")));
}

TEST(Workplace, IsWhereItIsTold) {
  const TempFolder folder;
  const auto place =
      Workplace::make("/nowhere/data", folder.path("x").substr(0, folder.path("x").size() - 2))
          .value();
  EXPECT_TRUE(place->path().starts_with(folder.path("x").substr(0, folder.path("x").size() - 2)));
  EXPECT_EQ(Workplace::make("data", folder.path("none")).error().code(), Code::kNotFound);
}

TEST(Report, CountsReadLikeNumbersOfPeople) {
  EXPECT_EQ(human_count(7.25), "7.25");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1000), "1,000");
  EXPECT_EQ(human_count(412'345), "412,000");
  EXPECT_EQ(human_count(12'999'999), "12,900,000");
}

TEST(Report, AnswersInOneSentence) {
  Report report;
  report.objective = milliseconds(20);
  report.cpus = 2;
  report.measured.emplace();
  Measurement& measured = *report.measured;
  measured.rate = 1000;
  measured.seconds = 10;
  measured.readings = 10'000;
  measured.process_s = 0.08;
  measured.generator_s = 0.02;
  measured.holds = true;
  EXPECT_THAT(answer(report), HasSubstr("At 1,000/s this machine is 0.3 % busy"));
  measured.holds = false;
  measured.why_not = "p99 of decisions is 31.0 ms";
  EXPECT_EQ(
      answer(report),
      "This machine does not hold 1,000/s with p99 within 20ms: p99 of decisions is 31.0 ms.");
  report.search = SearchResult{.held = 1000, .probes = {{1000, true, true}}};
  EXPECT_EQ(answer(report), "This machine holds 1,000 readings/s with p99 within 20ms.");
  report.search = SearchResult{.probes = {{1000, false, false}, {1, false, false}}};
  EXPECT_EQ(
      answer(report),
      "This machine does not hold 1 readings/s with p99 within 20ms: p99 of decisions is 31.0 "
      "ms.");
  EXPECT_THAT(report_text(report), AllOf(HasSubstr("CPU per reading"), HasSubstr("note: ")));
}

}  // namespace
}  // namespace headwater::bench
