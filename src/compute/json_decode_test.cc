#include "compute/json_decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <random>

#include "compute/json_number.h"
#include "compute/json_walk.h"

namespace headwater {
namespace {

using testing::HasSubstr;

class Decode : public testing::Test {
 protected:
  void run(const std::vector<std::string>& messages) {
    batch.clear();
    failures.clear();
    stats = {};
    for (const std::string& message : messages) {
      Row row;
      row.payload = batch.arena().copy(message);
      batch.add_row(row);
    }
    ASSERT_TRUE(decoder.decode(batch, stats, failures));
  }

  double number(const std::string& column, std::size_t row = 0) {
    const Column* const found = batch.find(column);
    return found == nullptr ? -12345.0 : found->as_double(row);
  }
  std::string text(const std::string& column, std::size_t row = 0) {
    const Column* const found = batch.find(column);
    return found == nullptr ? "no column" : std::string(found->values<std::string_view>()[row]);
  }
  bool null(const std::string& column, std::size_t row = 0) {
    const Column* const found = batch.find(column);
    return found != nullptr && !found->valid(row);
  }

  JsonDecoder decoder{{}};
  Batch batch;
  DecodeStats stats;
  std::vector<DecodeFailure> failures;
};

TEST_F(Decode, MakesAColumnOfEachField) {
  run({R"({"t":21.5,"id":"a","on":true,"none":null})", R"({"t":-3,"id":"","on":false})"});
  EXPECT_EQ(number("t"), 21.5);
  EXPECT_EQ(number("t", 1), -3);
  EXPECT_EQ(text("id"), "a");
  EXPECT_FALSE(null("id", 1));
  EXPECT_EQ(batch.find("on")->type(), Type::kBool);
  EXPECT_EQ(number("on"), 1);
  EXPECT_EQ(number("on", 1), 0);
  EXPECT_EQ(batch.find("none"), nullptr);  // nothing is known of it
  EXPECT_TRUE(failures.empty());
}

TEST_F(Decode, FlattensObjectsToDottedNames) {
  run({R"({"motor":{"temperature":1,"phase":{"u":2}},"x":{}})"});
  EXPECT_EQ(number("motor.temperature"), 1);
  EXPECT_EQ(number("motor.phase.u"), 2);
  EXPECT_EQ(decoder.learned().size(), 2U);
}

TEST_F(Decode, TakesTheTypeOfTheFirstValueThatIsNotNull) {
  run({R"({"a":null})", R"({"a":"x"})", R"({"a":1})"});
  EXPECT_TRUE(null("a", 0));
  EXPECT_EQ(text("a", 1), "x");
  EXPECT_TRUE(null("a", 2));
  EXPECT_EQ(stats.mismatches, 1U);
  EXPECT_EQ(decoder.mismatches(), std::vector<std::uint64_t>{1});
}

TEST_F(Decode, ReadsARepeatedShapeWithoutParsing) {
  std::vector<std::string> messages;
  for (int i = 0; i < 100; ++i) {
    messages.push_back(R"({"id":"dev)" + std::to_string(i) + R"(","v":)" +
                       std::to_string(i * 0.25) + R"(,"b":)" +
                       (i % 3 == 0   ? "null"
                        : i % 3 == 1 ? "true"
                                     : "false") +
                       "}\n");
  }
  run(messages);
  // The first teaches, the second has the first value of b.
  EXPECT_EQ(stats.shape_rows, 98U);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(text("id", i), "dev" + std::to_string(i));
    EXPECT_EQ(number("v", i), static_cast<double>(i) * 0.25);
    EXPECT_EQ(null("b", i), i % 3 == 0);
  }
}

TEST_F(Decode, LeavesNothingBehindOfAShapeThatStopsMatching) {
  run({R"({"a":1,"b":2,"c":3})", R"({"a":4,"b":5,"d":6})", R"({"a":7,"b":8,"c":x})"});
  EXPECT_EQ(number("b", 1), 5);
  EXPECT_TRUE(null("c", 1));
  EXPECT_EQ(number("d", 1), 6);
  for (const char* name : {"a", "b", "c", "d"}) {
    EXPECT_TRUE(null(name, 2)) << name;
    EXPECT_EQ(batch.find(name)->values<double>()[2], 0.0) << name;
  }
}

TEST_F(Decode, ReadsOverNoEnd) {
  // The bytes behind the second message would complete it.
  run({R"({"a":null})", R"({"a":nul)", R"(l})", R"({"a":1)", R"(2})", R"({"a":"x)", R"(y"})"});
  EXPECT_EQ(failures.size(), 6U);
}

TEST_F(Decode, KeepsTheLastOfEqualNames) {
  for (int round = 0; round < 2; ++round) {
    run({R"({"a":1,"a":2})", R"({"a":1,"a":null})", R"({"a":1,"a":"x"})",
         R"({"b":{"c":1},"b.c":5})"});
    EXPECT_EQ(number("a", 0), 2);
    EXPECT_TRUE(null("a", 1));
    EXPECT_TRUE(null("a", 2));
    EXPECT_EQ(number("b.c", 3), 5);
  }
}

TEST_F(Decode, KeepsDeclaredTypes) {
  decoder = JsonDecoder({.schema = Schema({{"i", Type::kInt64, ""},
                                           {"f", Type::kFloat32, ""},
                                           {"t", Type::kTimestamp, ""},
                                           {"s", Type::kString, ""}})});
  run({R"({"i":9223372036854775807,"f":0.1,"t":"1970-01-01T00:00:01Z","s":"x"})",
       R"({"i":5e3,"f":1e39,"t":1700000000123,"s":1})", R"({"i":1.5,"f":true,"t":"soon","s":null})",
       R"({"i":9223372036854775808})"});
  EXPECT_EQ(batch.find("i")->values<std::int64_t>()[0], INT64_MAX);
  EXPECT_EQ(batch.find("i")->values<std::int64_t>()[1], 5000);
  EXPECT_TRUE(null("i", 2));
  EXPECT_TRUE(null("i", 3));
  EXPECT_EQ(batch.find("f")->values<float>()[0], 0.1F);
  EXPECT_TRUE(null("f", 1));
  EXPECT_TRUE(null("f", 2));
  EXPECT_EQ(batch.find("t")->values<std::int64_t>()[0], 1'000'000'000);
  EXPECT_EQ(batch.find("t")->values<std::int64_t>()[1], 1'700'000'000'123'000'000);
  EXPECT_TRUE(null("t", 2));
  EXPECT_TRUE(null("s", 1));
  EXPECT_EQ(stats.mismatches, 6U);
}

TEST_F(Decode, HasDeclaredColumnsThatNoMessageHad) {
  decoder = JsonDecoder({.schema = Schema({{"never", Type::kInt64, ""}})});
  run({R"({"a":1})"});
  EXPECT_TRUE(null("never"));
}

TEST_F(Decode, IgnoresAndCountsArraysUnlessAnElementIsDeclared) {
  decoder =
      JsonDecoder({.schema = Schema({{"p.1", Type::kFloat64, ""}, {"q.0.x", Type::kFloat64, ""}})});
  for (int round = 0; round < 2; ++round) {  // by parsing, then by shape
    run({R"({"p":[1,2,3],"q":[{"x":4,"y":5}],"r":[1,[2]],"s":[]})"});
    EXPECT_EQ(number("p.1"), 2);
    EXPECT_EQ(number("q.0.x"), 4);
    EXPECT_EQ(decoder.learned().size(), 2U);
    EXPECT_EQ(stats.ignored_arrays, 2U);
    EXPECT_EQ(stats.shape_rows, static_cast<std::uint64_t>(round));
  }
}

TEST_F(Decode, ChecksArraysItDoesNotList) {
  std::string many = R"({"a":1,"r":[)";
  for (int i = 0; i < 1000; ++i) {
    many += R"("\n",)";
  }
  run({many + "1]}", many + R"("\q"]})", many + "]}"});
  EXPECT_EQ(number("a"), 1);
  ASSERT_EQ(failures.size(), 2U);
  EXPECT_THAT(failures[0].reason, HasSubstr("invalid escape"));
}

TEST_F(Decode, StopsLearningAtMaxFields) {
  decoder = JsonDecoder({.max_fields = 2});
  for (int round = 0; round < 2; ++round) {
    run({R"({"a":1,"b":2,"c":3,"d":null})"});
    EXPECT_EQ(decoder.learned().size(), 2U);
    EXPECT_EQ(stats.ignored_values, 1U);
  }
  decoder = JsonDecoder({.schema = Schema({{"a", Type::kFloat64, ""}}), .learn = false});
  run({R"({"a":1,"b":2})"});
  EXPECT_EQ(decoder.learned().size(), 1U);
  EXPECT_EQ(stats.ignored_values, 1U);
}

TEST_F(Decode, UnescapesStringsAndNames) {
  run({R"({"a\u0062":"x\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"})"});
  EXPECT_EQ(text("ab"), "x\"\\/\b\f\n\r\t\xC3\xA9\xF0\x9F\x98\x80");
  run({"{\"ab\":\"plain \xC2\xB0\"}", "{\"ab\":\"warm \xC2\xB0\"}"});
  EXPECT_EQ(text("ab", 1), "warm \xC2\xB0");
}

TEST_F(Decode, ReadsNumbersExactly) {
  run({R"({"n":123456789012345678901234567890})", R"({"n":0.1000000000000000055511151231257827})",
       R"({"n":-0})", R"({"n":9007199254740993})", R"({"n":4.9e-324})", R"({"n":1e-400})"});
  EXPECT_EQ(number("n", 0), 123456789012345678901234567890.0);
  EXPECT_EQ(number("n", 1), 0.1);
  EXPECT_TRUE(std::signbit(number("n", 2)));
  EXPECT_EQ(number("n", 3), 9007199254740992.0);
  EXPECT_EQ(number("n", 4), 4.9e-324);
  EXPECT_EQ(number("n", 5), 0.0);
}

TEST_F(Decode, MakesANumberBeyondFloat64Null) {
  run({R"({"n":1})", R"({"n":1e400})", R"({"n":-1e400})"});
  EXPECT_TRUE(failures.empty());
  EXPECT_TRUE(null("n", 1));
  EXPECT_EQ(stats.mismatches, 2U);
}

TEST_F(Decode, RefusesWithReasonAndOffset) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "expected a JSON object, got nothing at byte 0"},
      {"  ", "expected a JSON object, got nothing at byte 0"},
      {"[1]", "expected a JSON object at byte 0"},
      {"\"a\"", "expected a JSON object at byte 0"},
      {"{\"a\":1}x", "bytes after the JSON object at byte 7"},
      {"{\"a\":1} {}", "bytes after the JSON object at byte 8"},
      {"{\"a\":NaN}", "expected a value at byte 5"},
      {"{\"a\":Infinity}", "expected a value at byte 5"},
      {"{\"a\":truex}", "expected a value at byte 5"},
      {"{\"a\":01}", "invalid number at byte 5"},
      {"{\"a\":1.}", "invalid number at byte 5"},
      {"{\"a\":.5}", "expected a value at byte 5"},
      {"{\"a\":-}", "invalid number at byte 5"},
      {"{\"a\":1e}", "invalid number at byte 5"},
      {"{\"a\":1", "invalid number at byte 5"},
      {"{\"a\":1,}", "expected a key in quotes at byte 7"},
      {"{\"a\" 1}", "expected ':' after a key at byte 5"},
      {"{\"a\":1 2}", "expected ',' or '}' at byte 7"},
      {"{\"a\":[1 2]}", "expected ',' or ']' at byte 8"},
      {"{\"a\":}", "expected a value at byte 5"},
      {"{\"a\":\"b", "string without end at byte 5"},
      {"{\"a\":\"b\\q\"}", "invalid escape at byte 7"},
      {"{\"a\":\"\\ud800x\"}", "invalid escape at byte 6"},
      {"{\"a\":\"\\udc00\"}", "invalid escape at byte 6"},
      {"{\"a\":\"\\u12g4\"}", "invalid escape at byte 6"},
      {"{\"a\":\"\n\"}", "control character in a string at byte 6"},
      {"{\"a\":\"\xFF\"}", "invalid UTF-8 at byte 6"},
      {"\xEF\xBB\xBF{}", "expected a JSON object at byte 0"},
      {"{'a':1}", "expected a key in quotes at byte 1"},
      {"{\"a\":1//\n}", "invalid number at byte 5"},
  };
  for (const auto& [message, reason] : cases) {
    run({R"({"a":1})", message});
    ASSERT_EQ(failures.size(), 1U) << message;
    EXPECT_EQ(failures[0].row, 1U);
    EXPECT_EQ(failures[0].reason, reason) << message;
    EXPECT_EQ(batch.row(1).flags, kRowUndecoded);
    EXPECT_EQ(batch.row(0).flags, 0U);
    EXPECT_EQ(number("a", 0), 1);
    EXPECT_TRUE(null("a", 1));
  }
}

