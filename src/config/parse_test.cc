#include "config/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "config/describe.h"
#include "config/load.h"
#include "config/origins.h"
#include "config/sample_options.h"

namespace headwater::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const Environment kEnvironment{{"PASSWORD", "hunter22"}, {"N", "7"}};

template <class T = SampleOptions>
struct Parsed {
  T options;
  bool ok = false;
  Diagnostics diagnostics;
  std::string errors() const { return diagnostics.text(); }
};

template <class T = SampleOptions>
Parsed<T> parsed(const std::string& text, Origins* origins = nullptr) {
  Parsed<T> out;
  auto node = load_text(text, "edge.yaml", out.diagnostics, kEnvironment);
  out.ok = node && parse(*node, out.options, out.diagnostics, origins);
  return out;
}

// First line of the errors of a SampleOptions with an id and this option.
std::string complaint(const std::string& line) {
  const std::string text = parsed("id: e\n" + line + "\n").errors();
  const std::size_t begin = text.find("error: ");
  return begin == std::string::npos ? "" : text.substr(begin + 7, text.find('\n') - begin - 7);
}

TEST(Parse, ReadsEveryType) {
  const auto got = parsed(R"(
id: press-2
verify: false
offset: -9223372036854775808
limit: 18446744073709551615
threshold: 0.25
ratio: 1e3
max_bytes: 1.5MiB
data_dir: /var/lib/x
token: abc
address: "[::1]:99"
on_full: block
level: debug
topics: [a/+, b]
weights: [1, -2]
headers: {X-B: 1, X-A: two}
models:
  one: {path: a.onnx}
  two: {path: b.onnx, batch_size: 4}
spares: [{path: c.onnx}]
objective: {p99: 1h30m, p50: 1s}
device: topic[1]
time: {field: ts, zone: CET}
steps: [{filter: {when: "a > 1"}}]
)");
  ASSERT_EQ(got.errors(), "");
  ASSERT_TRUE(got.ok);
  const SampleOptions& options = got.options;
  EXPECT_EQ(options.id, "press-2");
  EXPECT_FALSE(options.verify);
  EXPECT_EQ(options.offset, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(options.limit, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(options.threshold, 0.25F);
  EXPECT_EQ(options.ratio, 1000);
  EXPECT_EQ(options.max_bytes.bytes, 1'572'864U);
  EXPECT_EQ(options.data_dir.text, "/var/lib/x");
  EXPECT_EQ(options.token.reveal(), "abc");
  EXPECT_EQ(options.address, (Endpoint{"::1", 99}));
  EXPECT_EQ(options.on_full, OnFull::kBlock);
  EXPECT_EQ(options.level, "debug");
  EXPECT_THAT(options.topics, ElementsAre("a/+", "b"));
  EXPECT_THAT(options.weights, ElementsAre(1, -2));
  ASSERT_EQ(options.headers.size(), 2U);
  EXPECT_EQ(options.headers.begin()->first, "X-B");
  EXPECT_EQ(*options.headers.find("X-A"), "two");
  EXPECT_EQ(options.models.find("one")->batch_size, 512);
  EXPECT_EQ(options.models.find("two")->batch_size, 4);
  EXPECT_EQ(options.spares.at(0).path.text, "c.onnx");
  EXPECT_EQ(options.objective.p99, std::chrono::minutes(90));
  EXPECT_EQ(options.objective.p50, std::chrono::seconds(1));
  EXPECT_EQ(options.common.device, "topic[1]");
  EXPECT_EQ(options.common.time->zone, "CET");
  EXPECT_EQ(to_flow(options.steps), R"([{filter: {when: "a > 1"}}])");
}

TEST(Parse, KeepsDefaultsWhereTheFileIsSilent) {
  const auto got = parsed("id: e\nheaders:\nobjective:\ntime:\n");
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_TRUE(got.options.verify);
  EXPECT_EQ(got.options.threshold, 0.8F);
  EXPECT_EQ(got.options.objective.p99, std::chrono::milliseconds(20));
  EXPECT_FALSE(got.options.common.time.has_value());
}

TEST(Parse, KeepsWhatTheCallerFilledInAndReplacesLists) {
  Diagnostics diagnostics;
  SampleOptions options;
  options.level = "warning";
  options.topics = {"x", "y"};
  auto node = load_text("id: e\ntopics: [z]\n", "e.yaml", diagnostics, kEnvironment);
  ASSERT_TRUE(parse(*node, options, diagnostics));
  EXPECT_EQ(options.level, "warning");
  EXPECT_THAT(options.topics, ElementsAre("z"));
}

TEST(Parse, LeavesTheOptionsAloneAfterAnError) {
  Diagnostics diagnostics;
  SampleOptions options;
  auto node = load_text("id: e\nlevel: debug\nratio: x\n", "e.yaml", diagnostics, kEnvironment);
  EXPECT_FALSE(parse(*node, options, diagnostics));
  EXPECT_EQ(options.id, "");
  EXPECT_EQ(options.level, "info");
}

TEST(Parse, ReportsAllErrorsAtOnceWithCarets) {
  const auto got = parsed(R"(verfy: true
threshold: 1.5
objective: {p99: 5, p50: 1s}
models:
  one: {path: a.onnx, batchsize: 4}
  two: {batch_size: 0}
weights: [1, x]
on_full: shed_newest
topics: []
)");
  EXPECT_FALSE(got.ok);
  EXPECT_EQ(got.errors(), R"(edge.yaml:1:1: error: unknown option 'verfy', did you mean 'verify'?
    1 | verfy: true
      | ^^^^^
edge.yaml:1:1: error: id: required
    1 | verfy: true
      | ^
      = sample: Name of this edge.
edge.yaml:2:12: error: threshold: 1.5 is outside [0, 1]
    2 | threshold: 1.5
      |            ^^^
edge.yaml:3:18: error: p99: '5' is not a duration such as 250ms, 30s or 1h30m: the unit is missing
    3 | objective: {p99: 5, p50: 1s}
      |                  ^
edge.yaml:5:23: error: unknown option 'batchsize', did you mean 'batch_size'?
    5 |   one: {path: a.onnx, batchsize: 4}
      |                       ^^^^^^^^^
edge.yaml:6:3: error: path: required
    6 |   two: {batch_size: 0}
      |   ^^^
      = model: The ONNX file.
edge.yaml:6:21: error: batch_size: 0 is outside [1, 4096]
    6 |   two: {batch_size: 0}
      |                     ^
edge.yaml:7:14: error: weights[1]: expected a whole number, got 'x'
    7 | weights: [1, x]
      |              ^
edge.yaml:8:10: error: on_full: unknown value 'shed_newest', did you mean 'shed_oldest'?
    8 | on_full: shed_newest
      |          ^^^^^^^^^^^
      = one of shed_oldest, refuse, block
edge.yaml:9:9: error: topics: expected 1 to 3 items, got 0
    9 | topics: []
      |         ^
)");
  EXPECT_EQ(got.diagnostics.error_count(), 10U);
}

TEST(Parse, SaysWhatItExpected) {
  EXPECT_EQ(complaint("verify: yes"), "verify: expected true or false, got 'yes'");
  EXPECT_EQ(complaint("offset: 1.5"), "offset: expected a whole number, got '1.5'");
  EXPECT_EQ(complaint("offset: 99999999999999999999"),
            "offset: expected a whole number, got '99999999999999999999'");
  EXPECT_EQ(complaint("offset: 9223372036854775808"), "offset: 9223372036854775808 does not fit");
  EXPECT_EQ(complaint("limit: -1"), "limit: -1 does not fit; the smallest is 0");
  EXPECT_EQ(complaint("weights: [2147483648]"), "weights[0]: 2147483648 does not fit");
  EXPECT_EQ(complaint("weights: [-2147483648]"), "");
  EXPECT_EQ(complaint("ratio: 0.25"), "ratio: 0.25 is less than 0.5");
  EXPECT_EQ(complaint("ratio: nan"), "ratio: expected a number, got 'nan'");
  EXPECT_EQ(complaint("ratio: 1e999"), "ratio: expected a number, got '1e999'");
  EXPECT_EQ(complaint("max_bytes: 5"),
            "max_bytes: '5' is not a size such as 64MiB: the unit is missing");
  EXPECT_EQ(complaint("max_bytes: 5KiB"), "max_bytes: 5KiB is less than 1MiB");
  EXPECT_EQ(complaint("objective: {p99: 1us}"), "p99: 1us is less than 1ms");
  EXPECT_EQ(complaint("data_dir: [a]"), "data_dir: expected a path, got a list");
  EXPECT_EQ(complaint("level: null"), "level: expected text, got nothing");
  EXPECT_EQ(complaint("level: loud"), "level: unknown value 'loud'");
  EXPECT_EQ(complaint("topics: a"), "topics: expected a list, got 'a'");
  EXPECT_EQ(complaint("headers: [a]"), "headers: expected a mapping, got a list");
  EXPECT_EQ(complaint("headers: {a: [b]}"), "headers.a: expected text, got a list");
  EXPECT_EQ(complaint("objective: 5s"), "objective: expected a mapping, got '5s'");
  EXPECT_EQ(complaint("address: host"),
            "address: 'host' is not an address such as 127.0.0.1:1884: the port is missing");
  EXPECT_EQ(complaint("time: [a]"), "time: expected a mapping or text, got a list");
}

TEST(Parse, RefusesARootThatIsNoMapping) {
  EXPECT_THAT(parsed("[a]").errors(), HasSubstr("sample: expected a mapping, got a list"));
  EXPECT_THAT(parsed("").errors(), HasSubstr("id: required"));
}

TEST(Parse, RequiredTextMustNotBeEmpty) {
  EXPECT_THAT(parsed("id: \"\"").errors(), HasSubstr("id: must not be empty"));
}

TEST(Parse, ListsTheOptionsWhereNoNameIsNear) {
  EXPECT_THAT(parsed<SampleModel>("path: a\nzzzzz: 1\n").errors(),
              HasSubstr("unknown option 'zzzzz'\n    2 | zzzzz: 1\n      | ^^^^^\n"
                        "      = model takes path, batch_size\n"));
}

TEST(Parse, ShorthandStandsForTheMapping) {
  const auto got = parsed("id: e\ntime: timestamp\n");
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_EQ(got.options.common.time->field, "timestamp");
  EXPECT_EQ(got.options.common.time->zone, "UTC");
}

TEST(Parse, OldNamesWorkWithAWarning) {
  const auto got = parsed<SampleModel>("path: a\nrows_per_call: 3\n");
  EXPECT_TRUE(got.ok);
  EXPECT_EQ(got.options.batch_size, 3);
  EXPECT_THAT(got.errors(),
              HasSubstr("edge.yaml:2:1: warning: 'rows_per_call' is now called 'batch_size'"));
  EXPECT_EQ(got.diagnostics.warning_count(), 1U);
  EXPECT_THAT(parsed<SampleModel>("path: a\nrows_per_call: 3\nbatch_size: 4\n").errors(),
              HasSubstr("'rows_per_call' is the old name of 'batch_size', which is given too"));
}

TEST(Parse, ValidateRunsForNestedStructsAndPointsAtTheOption) {
  const auto got = parsed("id: e\nobjective: {p99: 1s, p50: 2s}\n");
  EXPECT_FALSE(got.ok);
  EXPECT_EQ(got.errors(),
            "edge.yaml:2:27: error: p50: 2s is more than p99\n"
            "    2 | objective: {p99: 1s, p50: 2s}\n"
            "      |                           ^^\n");
}

TEST(Parse, SubtreesAreParsedLaterWithTheirPlace) {
  auto got = parsed("id: e\nsteps:\n  - detect: {path: x, batch_size: 9999}\n");
  ASSERT_TRUE(got.ok) << got.errors();
  SampleModel model;
  const Node& step = got.options.steps.items().at(0).only_entry()->value;
  EXPECT_FALSE(parse(step, model, got.diagnostics));
  EXPECT_THAT(got.errors(),
              HasSubstr("edge.yaml:3:35: error: batch_size: 9999 is outside [1, 4096]"));
  EXPECT_EQ(got.diagnostics.sorted().at(0).place.path, "steps[0].detect.batch_size");
}

TEST(Parse, QuotedAndSubstitutedNumbersAreNumbers) {
  const auto got = parsed("id: e\noffset: \"${N}\"\nlimit: \"8\"\n");
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_EQ(got.options.offset, 7);
  EXPECT_EQ(got.options.limit, 8U);
}

TEST(Parse, SaysNothingMoreAboutABrokenReference) {
  const auto got = parsed("id: ${NOPE}\noffset: ${NOPE}\nratio: x\n");
  EXPECT_FALSE(got.ok);
  EXPECT_EQ(got.diagnostics.error_count(), 3U) << got.errors();
  const auto one = parsed("id: ${NOPE}\n");
  EXPECT_FALSE(one.ok);
  EXPECT_EQ(one.diagnostics.error_count(), 1U) << one.errors();
}

TEST(Parse, NeverShowsSecrets) {
  for (const char* text : {
           "id: e\noffset: ${PASSWORD}\n",
           "id: e\nmax_bytes: ${PASSWORD}\n",
           "id: e\non_full: ${PASSWORD}\n",
           "id: e\ntoken: {a: hunter22}\n",
           "id: e\ntoken: [hunter22]\n",
           "{id: e, dsn: hunter22, x: 1}\n",
           "{id: e, token: 'hunter22', x: 1}\n",
           "{id: e, tokn: hunter22}\n",
           "{id: e, ds: hunter22}\n",
           "id: e\nwrong: {password: hunter22}\nlevel: {secret: hunter22}\n",
       }) {
    const auto got = parsed(text);
    EXPECT_FALSE(got.ok) << text;
    EXPECT_THAT(got.errors(), Not(HasSubstr("hunter22"))) << text;
    EXPECT_THAT(got.diagnostics.json(), Not(HasSubstr("hunter22"))) << text;
  }
  EXPECT_THAT(parsed("id: e\noffset: ${PASSWORD}\n").errors(),
              HasSubstr("offset: expected a whole number, got '${PASSWORD}'"));
}

TEST(Diagnostics, JsonCarriesEverything) {
  EXPECT_EQ(parsed<SampleModel>("path: a\nbatch_size: 0\n").diagnostics.json(),
            R"({"errors":1,"warnings":0,"diagnostics":[{"severity":"error","file":"edge.yaml",)"
            R"("line":2,"column":13,"length":1,"path":"batch_size",)"
            R"("text":"batch_size: 0 is outside [1, 4096]"}]})");
}

TEST(Origins, FlagGoesBeforeEnvironmentBeforeFileBeforeDefault) {
  Origins origins(Environment(
      {{"HEADWATER_OFFSET", "2"}, {"HEADWATER_LIMIT", "3"}, {"HEADWATER_OBJECTIVE_P99", "4s"}}));
  origins.set_flag("offset", "1");
  const auto got = parsed("id: e\noffset: 10\nlimit: 10\nlevel: debug\n", &origins);
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_EQ(got.options.offset, 1);
  EXPECT_EQ(got.options.limit, 3U);
  EXPECT_EQ(got.options.objective.p99, std::chrono::seconds(4));
  const auto explained = [&](std::string_view path) {
    const Origins::Entry* entry = origins.find(path);
    return entry == nullptr
               ? "none"
               : fmt::format("{} {} {}", entry->value, origin_name(entry->origin), entry->detail);
  };
  EXPECT_EQ(explained("offset"), "1 flag --set");
  EXPECT_EQ(explained("limit"), "3 environment HEADWATER_LIMIT");
  EXPECT_EQ(explained("objective.p99"), "4s environment HEADWATER_OBJECTIVE_P99");
  EXPECT_EQ(explained("level"), "debug file edge.yaml:4:8");
  EXPECT_EQ(explained("threshold"), "0.8 default ");
}

TEST(Origins, OverridesSatisfyRequiredOptionsAndLists) {
  Origins origins(Environment{{"HEADWATER_ID", "e"}});
  origins.set_flag("topics", "[a, \"${PASSWORD}\"]");
  const auto got = parsed("{}", &origins);
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_EQ(got.options.id, "e");
  // Nothing is put into what a flag or a remote party says.
  EXPECT_THAT(got.options.topics, ElementsAre("a", "${PASSWORD}"));
}

TEST(Origins, DiagnosticsCarryThemToCallsWithoutThem) {
  Origins origins(Environment{{"HEADWATER_BATCH_SIZE", "9"}});
  Diagnostics diagnostics;
  diagnostics.set_origins(&origins);
  auto node = load_text("path: a\n", "e.yaml", diagnostics, kEnvironment);
  SampleModel model;
  ASSERT_TRUE(parse(*node, model, diagnostics));
  EXPECT_EQ(model.batch_size, 9);
}

TEST(Origins, OverridesAreCheckedLikeTheFile) {
  Origins origins(Environment{{"HEADWATER_THRESHOLD", "2"}});
  origins.set_flag("level", "loud");
  const auto got = parsed("id: e\n", &origins);
  EXPECT_FALSE(got.ok);
  EXPECT_EQ(got.errors(),
            "--set: error: level: unknown value 'loud'\n"
            "      = one of debug, info, warning\n"
            "environment variable HEADWATER_THRESHOLD: error: threshold: 2 is outside [0, 1]\n");
}

TEST(Origins, DeclaredVariablesGoToTheOneOption) {
  Origins origins(Environment{{"MODEL_PATH", "env.onnx"}, {"BATCH_SIZE", "64"}});
  const auto got = parsed("id: e\nmodels: {one: {path: file.onnx}}\n", &origins);
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_EQ(got.options.models.find("one")->path.text, "env.onnx");
  EXPECT_EQ(got.options.models.find("one")->batch_size, 64);
}

TEST(Origins, DeclaredVariablesWithTwoOptionsAreAnError) {
  Origins origins(Environment{{"MODEL_PATH", "env.onnx"}, {"EMPTY", ""}});
  const auto got = parsed("id: e\nmodels: {one: {path: a}, two: {path: b}}\n", &origins);
  EXPECT_FALSE(got.ok);
  EXPECT_EQ(got.errors(),
            "environment variable MODEL_PATH: error: two options take it: models.one.path and "
            "models.two.path\n"
            "      = unset it, and write the options in the file or as HEADWATER_MODELS_ONE_PATH "
            "and HEADWATER_MODELS_TWO_PATH\n");
}

TEST(Origins, EmptyVariablesAreNotSet) {
  Origins origins(Environment{{"BATCH_SIZE", ""}, {"HEADWATER_PATH", ""}});
  const auto got = parsed<SampleModel>("path: a\n", &origins);
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_EQ(got.options.batch_size, 512);
}

TEST(Origins, RemoteValuesAreForLiveOptionsOnly) {
  Origins origins;
  origins.set_flag("threshold", "0.5");
  origins.set_remote("threshold", "0.25", "revision 7");
  origins.set_remote("level", "debug", "revision 7");
  auto got = parsed("id: e\n", &origins);
  EXPECT_EQ(got.options.threshold, 0.25F);
  EXPECT_EQ(got.options.level, "info");
  origins.report_unused(got.diagnostics);
  EXPECT_EQ(got.errors(),
            "remote config revision 7: error: 'level' needs a restart; only live options can be "
            "set remotely\n");
}

TEST(Origins, ReportsWhatNoOptionTook) {
  Origins origins(Environment{{"HEADWATER_OFSET", "1"}, {"OTHER", "1"}});
  origins.set_flag("objective.p98", "1s");
  auto got = parsed("id: e\n", &origins);
  origins.report_unused(got.diagnostics);
  EXPECT_EQ(got.errors(),
            "--set: error: no option 'objective.p98', did you mean 'objective.p99'?\n"
            "environment variable HEADWATER_OFSET: warning: no option takes it, did you mean "
            "'HEADWATER_OFFSET'?\n");
}

TEST(Origins, NeverRecordSecrets) {
  Origins origins(Environment{{"HEADWATER_TOKEN", "hunter22"}});
  const auto got = parsed(
      "id: e\ndsn: hunter22\nlevel: info\ndata_dir: x${PASSWORD}\ntopics: [\"${PASSWORD}\"]\n",
      &origins);
  ASSERT_TRUE(got.ok) << got.errors();
  EXPECT_EQ(got.options.token.reveal(), "hunter22");
  for (const Origins::Entry& entry : origins.entries()) {
    EXPECT_THAT(entry.value, Not(HasSubstr("hunter22"))) << entry.path;
  }
  const std::string dumped = to_yaml(dump(got.options, &origins));
  EXPECT_THAT(dumped, Not(HasSubstr("hunter22")));
}

TEST(Environment, OfProcessHasThePath) {
  EXPECT_NE(Environment::of_process().find("PATH"), nullptr);
  EXPECT_THAT(Environment().variables(), IsEmpty());
}

}  // namespace
}  // namespace headwater::config
