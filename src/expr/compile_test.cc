// What compile() refuses, where its caret points, what it knows of a good expression, and its
// limits.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "expr/expression.h"

namespace headwater::expr {
namespace {

Schema press_schema() {
  return Schema({{"temperature", headwater::Type::kFloat64, "°C"},
                 {"pressure", headwater::Type::kFloat32, "bar"},
                 {"count", headwater::Type::kInt64, ""},
                 {"running", headwater::Type::kBool, ""},
                 {"site", headwater::Type::kString, ""},
                 {"serviced", headwater::Type::kTimestamp, ""},
                 {"picture", headwater::Type::kFrame, ""},
                 {"motor.temperature", headwater::Type::kFloat64, ""},
                 {"topic", headwater::Type::kInt64, ""}});
}

struct Refusal {
  std::string_view text;
  std::size_t column;
  std::string_view message;  // a part of it
};

void expect_refusals(std::span<const Refusal> refusals) {
  const Names names = Names::of(press_schema());
  for (const Refusal& entry : refusals) {
    SCOPED_TRACE(entry.text);
    Problem problem;
    const auto compiled = compile(entry.text, names, {}, &problem);
    ASSERT_FALSE(compiled.ok());
    EXPECT_EQ(problem.column, entry.column) << problem.message;
    EXPECT_NE(problem.message.find(entry.message), std::string::npos) << problem.message;
  }
}

TEST(Compile, SyntaxErrorsPointAtTheirPlace) {
  constexpr Refusal kRefusals[] = {
      {"", 1, "empty"},
      {"   ", 1, "empty"},
      {"1 +", 4, "ends here"},
      {"[1, 2", 6, "expected ',' or ']', but the expression ends here"},
      {"max(1 2)", 7, "expected ',' or ')', got '2'"},
      {"(1 + 2", 7, "')'"},
      {"1 2", 3, "got '2'"},
      {"temperature > > 1", 15, "a value"},
      {"temperature = 1", 13, "write '=='"},
      {"running & running", 9, "write '&&'"},
      {"running | running", 9, "write '||'"},
      {"running and running", 9, "got 'and'"},
      {"'open", 1, "never closed"},
      {"'a\nb'", 1, "not closed on its line"},
      {R"('\q')", 2, "unknown escape"},
      {R"('\x4')", 5, "hexadecimal digits"},
      {R"('\ud800')", 4, "no character"},
      {"9223372036854775808", 1, "outside the range of an int"},
      {"-9223372036854775809", 2, "outside the range of an int"},
      {"99999999999999999999", 1, "outside the range of an int"},
      {"1e999", 1, "outside the range of a double"},
      {"12abc", 1, "no number"},
      {"0x", 1, "hexadecimal digits"},
      {"1u", 1, "unsigned"},
      {"b'x'", 1, "bytes"},
      {"{'a': 1}", 1, "maps"},
      {"`open", 1, "never closed"},
      {"``", 1, "missing between"},
      {"while > 1", 1, "reserved word"},
      {"temperature.x.", 15, "rest of the name"},
      {"[1, 2", 6, "','"},
      {"size(1,)", 8, "an operand"},
      {"[1].map(1, 2)", 9, "variable"},
      {"has(1 + 1)", 1, "needs the name of a field"},
      {"true ? 1", 9, "':'"},
      {"true ? false ? 1 : 2 : 3", 14, "parentheses"},
      {"#", 1, "unexpected '#'"},
      {"temperature > 1 #", 17, "unexpected '#'"},
      {"'°C' = site", 6, "write '=='"},  // columns count characters, not bytes
  };
  expect_refusals(kRefusals);
}

TEST(Compile, TypeErrorsPointAtTheirPlaceAndSayTheFix) {
  constexpr Refusal kRefusals[] = {
      {"temprature > 1", 1, "no field 'temprature', did you mean 'temperature'?"},
      {"1 < motor.temprature", 5, "did you mean 'motor.temperature'?"},
      {"devise == 'a'", 1, "did you mean 'device'?"},
      {"xyz > 1", 1, "no field 'xyz'"},
      {"has(presure)", 5, "did you mean 'pressure'?"},
      {"temperature + count", 13, "write double(count)"},
      {"count * temperature", 7, "write double(count)"},
      {"temperature * (9 / 5)", 13, "write double(...) around the int"},
      {"temperature + site", 13, "write string(...)"},
      {"temperature > site", 13, "write double(...)"},
      {"temperature > '40'", 13, "without quotes"},
      {"site == 3", 6, "around the number"},
      {"serviced > '2024-01-01'", 10, "write timestamp("},
      {"time - received > 5", 17, "write duration("},
      {"running + 1", 9, "no '+' of bool and int"},
      {"temperature % 2", 13, "'%' is for ints"},
      {"!temperature", 1, "needs a bool"},
      {"-site", 1, "needs a number"},
      {"temperature && running", 1, "'&&' needs bools"},
      {"running || count", 12, "'||' needs bools"},
      {"count ? 1 : 2", 1, "needs a bool"},
      {"running ? 1 : 'a'", 9, "one type"},
      {"running ? count : temperature", 9, "write double(count)"},
      {"count in 3", 7, "needs a list"},
      {"count in ['a']", 7, "never in a list of string"},
      {"count[0]", 6, "only a list"},
      {"[1]['a']", 5, "index of a list is an int"},
      {"null + 1", 6, "no '+' of null and int"},
      {"null < 1", 6, "cannot compare null"},
      {"[1] < [2]", 5, "cannot compare list"},
      {"sqroot(1.0)", 1, "no function 'sqroot'"},
      {"sqrt('a')", 1, "does not fit"},
      {"sqrt()", 1, "does not fit"},
      {"site.startsWith(3)", 6, "string.startsWith(string)"},
      {"startsWith(site, 'a')", 1, "string.startsWith(string)"},
      {"max(count, temperature)", 1, "write double(...) around the int"},
      {"site.matches('[a')", 14, "bad pattern"},
      {"time.getHours('Nowhere/Town')", 15, "unknown time zone"},
      {"site.length", 1, "no field 'site.length'"},
      {"site.size().x", 13, "only a column has fields"},
      {"count.all(x, x > 0)", 7, "macros work on lists"},
      {"[1].all(x, x)", 12, "must be a bool"},
      {"picture == 'x'", 9, "cannot compare bytes"},
      {"size(picture)", 1, "does not fit"},
  };
  expect_refusals(kRefusals);
}

TEST(Compile, TheErrorTextShowsTheLineAndACaret) {
  const auto compiled = compile("temprature > 3", Names::of(press_schema()));
  ASSERT_FALSE(compiled.ok());
  EXPECT_EQ(compiled.error().code(), Code::kInvalid);
  EXPECT_EQ(compiled.error().text(),
            "expr:1:1: no field 'temprature', did you mean 'temperature'?\n"
            "  temprature > 3\n"
            "  ^");
}

TEST(Compile, TheCaretCountsCharactersAndLines) {
  Problem problem;
  const auto compiled = compile("running &&\n  '°°' == count", Names::of(press_schema()),
                                {.origin = "edge.yaml"}, &problem);
  ASSERT_FALSE(compiled.ok());
  EXPECT_EQ(problem.line, 2U);
  EXPECT_EQ(problem.column, 8U);
  EXPECT_EQ(problem.offset, 20U);
  EXPECT_EQ(compiled.error().text(),
            "edge.yaml:2:8: cannot compare string with int\n"
            "    '°°' == count\n"
            "         ^");
}

TEST(Compile, KnowsTypesAndFields) {
  const Names names = Names::of(press_schema());
  struct Known {
    std::string_view text;
    Type type;
    std::string_view fields;
  };
  constexpr Known kKnown[] = {
      {"temperature > -40.0 && temperature < 400", Type::kBool, "temperature"},
      {"temperature + 1", Type::kDouble, "temperature"},
      {"pressure * 2", Type::kDouble, "pressure"},
      {"count + 1", Type::kInt, "count"},
      {"double(count) / temperature", Type::kDouble, "count temperature"},
      {"motor.temperature - temperature", Type::kDouble, "motor.temperature temperature"},
      {"device + '/' + site", Type::kString, "site"},
      {"time", Type::kTimestamp, ""},
      {"received - time", Type::kDuration, ""},
      {"`topic` + 1", Type::kInt, "topic"},
      {"topic", Type::kString, ""},
      {"has(picture)", Type::kBool, "picture"},
      {"picture == null", Type::kBool, "picture"},
      {"running ? temperature : null", Type::kDouble, "running temperature"},
      {"[1, 2].map(x, x + count)", Type::kList, "count"},
      {"type(count)", Type::kType, "count"},
      {"null", Type::kNull, ""},
  };
  for (const Known& entry : kKnown) {
    SCOPED_TRACE(entry.text);
    const auto compiled = compile(entry.text, names);
    ASSERT_TRUE(compiled.ok()) << compiled.error().text();
    EXPECT_EQ(compiled->type(), entry.type) << type_name(compiled->type());
    std::string fields;
    for (const std::string& field : compiled->fields()) {
      fields += fields.empty() ? "" : " ";
      fields += field;
    }
    EXPECT_EQ(fields, entry.fields);
  }
}

TEST(Compile, RefusesAnotherResultTypeThanWanted) {
  const Names names = Names::of(press_schema());
  const auto refused = compile("temperature", names, {.want = Type::kBool});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().text().find("the result must be bool, but this is double"),
            std::string::npos);
  EXPECT_TRUE(compile("temperature > 1", names, {.want = Type::kBool}).ok());
  EXPECT_TRUE(compile("anything", Names::open(), {.want = Type::kBool}).ok());
  const auto widened = compile("count", names, {.want = Type::kDouble});
  ASSERT_TRUE(widened.ok());
  EXPECT_EQ(widened->type(), Type::kDouble);
}

TEST(Compile, OpenNamesTakeUnknownFieldsAsDyn) {
  const auto compiled = compile("temprature + 1 > speed", Names::open(press_schema()));
  ASSERT_TRUE(compiled.ok()) << compiled.error().text();
  EXPECT_EQ(compiled->type(), Type::kBool);
  EXPECT_FALSE(compile("temperature + site", Names::open(press_schema())).ok());
}

std::string repeated(std::string_view part, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) {
    out += part;
  }
  return out;
}