TEST_F(Decode, RefusesWhatNestsTooDeep) {
  decoder = JsonDecoder({.max_depth = 3});
  run({R"({"a":{"b":{"c":1}}})", R"({"a":{"b":{"c":{}}}})", R"({"a":[[[]]]})"});
  ASSERT_EQ(failures.size(), 2U);
  EXPECT_EQ(failures[0].reason, "nested deeper than 3 at byte 15");
}

TEST_F(Decode, LearnsNothingFromARefusedMessage) {
  run({R"({"good":1,"bad":2} trailing)"});
  EXPECT_EQ(decoder.learned().size(), 0U);
}

TEST_F(Decode, LeavesUnselectedAndUndecodedRowsAlone) {
  for (const char* message : {R"({"a":1})", "broken", R"({"a":3})", R"({"a":4})"}) {
    Row row;
    row.payload = batch.arena().copy(message);
    batch.add_row(row);
  }
  batch.row(2).flags = kRowUndecoded;
  batch.select({0, 2, 3});
  ASSERT_TRUE(decoder.decode(batch, stats, failures));
  EXPECT_TRUE(failures.empty());
  EXPECT_EQ(stats.rows, 2U);
  EXPECT_TRUE(null("a", 2));
  EXPECT_EQ(number("a", 3), 4);
}

