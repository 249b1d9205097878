#include "nodes/enrich/lookup_file.h"

#include <gmock/gmock.h>
#include <sqlite3.h>

#include <fstream>

#include "io/loop.h"
#include "nodes/testing.h"

namespace headwater {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr std::string_view kFirst = "device_id,site,rated\npress-1,hall 2,6.5\n";

class LookupFileTest : public testing::Test {
 protected:
  void write(std::string_view text, const char* name = "assets.csv") {
    std::ofstream(folder.path(name), std::ios::binary) << text;
  }
  void open(std::string table = "") {
    auto opened = LookupFile::open(
        {.file = table.empty() ? folder.path("assets.csv") : folder.path("assets.db"),
         .table = std::move(table),
         .options = {.key = "device_id"}},
        trouble);
    ASSERT_TRUE(opened) << opened.error().text();
    file = std::move(*opened);
  }
  // The next look, a second after the last one.
  void look() {
    now = now + LookupFile::kLookEvery;
    file->look(now);
  }
  // Lets a reading that a look has begun come to its end; true if it did anything.
  bool finish() {
    const auto done = file->loaded() + file->failed();
    const MonoTime end = io::mono_now() + seconds(20);
    while (file->loaded() + file->failed() == done && io::mono_now() < end) {
      file->look(now);
    }
    return file->loaded() + file->failed() > done;
  }
  std::string site(std::string_view device) const {
    const auto row = file->table().find(device);
    return row ? std::string(file->table().column(0).values<std::string_view>()[*row]) : "none";
  }

  TempFolder folder;
  std::shared_ptr<Trouble> trouble = std::make_shared<Trouble>("lookup", "main");
  std::unique_ptr<LookupFile> file;
  MonoTime now{1};
};

TEST_F(LookupFileTest, TakesOverAFileRewrittenInPlaceOnceItRests) {
  write(kFirst);
  open();
  look();
  look();
  write("device_id,site,rated\npress-1,hall 3,6.5\npress-2,yard,7\n");
  file->look(now);
  EXPECT_EQ(site("press-1"), "hall 2") << "no second has passed";
  look();
  EXPECT_EQ(site("press-1"), "hall 2") << "it was seen once";
  look();
  ASSERT_TRUE(finish());
  EXPECT_EQ(site("press-1"), "hall 3");
  EXPECT_EQ(site("press-2"), "yard");
  EXPECT_EQ(file->loaded(), 1U);
  look();
  look();
  EXPECT_EQ(file->loaded(), 1U);
}

TEST_F(LookupFileTest, TakesOverAFileReplacedByRename) {
  write(kFirst);
  open();
  write("device_id,site,rated\npress-1,hall 9,6.5\n", "next.csv");  // of the same size
  std::filesystem::rename(folder.path("next.csv"), folder.path("assets.csv"));
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_EQ(site("press-1"), "hall 9");
}

TEST_F(LookupFileTest, LeavesAFileAloneThatIsBeingWritten) {
  write(kFirst);
  open();
  std::string text = "device_id,site,rated\n";
  for (int i = 0; i < 5; ++i) {
    text += fmt::format("press-{},hall 7,8\n", i);
    write(text + "press-9");  // half a record
    look();
    file->look(now);
  }
  EXPECT_EQ(file->failed(), 0U);
  EXPECT_EQ(site("press-1"), "hall 2");
  write(text);
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_EQ(file->table().rows(), 5U);
}

TEST_F(LookupFileTest, AWrongFileChangesNothingAndIsToldOnce) {
  write(kFirst);
  open();
  write("device_id,site,rated\npress-1,hall 3,high\n");
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_EQ(file->failed(), 1U);
  EXPECT_EQ(site("press-1"), "hall 2");
  EXPECT_THAT(trouble->text(), HasSubstr("assets.csv:2: column 'rated': 'high' is no float64; the "
                                         "table read before stays"));
  look();
  look();
  file->look(now);
  EXPECT_EQ(file->failed(), 1U) << "it is not read again before it changes";
  write("device_id,site\npress-1,hall 3\n");
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_THAT(trouble->text(), HasSubstr("assets.csv:1: no column 'rated'"));
  write("device_id,site,rated\npress-1,hall 4,\n");
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_EQ(site("press-1"), "hall 4");
  EXPECT_EQ(trouble->text(), "");
}

TEST_F(LookupFileTest, AMissingFileIsToldAtTheSecondLook) {
  write(kFirst);
  open();
  std::filesystem::rename(folder.path("assets.csv"), folder.path("kept.csv"));
  look();
  EXPECT_EQ(trouble->text(), "");
  look();
  EXPECT_THAT(trouble->text(), HasSubstr("assets.csv: No such file"));
  EXPECT_EQ(site("press-1"), "hall 2");
  std::filesystem::rename(folder.path("kept.csv"), folder.path("assets.csv"));
  look();
  EXPECT_EQ(trouble->text(), "") << "it is what was read";
  EXPECT_EQ(file->loaded(), 0U);
}

TEST_F(LookupFileTest, ItsEndClearsTheTrouble) {
  write(kFirst);
  open();
  write("device_id,site,rated\npress-1\n");
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_NE(trouble->text(), "");
  file.reset();
  EXPECT_EQ(trouble->text(), "");
}

TEST_F(LookupFileTest, FollowsADatabaseAndItsWriteAheadLog) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(folder.path("assets.db").c_str(), &database), SQLITE_OK);
  const auto run = [&](const char* sql) {
    ASSERT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sql;
  };
  run("PRAGMA journal_mode=WAL; CREATE TABLE assets (device_id TEXT, site TEXT);"
      "INSERT INTO assets VALUES ('press-1', 'hall 2')");
  open("assets");
  EXPECT_EQ(site("press-1"), "hall 2");
  run("INSERT INTO assets VALUES ('press-2', 'yard')");
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_EQ(site("press-2"), "yard");
  run("DROP TABLE assets");
  look();
  look();
  ASSERT_TRUE(finish());
  EXPECT_THAT(trouble->text(), HasSubstr("assets.db: no table 'assets'; there is none"));
  EXPECT_EQ(site("press-2"), "yard");
  sqlite3_close(database);
}

TEST_F(LookupFileTest, SaysThatADatabaseNeedsATable) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(folder.path("assets.csv").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "CREATE TABLE a (b)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  const auto opened =
      LookupFile::open({.file = folder.path("assets.csv"), .options = {.key = "b"}}, trouble);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().text(), HasSubstr("say which table with table: NAME"));
}

}  // namespace
}  // namespace headwater
