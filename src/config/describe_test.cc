#include "config/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "config/load.h"
#include "config/sample_options.h"

namespace headwater::config {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

TEST(Markdown, HasATableOfOptionsWithNestedOnes) {
  EXPECT_EQ(markdown(view<SampleModel>()), R"(## model

A model to load.

| option | type | default | |
|---|---|---|---|
| `path` | path | required | The ONNX file. Environment: `MODEL_PATH`. |
| `batch_size` | integer, 1 to 4096 rows | `512` | Rows per inference call. Environment: `BATCH_SIZE`. |
)");
  const std::string all = markdown(view<SampleOptions>(), 3);
  EXPECT_THAT(all, HasSubstr("### sample\n"));
  for (const char* row : {
           "| `id` | text | required | Name of this edge. Example: `press-hall-2`. |\n",
           "| `verify` | true or false | `true` | Checks \\| signatures. Live. |\n",
           "| `limit` | integer, rows | `0` | Rows at most. |\n",
           "| `threshold` | number, 0 to 1 | `0.8` | Score of an alert. Live. |\n",
           "| `ratio` | number, at least 0.5 | `1` | Share. Tuning. |\n",
           "| `max_bytes` | size, at least 1MiB | `2GiB` | Bound on disk. |\n",
           "| `token` | secret |  | Token of the hub. |\n",
           "| `address` | host:port | `\"127.0.0.1:1884\"` | Where it listens. |\n",
           "| `on_full` | one of shed_oldest, refuse, block | `shed_oldest` | When the disk is "
           "full. |\n",
           "| `level` | one of debug, info, warning | `info` | Of the log. |\n",
           "| `topics` | list of text, 1 to 3 items |  | Topic filters. |\n",
           "| `headers` | name: text |  | HTTP headers. |\n",
           "| `models.NAME.path` | path | required |",
           "| `spares[].batch_size` | integer, 1 to 4096 rows | `512` |",
           "| `objective.p99` | duration, at least 1ms | `20ms` | 99 of 100 rows are faster. Live. "
           "|\n",
           "| `device` | text | `client_id` |",
           "| `time.field` | text | required | Field with the time. May stand alone in place of "
           "the "
           "mapping. |\n",
           "| `steps` | any |  | Stages. |\n",
       }) {
    EXPECT_THAT(all, HasSubstr(row));
  }
  EXPECT_THAT(all, Not(HasSubstr("`common`")));
}

TEST(HelpText, FitsTheTerminal) {
  const std::string help = help_text(view<SampleModel>());
  EXPECT_EQ(help, R"(model: A model to load.

  path  (path; required)
      The ONNX file. Environment: MODEL_PATH.

  batch_size  (integer, 1 to 4096 rows; default 512)
      Rows per inference call. Environment: BATCH_SIZE.
)");
}

// The part of JSON Schema that json_schema() uses; says where `value` breaks `schema`, or "".
std::string breaks(const Json& schema, const Json& value, const std::string& at = "$") {
  const auto is = [&](const std::string& type) {
    return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
           (type == "string" && value.is_string()) || (type == "null" && value.is_null()) ||
           (type == "boolean" && value.is_boolean()) || (type == "number" && value.is_number()) ||
           (type == "integer" && value.is_number_integer());
  };
  if (schema.contains("anyOf")) {
    for (const Json& option : schema["anyOf"]) {
      if (breaks(option, value, at).empty()) {
        return "";
      }
    }
    return at + ": no alternative";
  }
  if (schema.contains("type")) {
    const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
    bool any = false;
    for (const Json& type : types) {
      any = any || is(type.get<std::string>());
    }
    if (!any) {
      return at + ": type";
    }
  }
  if (schema.contains("enum")) {
    const Json& names = schema["enum"];
    if (std::find(names.begin(), names.end(), value) == names.end()) {
      return at + ": enum";
    }
  }
  if (value.is_number() && schema.contains("minimum") && value < schema["minimum"]) {
    return at + ": minimum";
  }
  if (value.is_number() && schema.contains("maximum") && value > schema["maximum"]) {
    return at + ": maximum";
  }
  if (value.is_array()) {
    if (schema.contains("minItems") && value.size() < schema["minItems"]) {
      return at + ": minItems";
    }
    for (const Json& item : value) {
      const std::string broken = breaks(schema.value("items", Json::object()), item, at + "[]");
      if (!broken.empty()) {
        return broken;
      }
    }
  }
  if (value.is_object()) {
    const Json required = schema.value("required", Json::array());
    for (const Json& name : required) {
      if (!value.contains(name.get<std::string>())) {
        return at + ": required " + name.get<std::string>();
      }
    }
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [name, member] : value.items()) {
      const Json rest = schema.value("additionalProperties", Json(true));
      if (!properties.contains(name) && rest == Json(false)) {
        return at + ": unknown " + name;
      }
      const Json& sub = properties.contains(name) ? properties[name] : rest;
      const std::string broken = sub.is_object() ? breaks(sub, member, at + "." + name) : "";
      if (!broken.empty()) {
        return broken;
      }
    }
  }
  return "";
}

