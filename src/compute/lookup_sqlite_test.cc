#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "compute/lookup.h"

namespace headwater {
namespace {

using testing::HasSubstr;

// A database that goes with the test; written with the library itself.
class LookupSqlite : public testing::Test {
 protected:
  LookupSqlite() {
    std::string name = (std::filesystem::temp_directory_path() / "headwater-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    file = folder_ + "/assets.db";
    EXPECT_EQ(sqlite3_open(file.c_str(), &writer_), SQLITE_OK);
  }
  ~LookupSqlite() override {
    sqlite3_close(writer_);
    std::filesystem::remove_all(folder_);
  }
  void run(const std::string& sql) {
    char* error = nullptr;
    ASSERT_EQ(sqlite3_exec(writer_, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
  }
  Result<LookupTable> read(LookupOptions options = {.name = "assets.db", .key = "device_id"},
                           const std::string& table = "assets") {
    return LookupTable::read_sqlite(file, table, std::move(options));
  }
  std::string error_of(LookupOptions options = {.name = "assets.db", .key = "device_id"},
                       const std::string& table = "assets") {
    const auto table_read = read(std::move(options), table);
    return table_read ? "read" : table_read.error().text();
  }

  std::string file;
  sqlite3* writer_ = nullptr;

 private:
  std::string folder_;
};

TEST_F(LookupSqlite, TakesTypesFromTheTableAndItsValues) {
  run("CREATE TABLE assets (device_id TEXT, site TEXT, rated REAL, slots INTEGER, active BOOLEAN, "
      "code, note);"
      "INSERT INTO assets VALUES ('press-1', 'Hall 1, \"north\"', 4.5, 9007199254740993, 1, '007', "
      "NULL), ('press-2', 'Hallé', 10, NULL, 0, 12, NULL)");
  const auto table = read();
  ASSERT_TRUE(table) << table.error().text();
  EXPECT_EQ(table->rows(), 2U);
  EXPECT_EQ(table->schema(), Schema({{"site", Type::kString, ""},
                                     {"rated", Type::kFloat64, ""},
                                     {"slots", Type::kInt64, ""},
                                     {"active", Type::kBool, ""},
                                     {"code", Type::kString, ""},
                                     {"note", Type::kString, ""}}));
  const auto first = table->find("press-1");
  const auto second = table->find("press-2");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(table->column(0).values<std::string_view>()[*first], "Hall 1, \"north\"");
  EXPECT_EQ(table->column(1).as_double(*second), 10);
  EXPECT_EQ(table->column(2).values<std::int64_t>()[*first], 9'007'199'254'740'993);
  EXPECT_FALSE(table->column(2).valid(*second));
  EXPECT_EQ(table->column(3).as_double(*first), 1);
  EXPECT_EQ(table->column(3).as_double(*second), 0);
  EXPECT_EQ(table->column(4).values<std::string_view>()[*second], "12");
}

TEST_F(LookupSqlite, KeysThatAreNumbersAreWrittenAsReadingsWriteThem) {
  run("CREATE TABLE assets (device_id, site); INSERT INTO assets VALUES (42, 'a'), (43.0, 'b'), "
      "(0.5, 'c')");
  const auto table = read();
  ASSERT_TRUE(table) << table.error().text();
  EXPECT_TRUE(table->find("42"));
  EXPECT_TRUE(table->find("43"));
  EXPECT_TRUE(table->find("0.5"));
}

TEST_F(LookupSqlite, ReadsViewsAndNamesThatNeedQuotes) {
  run("CREATE TABLE \"my \"\"assets\" (device_id TEXT, site TEXT);"
      "INSERT INTO \"my \"\"assets\" VALUES ('a', 'x');"
      "CREATE VIEW here AS SELECT device_id, site || '!' AS site FROM \"my \"\"assets\"");
  EXPECT_TRUE(read({.key = "device_id"}, "my \"assets"));
  const auto view = read({.key = "device_id"}, "here");
  ASSERT_TRUE(view) << view.error().text();
  EXPECT_EQ(view->column(0).values<std::string_view>()[0], "x!");
  EXPECT_THAT(error_of({.key = "device_id"}, "assets; DROP TABLE here"), HasSubstr("no table"));
}

TEST_F(LookupSqlite, SaysWhatIsWrongAndWhere) {
  run("CREATE TABLE assets (device_id TEXT, site TEXT, slots INT)");
  EXPECT_EQ(error_of({.name = "assets.db", .key = "devce_id"}),
            "assets.db: no column 'devce_id' (did you mean 'device_id'?)");
  EXPECT_EQ(error_of({.name = "assets.db", .key = "device_id"}, "asset"),
            "assets.db: no table 'asset'; there are assets");
  run("INSERT INTO assets VALUES ('a', 'x', 1), (NULL, 'y', 2)");
  EXPECT_EQ(error_of(), "assets.db: row 2: the key 'device_id' is empty");
  run("UPDATE assets SET device_id = 'a'");
  EXPECT_EQ(error_of(), "assets.db: row 2: key 'a' is in row 1 already");
  run("DELETE FROM assets WHERE slots = 2; UPDATE assets SET slots = 'many'");
  EXPECT_EQ(error_of(), "assets.db: row 1: column 'slots': 'many' is no int64");
  run("UPDATE assets SET slots = x'00ff'");
  EXPECT_EQ(error_of(), "assets.db: row 1: column 'slots': is a blob");
  file += ".gone";
  const auto gone = read();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), Code::kNotFound);
  EXPECT_EQ(gone.error().text(), "assets.db: unable to open database file");
}

TEST_F(LookupSqlite, IsBoundedInRowsAndBytes) {
  run("CREATE TABLE assets (device_id TEXT, site TEXT);"
      "INSERT INTO assets VALUES ('a', 'x'), ('b', 'y'), ('c', 'z')");
  EXPECT_EQ(error_of({.name = "assets.db", .key = "device_id", .max_rows = 2}),
            "assets.db: row 3: more than 2 rows");
  EXPECT_EQ(error_of({.name = "assets.db", .key = "device_id", .max_bytes = 5}),
            "assets.db: row 3: more than 5 bytes of values");
  EXPECT_TRUE(read({.key = "device_id", .max_rows = 3, .max_bytes = 6}));
}

TEST_F(LookupSqlite, IsUnavailableWhileSomeoneWritesAndWhatIsNoDatabaseIsCorrupt) {
  run("CREATE TABLE assets (device_id TEXT, site TEXT); INSERT INTO assets VALUES ('a', 'x')");
  run("BEGIN EXCLUSIVE; INSERT INTO assets VALUES ('b', 'y')");
  const auto locked = read();
  ASSERT_FALSE(locked);
  EXPECT_EQ(locked.error().code(), Code::kUnavailable);
  EXPECT_THAT(locked.error().text(), HasSubstr("database is locked"));
  run("COMMIT");
  EXPECT_EQ(read()->rows(), 2U);
  run("PRAGMA journal_mode=WAL; INSERT INTO assets VALUES ('c', 'z')");
  const auto beside_log = read();
  ASSERT_TRUE(beside_log) << beside_log.error().text();
  EXPECT_EQ(beside_log->rows(), 3U) << "what is in the write-ahead log counts";

  const std::string text = std::filesystem::path(file).replace_extension("txt").string();
  FILE* const out = std::fopen(text.c_str(), "w");
  for (int i = 0; i < 500; ++i) {
    std::fputs("device_id,site\n", out);
  }
  std::fclose(out);
  file = text;
  const auto other = read();
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), Code::kCorrupt);
  EXPECT_EQ(other.error().text(), "assets.db: file is not a database");
}

}  // namespace
}  // namespace headwater
