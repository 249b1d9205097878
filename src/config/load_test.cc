#include "config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "config/describe.h"

namespace headwater::config {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const Environment kEnvironment{{"NAME", "press-2"},
                               {"PASSWORD", "hunter22"},
                               {"EMPTY", ""},
                               {"NESTED", "${PASSWORD}"},
                               {"QOS", "1"}};

struct Loaded {
  std::optional<Node> node;
  std::string errors;
  // The tree on one line, or the errors.
  std::string text() const { return errors.empty() && node ? to_flow(*node) : errors; }
};

Loaded load(std::string text, const Limits& limits = {}) {
  Diagnostics diagnostics;
  Loaded out;
  out.node = load_text(std::move(text), "edge.yaml", diagnostics, kEnvironment, limits);
  out.errors = diagnostics.text();
  return out;
}

// The value of `a` in "a: TEXT".
std::string value(const std::string& text) {
  Loaded loaded = load("a: " + text + "\n");
  return loaded.errors.empty() ? loaded.node->find("a")->text() : loaded.errors;
}

std::string repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) {
    out += text;
  }
  return out;
}

TEST(Load, ReadsTheKindsOfYaml) {
  EXPECT_EQ(load("a: 1\nb: [x, 'true', \"c: d\"]\nc: {d: ~, e: null}\n# f\n").text(),
            R"({a: 1, b: [x, "true", "c: d"], c: {d: null, e: null}})");
  EXPECT_EQ(load("[a, [b]]").text(), "[a, [b]]");
  EXPECT_EQ(load("a: |\n  x\n  y\n").node->find("a")->text(), "x\ny\n");
  EXPECT_TRUE(load("").node->is_null());
  EXPECT_EQ(load("\xef\xbb\xbf"
                 "a: 1\r\nb: 2\r\n")
                .text(),
            "{a: 1, b: 2}");
}

TEST(Load, NodesKnowTheirPlaceAndPath) {
  const Loaded loaded = load("a:\n  b:\n    - x\n    - {ü: yy, c: \"z\"}\n");
  const Node& c = *loaded.node->find("a")->find("b")->items()[1].find("c");
  EXPECT_EQ(c.path(), "a.b[1].c");
  EXPECT_EQ(c.mark().line, 4U);
  EXPECT_EQ(c.place().length, 3U);
  EXPECT_TRUE(c.is_quoted());
  EXPECT_EQ(loaded.node->find("a")->key_mark().line, 1U);
  EXPECT_EQ(loaded.node->find("a")->key_mark().column, 1U);
}

TEST(Load, PointsInsideAScalar) {
  const Loaded loaded = load("a: \"score > x\"\nb: score > x\nc: \"\\tscore > x\"\n");
  EXPECT_EQ(loaded.node->find("a")->place_inside(8, 1).mark.column, 13U);
  EXPECT_EQ(loaded.node->find("b")->place_inside(8, 1).mark.column, 12U);
  // The text differs from the file: the whole scalar.
  EXPECT_EQ(loaded.node->find("c")->place_inside(8, 1).mark.column, 4U);
  EXPECT_EQ(loaded.node->find("c")->place_inside(8, 1).length, 13U);
}

TEST(Load, CopiesKeepThePlaceAndLoseTheKey) {
  const Loaded loaded = load("source: {type: mqtt, qos: 1}\n");
  const Node rest = loaded.node->find("source")->without("type");
  EXPECT_EQ(to_flow(rest), "{qos: 1}");
  EXPECT_EQ(rest.find("qos")->path(), "source.qos");
  EXPECT_EQ(loaded.node->only_entry()->name, "source");
  EXPECT_EQ(loaded.node->find("source")->only_entry(), nullptr);
}

TEST(Load, RefusesDuplicateKeysAndGoesOn) {
  const Loaded loaded = load("a: 1\nb: {c: 1, c: 2}\na: 3\n");
  EXPECT_EQ(loaded.errors,
            "edge.yaml:2:11: error: 'c' is given twice\n"
            "    2 | b: {c: 1, c: 2}\n"
            "      |           ^\n"
            "      = first at line 2\n"
            "edge.yaml:3:1: error: 'a' is given twice\n"
            "    3 | a: 3\n"
            "      | ^\n"
            "      = first at line 1\n");
  EXPECT_TRUE(loaded.node.has_value());
}

