#include "edge/plan.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "config/describe.h"
#include "config/load.h"
#include "config/origins.h"
#include "edge/describe_plan.h"
#include "edge/reference.h"

namespace headwater {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kModel = HW_SOURCE_DIR "/tests/data/models/anomaly.onnx";

std::string sound() {
  return fmt::format(R"(edge: {{id: hall, data_dir: data}}
models:
  anomaly: {{path: "{}", inputs: {{input: [temperature, pressure, vibration]}}}}
sources:
  direct: {{type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/#"], device: "topic[1]"}}
pipelines:
  main:
    from: [direct]
    steps:
      - filter: {{when: "temperature > -40.0"}}
      - detect: {{model: anomaly}}
      - decide: {{alert_when: "score > 0.8"}}
    alerts: [out]
sinks:
  out: {{type: stdout}}
)",
                     kModel);
}

// A config as `check` sees it.
struct Checked {
  explicit Checked(std::string text, config::Environment environment = {}) : origins(environment) {
    diagnostics.set_origins(&origins);
    const auto root = config::load_text(std::move(text), "edge.yaml", diagnostics, environment);
    if (root) {
      plan = std::make_unique<Plan>(*root, metrics, diagnostics);
    }
    errors = diagnostics.text();
  }
  telemetry::Registry metrics;
  config::Origins origins;
  config::Diagnostics diagnostics;
  std::unique_ptr<Plan> plan;
  std::string errors;
};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(Plan, ASoundConfigHasNothingToSay) {
  const Checked checked(sound());
  EXPECT_EQ(checked.errors, "");
  EXPECT_TRUE(checked.diagnostics.ok());
}

TEST(Plan, LeadingFiltersStandInFrontOfTheStoreOthersBehindIt) {
  Checked checked(
      replaced(sound(), "      - decide", "      - filter: \"score > 0.1\"\n      - decide"));
  ASSERT_TRUE(checked.diagnostics.ok()) << checked.errors;
  const PipelineConfig& pipeline = *checked.plan->config().pipelines.find("main");
  const PlannedSteps steps = checked.plan->make_steps(pipeline, "main", checked.diagnostics);
  EXPECT_EQ(steps.filters.size(), 1U);
  EXPECT_EQ(steps.stages.size(), 3U);
  EXPECT_EQ(steps.stage_keys.size(), 3U);
  EXPECT_EQ(checked.plan->make_filters(pipeline, "main", checked.diagnostics).size(), 1U);
  EXPECT_EQ(steps.context.score_column, "score");
  EXPECT_EQ(steps.context.model_digest.size(), 64U);
}

TEST(Plan, TellsAllMistakesWithTheirPlaces) {
  const Checked checked(R"(edge: {id: hall}
models:
  anomaly: {path: none.onnx}
sources:
  direct: {type: mqtt_listn, address: "127.0.0.1:0", topics: ["a"]}
  tail: {type: file, path: x.jsonl, colour: red}
pipelines:
  main:
    from: [direct, tial]
    steps:
      - filtr: {when: "a > 1.0"}
      - filter: {when: "temperature >"}
      - detect: {model: anomly}
      - {filter: {when: "true"}, decide: {}}
    alerts: [ot]
sinks:
  out: {kind: stdout}
store: {max_bytes: 5}
)");
  EXPECT_FALSE(checked.diagnostics.ok());
  const std::vector<std::pair<std::string_view, std::string_view>> expected = {
      {"edge.yaml:3:", "none.onnx"},
      {"edge.yaml:5:", "no source of kind 'mqtt_listn', did you mean 'mqtt_listen'?"},
      {"edge.yaml:6:", "colour"},
      {"edge.yaml:9:", "no source 'tial' under sources:, did you mean 'tail'?"},
      {"edge.yaml:11:", "no step of kind 'filtr', did you mean 'filter'?"},
      {"edge.yaml:12:", "temperature >"},
      {"edge.yaml:13:", "no model 'anomly' under models:, did you mean 'anomaly'?"},
      {"edge.yaml:14:", "a step is one entry"},
      {"edge.yaml:15:", "no sink 'ot' under sinks:, did you mean 'out'?"},
      {"edge.yaml:17:", "type: required"},
      {"edge.yaml:18:", "max_bytes"},
  };
  for (const auto& [place, text] : expected) {
    EXPECT_THAT(checked.errors, HasSubstr(std::string(place)));
    EXPECT_THAT(checked.errors, HasSubstr(std::string(text)));
  }
  EXPECT_EQ(checked.diagnostics.error_count(), expected.size()) << checked.errors;
}

TEST(Plan, LimitsNameALaneAndSayHowMuch) {
  const std::string sources = "sources: {tail: {type: file, path: a.jsonl}}\n";
  const Checked good(sources + "store: {lanes: {debug: {max_bytes: 64MiB, max_age: 7d}}}\n");
  EXPECT_THAT(good.errors, Not(HasSubstr("lanes")));
  const Checked name(sources + "store: {lanes: {reading: {max_age: 7d}}}\n");
  EXPECT_THAT(name.errors, HasSubstr("no lane 'reading'; lanes are alerts, readings"));
  const Checked zero(sources + "store: {lanes: {debug: {max_bytes: 0B}}}\n");
  EXPECT_THAT(zero.errors, HasSubstr("debug: max_bytes is 0"));
}

TEST(Plan, WhatIsAcknowledgedMayNotWaitInMemory) {
  const std::string lane = "store: {lanes: {readings: {durability: interval, interval: 2s}}}\n";
  const std::string hall =
      "sources: {hall: {type: mqtt_listen, address: \"127.0.0.1:0\", topics: "
      "[\"a/+\"]";
  const Checked refused(hall + "}}\n" + lane);
  EXPECT_THAT(refused.errors, HasSubstr("source 'hall' acknowledges what is on disk"));
  EXPECT_THAT(refused.errors, HasSubstr("acknowledge: received"));
  const Checked received(hall + ", acknowledge: received}}\n" + lane);
  EXPECT_THAT(received.errors, Not(HasSubstr("acknowledges")));
  EXPECT_THAT(received.plan->loss_window(), HasSubstr("source hall acknowledges on receipt"));
  EXPECT_THAT(received.plan->loss_window(), HasSubstr("rows of lane readings wait up to 2s"));
  const Checked file("sources: {tail: {type: file, path: a.jsonl}}\n" + lane);
  EXPECT_THAT(file.errors, Not(HasSubstr("durability")));
  const Checked alerts("store: {lanes: {alerts: {durability: memory}}}\n");
  EXPECT_THAT(alerts.errors, HasSubstr("alerts: durability is always commit"));
}

TEST(Plan, AnErrorIsToldOnce) {
  const std::string sources = "sources: {tail: {type: file, path: a.jsonl}}\n";
  const Checked pipelines(sources + "pipelines: {main: {from: tail, steps: []}}\n");
  EXPECT_EQ(pipelines.diagnostics.error_count(), 1U) << pipelines.errors;
  const Checked model("models: {m: {path: none.onnx}}\n" + sources +
                      "pipelines: {main: {from: [tail], steps: [{detect: {model: m}}]}}\n");
  EXPECT_EQ(model.diagnostics.error_count(), 1U) << model.errors;
}

TEST(Plan, ASourceFeedsOnePipeline) {
  const std::string second = R"(  second:
    from: [direct]
    steps: []
sinks:)";
  const Checked twice(replaced(sound(), "sinks:", second));
  EXPECT_THAT(twice.errors, HasSubstr("source 'direct' feeds pipeline 'main' already"));
  EXPECT_THAT(twice.errors, HasSubstr("edge.yaml:15:"));
  const Checked again(replaced(sound(), "[direct]", "[direct, direct]"));
  EXPECT_THAT(again.errors, HasSubstr("feeds pipeline 'main' already"));
}

TEST(Plan, ASourceThatFeedsNoneIsAWarning) {
  const Checked checked(
      replaced(sound(), "sources:\n", "sources:\n  spare: {type: file, path: x.jsonl}\n"));
  EXPECT_TRUE(checked.diagnostics.ok());
  EXPECT_THAT(checked.errors, HasSubstr("source 'spare' feeds no pipeline"));
}

TEST(Plan, NeedsAPipeline) {
  EXPECT_THAT(Checked("edge: {id: hall}\n").errors, HasSubstr("pipelines: required"));
  EXPECT_THAT(Checked("").errors, HasSubstr("pipelines: required"));
}

TEST(Plan, AnAdminAddressBeyondLoopbackNeedsTlsAndAToken) {
  const Checked open(sound() + "admin: {address: \"0.0.0.0:0\"}\n");
  EXPECT_FALSE(open.diagnostics.ok());
  EXPECT_THAT(open.errors, HasSubstr("edge.yaml:16:"));
  EXPECT_TRUE(Checked(sound() + "admin: {address: \"127.0.0.1:0\"}\n").diagnostics.ok());
}

TEST(Plan, ModelPathAndBatchSizeOfTheEnvironmentApplyToOneModel) {
  const std::string other = HW_SOURCE_DIR "/tests/data/models/mlp_sensor3.onnx";
  Checked checked(sound(), {{"MODEL_PATH", other}, {"BATCH_SIZE", "7"}});
  ASSERT_TRUE(checked.diagnostics.ok()) << checked.errors;
  EXPECT_EQ(checked.plan->config().models.find("anomaly")->path.text, other);
  EXPECT_EQ(checked.plan->models().list().front().model->path(), other);
  const config::Origins::Entry* size =
      checked.origins.find("pipelines.main.steps[1].detect.max_rows");
  ASSERT_NE(size, nullptr);
  EXPECT_EQ(size->value, "7");
  EXPECT_EQ(size->detail, "BATCH_SIZE");
}

TEST(Plan, ModelPathAndBatchSizeAreErrorsWhereTheyCouldMeanTwo) {
  const std::string two = replaced(
      replaced(sound(), "sources:\n",
               fmt::format("  second: {{path: \"{}\", inputs: {{input: [temperature, pressure, "
                           "vibration]}}}}\nsources:\n",
                           kModel)),
      "      - decide", "      - detect: {model: second}\n      - decide");
  EXPECT_TRUE(Checked(two).diagnostics.ok());
  const Checked path(two, {{"MODEL_PATH", "x.onnx"}});
  EXPECT_FALSE(path.diagnostics.ok());
  EXPECT_THAT(path.errors, HasSubstr("MODEL_PATH"));
  const Checked size(two, {{"BATCH_SIZE", "7"}});
  EXPECT_FALSE(size.diagnostics.ok());
  EXPECT_THAT(size.errors, HasSubstr("BATCH_SIZE"));
}

TEST(Plan, TheRevisionChangesWithTheConfigAndWithNothingElse) {
  const std::uint64_t revision = Checked(sound()).plan->revision();
  EXPECT_EQ(Checked(sound()).plan->revision(), revision);
  EXPECT_EQ(Checked("# a comment\n" + sound()).plan->revision(), revision);
  EXPECT_NE(Checked(replaced(sound(), "0.8", "0.9")).plan->revision(), revision);
  EXPECT_NE(Checked(replaced(sound(), "id: hall", "id: hall2")).plan->revision(), revision);
  EXPECT_NE(Checked(sound(), {{"BATCH_SIZE", "7"}}).plan->revision(), revision);
}

TEST(Plan, TheKeyOfAStepChangesWithItsOptionsOnly) {
  const auto keys = [](const std::string& text, config::Environment environment = {}) {
    Checked checked(text, std::move(environment));
    return checked.plan
        ->make_steps(*checked.plan->config().pipelines.find("main"), "main", checked.diagnostics)
        .stage_keys;
  };
  const std::vector<std::string> before = keys(sound());
  const std::vector<std::string> after = keys(replaced(sound(), "score > 0.8", "score > 0.9"));
  ASSERT_EQ(before.size(), 2U);
  EXPECT_EQ(after[0], before[0]);
  EXPECT_NE(after[1], before[1]);
  EXPECT_EQ(keys(replaced(sound(), "id: hall", "id: hall2")), before);
}

// Paths of the options that a reload takes over, "*" for any name.
void find_live(const config::SchemaView& schema, const std::string& path,
               std::vector<std::string>& found) {
  for (const config::FieldView& field : schema.fields) {
    const config::Type* type = field.type;
    std::string own = path + std::string(field.meta.name);
    if (field.meta.live) {
      found.push_back(own);
      continue;
    }
    if (type->kind == config::Type::Kind::kMap) {
      type = type->element;
      own += ".*";
    }
    if (type->kind == config::Type::Kind::kStruct) {
      find_live(type->schema(), own + ".", found);
    }
  }
}

// Marking an option live is half of the work: Agent::reload() has to take it over as well. Whoever
// adds one here has done both.
TEST(Reload, TheLiveOptionsAreThoseThatAReloadTakesOver) {
  std::vector<std::string> live;
  find_live(config::view<EdgeConfig>(), "", live);
  EXPECT_THAT(live, testing::UnorderedElementsAre("models", "log", "pipelines.*.steps",
                                                  "pipelines.*.checkpoint_every",
                                                  "pipelines.*.max_waiting", "pipelines.*.weight"));
}

TEST(Reload, OfAConfigThatNeedsARestartTooOnlyTheLivePartIsTaken) {
  const Checked running(sound());
  std::string text = replaced(sound(), "score > 0.8", "score > 0.9");
  text = replaced(text, "id: hall", "id: other");
  text = replaced(text, "sensors/#", "elsewhere/#");
  text = replaced(text, "    alerts: [out]",
                  "    alerts: [out]\n    checkpoint_every: 5s\n    max_waiting: 1MiB");
  text =
      replaced(text, "  anomaly:", "  spare: {path: \"" + std::string(kModel) + "\"}\n  anomaly:");
  text += "log: {level: debug}\nstore: {max_bytes: 1GiB}\n";
  const Checked fresh(text);
  ASSERT_TRUE(fresh.diagnostics.ok()) << fresh.errors;
  config::Diagnostics diagnostics;
  const Plan partial(*running.plan, *fresh.plan, diagnostics);
  ASSERT_TRUE(diagnostics.ok()) << diagnostics.text();
  const config::Diff taken = config::diff(running.plan->config(), partial.config());
  EXPECT_TRUE(taken.all_live());
  EXPECT_EQ(taken.changes.size(), 5U) << "a model, steps, two of the pipeline, log";
  const config::Diff left = config::diff(partial.config(), fresh.plan->config());
  EXPECT_EQ(left.changes.size(), 3U);
  for (const config::Change& change : left.changes) {
    EXPECT_FALSE(change.live) << change.path;
  }
  EXPECT_NE(partial.revision(), fresh.plan->revision());
  EXPECT_NE(partial.revision(), running.plan->revision());
}

TEST(DescribePlan, TellsTheGraphThePromiseAndTheWear) {
  const Checked checked(sound());
  std::string text =
      describe_plan(*checked.plan, {.readings_per_second = 10, .reading_bytes = 100});
  const model::Model& model = *checked.plan->models().list().front().model;
  text = replaced(text, kModel, "MODEL");
  text = replaced(text, model.digest().substr(0, 12), "DIGEST");
  EXPECT_EQ(text, R"(pipeline main: direct > decode > filter > detect > decide > store
  alerts to out
model anomaly: MODEL ()" +
                      format_size(model.file_bytes()) + R"(, digest DIGEST)
  input  input: )" + model.inputs().front().text +
                      R"(
  output output: )" + model.outputs().front().text +
                      R"(
loss window: none; what a source was told "got it" about is on disk
writes about 4.17 GB a day at 10 readings/s of 100 bytes, 0.3 ms a commit: 3.95 GB by the store, 224 MB by ext4's journal
  5.22 GB a day until the store has reached 2GiB: for 5.1 days
)");
}

