#include "nodes/filter/filter.h"

#include <gmock/gmock.h>

#include "nodes/testing.h"

namespace headwater {
namespace {

using testing::HasSubstr;

class FilterStep : public testing::Test {
 protected:
  // Null after an error, which is in `errors`.
  std::unique_ptr<Stage> make(std::string text) {
    return make_stage(make_filter, std::move(text), context, errors);
  }
  StageContext context;
  std::string errors;
};

TEST_F(FilterStep, ExpressionsMayStandInFrontOfTheStore) {
  for (const char* text : {"when: \"v > 0.0\"", "drop_when: \"v > 0.0\"", "\"v > 0.0\""}) {
    const auto stage = make(text);
    ASSERT_NE(stage, nullptr) << errors;
    EXPECT_TRUE(stage->may_lead()) << text;
  }
}

TEST_F(FilterStep, WhatRemembersRowsMayNot) {
  for (const char* text : {"{when: \"v > 0.0\", deadband: {field: v, band: 1}}",
                           "rate_limit: {every: 1s, per: device_id}"}) {
    const auto stage = make(text);
    ASSERT_NE(stage, nullptr) << errors;
    EXPECT_FALSE(stage->may_lead()) << text;
  }
}

TEST_F(FilterStep, WithoutAnyConditionIsRefused) {
  EXPECT_EQ(make("max_keys: 5"), nullptr);
  EXPECT_THAT(errors,
              HasSubstr("filter needs `when`, `drop_when`, `deadband`, `rate_limit` or `dedupe`"));
}

TEST_F(FilterStep, EachWrongOptionIsToldWhereItStands) {
  EXPECT_EQ(make("when: \"v > 0.0\"\ndrop_when: \"v +\"\n"), nullptr);
  EXPECT_THAT(errors, HasSubstr("edge.yaml:2:"));
  EXPECT_EQ(make("when: \"v > 0.0\"\nrate_limit: {every: 0s}\n"), nullptr);
  EXPECT_THAT(errors, HasSubstr("edge.yaml:2:"));
  EXPECT_EQ(make("deadband: {field: v, band: -1}"), nullptr);
  EXPECT_THAT(errors, HasSubstr("band"));
  context.known.set({"state", Type::kString, {}});
  EXPECT_EQ(make("deadband: {field: state, band: 1}"), nullptr);
  EXPECT_THAT(errors, HasSubstr("'state' is text; a deadband needs a number"));
}

}  // namespace
}  // namespace headwater