TEST(Compile, RefusesDeepNestingInsteadOfOverflowingTheStack) {
  const std::string deep[] = {
      repeated("(", 30'000) + "1" + repeated(")", 30'000),
      repeated("[", 60'000),
      repeated("-(", 20'000) + "1" + repeated(")", 20'000),
      repeated("!-", 30'000) + "true",
      repeated("size(", 10'000) + "''" + repeated(")", 10'000),
      repeated("[1].map(x, ", 5'000) + "1" + repeated(")", 5'000),
      repeated("true ? (", 4'000) + "1" + repeated(") : 2", 4'000),
      "[0]" + repeated("[0", 20'000),
  };
  for (const std::string& text : deep) {
    const auto compiled = compile(text, Names());
    ASSERT_FALSE(compiled.ok());
    EXPECT_NE(compiled.error().text().find("nested deeper than 250"), std::string::npos)
        << compiled.error().text().substr(0, 200);
  }
}

TEST(Compile, LongChainsNeedNoStack) {
  const std::pair<std::string, std::string> chains[] = {
      {"0" + repeated("+1", 30'000), "30000"},
      {repeated("false||", 9'000) + "true", "true"},
      {repeated("false?0:", 8'000) + "7", "7"},
      {repeated("-", 60'000) + "5", "5"},
      {repeated("!", 60'001) + "true", "false"},
      {"''" + repeated(".upper()", 8'000) + " == ''", "true"},
      {repeated("(", 249) + "1" + repeated(")", 249), "1"},
  };
  for (const auto& [text, value] : chains) {
    const auto compiled = compile(text, Names());
    ASSERT_TRUE(compiled.ok()) << compiled.error().text().substr(0, 200);
    const auto result = compiled->evaluate_scalar({});
    ASSERT_TRUE(result.ok()) << result.error().text();
    EXPECT_NE(to_json(*result).find(":" + value + "}"), std::string::npos) << to_json(*result);
  }
}

TEST(Compile, KeepsItsLimits) {
  EXPECT_FALSE(compile(repeated(" ", 70'000) + "1", Names()).ok());
  const auto long_list = compile("[" + repeated("1,", 10'001) + "]", Names());
  ASSERT_FALSE(long_list.ok());
  EXPECT_NE(long_list.error().text().find("more than 10000 elements"), std::string::npos);
  EXPECT_FALSE(compile("'\xff'", Names()).ok());
  EXPECT_FALSE(compile(std::string_view("1\0", 2), Names()).ok());
}

TEST(Compile, BoundsTheWorkOfMacrosAndTheSizeOfStrings) {
  const std::string hundred = "[" + repeated("1,", 100) + "]";
  const auto nested = compile(hundred + ".all(a, " + hundred + ".all(b, " + hundred + ".all(c, " +
                                  hundred + ".all(d, a + b + c + d > 0))))",
                              Names());
  ASSERT_TRUE(nested.ok());
  const auto result = nested->evaluate_scalar({});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().text().find("too many steps"), std::string::npos);

  const auto grown =
      compile("['" + repeated("x", 30'000) + "'].map(x, x" + repeated("+x", 100) + ")", Names());
  ASSERT_TRUE(grown.ok());
  const auto text = grown->evaluate_scalar({});
  ASSERT_FALSE(text.ok());
  EXPECT_NE(text.error().text().find("1 MiB"), std::string::npos);

  const auto deep = compile("[1]" + repeated(".map(x,[x])", 5'000), Names());
  ASSERT_TRUE(deep.ok());
  EXPECT_FALSE(deep->evaluate_scalar({}).ok());
}

TEST(Compile, LenientLeavesTypeErrorsToTheEvaluation) {
  const CompileOptions lenient{.lenient = true};
  const auto absorbed = compile("nothing || true", Names(), lenient);
  ASSERT_TRUE(absorbed.ok());
  EXPECT_EQ(to_json(*absorbed->evaluate_scalar({})), R"({"type":"bool","value":true})");
  const auto mixed = compile("true ? 'cows' : 17", Names(), lenient);
  ASSERT_TRUE(mixed.ok());
  EXPECT_EQ(to_json(*mixed->evaluate_scalar({})), R"({"type":"string","value":"cows"})");
  const auto failed = compile("'a' && 'b'", Names(), lenient);
  ASSERT_TRUE(failed.ok());
  EXPECT_FALSE(failed->evaluate_scalar({}).ok());
}

}  // namespace
}  // namespace headwater::expr
