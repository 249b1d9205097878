#include "protocol/mqtt/topic_cache.h"

#include "base/bytes.h"

namespace headwater::mqtt {

TopicCache::Topic* TopicCache::find(std::string_view topic) {
  if (topic.empty()) {
    return nullptr;
  }
  if (topic.size() > kMaxTopicBytes) {
    if (!valid_topic_name(topic)) {
      return nullptr;
    }
    large_ = {.text = std::string(topic), .listed = rules_.lists(topic)};
    return &large_;
  }
  if (!sets_) {
    sets_ = std::make_unique<std::array<Set, kSets>>();
  }
  const std::uint64_t hash = hash64(topic);
  Set& set = (*sets_)[hash % kSets];
  for (Topic& known : set.topics) {
    if (known.hash == hash && known.text == topic) {
      return &known;
    }
  }
  return learn(set, topic, hash);
}

TopicCache::Topic* TopicCache::learn(Set& set, std::string_view topic, std::uint64_t hash) {
  if (!valid_topic_name(topic)) {
    return nullptr;
  }
  Topic& known = set.topics[set.next];
  set.next = (set.next + 1) % kWays;
  known.text = topic;
  known.hash = hash;
  known.listed = rules_.lists(topic);
  known.epoch = 0;
  return &known;
}

}  // namespace headwater::mqtt
