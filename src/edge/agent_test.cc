#include "edge/agent.h"

#include <gmock/gmock.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/strings.h"
#include "config/load.h"
#include "io/files.h"
#include "nodes/testing.h"
#include "store/spool.h"

namespace headwater {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

using Texts = std::vector<std::string>;

constexpr Nanos kPatience = std::chrono::seconds(30);

class AgentTest : public testing::Test {
 protected:
  // The config of most tests: a file of readings, an alert for each above 100 degrees.
  std::string config(int workers = 1) const {
    return fmt::format(R"(edge: {{id: hall, data_dir: "{0}"}}
sources:
  tail: {{type: file, path: "{1}", device: d, message_id: n}}
pipelines:
  main: {{from: [tail], steps: [{{decide: {{alert_when: "temperature > 100.0"}}}}], alerts: [out]}}
sinks:
  out: {{type: file, path: "{2}"}}
store: {{max_bytes: 16MiB, segment: 1MiB, min_free: 0B, commit_delay: 0s}}
workers: {3}
)",
                       folder.path("data"), folder.path("in.jsonl"), folder.path("out.jsonl"),
                       workers);
  }
  // Readings n = first … last, all of them hot.
  void write(int first, int last, std::string_view file = "in.jsonl") {
    std::ofstream out(folder.path(file), std::ios::app);
    for (int n = first; n <= last; ++n) {
      out << fmt::format("{{\"d\": \"press-{}\", \"n\": {}, \"temperature\": 120}}\n", n % 4, n);
    }
  }
  Status start(const std::string& text) {
    agent.reset();
    config::Diagnostics diagnostics;
    const auto root = config::load_text(text, "edge.yaml", diagnostics);
    auto plan = std::make_unique<Plan>(*root, metrics, diagnostics);
    EXPECT_TRUE(diagnostics.ok()) << diagnostics.text();
    Result<std::unique_ptr<Agent>> started =
        Agent::start(std::move(plan), metrics, {.version = "0.1.0"});
    if (!started) {
      return std::move(started).error();
    }
    agent = std::move(*started);
    return {};
  }
  void drain() { agent->drain(kPatience); }
  template <class Condition>
  bool wait_for(const Condition& condition) {
    const MonoTime until = io::mono_now() + kPatience;
    while (!condition() && io::mono_now() < until) {
      std::this_thread::yield();
    }
    return condition();
  }
  nlohmann::json status() const { return nlohmann::json::parse(agent->status_json()); }
  // "n" of the messages behind the alerts that the sink got.
  std::vector<int> alerted() const {
    std::vector<int> found;
    std::ifstream file(folder.path("out.jsonl"));
    for (std::string line; std::getline(file, line);) {
      found.push_back(nlohmann::json::parse(line)["raw_data"]["n"]);
    }
    return found;
  }
  static std::vector<int> numbers(int first, int last) {
    std::vector<int> made;
    for (int n = first; n <= last; ++n) {
      made.push_back(n);
    }
    return made;
  }

  TempFolder folder;
  telemetry::Registry metrics;
  std::unique_ptr<Agent> agent;
};

TEST_F(AgentTest, TellsThePortsThatTheKernelGave) {
  write(1, 1);
  std::string text =
      config() + "health: {address: \"127.0.0.1:0\"}\nadmin: {address: \"127.0.0.1:0\"}\n";
  text.replace(text.find("pipelines:"), 0,
               "  direct: {type: mqtt_listen, address: \"127.0.0.1:0\", topics: [\"#\"]}\n");
  text.replace(text.find("from: [tail]"), 12, "from: [tail, direct]");
  ASSERT_TRUE(start(text).ok());
  for (const std::string& address :
       {agent->address_of("direct"), agent->health_address(), agent->admin_address()}) {
    EXPECT_THAT(address, AllOf(StartsWith("127.0.0.1:"), Not(EndsWith(":0"))));
  }
  EXPECT_EQ(agent->address_of("tail"), "");
  EXPECT_EQ(agent->address_of("none"), "");
  const nlohmann::json sources = status()["sources"];
  ASSERT_THAT(sources, SizeIs(2));
  EXPECT_EQ(sources[1]["address"], agent->address_of("direct"));
  EXPECT_EQ(sources[1]["connections"], 0);
  EXPECT_FALSE(agent->finished()) << "a listener never ends";
  drain();
  EXPECT_FALSE(status()["ready"]);
}

TEST_F(AgentTest, IsFinishedWhenTheFileIsReadAndItsAlertsAreSent) {
  write(1, 50);
  ASSERT_TRUE(start(config()).ok());
  ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
  EXPECT_EQ(alerted(), numbers(1, 50));
  drain();
}