TEST(DescribePlan, TheSameAsJson) {
  const Checked checked(sound());
  const auto json = nlohmann::json::parse(describe_plan_json(*checked.plan, {}));
  EXPECT_EQ(json["edge_id"], "hall");
  EXPECT_EQ(json["revision"], fmt::format("{:016x}", checked.plan->revision()));
  EXPECT_EQ(json["pipelines"][0]["steps"], nlohmann::json({"filter", "detect", "decide"}));
  EXPECT_EQ(json["models"][0]["name"], "anomaly");
  EXPECT_EQ(json["loss_window"], "");
  EXPECT_GT(json["bytes_written_per_day"].get<double>(), 1e9);
}

TEST(Reference, TheJsonSchemaHasEveryKindWithItsOptions) {
  const auto schema = nlohmann::json::parse(config_json_schema());
  const auto kinds_of = [&](const char* section) {
    std::vector<std::string> kinds;
    for (const auto& one : schema["properties"][section]["additionalProperties"]["oneOf"]) {
      kinds.push_back(one["properties"]["type"]["const"]);
      EXPECT_GT(one["properties"].size(), 1U) << kinds.back();
    }
    return kinds;
  };
  std::vector<std::string> sources;
  for (const SourceKind& kind : source_kinds()) {
    sources.emplace_back(kind.kind);
  }
  EXPECT_EQ(kinds_of("sources"), sources);
  std::vector<std::string> sinks;
  for (const SinkKind& kind : sink_kinds()) {
    sinks.emplace_back(kind.kind);
  }
  EXPECT_EQ(kinds_of("sinks"), sinks);
  const auto& steps = schema["properties"]["pipelines"]["additionalProperties"]["properties"]
                            ["steps"]["items"]["oneOf"];
  ASSERT_EQ(steps.size(), stage_kinds().size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_TRUE(steps[i]["properties"].contains(std::string(stage_kinds()[i].kind)));
  }
}

TEST(Reference, EachSectionAndKindHasAPageAndOthersTheNearestName) {
  for (const std::string name : {"edge", "store", "filter", "decide", "mqtt_listen", "stdout"}) {
    const Result<std::string> text = reference_text(name);
    ASSERT_TRUE(text.ok()) << name;
    EXPECT_THAT(*text, HasSubstr(name));
  }
  EXPECT_THAT(reference_text("filtre").error().text(), HasSubstr("did you mean 'filter'?"));
  EXPECT_THAT(*reference_text(""), HasSubstr("max_bytes"));
}

}  // namespace
}  // namespace headwater
