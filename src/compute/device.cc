#include "compute/device.h"

#include <charconv>
#include <cmath>

#include "base/strings.h"
#include "compute/key_text.h"

namespace headwater {
namespace {

// Why `text` cannot be a device; empty if it can.
std::string_view objection(std::string_view text) {
  if (text.empty()) {
    return "missing or empty";
  }
  if (text.size() > DeviceResolver::kMaxDeviceBytes) {
    return "too long";
  }
  bool ascii = true;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      return "text with control characters";
    }
    ascii = ascii && byte < 0x80;
  }
  return ascii || is_utf8(text) ? std::string_view() : std::string_view("not UTF-8");
}

std::string_view topic_level(std::string_view topic, std::size_t level) {
  for (; level > 0; --level) {
    const std::size_t slash = topic.find('/');
    if (slash == std::string_view::npos) {
      return {};
    }
    topic.remove_prefix(slash + 1);
  }
  return topic.substr(0, topic.find('/'));
}

std::string place(const DeviceOptions& options) {
  switch (options.from) {
    case DeviceOptions::From::kTopicLevel:
      return fmt::format("topic level {}", options.level);
    case DeviceOptions::From::kTopic:
      return "topic";
    case DeviceOptions::From::kSender:
      return "client id";
    case DeviceOptions::From::kField:
      break;
  }
  return fmt::format("field '{}'", options.field);
}

}  // namespace

Result<DeviceOptions> parse_device(std::string_view text) {
  DeviceOptions options;
  const auto inside = [&](std::string_view prefix) -> std::optional<std::string_view> {
    if (text.size() > prefix.size() + 2 && text.substr(0, prefix.size()) == prefix &&
        text[prefix.size()] == '[' && text.back() == ']') {
      return text.substr(prefix.size() + 1, text.size() - prefix.size() - 2);
    }
    return std::nullopt;
  };
  if (text == "topic") {
    options.from = DeviceOptions::From::kTopic;
  } else if (text == "client_id") {
    options.from = DeviceOptions::From::kSender;
  } else if (const auto level = inside("topic")) {
    options.from = DeviceOptions::From::kTopicLevel;
    const auto read = std::from_chars(level->data(), level->data() + level->size(), options.level);
    if (read.ec != std::errc() || read.ptr != level->data() + level->size() ||
        options.level > 1000) {
      return Error::invalid("'{}': the level of a topic is a number from 0, as in \"topic[1]\"",
                            text);
    }
  } else if (const auto field = inside("field")) {
    options.from = DeviceOptions::From::kField;
    options.field = *field;
  } else if (text.empty() || text.find_first_of("[]") != std::string_view::npos) {
    return Error::invalid(
        "'{}' is no place of a device: write topic[N], topic, client_id or the name of a field",
        text);
  } else {
    options.from = DeviceOptions::From::kField;
    options.field = text;
  }
  return options;
}

Result<DeviceOptions::Missing> parse_missing_device(std::string_view text) {
  if (text == "dead_letter") {
    return DeviceOptions::Missing::kDeadLetter;
  }
  if (text == "topic") {
    return DeviceOptions::Missing::kTopic;
  }
  if (text == "sender" || text == "client_id") {
    return DeviceOptions::Missing::kSender;
  }
  return Error::invalid("'{}': missing_device is dead_letter, topic or sender", text);
}

std::string_view DeviceResolver::of(std::string_view topic, std::string_view sender) const {
  std::string_view found;
  if (options_.from == DeviceOptions::From::kTopicLevel) {
    found = topic_level(topic, options_.level);
  } else if (options_.from == DeviceOptions::From::kTopic) {
    found = topic;
  } else if (options_.from == DeviceOptions::From::kSender) {
    found = sender;
  }
  return objection(found).empty() ? found : std::string_view();
}

std::string_view DeviceResolver::find(Batch& batch, const Column* column, std::size_t index) const {
  const Row& row = batch.row(index);
  switch (options_.from) {
    case DeviceOptions::From::kTopicLevel:
      return topic_level(row.topic, options_.level);
    case DeviceOptions::From::kTopic:
      return row.topic;
    case DeviceOptions::From::kSender:
      return row.sender;
    case DeviceOptions::From::kField:
      break;
  }
  if (column == nullptr || !column->valid(index)) {
    return {};
  }
  KeyText text;
  const std::string_view key = text.of(*column, index);
  return column->type() == Type::kString ? key : batch.arena().copy(key);
}

void DeviceResolver::resolve(Batch& batch, DeviceStats& stats,
                             std::vector<DecodeFailure>& failures) {
  const Column* const column =
      options_.from == DeviceOptions::From::kField ? batch.find(options_.field) : nullptr;
  const bool by_topic = options_.from == DeviceOptions::From::kTopicLevel;
  ++batches_;
  for (const std::uint32_t index : batch.selection()) {
    Row& row = batch.row(index);
    Known* known = nullptr;
    if (by_topic) {
      known = &known_[(reinterpret_cast<std::uintptr_t>(row.topic.data()) >> 3) % kKnown];
      if (known->batch == batches_ && known->topic == row.topic.data() &&
          known->topic_size == row.topic.size()) {
        row.device = known->device;
        continue;
      }
    }
    const std::string_view found = find(batch, column, index);
    const std::string_view wrong = objection(found);
    if (wrong.empty()) {
      row.device = found;
      if (known != nullptr) {
        *known = {batches_, row.topic.data(), row.topic.size(), found};
      }
      continue;
    }
    ++stats.missing;
    std::string_view other;
    if (options_.missing != DeviceOptions::Missing::kDeadLetter) {
      other = options_.missing == DeviceOptions::Missing::kTopic ? row.topic : row.sender;
    }
    if (objection(other).empty()) {
      row.device = other;
      continue;
    }
    row.device = {};
    if ((row.flags & kRowUndecoded) == 0) {
      ++stats.dead_letter;
      row.flags |= kRowUndecoded;
      failures.push_back({index, fmt::format("no device: {} is {}", place(options_), wrong)});
    }
  }
}

}  // namespace headwater