TEST_F(AgentTest, StatusTellsEachPartAndItsSumsAddUp) {
  write(1, 20);
  write(20, 20);  // a repeat
  std::ofstream(folder.path("in.jsonl"), std::ios::app) << "no json\n";
  const std::string text = config();
  ASSERT_TRUE(
      start(text +
            fmt::format("models: {{anomaly: {{path: \"{}/tests/data/models/anomaly.onnx\"}}}}\n",
                        HW_SOURCE_DIR))
          .ok());
  ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
  const nlohmann::json json = status();
  EXPECT_EQ(json["edge_id"], "hall");
  EXPECT_EQ(json["version"], "0.1.0");
  EXPECT_EQ(json["revision"].get<std::string>().size(), 16U);
  EXPECT_TRUE(json["ready"]);
  EXPECT_GT(json["uptime_s"].get<double>(), 0);
  EXPECT_EQ(json["workers"], 1);
  EXPECT_GT(json["process"]["rss_bytes"].get<double>(), 0);

  const nlohmann::json& source = json["sources"][0];
  EXPECT_EQ(source["name"], "tail");
  EXPECT_EQ(source["type"], "file");
  EXPECT_EQ(source["pipeline"], "main");
  EXPECT_EQ(source["received"], 22);
  EXPECT_EQ(source["duplicate"], 1);
  EXPECT_EQ(source["dead_letter"], 1);
  EXPECT_EQ(source["stored"], 20);
  EXPECT_EQ(source["filtered"], 0);
  EXPECT_EQ(source["refused"], 0);
  EXPECT_EQ(source["in_flight"], 0);
  EXPECT_EQ(source["acknowledged"], 22);
  EXPECT_EQ(source["errors"], 0);
  EXPECT_EQ(source["trouble"], "");

  const nlohmann::json& pipeline = json["pipelines"][0];
  EXPECT_EQ(pipeline["name"], "main");
  EXPECT_EQ(pipeline["rows"], 20);
  EXPECT_EQ(pipeline["alerts"], 20);
  EXPECT_EQ(pipeline["pending_rows"], 0);
  EXPECT_EQ(pipeline["behind_rows"], 0);
  EXPECT_EQ(pipeline["trouble"], "");
  EXPECT_GT(pipeline["latency_p99_s"].get<double>(), 0);

  EXPECT_EQ(json["models"][0]["name"], "anomaly");
  EXPECT_EQ(json["models"][0]["digest"].get<std::string>().size(), 64U);

  const nlohmann::json& sink = json["sinks"][0];
  EXPECT_EQ(sink["name"], "out");
  EXPECT_EQ(sink["send"], "durable");
  EXPECT_EQ(sink["submitted"], 20);
  EXPECT_EQ(sink["delivered"], 20);
  EXPECT_EQ(sink["pending"], 0);
  EXPECT_EQ(sink["trouble"], "");

  const nlohmann::json& store = json["store"];
  EXPECT_EQ(store["health"], "ok");
  EXPECT_EQ(store["lanes"]["readings"]["rows"], 20);
  EXPECT_EQ(store["lanes"]["alerts"]["rows"], 20);
  EXPECT_EQ(store["lanes"]["dead_letter"]["rows"], 1);
  EXPECT_GT(store["commits"].get<int>(), 0);

  const std::string exposed = metrics.prometheus_text();
  EXPECT_THAT(exposed,
              HasSubstr("headwater_source_readings_total{outcome=\"stored\",source=\"tail\"} 20"));
  EXPECT_THAT(exposed, HasSubstr("headwater_source_errors_total{source=\"tail\"} 0"));
  EXPECT_THAT(exposed, HasSubstr("headwater_sink_delivered_alerts_total{sink=\"out\"} 20"));
  drain();
}

TEST_F(AgentTest, AnEarlySinkCountsWhatItTook) {
  write(1, 10);
  std::string text = config();
  text.replace(text.find("out: {type: file"), 16, "out: {send: early, type: file");
  ASSERT_TRUE(start(text).ok());
  ASSERT_TRUE(wait_for([&] { return status()["sinks"][0]["delivered"] == 10; }));
  EXPECT_EQ(status()["sinks"][0]["send"], "early");
  EXPECT_EQ(status()["sinks"][0]["rejected"], 0);
  EXPECT_EQ(alerted(), numbers(1, 10));
  drain();
}

