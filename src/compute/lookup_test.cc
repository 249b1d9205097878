#include "compute/lookup.h"

#include <gtest/gtest.h>

#include <cmath>

namespace headwater {
namespace {

constexpr std::string_view kAssets =
    "device_id,site,rated_pressure,active,code,since\n"
    "press-1,\"Hall 1, north\",4.5,true,007,2020-01-01T00:00:00Z\n"
    "press-2,Hall 2,,false,12,\n"
    "42,Yard,1e1,true,x,2021-01-01T00:00:00Z\n";

LookupOptions options() {
  return {.name = "assets.csv", .key = "device_id"};
}

std::string error_of(std::string_view text, LookupOptions with = options()) {
  auto table = LookupTable::parse(text, std::move(with));
  return table ? "parsed" : table.error().text();
}

TEST(Lookup, InfersTypesOfColumns) {
  auto table = LookupTable::parse(kAssets, options());
  ASSERT_TRUE(table) << table.error().text();
  EXPECT_EQ(table->rows(), 3U);
  EXPECT_EQ(table->schema(), Schema({{"site", Type::kString, ""},
                                     {"rated_pressure", Type::kFloat64, ""},
                                     {"active", Type::kBool, ""},
                                     {"code", Type::kString, ""},
                                     {"since", Type::kString, ""}}));
  ASSERT_TRUE(table->find("press-2"));
  EXPECT_FALSE(table->column(1).valid(*table->find("press-2")));
  EXPECT_EQ(table->column(1).as_double(*table->find("42")), 10);
  EXPECT_FALSE(table->find("press-3"));
}

TEST(Lookup, TakesDeclaredTypes) {
  LookupOptions with = options();
  with.take = {"rated_pressure", "since"};
  with.types = Schema({{"rated_pressure", Type::kFloat32, "bar"}, {"since", Type::kTimestamp, ""}});
  auto table = LookupTable::parse(kAssets, with);
  ASSERT_TRUE(table) << table.error().text();
  EXPECT_EQ(table->schema()[0], (Field{"rated_pressure", Type::kFloat32, "bar"}));
  EXPECT_EQ(table->column(1).values<std::int64_t>()[0], 1'577'836'800'000'000'000);
  with.types = Schema({{"code", Type::kInt64, ""}});
  with.take = {"code"};
  EXPECT_EQ(error_of(kAssets, with), "assets.csv:2: column 'code': '007' is no int64");
}

TEST(Lookup, AddsColumnsByKey) {
  auto table = LookupTable::parse(kAssets, options());
  ASSERT_TRUE(table);
  Batch batch;
  for (const char* device : {"press-1", "nobody", "press-2"}) {
    Row row;
    row.device = device;
    batch.add_row(row);
  }
  LookupStats stats;
  table->apply(batch, stats);
  EXPECT_EQ(stats.found, 2U);
  EXPECT_EQ(stats.missing, 1U);
  EXPECT_EQ(batch.find("site")->values<std::string_view>()[0], "Hall 1, north");
  EXPECT_FALSE(batch.find("site")->valid(1));
  EXPECT_EQ(batch.find("rated_pressure")->as_double(0), 4.5);
  EXPECT_FALSE(batch.find("rated_pressure")->valid(2));
  EXPECT_EQ(batch.find("active")->as_double(2), 0);
}

TEST(Lookup, ComparesNumbersInTheirShortestNotation) {
  LookupOptions with = options();
  with.batch_key = "asset";
  auto table = LookupTable::parse(kAssets, with);
  ASSERT_TRUE(table);
  Batch batch;
  batch.add_row({});
  batch.add_row({});
  batch.add_column("asset", Type::kFloat64).set(0, 42.0);
  LookupStats stats;
  table->apply(batch, stats);
  EXPECT_EQ(batch.find("site")->values<std::string_view>()[0], "Yard");
  EXPECT_EQ(stats.missing, 1U);
}

TEST(Lookup, MayReplaceTheKeyColumn) {
  LookupOptions with{.key = "a", .take = {"a", "b"}};
  auto table = LookupTable::parse("a,b\nx,1\n", with);
  ASSERT_TRUE(table);
  Batch batch;
  batch.add_row({});
  batch.add_column("a", Type::kString).set(0, std::string_view("x"));
  LookupStats stats;
  table->apply(batch, stats);
  EXPECT_EQ(batch.find("a")->values<std::string_view>()[0], "x");
  EXPECT_EQ(batch.find("b")->as_double(0), 1);
}

TEST(Lookup, NamesFileAndLineOfAnError) {
  EXPECT_EQ(error_of(""), "assets.csv:1: no header: the first line names the columns");
  EXPECT_EQ(error_of("asset,site\n"), "assets.csv:1: no column 'device_id'");
  EXPECT_EQ(error_of("device_di,site\n"),
            "assets.csv:1: no column 'device_id' (did you mean 'device_di'?)");
  EXPECT_EQ(error_of("device_id,a,a\n"), "assets.csv:1: two columns are called 'a'");
  EXPECT_EQ(error_of("device_id,\n"), "assets.csv:1: column 2 has no name");
  EXPECT_EQ(error_of("device_id,a\nx,1\n\ny\n"), "assets.csv:4: 1 fields, the header has 2");
  EXPECT_EQ(error_of("device_id,a\nx,1\nx,2\n"), "assets.csv:3: key 'x' is in line 2 already");
  EXPECT_EQ(error_of("device_id,a\n,1\n"), "assets.csv:2: the key 'device_id' is empty");
  EXPECT_EQ(error_of("device_id,a\n\xFF,x\n"),
            "assets.csv:2: the key 'device_id' is not UTF-8: no device could match it");
  EXPECT_EQ(error_of("device_id,\xFF\nx,1\n"),
            "assets.csv:1: the header is not UTF-8 text: save the file as UTF-8");
  EXPECT_EQ(error_of("device_id,a\nx,\xFF\n"), "assets.csv:2: column 'a' is not UTF-8");
  EXPECT_EQ(error_of("device_id,a\nx,\"1\n"), "assets.csv:2: a field in quotes does not end");
  LookupOptions with = options();
  with.max_rows = 1;
  EXPECT_EQ(error_of("device_id\nx\ny\n", with), "assets.csv:3: more than 1 rows");
  with = options();
  with.max_bytes = 3;
  EXPECT_EQ(error_of("device_id\n", with), "assets.csv: 10 bytes are more than the limit of 3");
}

}  // namespace
}  // namespace headwater
