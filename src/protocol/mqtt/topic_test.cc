#include "protocol/mqtt/topic.h"

#include <gtest/gtest.h>

#include <string>

namespace headwater::mqtt {
namespace {

TEST(TopicName, IsTextWithoutWildcards) {
  EXPECT_TRUE(valid_topic_name("a"));
  EXPECT_TRUE(valid_topic_name("/"));
  EXPECT_TRUE(valid_topic_name("sensors//tür"));
  EXPECT_FALSE(valid_topic_name(""));
  EXPECT_FALSE(valid_topic_name("a/+"));
  EXPECT_FALSE(valid_topic_name("a#"));
  EXPECT_FALSE(valid_topic_name(std::string_view("a\0b", 3)));
  EXPECT_FALSE(valid_topic_name("\xC3"));
  EXPECT_FALSE(valid_topic_name(std::string(65'536, 'a')));
}

TEST(TopicFilter, WildcardsStandForWholeLevels) {
  for (const char* good : {"#", "+", "a/#", "+/a/+", "/+", "a//b", "sport/+/player1"}) {
    EXPECT_TRUE(valid_topic_filter(good)) << good;
  }
  for (const char* bad : {"", "a#", "#/a", "a+", "+a/b", "a/#/b", "sport/tennis#"}) {
    EXPECT_FALSE(valid_topic_filter(bad)) << bad;
  }
}

TEST(TopicFilter, MatchesAsTheStandardsExamplesSay) {  // [4.7.1]
  EXPECT_TRUE(topic_matches("sport/tennis/player1/#", "sport/tennis/player1"));
  EXPECT_TRUE(topic_matches("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"));
  EXPECT_TRUE(topic_matches("sport/#", "sport"));
  EXPECT_TRUE(topic_matches("sport/tennis/+", "sport/tennis/player1"));
  EXPECT_FALSE(topic_matches("sport/tennis/+", "sport/tennis/player1/ranking"));
  EXPECT_FALSE(topic_matches("sport/+", "sport"));
  EXPECT_TRUE(topic_matches("sport/+", "sport/"));
  EXPECT_TRUE(topic_matches("+/+", "/finance"));
  EXPECT_TRUE(topic_matches("/+", "/finance"));
  EXPECT_FALSE(topic_matches("+", "/finance"));
  EXPECT_FALSE(topic_matches("a/b", "a/B"));
  EXPECT_FALSE(topic_matches("a/b", "a"));
}

TEST(TopicFilter, LeadingWildcardsDoNotMatchDollarTopics) {
  EXPECT_FALSE(topic_matches("#", "$SYS/uptime"));
  EXPECT_FALSE(topic_matches("+/uptime", "$SYS/uptime"));
  EXPECT_TRUE(topic_matches("$SYS/#", "$SYS/uptime"));
}

TEST(TopicPattern, BindsALevelToTheClient) {
  const auto pattern = TopicPattern::parse("site/dev-%c/%u/#");
  ASSERT_TRUE(pattern);
  EXPECT_TRUE(pattern->matches("site/dev-7/anna/x/y", {"7", "anna"}));
  EXPECT_FALSE(pattern->matches("site/dev-8/anna/x", {"7", "anna"}));
  EXPECT_FALSE(pattern->matches("site/dev-7/bob/x", {"7", "anna"}));
  EXPECT_FALSE(pattern->matches("site/dev-7//x", {"7", ""}));
}

TEST(TopicPattern, AClientIdWithWildcardsOrSlashesWidensNothing) {
  const auto pattern = TopicPattern::parse("sensors/%c/readings");
  ASSERT_TRUE(pattern);
  EXPECT_FALSE(pattern->matches("sensors/other/readings", {"+", ""}));
  EXPECT_FALSE(pattern->matches("sensors/other/readings", {"#", ""}));
  EXPECT_FALSE(pattern->matches("sensors/a/b/readings", {"a/b", ""}));
  EXPECT_TRUE(pattern->matches("sensors/a/readings", {"a", ""}));
}

TEST(TopicPattern, NamesWhatIsWrong) {
  const auto pattern = TopicPattern::parse("a/%d");
  ASSERT_FALSE(pattern);
  EXPECT_EQ(pattern.error().text(), "'a/%d': '%' must be %c (client id) or %u (user name)");
  EXPECT_FALSE(TopicPattern::parse("a/%"));
  EXPECT_FALSE(TopicPattern::parse("a#"));
}

TEST(WriteRules, NeedATopicOfTheListAndAnOwnPattern) {
  const auto rules = WriteRules::create({"sensors/+/readings", "events"}, {"sensors/%c/#"});
  ASSERT_TRUE(rules);
  EXPECT_TRUE(rules->allows("sensors/a/readings", {"a", ""}));
  EXPECT_FALSE(rules->allows("sensors/b/readings", {"a", ""}));
  EXPECT_FALSE(rules->allows("sensors/a/other", {"a", ""}));
  EXPECT_FALSE(rules->allows("events", {"a", ""}));
}

}  // namespace
}  // namespace headwater::mqtt
