#include "cli/player.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace headwater {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A recording in a folder of its own, gone at the end of the test.
class PlayerTest : public ::testing::Test {
 protected:
  PlayerTest() {
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("player_test_{}_{}", ::getpid(),
                          ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  ~PlayerTest() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  static std::unique_ptr<Player> open(PlayerOptions options) {
    auto player = Player::open(std::move(options));
    EXPECT_TRUE(player.ok()) << (player ? "" : player.error().text());
    return player ? std::move(*player) : nullptr;
  }

  static std::string open_error(PlayerOptions options) {
    auto player = Player::open(std::move(options));
    EXPECT_FALSE(player.ok());
    return player ? "" : player.error().text();
  }

  struct Played {
    std::vector<std::string> payloads;
    std::vector<std::string> topics;
    std::vector<std::int64_t> due_ms;
    std::vector<std::string> errors;
  };

  static Played play(PlayerOptions options, std::size_t limit = 1000) {
    Played out;
    auto player = open(std::move(options));
    while (player && out.payloads.size() < limit) {
      auto message = player->next();
      if (!message) {
        out.errors.push_back(message.error().text());
        continue;
      }
      if (!*message) {
        break;
      }
      EXPECT_EQ((*message)->index, out.payloads.size());
      out.payloads.emplace_back((*message)->payload);
      out.topics.emplace_back((*message)->topic);
      out.due_ms.push_back((*message)->due.count() / 1'000'000);
    }
    return out;
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(PlayerTest, MakesOneMessageOfEachCsvRowWithTheColumnsNames) {
  const Played played =
      play({.path = file("press.csv", "timestamp,value\n2013-12-02 21:15:00,73.96732207\n")});
  EXPECT_THAT(played.payloads,
              ElementsAre("{\"device_id\":\"press\",\"timestamp\":\"2013-12-02 21:15:00\","
                          "\"value\":73.96732207}"));
  EXPECT_THAT(played.topics, ElementsAre("sensors/press/readings"));
}

TEST_F(PlayerTest, KeepsDigitsAndTellsNumbersFromText) {
  const Played played = play({.path = file("a.csv",
                                           "a,b,c,d,e,f,g\n"
                                           "1.50,-0.0,1e5,007,NaN,,True\n"
                                           "+1,.5,1.,0x1F,nan, 4 ,x\n"),
                              .topic = "t",
                              .device_field = "a"});
  EXPECT_THAT(played.payloads,
              ElementsAre(R"({"a":1.50,"b":-0.0,"c":1e5,"d":"007","e":null,"f":null,"g":true})",
                          R"({"a":"+1","b":".5","c":"1.","d":"0x1F","e":null,"f":4,"g":"x"})"));
}

TEST_F(PlayerTest, ReadsQuotesSemicolonsByteOrderMarkAndCarriageReturns) {
  const Played played = play({.path = file("a.csv",
                                           "\xEF\xBB\xBF"
                                           "device_id;note\r\n"
                                           "m1;\"a;\"\"b\"\"\nc\"\r\n"
                                           "\r\n"
                                           "m2;\r\n")});
  EXPECT_THAT(played.payloads, ElementsAre(R"({"device_id":"m1","note":"a;\"b\"\nc"})",
                                           R"({"device_id":"m2","note":null})"));
  EXPECT_THAT(played.topics, ElementsAre("sensors/m1/readings", "sensors/m2/readings"));
}

TEST_F(PlayerTest, RenamesColumns) {
  const Played played = play({.path = file("a.csv", "value,x\n1,2\n"),
                              .topic = "t/${temperature}",
                              .rename = {{"value", "temperature"}}});
  EXPECT_THAT(played.payloads, ElementsAre(R"({"device_id":"a","temperature":1,"x":2})"));
  EXPECT_THAT(played.topics, ElementsAre("t/1"));
}

TEST_F(PlayerTest, NamesTheLineOfABadRowAndGoesOn) {
  const std::string path = file("a.csv", "a,b\n1,2\n3\n4,\"5\n");
  const Played played = play({.path = path});
  EXPECT_EQ(played.payloads.size(), 1U);
  EXPECT_THAT(played.errors, ElementsAre(path + ": line 3: 1 cells, the header has 2",
                                         path + ": line 4: a field in quotes does not end"));
}

TEST_F(PlayerTest, SendsJsonLinesByteForByteAlsoBrokenOnes) {
  const Played played = play({.path = file("a.jsonl",
                                           "{ \"v\" : 1.0, \"device_id\":\"m1\" }\n"
                                           "\n"
                                           "{\"v\":\n"
                                           "[1,2]\n"),
                              .device = "stray"});
  EXPECT_THAT(played.payloads,
              ElementsAre("{ \"v\" : 1.0, \"device_id\":\"m1\" }", "{\"v\":", "[1,2]"));
  EXPECT_THAT(played.topics, ElementsAre("sensors/m1/readings", "sensors/stray/readings",
                                         "sensors/stray/readings"));
}

TEST_F(PlayerTest, KeepsTheTopicOneLevelPerValue) {
  const Played played = play({.path = file("a.jsonl", R"({"device_id":"hall/1 +#"})")});
  EXPECT_THAT(played.topics, ElementsAre("sensors/hall_1 __/readings"));
}

TEST_F(PlayerTest, PacesByRate) {
  const Played played = play({.path = file("a.csv", "v\n1\n2\n3\n"), .rate = 4});
  EXPECT_THAT(played.due_ms, ElementsAre(0, 250, 500));
}

TEST_F(PlayerTest, PacesByTheRowsTimesAndNeverBackwards) {
  const Played played = play({.path = file("a.csv",
                                           "ts,v\n2024-01-01T00:00:00Z,1\n2024-01-01T00:05:00Z,2\n"
                                           "2024-01-01T00:04:00Z,3\n2024-01-01T00:10:00Z,4\n"),
                              .speed = 60});
  EXPECT_THAT(played.due_ms, ElementsAre(0, 5000, 5000, 10000));
}

TEST_F(PlayerTest, ReadsEpochTimesBySize) {
  for (const char* lines : {"{\"ts\":1700000000}\n{\"ts\":1700000002}\n",
                            "{\"ts\":1700000000000}\n{\"ts\":1700000002000}\n",
                            "{\"ts\":1700000000000000}\n{\"ts\":1700000002000000}\n"}) {
    EXPECT_THAT(play({.path = file("a.jsonl", lines), .speed = 1}).due_ms, ElementsAre(0, 2000))
        << lines;
  }
}

TEST_F(PlayerTest, TimesGoOnFromPassToPass) {
  const std::string path =
      file("a.csv", "timestamp,v\n2024-01-01 00:00:00,1\n2024-01-01 00:05:00,2\n");
  const Played played = play({.path = path, .device = "m", .speed = 300, .repeat = 2});
  EXPECT_THAT(played.payloads,
              ElementsAre(R"({"device_id":"m","timestamp":"2024-01-01 00:00:00","v":1})",
                          R"({"device_id":"m","timestamp":"2024-01-01 00:05:00","v":2})",
                          R"({"device_id":"m","timestamp":"2024-01-01T00:10:00Z","v":1})",
                          R"({"device_id":"m","timestamp":"2024-01-01T00:15:00Z","v":2})"));
  EXPECT_THAT(played.due_ms, ElementsAre(0, 1000, 2000, 3000));
}

TEST_F(PlayerTest, MovesEpochTimesOfJsonLinesInPlace) {
  const Played played =
      play({.path = file("a.jsonl", "{\"t\":[1],\"time\":100,\"v\":2}\n{\"time\":110.5}\n"),
            .repeat = 2});
  EXPECT_THAT(played.payloads, ElementsAre("{\"t\":[1],\"time\":100,\"v\":2}", "{\"time\":110.5}",
                                           "{\"t\":[1],\"time\":121,\"v\":2}", "{\"time\":131.5}"));
}

TEST_F(PlayerTest, RepeatsForEver) {
  EXPECT_EQ(play({.path = file("a.csv", "v\n1\n2\n"), .repeat = 0}, 101).payloads.size(), 101U);
}

TEST_F(PlayerTest, AFileWithoutRowsEndsAlsoWhenRepeatedForEver) {
  EXPECT_EQ(play({.path = file("a.csv", "v\n"), .repeat = 0}).payloads.size(), 0U);
}

TEST_F(PlayerTest, PlaysEachRowAsManyDevices) {
  const Played csv =
      play({.path = file("a.csv", "v\n7\n"), .device = "m", .devices = 2, .rate = 1});
  EXPECT_THAT(csv.payloads,
              ElementsAre(R"({"device_id":"m-1","v":7})", R"({"device_id":"m-2","v":7})"));
  EXPECT_THAT(csv.topics, ElementsAre("sensors/m-1/readings", "sensors/m-2/readings"));
  EXPECT_THAT(csv.due_ms, ElementsAre(0, 1000));
  const Played json =
      play({.path = file("a.jsonl", R"({"ts":5,"device_id":"p","v":7})"), .devices = 2});
  EXPECT_THAT(json.payloads, ElementsAre(R"({"ts":5,"device_id":"p-1","v":7})",
                                         R"({"ts":5,"device_id":"p-2","v":7})"));
}

TEST_F(PlayerTest, AddsMessageIdsThatNeverRepeat) {
  const Played played = play({.path = file("a.jsonl", "{}\n{\"v\":1}\n"),
                              .devices = 2,
                              .message_id_field = "id",
                              .repeat = 2});
  EXPECT_THAT(played.payloads,
              ElementsAre(R"({"id":"a:0:1-1"})", R"({"id":"a:0:1-2"})", R"({"id":"a:0:2-1","v":1})",
                          R"({"id":"a:0:2-2","v":1})", R"({"id":"a:1:1-1"})", R"({"id":"a:1:1-2"})",
                          R"({"id":"a:1:2-1","v":1})", R"({"id":"a:1:2-2","v":1})"));
}

TEST_F(PlayerTest, TellsTheFormatByContentWhereTheNameDoesNot) {
  EXPECT_THAT(play({.path = file("rows", " {\"v\":1}\n")}).payloads, ElementsAre(" {\"v\":1}"));
  EXPECT_THAT(play({.path = file("table", "v\n1\n")}).payloads,
              ElementsAre(R"({"device_id":"table","v":1})"));
}

TEST_F(PlayerTest, SaysWhatIsWrongWithTheOptions) {
  const std::string path = file("a.csv", "temperature,v\n1,2\n");
  EXPECT_THAT(open_error({.path = path, .rename = {{"temprature", "t"}}}),
              HasSubstr("no column \"temprature\"; did you mean \"temperature\"?"));
  EXPECT_THAT(open_error({.path = path, .topic = "a/${site}"}), HasSubstr("topic: no column"));
  EXPECT_THAT(open_error({.path = path, .topic = "a/+/b"}), HasSubstr("+ or #"));
  EXPECT_THAT(open_error({.path = path, .topic = "a/${"}), HasSubstr("without a name"));
  EXPECT_THAT(open_error({.path = path, .topic = "$SYS/x"}), HasSubstr("reserved"));
  EXPECT_THAT(open_error({.path = path, .rate = 1, .speed = 1}), HasSubstr("give one"));
  EXPECT_THAT(open_error({.path = path, .speed = 1}), HasSubstr("speed needs a column"));
  EXPECT_THAT(open_error({.path = file("b.csv", "")}), HasSubstr("no header"));
  EXPECT_THAT(open_error({.path = path + ".missing"}), HasSubstr(".missing"));
  EXPECT_THAT(open_error({.path = std::filesystem::path(path).parent_path().string()}),
              HasSubstr("is a folder"));
}

}  // namespace
}  // namespace headwater
