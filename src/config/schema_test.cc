#include "config/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/sample_options.h"

namespace headwater::config {
namespace {

struct Inner {
  int a = 0;
  std::optional<std::string> b;
};
struct Mixed {
  bool flag = false;
  Inner inner;
  std::optional<Inner> maybe;
  std::vector<Inner> list;
  Map<Inner> map;
  Node node;
  Secret secret;
  Endpoint endpoint;
  Duration time{5};
  OnFull full = OnFull::kBlock;
};

// What the static_assert in schema() asks; compile_fail/missing_field.cc shows that it fires.
static_assert(detail::kHasMembers<Inner, 2>);
static_assert(!detail::kHasMembers<Inner, 1>);
static_assert(!detail::kHasMembers<Inner, 3>);
static_assert(detail::kHasMembers<Mixed, 10>);
static_assert(!detail::kHasMembers<Mixed, 9>);
static_assert(!detail::kHasMembers<Mixed, 11>);
static_assert(detail::kHasMembers<SampleOptions, 21>);

static_assert(HasSchema<SampleOptions>);
static_assert(!HasSchema<Inner>);

constexpr FieldMeta named(std::string_view name, std::string_view doc) {
  return {.name = name, .doc = doc};
}
static_assert(detail::complete_and_distinct(std::array{named("a", "A."), named("b", "B.")}));
static_assert(!detail::complete_and_distinct(std::array{named("a", "A."), named("a", "B.")}));
static_assert(!detail::complete_and_distinct(std::array{named("a", "A."), named("b", "")}));

TEST(Schema, ViewFindsEachMemberInTheObject) {
  SampleOptions options;
  options.id = "edge";
  const SchemaView& schema = view<SampleOptions>();
  ASSERT_EQ(schema.fields.size(), 21U);
  EXPECT_EQ(schema.fields[0].of(&options), &options.id);
  EXPECT_EQ(schema.fields[1].of(&options), &options.verify);
  EXPECT_EQ(schema.fields[20].of(&options), &options.steps);
  EXPECT_EQ(&schema, &view<SampleOptions>());
}

TEST(Schema, KnowsNamesAliasesAndFlattenedFields) {
  EXPECT_TRUE(view<SampleOptions>().knows("id"));
  EXPECT_TRUE(view<SampleOptions>().knows("device"));
  EXPECT_FALSE(view<SampleOptions>().knows("common"));
  EXPECT_TRUE(view<SampleModel>().knows("rows_per_call"));
}

TEST(Schema, BoundsAreInTheUnitOfTheField) {
  EXPECT_EQ(Bound(std::chrono::milliseconds(2)).value, 2e6);
  EXPECT_EQ(Bound(ByteSize{4096}).value, 4096);
  EXPECT_FALSE(Bound().set);
}

TEST(Endpoint, ReadsHostsAndPorts) {
  const auto text = [](std::string_view from) {
    auto endpoint = Endpoint::parse(from);
    return endpoint ? endpoint->text() : endpoint.error().text();
  };
  EXPECT_EQ(text("127.0.0.1:1884"), "127.0.0.1:1884");
  EXPECT_EQ(text("edge.local:0"), "edge.local:0");
  EXPECT_EQ(text("[::1]:8080"), "[::1]:8080");
  EXPECT_EQ(text(":8080"), ":8080");
  EXPECT_EQ(Endpoint::parse("[::1]:8080")->host, "::1");
}

TEST(Endpoint, RefusesWhatIsNotAnAddress) {
  for (const char* text : {"", "host", "host:", "host:x", "host:65536", "host:-1", "::1:80",
                           "http://host:80", "[host]:80", "a b:80", "user@host:1"}) {
    EXPECT_FALSE(Endpoint::parse(text).ok()) << text;
  }
  EXPECT_THAT(Endpoint::parse("http://host:80").error().text(), testing::HasSubstr("no URL"));
}

TEST(Map, KeepsTheOrderOfInsertion) {
  Map<int> map;
  map["b"] = 1;
  map["a"] = 2;
  map["b"] = 3;
  ASSERT_EQ(map.size(), 2U);
  EXPECT_EQ(map.begin()->first, "b");
  EXPECT_EQ(*map.find("b"), 3);
  EXPECT_EQ(map.find("c"), nullptr);
}

}  // namespace
}  // namespace headwater::config