TEST(JsonSchema, AcceptsWhatTheParserAcceptsAndRefusesTheRest) {
  const Json schema = Json::parse(json_schema(view<SampleOptions>()));
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e"})")), "");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "offset": -5, "limit": "${N}", "verify": true,
      "topics": ["a"], "models": {"m": {"path": "x", "batch_size": 5}}, "time": "ts",
      "headers": {"a": "b"}, "objective": {"p99": "5ms"}, "spares": [{"path": "y"}], "steps": [1]})")),
            "");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "time": {"field": "x"}})")), "");
  EXPECT_EQ(breaks(schema, Json::parse("{}")), "$: required id");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "x": 1})")), "$: unknown x");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "limit": -1})")), "$.limit: minimum");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "topics": []})")), "$.topics: minItems");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "on_full": "x"})")), "$.on_full: enum");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "time": {"zone": "x"}})")),
            "$.time: no alternative");
  EXPECT_EQ(breaks(schema,
                   Json::parse(R"({"id": "e", "models": {"m": {"path": "x", "batch_size": 0}}})")),
            "$.models.m.batch_size: minimum");
  EXPECT_EQ(breaks(schema, Json::parse(R"({"id": "e", "models": {"m": {"pth": "x"}}})")),
            "$.models.m: unknown pth");
}

TEST(JsonSchema, CarriesDefaultsAndDescriptions) {
  const Json properties = Json::parse(json_schema(view<SampleOptions>()))["properties"];
  EXPECT_EQ(properties["threshold"]["default"], Json(0.8));
  EXPECT_EQ(properties["verify"]["default"], Json(true));
  EXPECT_EQ(properties["max_bytes"]["default"], Json("2GiB"));
  EXPECT_EQ(properties["address"]["default"], Json("127.0.0.1:1884"));
  EXPECT_FALSE(properties["id"].contains("default"));
  EXPECT_EQ(properties["id"]["description"], Json("Name of this edge. Example: press-hall-2."));
  EXPECT_EQ(properties["objective"]["description"], Json("Latency objective."));
}

TEST(JsonSchema, NamesNoKeyTwice) {
  std::set<std::string> keys;
  std::vector<std::set<std::string>> stack;
  std::string twice;
  const auto note = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      stack.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      stack.pop_back();
    } else if (event == Json::parse_event_t::key &&
               !stack.back().insert(parsed.get<std::string>()).second) {
      twice = parsed.get<std::string>();
    }
    return true;
  };
  EXPECT_TRUE(Json::parse(json_schema(view<SampleOptions>()), note).is_object());
  EXPECT_EQ(twice, "");
}

SampleOptions filled() {
  SampleOptions options;
  options.id = "e";
  options.token = Secret("hunter22");
  options.dsn = "hunter22";
  options.headers["url"] = "mqtt://user:hunter22@host:1883/x";
  options.models["m"] = {Path{"a.onnx"}, 4};
  options.topics = {"true", "a/+"};
  options.steps = Node::scalar("http://a:hunter22@b");
  return options;
}