TEST_F(AgentTest, GoesOnAfterARestartAlsoWithAnotherNumberOfWorkers) {
  int next = 1;
  for (const int workers : {2, 1, 3, 2}) {
    SCOPED_TRACE(workers);
    write(next, next + 24);
    next += 25;
    ASSERT_TRUE(start(config(workers)).ok());
    EXPECT_EQ(status()["workers"], workers);
    ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
    drain();
    EXPECT_EQ(alerted(), numbers(1, next - 1));
  }
}

TEST_F(AgentTest, WhatAWorkerOfAnEarlierStartLeftIsScoredAndSent) {
  write(7, 7);
  {
    // A spool as two workers leave it: the second has a row unscored and an alert unsent.
    ASSERT_TRUE(io::real_files().make_dir(folder.path("data")).ok());
    SpoolOptions options;
    options.dir = folder.path("data") + "/spool";
    options.max_bytes = 16U << 20;
    options.segment_bytes = 1U << 20;
    const auto spool = Spool::open(io::real_files(), options).value();
    Transaction transaction;
    const auto number = [&](std::string_view name, std::uint8_t stream) {
      transaction.state("stream/" + std::string(name), std::string(1, static_cast<char>(stream)));
    };
    number("scoring/main/0", 1);
    number("intake/main/tail/0", 2);
    number("scoring/main/1", 3);
    number("intake/main/tail/1", 4);
    StoredRow row;
    row.device = "press-1";
    row.payload = R"({"d": "press-1", "n": 2, "temperature": 120})";
    transaction.append(Lane::kReadings, 4, row);
    // The first worker was ahead of it.
    transaction.cursor("decided/main/0", Lane::kReadings, kAllStreams, 1);
    transaction.cursor("checkpoint/main/0", Lane::kReadings, kAllStreams, 1);
    row.payload = R"({"raw_data": {"n": 1}})";
    transaction.append(Lane::kAlerts, 3, row);
    ASSERT_TRUE(spool->submit(transaction).ok());
    ASSERT_TRUE(spool->flush(kPatience).ok());
  }
  ASSERT_TRUE(start(config(1)).ok());
  ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
  drain();
  std::vector<int> found = alerted();
  std::sort(found.begin(), found.end());
  EXPECT_THAT(found, ElementsAre(1, 2, 7));
  // Once.
  write(8, 8);
  ASSERT_TRUE(start(config(1)).ok());
  ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
  drain();
  found = alerted();
  std::sort(found.begin(), found.end());
  EXPECT_THAT(found, ElementsAre(1, 2, 7, 8));
}

TEST_F(AgentTest, MessageIdsOfOneSourceAreNotThoseOfAnother) {
  write(1, 3);
  write(9, 9, "other.jsonl");
  std::string text = config();
  text.replace(text.find("pipelines:"), 0,
               fmt::format("  other: {{type: file, path: \"{}\", device: d, message_id: n}}\n",
                           folder.path("other.jsonl")));
  text.replace(text.find("from: [tail]"), 12, "from: [tail, other]");
  ASSERT_TRUE(start(text).ok());
  ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
  drain();
  write(1, 4);  // three repeats
  write(1, 2, "other.jsonl");
  ASSERT_TRUE(start(text).ok());
  ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
  const nlohmann::json sources = status()["sources"];
  EXPECT_EQ(sources[0]["duplicate"], 3) << "also across a restart";
  EXPECT_EQ(sources[0]["stored"], 1);
  EXPECT_EQ(sources[1]["duplicate"], 0);
  EXPECT_EQ(sources[1]["stored"], 2);
  drain();
}

TEST_F(AgentTest, AnErrorAtStartNamesThePart) {
  const Status missing = start(config());
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().text(), AllOf(HasSubstr("tail"), HasSubstr("in.jsonl")));
  EXPECT_EQ(agent, nullptr);
}

TEST_F(AgentTest, AFolderThatAnotherProcessHasIsRefused) {
  write(1, 1);
  ASSERT_TRUE(start(config()).ok());
  config::Diagnostics diagnostics;
  telemetry::Registry others;
  const auto root = config::load_text(config(), "edge.yaml", diagnostics);
  auto plan = std::make_unique<Plan>(*root, others, diagnostics);
  const auto second = Agent::start(std::move(plan), others, {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kUnavailable);
  drain();
}

TEST_F(AgentTest, EndsWithoutADrainToo) {
  write(1, 100);
  ASSERT_TRUE(start(config()).ok());
  agent.reset();
  ASSERT_TRUE(start(config()).ok());
  ASSERT_TRUE(wait_for([&] { return agent->finished(); }));
  drain();
  std::vector<int> found = alerted();
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  EXPECT_EQ(found, numbers(1, 100));
}

}  // namespace
}  // namespace headwater
