#include "bench/sample.h"

#include <gmock/gmock.h>

#include "config/load.h"
#include "nodes/testing.h"

namespace headwater::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// 2026-11-24T16:35:04.123456789Z
constexpr WallTime kTime{1'795'538'104'123'456'789};

std::string filled(const Message& message, std::uint64_t number = 42) {
  std::string payload = message.payload;
  Stamper stamper;
  stamper.fill(message, payload.data(), kTime, number);
  return payload;
}

Message made(std::string payload) {
  SourceFacts facts;
  facts.time_field = "ts";
  facts.id_field = "id";
  return make_message({"t", std::move(payload), "d"}, facts);
}

TEST(Sample, StampsTheTimeInTheFormItHad) {
  EXPECT_EQ(filled(made(R"({"ts": "2020-05-01T00:00:00+02:00", "v": 1})")),
            R"({"ts": "2026-11-24T16:35:04.123Z", "v": 1})");
  EXPECT_EQ(filled(made(R"({"ts": 1600000000, "v": 1})")), R"({"ts": 1795538104, "v": 1})");
  EXPECT_EQ(filled(made(R"({"ts": 1600000000.25})")), R"({"ts": 1795538104})");
  EXPECT_EQ(filled(made(R"({"v": 1, "ts":1600000000000})")), R"({"v": 1, "ts":1795538104123})");
  EXPECT_EQ(filled(made(R"({"ts": 1600000000000000})")), R"({"ts": 1795538104123456})");
  EXPECT_EQ(filled(made(R"({"ts": 1600000000000000000})")), R"({"ts": 1795538104123456789})");
}

TEST(Sample, GivesEachMessageAnIdOfItsOwn) {
  const Message message = made(R"({"id": "abc", "v": 1})");
  EXPECT_EQ(filled(message, 1), R"({"id": "100000000000001", "v": 1})");
  EXPECT_EQ(filled(message, 123'456), R"({"id": "100000000123456", "v": 1})");
  EXPECT_EQ(filled(made(R"({"id": 9})"), 3), R"({"id": 100000000000003})");
}

TEST(Sample, StampsBothWhereverTheyStand) {
  EXPECT_EQ(filled(made(R"({"id": 9, "a": "é", "ts": "x", "z": null})")),
            R"({"id": 100000000000042, "a": "é", "ts": "2026-11-24T16:35:04.123Z", "z": null})");
  EXPECT_EQ(filled(made(R"({"ts": 1600000000, "id": 9})")),
            R"({"ts": 1795538104, "id": 100000000000042})");
}

TEST(Sample, LeavesWhatHasNoSuchFieldsAsItIs) {
  for (const char* payload : {"", "{", "[1,2]", R"({"v": 1})", R"({"ts": null, "id": [1]})",
                              R"({"inner": {"ts": 1}})", "no json"}) {
    EXPECT_EQ(filled(made(payload)), payload);
  }
}

TEST(Sample, ReadsObjectives) {
  EXPECT_EQ(parse_objective("p99=20ms").value(), std::chrono::milliseconds(20));
  EXPECT_EQ(parse_objective("1s").value(), std::chrono::seconds(1));
  for (const char* text : {"", "p99=", "p99=fast", "p50=20ms", "0s", "-1s"}) {
    EXPECT_EQ(parse_objective(text).error().code(), Code::kInvalid) << text;
  }
}

class FactsTest : public testing::Test {
 protected:
  std::unique_ptr<Plan> plan(const std::string& sources, const std::string& steps = "[]",
                             const std::string& from = "[in]") {
    config::Diagnostics diagnostics;
    const auto root = config::load_text(
        fmt::format("edge: {{data_dir: \"{}\"}}\nsources: {}\npipelines: {{main: {{from: {}, "
                    "steps: {}}}}}\n",
                    folder.path("data"), sources, from, steps),
        "edge.yaml", diagnostics);
    auto made = std::make_unique<Plan>(*root, metrics, diagnostics);
    EXPECT_TRUE(diagnostics.ok()) << diagnostics.text();
    return made;
  }
  std::string topic(const std::string& options) {
    return source_facts(*plan("{in: {type: mqtt_listen, " + options + "}}"), "").value().topic;
  }

  TempFolder folder;
  telemetry::Registry metrics;
};

TEST_F(FactsTest, MakesATopicThatTheSourceTakes) {
  EXPECT_EQ(topic("topics: [\"sensors/+/readings\"], device: \"topic[1]\""),
            "sensors/${DEVICE}/readings");
  EXPECT_EQ(topic("topics: [\"site/+/+/m\"], device: \"topic[2]\""), "site/bench/${DEVICE}/m");
  EXPECT_EQ(topic("topics: [\"site/#\"], device: \"topic[2]\""), "site/bench/${DEVICE}");
  EXPECT_EQ(topic("topics: [\"a/+/b\"]"), "a/${DEVICE}/b");
  EXPECT_EQ(topic("device: id"), "bench");
}

TEST_F(FactsTest, FindsTheFieldsThatStepsRead) {
  const auto made = plan(
      "{in: {type: mqtt_listen, device: id, time: {field: ts}, message_id: n, schema: {count: "
      "int64, name: string}}}",
      R"y([{filter: {when: "temperature > 0.0 && id != 'x'"}},
           {window: {last: 60s, add: {m: "mean(pressure)"}}},
           {decide: {alert_when: "m > 3.0"}}])y");
  const SourceFacts facts = source_facts(*made, "in").value();
  EXPECT_EQ(facts.pipeline, "main");
  EXPECT_EQ(facts.device_field, "id");
  EXPECT_EQ(facts.time_field, "ts");
  EXPECT_EQ(facts.id_field, "n");
  EXPECT_THAT(facts.fields, ElementsAre("count", "temperature", "pressure"));

  const std::vector<Message> messages = made_up_messages(facts, 3);
  EXPECT_THAT(messages, SizeIs(48));
  EXPECT_EQ(messages[1].device, "bench-2");
  EXPECT_THAT(messages[1].payload, HasSubstr(R"("id":"bench-2")"));
  EXPECT_THAT(messages[1].payload, HasSubstr(R"("pressure":)"));
  EXPECT_THAT(messages[1].stamps, SizeIs(2));
}

TEST_F(FactsTest, PrefersAListenerAndObeysAName) {
  const std::string sources = "{a: {type: file, path: x.jsonl, device: d}, b: {type: mqtt_listen}}";
  EXPECT_EQ(source_facts(*plan(sources, "[]", "[a, b]"), "").value().source, "b");
  EXPECT_EQ(source_facts(*plan(sources, "[]", "[a, b]"), "a").value().source, "a");
  EXPECT_EQ(source_facts(*plan(sources, "[]", "[a, b]"), "c").error().code(), Code::kNotFound);
}

TEST_F(FactsTest, RefusesWhatItCannotSend) {
  const auto csv = plan("{in: {type: mqtt_listen, format: csv, device: d}}");
  EXPECT_THAT(std::string(source_facts(*csv, "").error().text()), HasSubstr("format=json"));
  const auto file = plan("{in: {type: file, path: x.jsonl, device: d}}");
  EXPECT_FALSE(check_listener(*file, source_facts(*file, "").value()));
}

TEST_F(FactsTest, TheObjectiveIsTheLeastOfTheSteps) {
  EXPECT_EQ(objective_of(*plan("{in: {type: mqtt_listen}}")), std::chrono::milliseconds(20));
}

}  // namespace
}  // namespace headwater::bench