TEST(Load, ShowsWhereYamlIsBroken) {
  EXPECT_THAT(load("a: [1, 2\nb: 3\n").errors, HasSubstr("edge.yaml:2:2: error: YAML: "));
  EXPECT_THAT(load("a: b: c\n").errors, HasSubstr("edge.yaml:1:5: error: YAML: illegal map value"));
  EXPECT_THAT(load("a: {b: ${NAME}}\n").errors, HasSubstr("a ${…} stands in quotes"));
  EXPECT_FALSE(load("a: [1, 2\n").node.has_value());
}

TEST(Load, RefusesWhatAConfigDoesNotNeed) {
  EXPECT_THAT(load("a: !!binary xyz\n").errors, HasSubstr("tags such as"));
  EXPECT_THAT(load("a: 1\n---\nb: 2\n").errors, HasSubstr("second document"));
  EXPECT_THAT(load("? [a]\n: b\n").errors, HasSubstr("a key is plain text"));
  EXPECT_THAT(load("~: b\n").errors, HasSubstr("a key is missing"));
  EXPECT_THAT(load("a: &x b\n*x : c\n").errors, HasSubstr("an alias cannot be a key"));
}

TEST(Load, SaysWhatToDoAboutBrokenYaml) {
  EXPECT_THAT(load("a:\n\tb: 1\n").errors,
              HasSubstr("      = line 2 begins with a tab; indent with spaces\n"));
  EXPECT_THAT(load("a: {b: 1\n").errors, HasSubstr("      = a { before this place has no }"));
  EXPECT_THAT(load("a: [1, 2\n").errors, HasSubstr("      = a [ before this place has no ]"));
}

TEST(Load, RefusesBytesThatAreNotText) {
  EXPECT_THAT(load("a: 1\nb: \xff\n").errors,
              HasSubstr("edge.yaml:2:4: error: not UTF-8 text; save the file as UTF-8\n"));
  EXPECT_THAT(load(std::string("a: \0b", 5)).errors, HasSubstr("edge.yaml:1:4: error: a NUL byte"));
  EXPECT_THAT(load("a: \"ü\ab\"").errors,
              HasSubstr("1:6: error: a control character; in quotes write \\x07\n"));
  EXPECT_THAT(load("a: \"x\\0y\"\n").errors, HasSubstr("edge.yaml:1:4: error: not UTF-8 text"));
  EXPECT_THAT(load("a: \x1b[31m\n").errors,
              HasSubstr("1:4: error: a control character; in quotes write \\x1b\n"));
  EXPECT_THAT(load("\"x\\0y\": 1\n").errors, HasSubstr("a key is UTF-8 text"));
}

