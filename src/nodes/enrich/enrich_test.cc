#include "nodes/enrich/enrich.h"

#include <gmock/gmock.h>

#include <fstream>

#include "config/load.h"
#include "config/parse.h"
#include "nodes/testing.h"

namespace headwater {
namespace {

using testing::HasSubstr;

class EnrichLookup : public testing::Test {
 protected:
  void write(std::string_view text) {
    std::ofstream(folder.path("assets.csv"), std::ios::binary) << text;
  }
  // Null after an error, which is in `errors`.
  std::unique_ptr<Stage> make(std::string_view options) {
    config::Diagnostics diagnostics;
    const std::string text =
        fmt::format("lookup: {{file: \"{}\", {}}}\n", folder.path("assets.csv"), options);
    const auto node = config::load_text(text, "edge.yaml", diagnostics);
    EnrichOptions parsed;
    std::unique_ptr<Stage> made;
    if (node && config::parse(*node, parsed, diagnostics)) {
      made = make_enrich(parsed, *node, context, diagnostics);
    }
    errors = diagnostics.text();
    return made;
  }
  static Batch devices(std::initializer_list<std::string_view> names) {
    Batch batch;
    for (const std::string_view name : names) {
      Row row;
      row.device = batch.arena().copy(name);
      batch.add_row(row);
    }
    return batch;
  }
  static Batch run(Stage& stage, Batch batch) {
    Collected out;
    EXPECT_TRUE(stage.process(std::move(batch), out).ok());
    return std::move(out.batches.at(0));
  }

  TempFolder folder;
  StageContext context;
  std::string errors;
};

TEST_F(EnrichLookup, AddsTheColumnsOfTheDevicesLine) {
  write("device_id,site,rated_pressure\npress-1,hall 2,6.5\npress-2,hall 3,7\n");
  const auto stage = make("key: device_id");
  ASSERT_NE(stage, nullptr) << errors;
  const Batch batch = run(*stage, devices({"press-2", "other", "press-1"}));
  const Column* site = batch.find("site");
  const Column* rated = batch.find("rated_pressure");
  ASSERT_TRUE(site != nullptr && rated != nullptr);
  EXPECT_EQ(site->values<std::string_view>()[0], "hall 3");
  EXPECT_EQ(rated->as_double(2), 6.5);
  EXPECT_FALSE(site->valid(1));
  EXPECT_FALSE(rated->valid(1));
}

TEST_F(EnrichLookup, TakesTheColumnsAskedForAndTellsTheirTypes) {
  write("device_id,site,rated_pressure\npress-1,hall 2,6.5\n");
  const auto stage = make("key: device_id, take: [rated_pressure]");
  ASSERT_NE(stage, nullptr) << errors;
  EXPECT_EQ(run(*stage, devices({"press-1"})).find("site"), nullptr);
  const auto known = context.known.find("rated_pressure");
  ASSERT_TRUE(known);
  EXPECT_EQ(context.known[*known].type, Type::kFloat64);
  EXPECT_FALSE(context.known.find("site"));
}

TEST_F(EnrichLookup, LooksUpByAnotherColumnWhereToldTo) {
  write("line,owner\n1,ann\n2,bob\n");
  const auto stage = make("key: line, match: line_no");
  ASSERT_NE(stage, nullptr) << errors;
  Batch batch = devices({"a", "b"});
  batch.add_column("line_no", Type::kFloat64).set(1, 2.0);
  const Batch enriched = run(*stage, std::move(batch));
  EXPECT_FALSE(enriched.find("owner")->valid(0));
  EXPECT_EQ(enriched.find("owner")->values<std::string_view>()[1], "bob");
}

TEST_F(EnrichLookup, WhatIsWrongWithTheFilePointsIntoTheConfig) {
  EXPECT_EQ(make("key: device_id"), nullptr);
  EXPECT_THAT(errors, HasSubstr("edge.yaml:1:"));
  EXPECT_THAT(errors, HasSubstr("assets.csv"));
  write("name,site\na,b\n");
  EXPECT_EQ(make("key: device_id"), nullptr);
  EXPECT_THAT(errors, HasSubstr("device_id"));
  write("device_id,site\na,b\na,c\n");
  EXPECT_EQ(make("key: device_id"), nullptr);
  EXPECT_THAT(errors, HasSubstr("assets.csv:3:"));
}

TEST_F(EnrichLookup, WithoutAnythingToAddIsRefused) {
  config::Diagnostics diagnostics;
  EnrichOptions parsed;
  const auto node = config::load_text("{}", "edge.yaml", diagnostics);
  EXPECT_FALSE(config::parse(*node, parsed, diagnostics));
  EXPECT_THAT(diagnostics.text(), HasSubstr("enrich needs `set` or `lookup`"));
}

}  // namespace
}  // namespace headwater
