#include "protocol/mqtt/topic.h"

#include <gtest/gtest.h>

#include <string>

#include "protocol/mqtt/topic_cache.h"

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

TEST(TopicCache, KnowsWhatTheRulesSayOfManyMoreTopicsThanItHolds) {
  const WriteRules rules = WriteRules::create({"site/#"}, {}).value();
  TopicCache cache(rules);
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < 3 * TopicCache::kSets * TopicCache::kWays; ++i) {
      const std::string topic = (i % 2 == 0 ? "site/" : "yard/") + std::to_string(i);
      const TopicCache::Topic* const found = cache.find(topic);
      ASSERT_NE(found, nullptr);
      ASSERT_EQ(found->text, topic);
      ASSERT_EQ(found->listed, i % 2 == 0);
    }
  }
  const std::string large = "site/" + std::string(TopicCache::kMaxTopicBytes, 'x');
  ASSERT_NE(cache.find(large), nullptr);
  EXPECT_EQ(cache.find(large)->text, large);
}

TEST(TopicCache, RefusesWhatIsNoTopicNameEachTime) {
  const WriteRules rules = WriteRules::create({"#"}, {}).value();
  TopicCache cache(rules);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(cache.find(""), nullptr);
    EXPECT_EQ(cache.find("a/+"), nullptr);
    EXPECT_EQ(cache.find("\xC3"), nullptr);
    EXPECT_EQ(cache.find(std::string(TopicCache::kMaxTopicBytes, 'x') + "#"), nullptr);
  }
}

TEST(TopicCache, CopiesATopicOnceIntoEachArena) {
  const WriteRules rules = WriteRules::create({"#"}, {}).value();
  TopicCache cache(rules);
  Arena first;
  const std::string_view view = cache.find("a/b")->in(first, 1);
  EXPECT_EQ(view, "a/b");
  EXPECT_EQ(cache.find("a/b")->in(first, 1).data(), view.data());
  Arena second;
  EXPECT_NE(cache.find("a/b")->in(second, 2).data(), view.data());
}

}  // namespace
}  // namespace headwater::mqtt