TEST(Dump, ShowsEverythingButSecrets) {
  EXPECT_EQ(to_yaml(dump(filled())), R"(id: e
verify: true
offset: -1
limit: 0
threshold: 0.8
ratio: 1
max_bytes: 2GiB
data_dir: ./data
token: "***"
dsn: "***"
address: "127.0.0.1:1884"
on_full: shed_oldest
level: info
topics: ["true", a/+]
weights: []
headers:
  url: "mqtt://user:***@host:1883/x"
models:
  m:
    path: a.onnx
    batch_size: 4
spares: []
objective:
  p99: 20ms
device: client_id
steps: "http://a:***@b"
)");
}

TEST(Dump, LoadsBackToEqualOptions) {
  SampleOptions options = filled();
  options.token = Secret();
  options.dsn.clear();
  options.headers.clear();
  options.steps = Node();
  options.ratio = 0.1 + 0.2 + 0.5;
  Diagnostics diagnostics;
  auto node = load_text(to_yaml(dump(options)), "dump", diagnostics, Environment());
  SampleOptions back;
  ASSERT_TRUE(node && parse(*node, back, diagnostics)) << diagnostics.text();
  EXPECT_TRUE(diff(options, back).empty());
  EXPECT_EQ(back.ratio, options.ratio);
}

TEST(Diff, ListsWhatChangedAndWhetherItIsLive) {
  const SampleOptions before = filled();
  SampleOptions after = before;
  EXPECT_TRUE(diff(before, after).empty());
  EXPECT_TRUE(diff(before, after).all_live());
  after.threshold = 0.5F;
  after.objective.p99 = std::chrono::seconds(1);
  Diff live = diff(before, after);
  ASSERT_EQ(live.changes.size(), 2U);
  EXPECT_EQ(live.changes[0].path, "threshold");
  EXPECT_EQ(live.changes[0].before, "0.8");
  EXPECT_EQ(live.changes[0].after, "0.5");
  EXPECT_EQ(live.changes[1].path, "objective.p99");
  EXPECT_TRUE(live.all_live());
  after.objective.p50 = std::chrono::seconds(2);
  EXPECT_FALSE(diff(before, after).all_live());
}

TEST(Diff, NamesTheDeepestNodeThatDiffersAndNoValueOfIt) {
  const auto steps = [](const char* text) {
    Diagnostics diagnostics;
    SampleOptions options = filled();
    options.steps = *load_text(text, "steps", diagnostics, Environment());
    return options;
  };
  const SampleOptions before = steps("[{filter: {when: a, keep: 1}}, {decide: b}]");
  EXPECT_TRUE(diff(before, before).empty());
  const auto paths = [&](const char* text) {
    std::vector<std::string> found;
    for (const Change& change : diff(before, steps(text)).changes) {
      EXPECT_EQ(change.before + change.after, "");
      found.push_back(change.path);
    }
    return found;
  };
  using Paths = std::vector<std::string>;
  EXPECT_EQ(paths("[{filter: {when: c, keep: 1}}, {decide: b}]"), Paths{"steps[0].filter.when"});
  EXPECT_EQ(paths("[{filter: {when: a, every: 2}}, {decide: {when: b}}]"),
            (Paths{"steps[0].filter.keep", "steps[0].filter.every", "steps[1].decide"}));
  EXPECT_EQ(paths("[{filter: {keep: 1, when: a}}, {decide: b}]"), Paths{"steps[0].filter"});
  EXPECT_EQ(paths("[{decide: b}]"), Paths{"steps"});
}

TEST(Diff, SeesMapsByNameAndHidesSecrets) {
  const SampleOptions before = filled();
  SampleOptions after = before;
  after.token = Secret("other");
  after.models["m"].batch_size = 5;
  after.models["n"].path.text = "b.onnx";
  after.headers.clear();
  const Diff changes = diff(before, after);
  std::string text;
  for (const Change& change : changes.changes) {
    text += fmt::format("{}: {} -> {}\n", change.path, change.before, change.after);
  }
  EXPECT_EQ(text,
            "token: \"***\" -> \"***\"\n"
            "headers.url: \"mqtt://user:***@host:1883/x\" -> \n"
            "models.m.batch_size: 4 -> 5\n"
            "models.n:  -> {path: b.onnx, batch_size: 512}\n");
}

}  // namespace
}  // namespace headwater::config
