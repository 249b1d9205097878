#include "compute/json_array.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Views = std::vector<std::string_view>;

Views split(std::string_view text, std::size_t max = 100) {
  Views elements;
  const Status done = split_json_array(text, max, elements);
  EXPECT_TRUE(done.ok()) << (done ? "" : done.error().text());
  return elements;
}

std::string refusal(std::string_view text, std::size_t max = 100) {
  Views elements{"left over"};
  const Status done = split_json_array(text, max, elements);
  EXPECT_FALSE(done.ok()) << text;
  EXPECT_THAT(elements, IsEmpty());
  return done ? "" : std::string(done.error().text());
}

TEST(JsonArray, GivesTheBytesOfEachElement) {
  EXPECT_THAT(split(R"([{"a":1},{"a":[1,{"b":2}]},3])"),
              ElementsAre(R"({"a":1})", R"({"a":[1,{"b":2}]})", "3"));
  EXPECT_THAT(split(" [ {\"a\": 1 } ,\n\t{} ]\r\n"), ElementsAre("{\"a\": 1 }", "{}"));
  EXPECT_THAT(split("[]"), IsEmpty());
  EXPECT_THAT(split(" [ \n ] "), IsEmpty());
  EXPECT_THAT(split("[[1,2],[]]"), ElementsAre("[1,2]", "[]"));
}

TEST(JsonArray, BracketsAndCommasInStringsAreText) {
  EXPECT_THAT(split(R"([{"a":"],[{\"\\"},"x,\\",{"}":"]"}])"),
              ElementsAre(R"({"a":"],[{\"\\"})", R"("x,\\")", R"({"}":"]"})"));
}

TEST(JsonArray, AnElementNeedNotBeJson) {
  EXPECT_THAT(split("[tru, {a b}, 1 2]"), ElementsAre("tru", "{a b}", "1 2"));
}

TEST(JsonArray, SaysWhatIsWrongWithTheArray) {
  EXPECT_EQ(refusal("{}"), "expected a JSON array at byte 0");
  EXPECT_EQ(refusal("  "), "expected a JSON array at byte 2");
  EXPECT_EQ(refusal("[1,,2]"), "expected a value at byte 3");
  EXPECT_EQ(refusal("[1,]"), "expected a value at byte 3");
  EXPECT_EQ(refusal("[,1]"), "expected a value at byte 1");
  EXPECT_EQ(refusal("[1,"), "the array does not end");
  EXPECT_EQ(refusal("["), "the array does not end");
  EXPECT_EQ(refusal("[{\"a\":1}"), "the array does not end");
  EXPECT_EQ(refusal("[\"a]"), "the array does not end");
  EXPECT_EQ(refusal("[1}]"), "expected ',' or ']' at byte 2");
  EXPECT_EQ(refusal("[1] x"), "bytes after the JSON array at byte 4");
  EXPECT_THAT(refusal("[1,2,3]", 2), HasSubstr("more than 2 elements"));
  EXPECT_THAT(split("[1,2]", 2), ElementsAre("1", "2"));
}

TEST(JsonArray, ADocumentIsAnObjectOrAnArray) {
  Views elements;
  EXPECT_TRUE(split_json_document(" {\"a\":[1,{}],\"b\":\"}\"} \n", 10, elements).ok());
  EXPECT_THAT(elements, ElementsAre("{\"a\":[1,{}],\"b\":\"}\"}"));
  EXPECT_TRUE(split_json_document("{}", 10, elements).ok());
  EXPECT_THAT(elements, ElementsAre("{}"));
  EXPECT_TRUE(split_json_document("{,,}", 10, elements).ok()) << "the reader refuses it";
  EXPECT_TRUE(split_json_document("[{},{}]", 10, elements).ok());
  EXPECT_THAT(elements, ElementsAre("{}", "{}"));
  const auto refused = [&](std::string_view text) {
    const Status done = split_json_document(text, 10, elements);
    EXPECT_THAT(elements, IsEmpty());
    return done ? "taken" : std::string(done.error().text());
  };
  EXPECT_EQ(refused("hello"), "expected a JSON object or array at byte 0");
  EXPECT_EQ(refused(""), "expected a JSON object or array at byte 0");
  EXPECT_EQ(refused("{\"a\":1"), "the object does not end");
  EXPECT_EQ(refused("{\"a\":1]"), "expected ',' or '}' at byte 6");
  EXPECT_EQ(refused("{} {}"), "bytes after the JSON object at byte 3");
}

TEST(JsonArray, LooksAtTheFirstByteOnly) {
  EXPECT_TRUE(is_json_array(" \n["));
  EXPECT_FALSE(is_json_array("{\"a\":[]}"));
  EXPECT_FALSE(is_json_array(""));
}

}  // namespace
}  // namespace headwater
