#include "nodes/decide/offline_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace headwater {
namespace {

using Json = nlohmann::json;
using std::string_literals::operator""s;

std::string told(std::string_view payload) {
  Row row;
  row.payload = payload;
  row.topic = "status/press-7";
  row.sender = "gateway-2";
  row.device = "press-7";
  row.time = {1'767'323'045'000'000'000};
  return offline_json("hall-2", "main", row, "0123");
}

TEST(OfflineJson, SaysWhoWentAndWhatItLeft) {
  EXPECT_EQ(told(R"({"state": "gone"})"),
            R"({"id":"0123","event":"offline","device_id":"press-7","client_id":"gateway-2",)"
            R"("timestamp":"2026-01-02T03:04:05Z","severity":"high","rule":"offline",)"
            R"("pipeline":"main","edge_id":"hall-2","topic":"status/press-7",)"
            R"("will":{"state": "gone"}})");
}

TEST(OfflineJson, IsOneLineOfJsonWhateverTheWillIs) {
  EXPECT_EQ(Json::parse(told("{\n\"a\":\r\n1}"))["will"], Json::parse(R"({"a": 1})"));
  EXPECT_EQ(told("{\n\"a\":\r\n1}").find_first_of("\r\n"), std::string::npos);
  EXPECT_EQ(Json::parse(told("gone \"now\"\n"))["will"], "gone \"now\"\n");
  EXPECT_TRUE(Json::parse(told(""))["will"].is_null());
  EXPECT_EQ(Json::parse(told("\xff"s))["will_base64"], "/w==");
  EXPECT_EQ(Json::parse(told("\xff\x00"s))["will_base64"], "/wA=");
  EXPECT_EQ(Json::parse(told("\xff\xfe\xfd"s))["will_base64"], "//79");
  EXPECT_FALSE(Json::parse(told("\xff"s)).contains("will"));
  EXPECT_EQ(Json::parse(told(std::string(100'000, '[')))["will"].get<std::string>().size(),
            100'000U);
}

}  // namespace
}  // namespace headwater