TEST_F(Decode, RestoresLearnedFields) {
  run({R"({"a":1,"b":"x","c":true})"});
  std::string state;
  ByteWriter writer(state);
  decoder.save(writer);

  JsonDecoder other({.schema = Schema({{"b", Type::kInt64, ""}})});
  ByteReader reader(state);
  ASSERT_TRUE(other.restore(reader));
  EXPECT_EQ(other.learned(),
            Schema({{"b", Type::kInt64, ""}, {"a", Type::kFloat64, ""}, {"c", Type::kBool, ""}}));
  for (std::size_t cut = 0; cut < state.size(); ++cut) {
    ByteReader shorter(std::string_view(state).substr(0, cut));
    EXPECT_FALSE(other.restore(shorter)) << cut;
  }
  EXPECT_EQ(other.learned().size(), 3U);
}

TEST_F(Decode, FindsTheShapeAmongSeveral) {
  std::vector<std::string> messages;
  for (int i = 0; i < 60; ++i) {
    messages.push_back(fmt::format(R"({{"k{}":{},"id":"x"}})", i % 6, i));
  }
  run(messages);
  EXPECT_EQ(stats.shape_rows, 54U);
  EXPECT_EQ(number("k3", 57), 57);
}

// Of two ways on, the shorter may be the front of the longer: only one leads to a value.
TEST_F(Decode, FindsTheShapeAmongThoseThatBeginAlike) {
  const std::vector<std::string> shapes = {
      R"({"a":1,"b":2})",  R"({"a":[1,2],"b":2})", R"({"a":{"b":1},"b":2})",
      R"({"a": 1,"b":2})", R"({"a":null,"b":2})",  R"({"a":[[1],2],"b":2})",
      R"({"a":1})",        R"({"a":1 })",          R"({})"};
  std::vector<std::string> messages;
  for (int i = 0; i < 100; ++i) {
    messages.insert(messages.end(), shapes.begin(), shapes.end());
    std::rotate(messages.end() - 5, messages.end() - 2, messages.end());
  }
  run(messages);
  EXPECT_TRUE(failures.empty());
  EXPECT_EQ(stats.shape_rows, messages.size() - (shapes.size() - 1))
      << "null needs no shape of its own";
}

