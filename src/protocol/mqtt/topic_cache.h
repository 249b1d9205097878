// TopicCache: topic names that were checked lately. Devices write to few topics, again and again;
// all clients of a worker share one cache. Speed only: what it forgets is checked anew.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "data/arena.h"
#include "protocol/mqtt/topic.h"

namespace headwater::mqtt {

class TopicCache {
 public:
  // A valid topic name.
  struct Topic {
    std::string text;
    std::uint64_t hash = 0;
    bool listed = false;      // WriteRules::lists(text)
    std::uint64_t epoch = 0;  // for which `view` was made
    std::string_view view{};  // copy of text in that epoch's arena

    // One copy in each arena; every arena has an epoch of its own, from 1.
    std::string_view in(Arena& arena, std::uint64_t now) {
      if (epoch != now) {
        epoch = now;
        view = arena.copy(text);
      }
      return view;
    }
  };

  static constexpr std::size_t kMaxTopicBytes = 512;  // that are remembered
  static constexpr std::size_t kSets = 512;
  static constexpr std::size_t kWays = 4;

  // `rules` must outlive the cache.
  explicit TopicCache(const WriteRules& rules) : rules_(rules) {}

  // nullptr: it is no topic name. Good until the next find().
  Topic* find(std::string_view topic);

 private:
  struct Set {
    std::array<Topic, kWays> topics;
    std::size_t next = 0;  // to be forgotten
  };
  Topic* learn(Set& set, std::string_view topic, std::uint64_t hash);

  const WriteRules& rules_;
  std::unique_ptr<std::array<Set, kSets>> sets_;  // made at first use
  Topic large_;                                   // the last one beyond kMaxTopicBytes
};

}  // namespace headwater::mqtt
