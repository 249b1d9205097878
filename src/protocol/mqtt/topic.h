// Topic names and topic filters [4.7], and rules that bind a topic to the client that writes it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headwater::mqtt {

// 1 to 65,535 bytes of valid text without "+" and "#".
bool valid_topic_name(std::string_view topic);
// As a name, but "+" may stand for one whole level and "#" for the last levels.
bool valid_topic_filter(std::string_view filter);
// A filter that starts with a wildcard does not match a topic that starts with "$" [4.7.2].
bool topic_matches(std::string_view filter, std::string_view topic);

// Who writes: what "%c" and "%u" in a pattern stand for.
struct Writer {
  std::string_view client_id;
  std::string_view username;  // "" unless the listener has verified it
};

// A topic filter in which %c is the client id and %u the verified user name:
// "sensors/%c/readings", "site/%u/#", "plant/dev-%c". They are compared as text inside their level,
// so a client id with "/", "+" or "#" widens nothing; an empty client id or user name matches
// nothing.
class TopicPattern {
 public:
  static Result<TopicPattern> parse(std::string_view pattern);
  bool matches(std::string_view topic, const Writer& writer) const;
  // Whether every topic that `filter` matches matches the pattern. Of a writer whose name, used in
  // the pattern, has a '+', '#' or '/' nothing is: in a filter they mean more than themselves.
  bool covers(std::string_view filter, const Writer& writer) const;
  // The client id of the one client whose topics a topic that matches belongs to. Nothing where the
  // pattern has no level that is all %c.
  std::optional<std::string_view> client_of(std::string_view topic) const;
  const std::string& text() const { return text_; }

 private:
  explicit TopicPattern(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// Which topics a client may publish to: one of `topics`, and, when `own` is not empty, one of
// `own`.
class WriteRules {
 public:
  static Result<WriteRules> create(const std::vector<std::string>& topics,
                                   const std::vector<std::string>& own);
  bool allows(std::string_view topic, const Writer& writer) const {
    return lists(topic) && owns(topic, writer);
  }
  // The two parts of it: one of `topics`, whoever writes; and of those, his own.
  bool lists(std::string_view topic) const;
  bool owns(std::string_view topic, const Writer& writer) const;

 private:
  std::vector<std::string> topics_;
  std::vector<TopicPattern> own_;
};

}  // namespace headwater::mqtt