TEST_F(Decode, ReadsStringsWithEscapesByShape) {
  run({R"({"s":"plain"})", R"({"s":"a\"b\\c"})", R"({"s":"K\u00f6ln \ud83d\ude00"})",
       R"({"s":"\ud83d"})", R"({"s":"\q"})", R"({"s":"end\"})", "{\"s\":\"a\\n\tb\"}"});
  EXPECT_EQ(stats.shape_rows, 2U);
  EXPECT_EQ(text("s", 1), "a\"b\\c");
  EXPECT_EQ(text("s", 2), "K\u00f6ln \U0001F600");
  ASSERT_EQ(failures.size(), 4U);
  EXPECT_EQ(failures[0].reason, "invalid escape at byte 6");
}

TEST_F(Decode, ReadsByShapeAfterKeysInRandomOrderFilledItsMemory) {
  decoder = JsonDecoder(DecodeOptions{.shape_nodes = 64});
  std::mt19937 random(5);
  std::vector<std::string> keys = {"\"a\":1", "\"b\":2", "\"c\":3", "\"d\":4", "\"e\":5"};
  std::vector<std::string> messages;
  for (int i = 0; i < 60'000; ++i) {
    if (i % 10 == 0) {
      std::shuffle(keys.begin(), keys.end(), random);
    }
    const auto& k = keys;
    messages.push_back(i % 10 == 0 ? fmt::format("{{{},{},{},{},{}}}", k[0], k[1], k[2], k[3], k[4])
                                   : fmt::format(R"({{"t":{},"u":{}}})", i, i));
  }
  run(messages);
  EXPECT_TRUE(failures.empty());
  EXPECT_GT(stats.shape_rows, 53'900U);
}

TEST_F(Decode, DoesNotLearnWhenNoShapeRepeats) {
  std::vector<std::string> messages;
  for (int i = 0; i < 1000; ++i) {
    messages.push_back("{" + std::string(static_cast<std::size_t>(i), ' ') + "\"a\":1}");
  }
  run(messages);
  EXPECT_EQ(stats.shape_rows, 0U);
  EXPECT_EQ(number("a", 999), 1);
}

// Every text a float64 can be written as reads back as strtod reads it.
TEST(JsonNumber, AgreesWithStrtod) {
  std::mt19937_64 random(5);
  char text[64];
  for (int i = 0; i < 200'000; ++i) {
    double value = 0;
    if (i % 2 == 0) {
      const std::uint64_t bits = random();
      value = load<double>(&bits);
      if (!std::isfinite(value)) {
        continue;
      }
    } else {
      value = static_cast<double>(static_cast<std::int64_t>(random())) /
              std::pow(10.0, static_cast<double>(random() % 22));
    }
    const auto style = static_cast<int>(random() % 4);
    if (style == 0) {
      std::snprintf(text, sizeof text, "%.17g", value);
    } else if (style == 1) {
      std::snprintf(text, sizeof text, "%.6g", value);
    } else if (style == 2) {
      std::snprintf(text, sizeof text, "%.*e", static_cast<int>(random() % 20), value);
    } else {
      std::snprintf(text, sizeof text, "%.3f", std::fmod(value, 1e15));
    }
    const auto number = parse_number(text);
    ASSERT_TRUE(number) << text;
    const double expected = std::strtod(text, nullptr);
    ASSERT_EQ(load<std::uint64_t>(&number->value), load<std::uint64_t>(&expected)) << text;
  }
}

// Whatever stood in the same place before.
TEST(JsonNumber, GuessChangesNoResult) {
  std::mt19937_64 random(6);
  NumberGuess guess;
  const auto below = [&](std::uint64_t bound) { return random() % bound; };
  std::size_t good = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text = below(4) == 0 ? "-" : "";
    for (std::uint64_t n = below(5) + (below(30) == 0 ? 0 : 1); n > 0; --n) {
      text += static_cast<char>('0' + below(3) * below(5));
    }
    text += below(3) == 0 ? "" : ".";
    for (std::uint64_t n = below(6); n > 0; --n) {
      text += static_cast<char>('0' + below(10));
    }
    if (below(5) == 0) {
      text.insert(below(text.size() + 1), 1, "e.-x+\xFF/:"[below(8)]);
    }
    text += ",";
    const std::string padded = text + std::string(32, static_cast<char>(below(256)));
    JsonNumber want;
    JsonNumber got;
    const char* const end = scan_number(padded.data(), want);
    ASSERT_EQ(scan_number(padded.data(), got, guess), end) << text;
    if (end != nullptr) {
      ++good;
      ASSERT_EQ(load<std::uint64_t>(&got.value), load<std::uint64_t>(&want.value)) << text;
      ASSERT_EQ(got.is_integer, want.is_integer) << text;
      ASSERT_TRUE(!want.is_integer || got.integer == want.integer) << text;
    }
  }
  EXPECT_GT(good, 50'000U);
}

TEST(JsonNumber, KnowsIntegers) {
  EXPECT_EQ(parse_number("-9223372036854775808")->integer, INT64_MIN);
  EXPECT_TRUE(parse_number("-9223372036854775808")->is_integer);
  EXPECT_FALSE(parse_number("9223372036854775808")->is_integer);
  EXPECT_FALSE(parse_number("1.0")->is_integer);
  EXPECT_FALSE(parse_number("1e2")->is_integer);
  for (const char* bad : {"", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1", "1 ", "inf",
                          "nan", "1.5.5", "00"}) {
    EXPECT_FALSE(parse_number(bad)) << bad;
  }
}

TEST(JsonNumber, RoundsWhatIsOutOfRangeToZeroOrInfinity) {
  EXPECT_EQ(parse_number("1e-99999999999999999999")->value, 0);
  EXPECT_TRUE(std::isinf(parse_number("1e99999999999999999999")->value));
  EXPECT_EQ(parse_number("0e99999999999999999999")->value, 0);
  EXPECT_EQ(parse_number("0." + std::string(400, '0') + "1")->value, 0);
  EXPECT_TRUE(std::isinf(parse_number("-1" + std::string(400, '0'))->value));
  EXPECT_EQ(parse_number("0." + std::string(400, '0') + "1e401")->value, 1);
}

}  // namespace
}  // namespace headwater
