#include "compute/device.h"

#include <gtest/gtest.h>

namespace headwater {
namespace {

using From = DeviceOptions::From;
using Missing = DeviceOptions::Missing;

class Device : public testing::Test {
 protected:
  void add(std::string_view topic, std::string_view sender) {
    Row row;
    row.topic = topic;
    row.sender = sender;
    batch.add_row(row);
  }
  void resolve(DeviceOptions options) {
    failures.clear();
    stats = {};
    DeviceResolver(std::move(options)).resolve(batch, stats, failures);
  }
  Batch batch;
  DeviceStats stats;
  std::vector<DecodeFailure> failures;
};

TEST(DeviceNotation, SaysWhereTheDeviceComesFrom) {
  EXPECT_EQ(parse_device("topic[12]")->level, 12U);
  EXPECT_EQ(parse_device("topic[1]")->from, From::kTopicLevel);
  EXPECT_EQ(parse_device("topic")->from, From::kTopic);
  EXPECT_EQ(parse_device("client_id")->from, From::kSender);
  EXPECT_EQ(parse_device("motor.id")->from, From::kField);
  EXPECT_EQ(parse_device("motor.id")->field, "motor.id");
  EXPECT_EQ(parse_device("field[topic]")->field, "topic");
  for (const char* bad :
       {"", "topic[]", "topic[-1]", "topic[x]", "topic[1", "topics[1]", "topic[9999]"}) {
    EXPECT_FALSE(parse_device(bad)) << bad;
  }
  EXPECT_EQ(*parse_missing_device("dead_letter"), Missing::kDeadLetter);
  EXPECT_EQ(*parse_missing_device("topic"), Missing::kTopic);
  EXPECT_EQ(*parse_missing_device("sender"), Missing::kSender);
  EXPECT_FALSE(parse_missing_device("drop"));
}

// Rows share the view of their topic, and buffers are used again for other topics.
TEST(DeviceResolver, ForgetsTheTopicsOfABatchAtItsEnd) {
  DeviceResolver resolver(*parse_device("topic[1]"));
  std::string topic = "site/aa/m";
  DeviceStats stats;
  std::vector<DecodeFailure> failures;
  for (const char* device : {"aa", "bb", ""}) {
    topic = std::string("site/") + device + "/m";
    Batch batch;
    Row row;
    row.topic = topic;
    batch.add_row(row);
    batch.add_row(row);
    resolver.resolve(batch, stats, failures);
    EXPECT_EQ(batch.row(0).device, device);
    EXPECT_EQ(batch.row(1).device, device);
  }
  EXPECT_EQ(failures.size(), 2U);
}

TEST_F(Device, ComesFromALevelOfTheTopic) {
  add("sensors/press-7/readings", "");
  add("sensors/press-8", "");
  add("sensors", "");
  add("sensors//x", "");
  resolve(*parse_device("topic[1]"));
  EXPECT_EQ(batch.row(0).device, "press-7");
  EXPECT_EQ(batch.row(1).device, "press-8");
  ASSERT_EQ(failures.size(), 2U);
  EXPECT_EQ(failures[0].row, 2U);
  EXPECT_EQ(failures[0].reason, "no device: topic level 1 is missing or empty");
  EXPECT_EQ(batch.row(2).flags, kRowUndecoded);
  EXPECT_EQ(stats.missing, 2U);
  EXPECT_EQ(stats.dead_letter, 2U);
}

TEST_F(Device, ComesFromTheSenderOrTheWholeTopic) {
  add("a/b", "client");
  resolve(*parse_device("client_id"));
  EXPECT_EQ(batch.row(0).device, "client");
  resolve(*parse_device("topic"));
  EXPECT_EQ(batch.row(0).device, "a/b");
}

TEST_F(Device, ComesFromAField) {
  add("t", "s");
  add("t", "s");
  batch.add_column("id", Type::kString).set(0, std::string_view("press"));
  batch.add_column("number", Type::kFloat64).set(0, 42.0);
  resolve(*parse_device("id"));
  EXPECT_EQ(batch.row(0).device, "press");
  EXPECT_EQ(batch.row(1).flags, kRowUndecoded);
  batch.row(1).flags = 0;
  resolve(*parse_device("number"));
  EXPECT_EQ(batch.row(0).device, "42");
  EXPECT_EQ(failures[0].reason, "no device: field 'number' is missing or empty");
}

TEST_F(Device, IsReplacedWhereItIsMissing) {
  add("t/x", "sender");
  add("t/x", "");
  DeviceOptions options = *parse_device("nowhere");
  options.missing = Missing::kSender;
  resolve(options);
  EXPECT_EQ(batch.row(0).device, "sender");
  EXPECT_EQ(batch.row(0).flags, 0U);
  EXPECT_EQ(batch.row(1).flags, kRowUndecoded);
  EXPECT_EQ(stats.missing, 2U);
  EXPECT_EQ(stats.dead_letter, 1U);
  options.missing = Missing::kTopic;
  batch.row(1).flags = 0;
  resolve(options);
  EXPECT_EQ(batch.row(1).device, "t/x");
}

TEST_F(Device, IsTextOfABoundedLength) {
  const std::string longest(256, 'x');
  const std::string longer(257, 'x');
  add("t", longest);
  add("t", longer);
  add("t", "a\nb");
  add("t", "\xFF");
  add("t", "caf\xC3\xA9");
  resolve(*parse_device("client_id"));
  EXPECT_EQ(batch.row(0).device, longest);
  EXPECT_EQ(batch.row(4).device, "caf\xC3\xA9");
  ASSERT_EQ(failures.size(), 3U);
  EXPECT_EQ(failures[0].reason, "no device: client id is too long");
  EXPECT_EQ(failures[1].reason, "no device: client id is text with control characters");
  EXPECT_EQ(failures[2].reason, "no device: client id is not UTF-8");
}

TEST_F(Device, GivesNoSecondReasonToAnUndecodedRow) {
  add("a/b", "c");
  batch.row(0).flags = kRowUndecoded;
  resolve(*parse_device("id"));
  EXPECT_TRUE(failures.empty());
  EXPECT_EQ(stats.dead_letter, 0U);
  resolve(*parse_device("topic[1]"));
  EXPECT_EQ(batch.row(0).device, "b");
}

}  // namespace
}  // namespace headwater
