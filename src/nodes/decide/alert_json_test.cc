#include "nodes/decide/alert_json.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace headwater {
namespace {

using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

AlertFacts facts() {
  AlertFacts facts;
  facts.edge_id = "press-hall-2";
  facts.pipeline = "main";
  facts.rule = "anomaly";
  facts.severity = "high";
  facts.model_name = "anomaly";
  facts.model_digest = "ab12";
  facts.threshold = 0.8;
  facts.features = {"temperature", "state"};
  return facts;
}

Batch batch(std::string_view payload = R"({"temperature":81.2})") {
  Batch made;
  Row row;
  row.payload = made.arena().copy(payload);
  made.add_row(row);
  made.add_column("temperature", Type::kFloat64).set(0, 81.2);
  made.add_column("state", Type::kString).set(0, made.arena().copy("on \"full\""));
  return made;
}

AlarmEvent event(AlarmEvent::Kind kind = AlarmEvent::Kind::kRow) {
  AlarmEvent made;
  made.kind = kind;
  made.id = "0123456789abcdef0123456789abcdef";
  made.key = "press-0042";
  made.time = {1'767'323'045'000'000'000};
  made.onset = {1'767'323'040'000'000'000};
  made.row = 0;
  made.score = 0.93;
  made.peak = 0.95;
  made.duration = std::chrono::seconds(5);
  made.count = 3;
  return made;
}

TEST(AlertJson, OfOneRow) {
  EXPECT_EQ(
      alert_json(facts(), event(), batch()),
      R"({"id":"0123456789abcdef0123456789abcdef","event":"alert","device_id":"press-0042",)"
      R"("timestamp":"2026-01-02T03:04:05Z","anomaly_score":0.93,"threshold":0.8,"severity":"high",)"
      R"("rule":"anomaly","model":{"name":"anomaly","digest":"ab12"},"pipeline":"main",)"
      R"("edge_id":"press-hall-2","features":{"temperature":81.2,"state":"on \"full\""},)"
      R"("raw_data":{"temperature":81.2}})");
}

TEST(AlertJson, OfAnEpisodeTellsItsOnsetAndPeak) {
  EXPECT_THAT(alert_json(facts(), event(AlarmEvent::Kind::kRaised), batch()),
              HasSubstr(R"("event":"raised")"));
  EXPECT_THAT(
      alert_json(facts(), event(AlarmEvent::Kind::kCleared), batch()),
      HasSubstr(
          R"("onset":"2026-01-02T03:04:00Z","duration_s":5,"count":3,"peak":0.95,"raw_data")"));
}

TEST(AlertJson, WithoutARowHasNoFeaturesAndNoMessage) {
  AlarmEvent evicted = event(AlarmEvent::Kind::kCleared);
  evicted.row = AlarmEvent::kNoRow;
  evicted.reason = AlarmEvent::Reason::kEvicted;
  const std::string json = alert_json(facts(), evicted, batch());
  EXPECT_THAT(json, HasSubstr(R"("features":{})"));
  EXPECT_THAT(json, HasSubstr(R"("reason":"evicted","raw_data":null})"));
}

TEST(AlertJson, WhatIsMissingIsNull) {
  AlertFacts none = facts();
  none.threshold.reset();
  none.features = {"temperature", "pressure"};
  Batch rows = batch();
  rows.column(0).set_null(0);
  AlarmEvent unscored = event(AlarmEvent::Kind::kRaised);
  unscored.score = kNan;
  unscored.peak = std::numeric_limits<double>::infinity();
  const std::string json = alert_json(none, unscored, rows);
  EXPECT_THAT(json, HasSubstr(R"("anomaly_score":null,"threshold":null)"));
  EXPECT_THAT(json, HasSubstr(R"("features":{"temperature":null})"));
  EXPECT_THAT(json, HasSubstr(R"("peak":null)"));
}

TEST(AlertJson, EscapesWhatDevicesCallThemselves) {
  AlarmEvent odd = event();
  odd.key = "a\"\\\n\x01\xff";
  EXPECT_THAT(alert_json(facts(), odd, batch()),
              HasSubstr("\"device_id\":\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\""));
}

TEST(AlertJson, KeepsTheMessageOnOneLine) {
  EXPECT_THAT(alert_json(facts(), event(), batch("{\r\n \"temperature\":\t1\n}")),
              HasSubstr("\"raw_data\":{   \"temperature\":\t1 }"));
}

TEST(AlertJson, AMessageThatCannotBeReadIsText) {
  Batch rows = batch("no \"json\"");
  rows.row(0).flags |= kRowUndecoded;
  EXPECT_THAT(alert_json(facts(), event(), rows), HasSubstr(R"("raw_data":"no \"json\"")"));
}

TEST(AlertJson, WritesEachTypeAsItIs) {
  Batch rows = batch();
  rows.add_column("f", Type::kFloat32).set(0, 0.1F);
  rows.add_column("n", Type::kFloat32).set(0, std::nanf(""));
  rows.add_column("i", Type::kInt64).set(0, std::int64_t{9'007'199'254'740'993});
  rows.add_column("b", Type::kBool).set(0, std::uint8_t{1});
  rows.add_column("t", Type::kTimestamp).set(0, std::int64_t{1'767'323'045'500'000'000});
  AlertFacts all = facts();
  all.features = {"f", "n", "i", "b", "t"};
  EXPECT_THAT(alert_json(all, event(), rows),
              HasSubstr(R"("features":{"f":0.1,"n":null,"i":9007199254740993,"b":true,)"
                        R"("t":"2026-01-02T03:04:05.500Z"})"));
}

TEST(ThresholdOf, IsTheNumberThatTheScoreIsComparedWith) {
  EXPECT_EQ(threshold_of("score > 0.8", "score"), 0.8);
  EXPECT_EQ(threshold_of(" score>=1e-3 ", "score"), 1e-3);
  EXPECT_EQ(threshold_of("score < -2", "score"), -2.0);
  EXPECT_EQ(threshold_of("risk <= 4", "risk"), 4.0);
}

TEST(ThresholdOf, IsNothingForOtherRules) {
  for (const std::string_view rule :
       {"", "score", "score >", "score > limit", "score > 0.8 && hot", "scores > 0.8",
        "0.8 < score", "score == 0.8", "score > 0.8.1", "pressure > 3.0"}) {
    EXPECT_EQ(threshold_of(rule, "score"), std::nullopt) << rule;
  }
}

}  // namespace
}  // namespace headwater