TEST(Load, RefusesDeepNestingOfEveryStyle) {
  for (const char* opening : {"[", "{a: ", "- ", "a: ["}) {
    EXPECT_FALSE(load(repeat(opening, 100'000)).errors.empty()) << opening;
  }
  std::string steps;
  for (int i = 0; i < 1'000; ++i) {
    steps += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  }
  EXPECT_THAT(load(steps).errors, HasSubstr("nested more than 48 levels deep"));
  EXPECT_THAT(load("a: " + repeat("[", 48) + repeat("]", 48)).errors,
              HasSubstr("nested more than 48 levels deep"));
  EXPECT_EQ(load("a: " + repeat("[", 47) + repeat("]", 47)).errors, "");
}

TEST(Load, RefusesAliasBombs) {
  std::string laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char name = 'b'; name < 'k'; ++name) {
    const std::string alias = std::string("*") + static_cast<char>(name - 1);
    laughs += fmt::format("{0}: &{0} [{1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}]\n", name, alias);
  }
  EXPECT_THAT(load(laughs).errors, HasSubstr("more than 50000 values"));

  std::string deep = "a0: &a0 " + repeat("[", 40) + "x" + repeat("]", 40) + "\n";
  for (int i = 1; i < 100; ++i) {
    deep += fmt::format("a{0}: &a{0} {1}*a{2}{3}\n", i, repeat("[", 40), i - 1, repeat("]", 40));
  }
  EXPECT_THAT(load(deep).errors, HasSubstr("nested more than"));
  EXPECT_THAT(load("a: &a [*a]\n").errors, HasSubstr("inside its own anchor"));
}

TEST(Load, RefusesWhatIsTooLarge) {
  EXPECT_EQ(load(std::string(2'000, 'x'), {.bytes = 1'024}).errors,
            "edge.yaml: error: larger than 1KiB\n");
  EXPECT_THAT(load(repeat("- a\n", 200), {.nodes = 100}).errors, HasSubstr("more than 100 values"));
  EXPECT_THAT(load(std::string(300, 'k') + ": 1\n").errors,
              HasSubstr("a key longer than 256 bytes"));
}

TEST(Load, AliasesAndMergesWork) {
  EXPECT_EQ(load("base: &base {a: 1, b: 2}\nuse: {<<: *base, b: 3}\nlist: [*base]\n").text(),
            "{base: {a: 1, b: 2}, use: {b: 3, a: 1}, list: [{a: 1, b: 2}]}");
  const Loaded loaded = load("base: &base {a: 1}\nuse: *base\n");
  EXPECT_EQ(loaded.node->find("use")->find("a")->path(), "use.a");
  EXPECT_THAT(load("a: {<<: 5}\n").errors, HasSubstr("<< takes a mapping"));
}

TEST(Substitute, PutsVariablesIn) {
  EXPECT_EQ(value("${NAME}"), "press-2");
  EXPECT_EQ(value("\"x/${NAME}/${QOS}\""), "x/press-2/1");
  EXPECT_EQ(value("${MISSING:-a b}"), "a b");
  EXPECT_EQ(value("${EMPTY:-x}"), "x");
  EXPECT_EQ(value("\"${EMPTY}\""), "");
}

TEST(Substitute, DoesNotSearchWhatItPutIn) {
  EXPECT_EQ(value("${NESTED}"), "${PASSWORD}");
}

TEST(Substitute, LeavesTemplatesAndEscapesAlone) {
  EXPECT_EQ(value("alerts/${device_id}"), "alerts/${device_id}");
  EXPECT_EQ(value("$${NAME}"), "${NAME}");
  EXPECT_EQ(value("$5 $ {NAME} $"), "$5 $ {NAME} $");
  EXPECT_EQ(value("${Name}"), "${Name}");
}

TEST(Substitute, NamesTheVariableThatIsNotSet) {
  EXPECT_EQ(load("a: 1\nb: \"${NOPE}\"\nc: ${NOPE2\n").errors,
            "edge.yaml:2:4: error: the environment variable NOPE is not set; set it or write "
            "${NOPE:-default}\n"
            "    2 | b: \"${NOPE}\"\n"
            "      |    ^^^^^^^^^\n"
            "edge.yaml:3:4: error: the '}' of '${NOPE2' is missing\n"
            "    3 | c: ${NOPE2\n"
            "      |    ^^^^^^^\n");
}

TEST(Substitute, ReadsFilesWithoutTheirLastNewline) {
  const std::string path = ::testing::TempDir() + "headwater_config_secret";
  std::ofstream(path) << "s3cr\nt\n";
  EXPECT_EQ(value("\"${file:" + path + "}\""), "s3cr\nt");
  EXPECT_THAT(value("\"${file:" + path + ".not}\""), HasSubstr("No such file"));
  std::ofstream(path) << std::string(70'000, 'x');
  EXPECT_THAT(value("\"${file:" + path + "}\""), HasSubstr("more than 65536 bytes"));
  EXPECT_THAT(value("\"${file:" + ::testing::TempDir() + "}\""), HasSubstr("Is a directory"));
  std::remove(path.c_str());
}

TEST(Substitute, MarksWhatItTouched) {
  const Loaded loaded = load("a: \"x${PASSWORD}\"\nb: plain\n");
  EXPECT_TRUE(loaded.node->find("a")->is_substituted());
  EXPECT_EQ(loaded.node->find("a")->shown(), "x${PASSWORD}");
  EXPECT_FALSE(loaded.node->find("b")->is_substituted());
}

TEST(Diagnostics, MaskValuesThatWerePutIn) {
  Diagnostics diagnostics;
  auto node = load_text("a: ${PASSWORD}\n", "edge.yaml", diagnostics, kEnvironment);
  diagnostics.error(*node->find("a"), "cannot use 'hunter22' here", "hunter22?");
  EXPECT_THAT(diagnostics.text(), HasSubstr("cannot use '***' here"));
  EXPECT_THAT(diagnostics.text(), Not(HasSubstr("hunter22")));
  EXPECT_THAT(diagnostics.json(), Not(HasSubstr("hunter22")));
  EXPECT_THAT(diagnostics.status().error().text(), Not(HasSubstr("hunter22")));
}

TEST(Diagnostics, CoverSecretsInLinesThatWereNeverParsed) {
  const std::string errors =
      load("sink: {user: a, password: hunter22, api_key: \"k,k\", x: [}\n").errors;
  EXPECT_THAT(errors, HasSubstr("sink: {user: a, password: ********, api_key: *****, x: [}"));
}

TEST(Diagnostics, CutLongLinesAroundTheCaret) {
  const std::string errors =
      load("a: {" + repeat("é: 1, é: 1, ", 1) + repeat("x ", 100) + "}\n").errors;
  EXPECT_THAT(errors, HasSubstr("…"));
  const std::string far = load("a: {" + repeat("x ", 100) + "k: 1, b: 1, b: 2}\n").errors;
  EXPECT_THAT(far, HasSubstr(" | …"));
  EXPECT_THAT(far, HasSubstr("b: 2}"));
}

TEST(Diagnostics, CountColumnsInCharacters) {
  EXPECT_EQ(load("é: {ü: 1, ü: 2}\n").errors,
            "edge.yaml:1:11: error: 'ü' is given twice\n"
            "    1 | é: {ü: 1, ü: 2}\n"
            "      |           ^\n"
            "      = first at line 1\n");
}

TEST(Diagnostics, NeverPrintControlCharacters) {
  Diagnostics diagnostics;
  auto node = load_text("a: \"\\e[31m\"\n", "edge.yaml", diagnostics, kEnvironment);
  diagnostics.error(*node->find("a"), "bad '" + node->find("a")->text() + "'");
  EXPECT_EQ(diagnostics.text().find('\x1b'), std::string::npos);
  EXPECT_NE(diagnostics.text(true).find('\x1b'), std::string::npos);
}

TEST(Diagnostics, StatusKeepsTheCodeOfACause) {
  Diagnostics diagnostics;
  diagnostics.error(Node::scalar("x"), Error::unavailable("the address is in use"));
  EXPECT_EQ(diagnostics.status().error().code(), Code::kUnavailable);
  diagnostics.error(Place{}, "unknown option");
  EXPECT_EQ(diagnostics.status().error().text(), "the address is in use (and 1 more)");
}

TEST(Diagnostics, StatusHasTheFirstErrorAndTheCount) {
  Diagnostics diagnostics;
  EXPECT_TRUE(diagnostics.status().ok());
  EXPECT_TRUE(load_text("a: 1\na: 2\nb: 1\nb: 2\n", "e.yaml", diagnostics, kEnvironment));
  EXPECT_EQ(diagnostics.status().error().text(), "e.yaml:2:1: 'a' is given twice (and 1 more)");
}

TEST(LoadFile, NamesTheMissingFile) {
  Diagnostics diagnostics;
  EXPECT_FALSE(load_file("/nonexistent/edge.yaml", diagnostics, kEnvironment).has_value());
  EXPECT_EQ(diagnostics.text(), "error: read /nonexistent/edge.yaml: No such file or directory\n");
}

TEST(ToYaml, WritesBlocksAsPeopleDo) {
  EXPECT_EQ(to_yaml(*load("{steps: [{filter: {when: a}}, [b, [c]], d], e: {}}").node),
            "steps:\n"
            "  - filter:\n"
            "      when: a\n"
            "  - - b\n"
            "    - [c]\n"
            "  - d\n"
            "e: {}\n");
}

TEST(ToYaml, LoadsBackToAnEqualTree) {
  for (const char* text :
       {"a: 1\nb: [x, 'true', \"c: d\", '', '- x', '*a', '#']\nc: {d: ~, e: {f: [[1], {g: 2}]}}\n",
        "a: $${NAME}\nb: \"${device_id}\"\nc: $$${NAME}\nd: \"$$$\"\n", "[]", "{}", "x",
        "- [a, {b: c}]\n- {d: {}}\n", "'a: b': \"tab\\t\\u00e9\\n\"\n"}) {
    const Loaded first = load(text);
    ASSERT_EQ(first.errors, "") << text;
    const Loaded block = load(to_yaml(*first.node));
    EXPECT_TRUE(block.node && *block.node == *first.node) << to_yaml(*first.node) << block.errors;
    const Loaded flow = load(to_flow(*first.node));
    EXPECT_TRUE(flow.node && *flow.node == *first.node) << to_flow(*first.node) << flow.errors;
  }
}

}  // namespace
}  // namespace headwater::config
