#include "protocol/mqtt/topic.h"

#include <algorithm>

#include "protocol/mqtt/codec.h"

namespace headwater::mqtt {
namespace {

// The level at the front of `rest`, taken off; `last` tells that none follows.
std::string_view next_level(std::string_view* rest, bool* last) {
  const std::size_t slash = rest->find('/');
  *last = slash == std::string_view::npos;
  const std::string_view level = rest->substr(0, slash);
  rest->remove_prefix(*last ? rest->size() : slash + 1);
  return level;
}

// Whether `level` is `pattern` with its %c and %u replaced.
bool level_matches(std::string_view pattern, std::string_view level, const Writer& writer) {
  while (!pattern.empty()) {
    if (pattern.size() >= 2 && pattern[0] == '%' && (pattern[1] == 'c' || pattern[1] == 'u')) {
      const std::string_view name = pattern[1] == 'c' ? writer.client_id : writer.username;
      if (name.empty() || !level.starts_with(name)) {
        return false;
      }
      level.remove_prefix(name.size());
      pattern.remove_prefix(2);
      continue;
    }
    if (level.empty() || level[0] != pattern[0]) {
      return false;
    }
    level.remove_prefix(1);
    pattern.remove_prefix(1);
  }
  return level.empty();
}

template <class LevelMatches>
bool match(std::string_view filter, std::string_view topic, LevelMatches&& matches_level) {
  if (!topic.empty() && topic[0] == '$' && !filter.empty() &&
      (filter[0] == '+' || filter[0] == '#')) {
    return false;
  }
  while (true) {
    bool filter_last = false;
    bool topic_last = false;
    const std::string_view want = next_level(&filter, &filter_last);
    if (want == "#") {
      return true;
    }
    const std::string_view have = next_level(&topic, &topic_last);
    if (want != "+" && !matches_level(want, have)) {
      return false;
    }
    if (topic_last) {
      return filter_last || filter == "#";  // "a/#" matches "a" too
    }
    if (filter_last) {
      return false;
    }
  }
}

}  // namespace

bool valid_topic_name(std::string_view topic) {
  return !topic.empty() && topic.size() <= kMaxText && topic.find('+') == std::string_view::npos &&
         topic.find('#') == std::string_view::npos && valid_text(topic);
}

bool valid_topic_filter(std::string_view filter) {
  if (filter.empty() || filter.size() > kMaxText || !valid_text(filter)) {
    return false;
  }
  bool last = false;
  while (!last) {
    const std::string_view level = next_level(&filter, &last);
    if (level.find_first_of("+#") != std::string_view::npos && level.size() != 1) {
      return false;
    }
    if (level == "#" && !last) {
      return false;
    }
  }
  return true;
}

bool topic_matches(std::string_view filter, std::string_view topic) {
  return match(filter, topic,
               [](std::string_view want, std::string_view have) { return want == have; });
}

Result<TopicPattern> TopicPattern::parse(std::string_view pattern) {
  if (!valid_topic_filter(pattern)) {
    return Error::invalid("'{}' is not a topic filter", pattern);
  }
  for (std::size_t at = pattern.find('%'); at != std::string_view::npos;
       at = pattern.find('%', at + 2)) {
    const char next = at + 1 < pattern.size() ? pattern[at + 1] : '\0';
    if (next != 'c' && next != 'u') {
      return Error::invalid("'{}': '%' must be %c (client id) or %u (user name)", pattern);
    }
  }
  return TopicPattern(std::string(pattern));
}

bool TopicPattern::matches(std::string_view topic, const Writer& writer) const {
  return match(text_, topic, [&](std::string_view want, std::string_view have) {
    return level_matches(want, have, writer);
  });
}

bool TopicPattern::covers(std::string_view filter, const Writer& writer) const {
  const auto plain = [&](std::string_view token, std::string_view name) {
    return text_.find(token) == std::string::npos ||
           name.find_first_of("+#/") == std::string_view::npos;
  };
  if (!plain("%c", writer.client_id) || !plain("%u", writer.username)) {
    return false;
  }
  std::string_view pattern = text_;
  while (true) {
    bool pattern_last = false;
    bool filter_last = false;
    const std::string_view want = next_level(&pattern, &pattern_last);
    if (want == "#") {
      return true;
    }
    const std::string_view have = next_level(&filter, &filter_last);
    if (have == "#" || (want != "+" && !level_matches(want, have, writer))) {
      return false;
    }
    if (filter_last) {
      return pattern_last || pattern == "#";
    }
    if (pattern_last) {
      return false;
    }
  }
}

std::optional<std::string_view> TopicPattern::client_of(std::string_view topic) const {
  std::string_view pattern = text_;
  bool pattern_last = false;
  bool topic_last = false;
  while (!pattern_last && !topic_last) {
    const std::string_view want = next_level(&pattern, &pattern_last);
    const std::string_view have = next_level(&topic, &topic_last);
    if (want == "%c") {
      return have;
    }
  }
  return std::nullopt;
}

Result<WriteRules> WriteRules::create(const std::vector<std::string>& topics,
                                      const std::vector<std::string>& own) {
  WriteRules rules;
  for (const std::string& topic : topics) {
    if (!valid_topic_filter(topic)) {
      return Error::invalid("'{}' is not a topic filter", topic);
    }
    rules.topics_.push_back(topic);
  }
  for (const std::string& pattern : own) {
    rules.own_.push_back(HW_TRY(TopicPattern::parse(pattern)));
  }
  return rules;
}

bool WriteRules::lists(std::string_view topic) const {
  return std::any_of(topics_.begin(), topics_.end(),
                     [&](const std::string& filter) { return topic_matches(filter, topic); });
}

bool WriteRules::owns(std::string_view topic, const Writer& writer) const {
  return own_.empty() || std::any_of(own_.begin(), own_.end(), [&](const TopicPattern& pattern) {
           return pattern.matches(topic, writer);
         });
}

}  // namespace headwater::mqtt
