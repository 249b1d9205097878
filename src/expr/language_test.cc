// The language, one value at a time: each row is an expression and its value as `headwater expr
// --json` prints it, or its error. Corner cases follow the CEL specification (langdef.md).
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "expr/expression.h"

namespace headwater::expr {
namespace {

struct Case {
  std::string_view text;
  std::string_view type;   // of the value; "error" for an evaluation that fails
  std::string_view value;  // JSON; a part of the text of an error
};

void expect_all(std::span<const Case> cases) {
  for (const Case& entry : cases) {
    SCOPED_TRACE(entry.text);
    auto compiled = compile(entry.text, Names());
    if (!compiled) {
      ADD_FAILURE() << compiled.error().text();
      continue;
    }
    auto value = compiled->evaluate_scalar({});
    if (entry.type == "error") {
      EXPECT_FALSE(value.ok()) << to_json(*value);
      if (!value) {
        EXPECT_NE(value.error().text().find(entry.value), std::string::npos)
            << value.error().text();
      }
      continue;
    }
    if (!value) {
      ADD_FAILURE() << value.error().text();
      continue;
    }
    EXPECT_EQ(to_json(*value),
              fmt::format(R"({{"type":"{}","value":{}}})", entry.type, entry.value));
  }
}

TEST(Language, Literals) {
  constexpr Case kCases[] = {
      {"42", "int", "42"},
      {"-42", "int", "-42"},
      {"0x1F", "int", "31"},
      {"-0x1f", "int", "-31"},
      {"9223372036854775807", "int", "9223372036854775807"},
      {"-9223372036854775808", "int", "-9223372036854775808"},
      {"-0x8000000000000000", "int", "-9223372036854775808"},
      {"1.5", "double", "1.5"},
      {".99", "double", "0.99"},
      {"1e3", "double", "1000"},
      {"-2.3e+1", "double", "-23"},
      {"1e-400", "double", "0"},
      {"true", "bool", "true"},
      {"false", "bool", "false"},
      {"null", "null", "null"},
      {"[]", "list", "[]"},
      {"[1, 2, 3,]", "list", "[1,2,3]"},
      {"[[1], ['a', null]]", "list", R"([[1],["a",null]])"},
      {"7 // the rest is a comment", "int", "7"},
      {"\t7\r\n", "int", "7"},
      {".5 + 1.0", "double", "1.5"},
  };
  expect_all(kCases);
}

TEST(Language, Strings) {
  constexpr Case kCases[] = {
      {"''", "string", R"("")"},
      {"\"it's\"", "string", R"("it's")"},
      {"'say \"hi\"'", "string", R"("say \"hi\"")"},
      {R"('a\\b')", "string", R"("a\\b")"},
      {R"(r'a\b')", "string", R"("a\\b")"},
      {R"(R"\d+")", "string", R"("\\d+")"},
      {R"('\x41\u0042\U00000043\104')", "string", R"("ABCD")"},
      {R"('\X4a')", "string", R"("J")"},
      {R"('\u270c')", "string", "\"\u270c\""},
      {R"('\U0001f431')", "string", "\"\U0001f431\""},
      {R"('\n\r\t')", "string", R"("\n\r\t")"},
      {R"('\a\b\f\v')", "string", R"("\u0007\u0008\u000c\u000b")"},
      {R"('\?\"\'\`')", "string", R"("?\"'`")"},
      {"'''two\nlines'''", "string", R"("two\nlines")"},
      {R"("""a "quoted" word""")", "string", R"("a \"quoted\" word")"},
      {"r'''\\n'''", "string", R"("\\n")"},
      {"'°C'", "string", "\"°C\""},
      {"'a' + 'b' + \"c\"", "string", R"("abc")"},
      {"'' + ''", "string", R"("")"},
      {"'abc' < 'abd'", "bool", "true"},
      {"'Abc' < 'aBC'", "bool", "true"},
      {"'abc' < 'abcd'", "bool", "true"},
      {"'f' < '\\u1EBF'", "bool", "true"},
      {"'Am\\u00E9lie' == 'Ame\\u0301lie'", "bool", "false"},
  };
  expect_all(kCases);
}

TEST(Language, IntArithmetic) {
  constexpr Case kCases[] = {
      {"1 + 2 * 3", "int", "7"},
      {"(1 + 2) * 3", "int", "9"},
      {"10 - 3 - 2", "int", "5"},
      {"7 / 2", "int", "3"},
      {"-7 / 2", "int", "-3"},
      {"7 % 3", "int", "1"},
      {"-7 % 3", "int", "-1"},
      {"43 % -5", "int", "3"},
      {"-(-42)", "int", "42"},
      {"--5", "int", "5"},
      {"- 5", "int", "-5"},
      {"1/0", "error", "divide by zero"},
      {"1 % 0", "error", "modulus by zero"},
      {"9223372036854775807 + 1", "error", "overflow"},
      {"-9223372036854775808 - 1", "error", "overflow"},
      {"5000000000 * 5000000000", "error", "overflow"},
      {"-9223372036854775808 / -1", "error", "overflow"},
      {"-9223372036854775808 % -1", "error", "overflow"},
      {"-(-9223372036854775808)", "error", "overflow"},
      {"-9223372036854775808 * -1", "error", "overflow"},
  };
  expect_all(kCases);
}

TEST(Language, DoubleArithmetic) {
  constexpr Case kCases[] = {
      {"1.5 + 2.25", "double", "3.75"},
      {"1.0 / 0.0", "double", R"("Infinity")"},
      {"-1.0 / 0.0", "double", R"("-Infinity")"},
      {"0.0 / 0.0", "double", R"("NaN")"},
      {"0.0 / 0.0 == 0.0 / 0.0", "bool", "false"},
      {"0.0 / 0.0 != 0.0 / 0.0", "bool", "true"},
      {"0.0 / 0.0 < 1.0", "bool", "false"},
      {"0.0 / 0.0 >= 1.0", "bool", "false"},
      {"-0.0 == 0.0", "bool", "true"},
      {"1e308 * 10.0", "double", R"("Infinity")"},
      {"-(1.5)", "double", "-1.5"},
      // An int literal beside a double adapts (extension).
      {"1.5 + 1", "double", "2.5"},
      {"2 * 1.5", "double", "3"},
      {"9 / 2.0", "double", "4.5"},
      {"true ? 1 : 2.5", "double", "1"},
      {"pow(2.0, 10)", "double", "1024"},
  };
  expect_all(kCases);
}

TEST(Language, ComparisonAcrossNumbers) {
  constexpr Case kCases[] = {
      {"1 == 1.0", "bool", "true"},
      {"1 != 1.5", "bool", "true"},
      {"1 < 1.5", "bool", "true"},
      {"2.5 >= 2", "bool", "true"},
      {"9223372036854775807 < 9223372036854777857.0", "bool", "true"},
      {"-9223372036854775808 < -9223372036854777857.0", "bool", "false"},
      {"9223372036854775806 < 9223372036854775807", "bool", "true"},
      {"1 < 0.0 / 0.0", "bool", "false"},
      {"false < true", "bool", "true"},
      {"true <= false", "bool", "false"},
      {"[1, 2] == [1.0, 2.0]", "bool", "true"},
      {"[1, 'a'] == [1, 'b']", "bool", "false"},
      {"[1] == [1, 2]", "bool", "false"},
      {"null == null", "bool", "true"},
      {"1 == null", "bool", "false"},
      {"'a' != null", "bool", "true"},
      {"dyn(1) == 'a'", "bool", "false"},
  };
  expect_all(kCases);
}

TEST(Language, LogicAbsorbsErrors) {
  constexpr Case kCases[] = {
      {"true && true", "bool", "true"},
      {"true || false", "bool", "true"},
      {"!true", "bool", "false"},
      {"!!true", "bool", "true"},
      {"!!!true", "bool", "false"},
      {"false && 1/0 > 0", "bool", "false"},
      {"1/0 > 0 && false", "bool", "false"},
      {"true || 1/0 > 0", "bool", "true"},
      {"1/0 > 0 || true", "bool", "true"},
      {"true && 1/0 > 0", "error", "divide by zero"},
      {"1/0 > 0 || false", "error", "divide by zero"},
      {"1/0 > 0 && 2/0 > 0", "error", "divide by zero"},
      {"true ? 1 : 1/0", "int", "1"},
      {"false ? 1/0 : 2", "int", "2"},
      {"1/0 > 4 ? 'a' : 'b'", "error", "divide by zero"},
      {"false ? 1 : false ? 2 : 3", "int", "3"},
      {"true || false && false", "bool", "true"},
      {"1 + 1 == 2 && 2 < 3", "bool", "true"},
  };
  expect_all(kCases);
}

TEST(Language, Lists) {
  constexpr Case kCases[] = {
      {"1 in [1, 2]", "bool", "true"},
      {"3 in [1, 2]", "bool", "false"},
      {"1 in []", "bool", "false"},
      {"1.0 in [1, 2]", "bool", "true"},
      {"'a' in ['a', 'b']", "bool", "true"},
      {"null in [1, null]", "bool", "true"},
      {"!(3 in [1])", "bool", "true"},
      {"[7, 8, 9][1]", "int", "8"},
      {"[7, 8, 9][dyn(0.0)]", "int", "7"},
      {"[7][1]", "error", "index 1"},
      {"[7][-1]", "error", "index -1"},
      {"[7][dyn(0.5)]", "error", "index"},
      {"[7][1] > 0 || true", "bool", "true"},
      {"[[1, 2], [3]][0][1]", "int", "2"},
      {"[1] + [2, 'x']", "list", R"([1,2,"x"])"},
      {"[] + []", "list", "[]"},
      {"size([1, 2, 3])", "int", "3"},
      {"[].size()", "int", "0"},
  };
  expect_all(kCases);
}

TEST(Language, Macros) {
  constexpr Case kCases[] = {
      {"[1, 2, 3].all(e, e > 0)", "bool", "true"},
      {"[1, 2, 3].all(e, e > 1)", "bool", "false"},
      {"[].all(e, e > 0)", "bool", "true"},
      {"[1, 2, 3].all(e, 6 / (2 - e) == 6)", "bool", "false"},
      {"[1, 2].all(e, e / 0 != 17)", "error", "divide by zero"},
      {"[1, 2, 3].exists(e, e == 2)", "bool", "true"},
      {"[1, 2, 3].exists(e, 1 / (e - 1) == 1)", "bool", "true"},
      {"[].exists(e, true)", "bool", "false"},
      {"[6, 7, 8].exists_one(x, x % 5 == 2)", "bool", "true"},
      {"[0, 1, 3].exists_one(x, x % 2 == 1)", "bool", "false"},
      {"[3, 2, 1, 0].exists_one(n, 12 / n > 1)", "error", "divide by zero"},
      {"[1, 2, 3].map(n, n * n)", "list", "[1,4,9]"},
      {"[1, 2, 3].map(n, n > 1, n * 10)", "list", "[20,30]"},
      {"[2, 1, 0].map(n, 4 / n)", "error", "divide by zero"},
      {"[1, 2, 3, 4].filter(n, n % 2 == 0)", "list", "[2,4]"},
      {"['a'].filter(x, ['b'].all(y, x != y))", "list", R"(["a"])"},
      {"[1, 2].map(x, [3, 4].map(y, x * y))", "list", "[[3,4],[6,8]]"},
      {"[[1], [2, 3]].map(x, size(x))", "list", "[1,2]"},
      {"[1].map(x, [x].map(x, x + 1)[0] + x)", "list", "[3]"},
  };
  expect_all(kCases);
}

TEST(Language, StringFunctions) {
  constexpr Case kCases[] = {
      {"size('')", "int", "0"},
      {"size('°C')", "int", "2"},
      {"'\\U0001f431!'.size()", "int", "2"},
      {"'press-3'.startsWith('press')", "bool", "true"},
      {"'press-3'.startsWith('')", "bool", "true"},
      {"'press-3'.endsWith('-3')", "bool", "true"},
      {"'press-3'.endsWith('press-33')", "bool", "false"},
      {"'press-3'.contains('ss-')", "bool", "true"},
      {"'press-3'.matches('[a-z]+-[0-9]')", "bool", "true"},
      {"matches('press-3', '^[0-9]+$')", "bool", "false"},
      {"'mañana'.matches('^ma.ana$')", "bool", "true"},
      {"'x'.matches(dyn('[') + 'x')", "error", "bad pattern"},
      {"lower('AbC°')", "string", "\"abc°\""},
      {"'AbC'.upper()", "string", R"("ABC")"},
      {"'AbC'.lowerAscii()", "string", R"("abc")"},
      {"' \\u00a0x y\\n '.trim()", "string", R"("x y")"},
  };
  expect_all(kCases);
}

TEST(Language, NumberFunctions) {
  constexpr Case kCases[] = {
      {"abs(-3)", "int", "3"},
      {"abs(-3.5)", "double", "3.5"},
      {"abs(-9223372036854775808)", "error", "overflow"},
      {"min(3, 1, 2)", "int", "1"},
      {"max(1.5, 2)", "double", "2"},
      {"max([1, 5, 3])", "int", "5"},
      {"min([])", "error", "empty list"},
      {"isNaN(min(1.0, 0.0 / 0.0))", "bool", "true"},
      {"math.greatest(1, 2, 3)", "int", "3"},
      {"math.least(-1.5)", "double", "-1.5"},
      {"sqrt(16.0)", "double", "4"},
      {"sqrt(16)", "double", "4"},
      {"isNaN(sqrt(-1.0))", "bool", "true"},
      {"log(exp(1.0))", "double", "1"},
      {"log(0.0)", "double", R"("-Infinity")"},
      {"log10(1000)", "double", "3"},
      {"round(2.5)", "double", "3"},
      {"round(-2.5)", "double", "-3"},
      {"round(-0.4)", "double", "-0"},
      {"ceil(1.2)", "double", "2"},
      {"floor(-1.2)", "double", "-2"},
      {"trunc(-1.7)", "double", "-1"},
      {"sign(-3)", "int", "-1"},
      {"clamp(5, 0, 3)", "int", "3"},
      {"clamp(-5.5, 0, 100)", "double", "0"},
      {"clamp(50.0, 0, 100)", "double", "50"},
      {"isNaN(0.0 / 0.0)", "bool", "true"},
      {"isInf(1.0 / 0.0)", "bool", "true"},
      {"isFinite(1.0)", "bool", "true"},
      {"math.bitAnd(6, 3)", "int", "2"},
      {"math.bitShiftLeft(1, 4)", "int", "16"},
      {"math.bitShiftRight(-1, 60)", "int", "15"},
      {"math.bitShiftLeft(1, -1)", "error", "negative"},
  };
  expect_all(kCases);
}

TEST(Language, Conversions) {
  constexpr Case kCases[] = {
      {"int(3.99)", "int", "3"},
      {"int(-3.99)", "int", "-3"},
      {"int('-42')", "int", "-42"},
      {"int('4.5')", "error", "no int"},
      {"int(1e30)", "error", "range"},
      {"int(0.0 / 0.0)", "error", "range"},
      {"int(9223372036854775807.0)", "error", "range"},
      {"int(timestamp('2009-02-13T23:31:30Z'))", "int", "1234567890"},
      {"int(timestamp('1969-12-31T23:59:59.5Z'))", "int", "-1"},
      {"double(3)", "double", "3"},
      {"double('1.5e3')", "double", "1500"},
      {"double('abc')", "error", "no number"},
      {"string(1.5)", "string", R"("1.5")"},
      {"string(-3)", "string", R"("-3")"},
      {"string(true)", "string", R"("true")"},
      {"string(duration('90m'))", "string", R"("5400s")"},
      {"string(timestamp(0))", "string", R"("1970-01-01T00:00:00Z")"},
      {"bool('true')", "bool", "true"},
      {"bool('F')", "bool", "false"},
      {"bool('yes')", "error", "no bool"},
      {"type(1)", "type", R"("int")"},
      {"type(1.0) == double", "bool", "true"},
      {"type('a') == int", "bool", "false"},
      {"type(type(1)) == type", "bool", "true"},
      {"type([1]) == list", "bool", "true"},
      {"type(null) == null_type", "bool", "true"},
      {"type(timestamp(0)) == google.protobuf.Timestamp", "bool", "true"},
      {"dyn(1) + 1", "int", "2"},
      {"dyn(1.5) + 1", "double", "2.5"},
      {"dyn('a') + 1", "error", "no such overload"},
      {"abs(dyn('a'))", "error", "no such overload"},
  };
  expect_all(kCases);
}

TEST(Language, Time) {
  constexpr Case kCases[] = {
      {"timestamp('2024-02-29T12:00:00Z')", "timestamp", R"("2024-02-29T12:00:00Z")"},
      {"timestamp('2024-02-29T12:00:00.25+02:00')", "timestamp", R"("2024-02-29T10:00:00.250Z")"},
      {"timestamp('2024-02-29 12:00')", "timestamp", R"("2024-02-29T12:00:00Z")"},
      {"timestamp('2023-02-29T12:00:00Z')", "error", "no time"},
      {"timestamp('0001-01-01T00:00:00Z')", "timestamp", R"("0001-01-01T00:00:00Z")"},
      {"timestamp('9999-12-31T23:59:59.999999999Z')", "timestamp",
       R"("9999-12-31T23:59:59.999999999Z")"},
      {"timestamp('0000-01-01T00:00:00Z')", "error", "no time"},
      {"timestamp(253402300800)", "error", "years 1 to 9999"},
      {"timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error", "years 1 to 9999"},
      {"timestamp('0001-01-01T00:00:00Z') - duration('1ns')", "error", "years 1 to 9999"},
      {"timestamp('2009-02-13T23:00:00Z') + duration('240s')", "timestamp",
       R"("2009-02-13T23:04:00Z")"},
      {"duration('1h') + timestamp(0)", "timestamp", R"("1970-01-01T01:00:00Z")"},
      {"timestamp(100) - timestamp(40)", "duration", R"("60s")"},
      {"timestamp(0) < timestamp(1)", "bool", "true"},
      {"duration('1h30m') == duration('90m')", "bool", "true"},
      {"duration('-1.5s')", "duration", R"("-1.5s")"},
      {"duration('1d')", "duration", R"("86400s")"},
      {"duration('0')", "duration", R"("0s")"},
      {"duration('250ms') < duration('1s')", "bool", "true"},
      {"duration('1 hour')", "error", "no duration"},
      {"duration('5')", "error", "no duration"},
      {"duration('320000000000s')", "error", "292 years"},
      {"duration('200000000000s') + duration('1s')", "error", "292 years"},
      {"timestamp('2009-02-13T23:31:30Z').getFullYear()", "int", "2009"},
      {"timestamp('2009-02-13T23:31:30Z').getMonth()", "int", "1"},
      {"timestamp('2009-02-13T23:31:30Z').getDate()", "int", "13"},
      {"timestamp('2009-02-13T23:31:30Z').getDayOfMonth()", "int", "12"},
      {"timestamp('2009-02-13T23:31:30Z').getDayOfWeek()", "int", "5"},
      {"timestamp('2009-02-13T23:31:30Z').getDayOfYear()", "int", "43"},
      {"timestamp('2009-02-13T23:31:30Z').getHours()", "int", "23"},
      {"timestamp('2009-02-13T23:31:30Z').getMinutes()", "int", "31"},
      {"timestamp('2009-02-13T23:31:30Z').getSeconds()", "int", "30"},
      {"timestamp('2009-02-13T23:31:20.123456789Z').getMilliseconds()", "int", "123"},
      {"timestamp('1969-12-31T23:59:59Z').getDayOfWeek()", "int", "3"},
      {"timestamp('2009-02-13T23:31:30Z').getHours('+02:00')", "int", "1"},
      {"timestamp('2009-02-13T02:00:00Z').getDayOfMonth('-02:30')", "int", "11"},
      {"timestamp('2009-02-13T23:31:30Z').getMinutes('UTC')", "int", "31"},
      {"timestamp('2009-02-13T23:31:30Z').getHours(dyn('no') + 'where')", "error",
       "unknown time zone"},
      {"duration('3730s').getHours()", "int", "1"},
      {"duration('3730s').getMinutes()", "int", "62"},
      {"duration('3730s').getSeconds()", "int", "3730"},
      {"duration('123.321456789s').getMilliseconds()", "int", "321"},
  };
  expect_all(kCases);
}

TEST(Language, NamedZonesFollowTheSystemsDatabase) {
  const auto known = compile("timestamp(0).getHours('Europe/Berlin')", Names());
  if (!known) {
    GTEST_SKIP() << "no zone database here: " << known.error().text();
  }
  constexpr Case kCases[] = {
      {"timestamp('2024-01-15T12:00:00Z').getHours('Europe/Berlin')", "int", "13"},
      {"timestamp('2024-07-15T12:00:00Z').getHours('Europe/Berlin')", "int", "14"},
      {"timestamp('2024-03-31T00:59:59Z').getHours('Europe/Berlin')", "int", "1"},
      {"timestamp('2024-03-31T01:00:00Z').getHours('Europe/Berlin')", "int", "3"},
      {"timestamp('2009-02-13T23:31:30Z').getDate('Australia/Sydney')", "int", "14"},
      {"timestamp('2009-02-13T02:00:00Z').getDayOfMonth('America/St_Johns')", "int", "11"},
      {"timestamp('2009-02-13T02:00:00Z').getMinutes('Asia/Kathmandu')", "int", "45"},
      // Past the transitions that the file lists: its rule.
      {"timestamp('2080-01-15T12:00:00Z').getHours('Europe/Berlin')", "int", "13"},
      {"timestamp('2080-07-15T12:00:00Z').getHours('Europe/Berlin')", "int", "14"},
      {"timestamp('2080-01-15T12:00:00Z').getHours('Australia/Sydney')", "int", "23"},
      {"timestamp('2080-07-15T12:00:00Z').getHours('Australia/Sydney')", "int", "22"},
  };
  expect_all(kCases);
}

Bindings some_bindings() {
  return {{"x", Value::number(20.5)},      {"n", Value::integer(7)},
          {"s", Value::string("press-3")}, {"motor.temperature", Value::number(81)},
          {"odd name", Value::integer(1)}, {"gone", Value()}};
}

// With bindings and open names.
void expect_bound(std::span<const Case> cases) {
  for (const Case& entry : cases) {
    SCOPED_TRACE(entry.text);
    auto compiled = compile(entry.text, Names::open());
    if (!compiled) {
      ADD_FAILURE() << compiled.error().text();
      continue;
    }
    auto value = compiled->evaluate_scalar(some_bindings());
    if (entry.type == "error") {
      EXPECT_FALSE(value.ok()) << to_json(*value);
      continue;
    }
    if (!value) {
      ADD_FAILURE() << value.error().text();
      continue;
    }
    EXPECT_EQ(to_json(*value),
              fmt::format(R"({{"type":"{}","value":{}}})", entry.type, entry.value));
  }
}

TEST(Language, NamesAndMissingValues) {
  constexpr Case kCases[] = {
      {"x", "double", "20.5"},
      {"x + 1", "double", "21.5"},
      {"x > 20 && n == 7", "bool", "true"},
      {"motor.temperature > 80", "bool", "true"},
      {"`odd name` + 1", "int", "2"},
      {"motor.`temperature`", "double", "81"},
      {"s.startsWith('press')", "bool", "true"},
      {"n % 2", "int", "1"},
      {"has(x)", "bool", "true"},
      {"has(gone)", "bool", "false"},
      {"has(motor.temperature)", "bool", "true"},
      {"has(motor.speed)", "bool", "false"},
      {"gone", "null", "null"},
      {"gone + 1", "null", "null"},
      {"gone > 1", "null", "null"},
      {"gone == null", "bool", "true"},
      {"gone != null", "bool", "false"},
      {"x == null", "bool", "false"},
      {"gone == 1", "null", "null"},
      {"gone == gone", "null", "null"},
      {"!gone", "null", "null"},
      {"gone && false", "bool", "false"},
      {"gone || true", "bool", "true"},
      {"gone && true", "null", "null"},
      {"gone ? 1 : 2", "null", "null"},
      {"has(gone) ? gone : -1", "int", "-1"},
      {"gone in [1, 2]", "null", "null"},
      {"size(gone)", "null", "null"},
      {"1/0 > gone", "error", ""},
      {"gone && 1/0 > 0", "error", ""},
      {"x + s", "error", ""},
      {"type == 'pump'", "null", "null"},  // `type` is a field here
  };
  expect_bound(kCases);
}

TEST(Language, BoundValuesMustHaveTheDeclaredType) {
  const auto compiled = compile("sqrt(x)", Names().add("x", Type::kDouble));
  ASSERT_TRUE(compiled.ok());
  EXPECT_EQ(to_json(*compiled->evaluate_scalar({{"x", Value::integer(9)}})),
            R"({"type":"double","value":3})");
  const auto wrong = compiled->evaluate_scalar({{"x", Value::string("9")}});
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().text(), "'x' is string, not double");
}

TEST(Language, JsonOfOddValues) {
  EXPECT_EQ(to_json(Value::string("a\"b")), R"({"type":"string","value":"a\"b"})");
  EXPECT_EQ(to_json(Value()), R"({"type":"null","value":null})");
  EXPECT_EQ(to_json(Value::list({Value::number(1.5), Value::duration(Duration{1})})),
            R"({"type":"list","value":[1.5,"0.000000001s"]})");
  EXPECT_EQ(to_json(Value::error("boom")), R"({"type":"error","value":"boom"})");
}

}  // namespace
}  // namespace headwater::expr
