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
  EnrichLookup() { context.metrics = &metrics; }
  void write(std::string_view text) {
    std::ofstream(folder.path("assets.csv"), std::ios::binary) << text;
  }
  // Null after an error, which is in `errors`.
  std::unique_ptr<Stage> make(std::string_view options) {
    return make_stage(
        make_enrich,
        fmt::format("lookup: {{file: \"{}\", {}}}\n", folder.path("assets.csv"), options), context,
        errors);
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
  telemetry::Registry metrics;
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
  EXPECT_THAT(diagnostics.text(), HasSubstr("enrich needs `set`, `lookup`, `rename` or `drop`"));
}

class EnrichNames : public testing::Test {
 protected:
  // Null after an error, which is in `errors`.
  std::unique_ptr<Stage> make(std::string text) {
    return make_stage(make_enrich, std::move(text), context, errors);
  }
  static Batch of_rows(std::size_t rows) {
    Batch batch;
    for (std::size_t i = 0; i < rows; ++i) {
      Row row;
      row.payload = batch.arena().copy("{}");
      batch.add_row(row);
    }
    return batch;
  }

  StageContext context;
  std::string errors;
};

TEST_F(EnrichNames, DroppedAndRenamedColumnsAreGoneAndThePayloadIsNot) {
  const auto stage = make("{rename: {a: b}, drop: [c]}");
  ASSERT_NE(stage, nullptr) << errors;
  Batch batch = of_rows(1);
  batch.add_column("a", Type::kInt64).set<std::int64_t>(0, 7);
  batch.add_column("c", Type::kInt64);
  Collected out;
  ASSERT_TRUE(stage->process(std::move(batch), out).ok());
  const Batch& done = out.batches.at(0);
  EXPECT_EQ(done.schema().size(), 1U);
  ASSERT_NE(done.find("b"), nullptr);
  EXPECT_EQ(done.find("b")->values<std::int64_t>()[0], 7);
  EXPECT_EQ(done.row(0).payload, "{}");
}

TEST_F(EnrichNames, NumbersOfTwoTypesBecomeFloat64) {
  const auto stage = make("rename: {a: b}");
  Batch batch = of_rows(2);
  batch.add_column("a", Type::kInt64).set<std::int64_t>(0, 7);
  batch.add_column("b", Type::kFloat64).set(1, 0.5);
  Collected out;
  ASSERT_TRUE(stage->process(std::move(batch), out).ok());
  const Column* const merged = out.batches.at(0).find("b");
  ASSERT_EQ(merged->type(), Type::kFloat64);
  EXPECT_EQ(merged->as_double(0), 7);
  EXPECT_EQ(merged->as_double(1), 0.5);
}

TEST_F(EnrichNames, TextAndANumberDoNotMergeAndTheBatchPasses) {
  const auto stage = make("rename: {a: b}");
  Batch batch = of_rows(1);
  batch.add_column("a", Type::kString).set<std::string_view>(0, "x");
  batch.add_column("b", Type::kFloat64).set(0, 0.5);
  Collected out;
  const Status done = stage->process(std::move(batch), out);
  ASSERT_FALSE(done.ok());
  EXPECT_THAT(done.error().text(), HasSubstr("'a' is string and 'b' is float64"));
  ASSERT_EQ(out.batches.size(), 1U);
  EXPECT_EQ(out.batches[0].find("b")->as_double(0), 0.5);
}

TEST_F(EnrichNames, KnownColumnsFollow) {
  context.known = Schema({{"a", Type::kInt64, "bar"}, {"c", Type::kString, ""}});
  ASSERT_NE(make("{rename: {a: b}, drop: [c]}"), nullptr) << errors;
  EXPECT_EQ(context.known, Schema({{"b", Type::kInt64, "bar"}}));
}

TEST_F(EnrichNames, ARenameThatCannotWorkIsRefused) {
  EXPECT_EQ(make("rename: {a: b, b: c}"), nullptr);
  EXPECT_THAT(errors, HasSubstr("'b' is an old and a new name"));
  EXPECT_EQ(make("rename: {a: ''}"), nullptr);
  EXPECT_THAT(errors, HasSubstr("'a' needs a new name"));
  context.known = Schema({{"a", Type::kInt64, ""}, {"b", Type::kString, ""}});
  EXPECT_EQ(make("rename: {a: b}"), nullptr);
  EXPECT_THAT(errors, HasSubstr("'a' is int64 and 'b' is string"));
}

}  // namespace
}  // namespace headwater
