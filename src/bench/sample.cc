#include "bench/sample.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/strings.h"
#include "expr/expression.h"

namespace headwater::bench {
namespace {

constexpr std::string_view kDevice = "${DEVICE}";
constexpr std::uint64_t kFirstNumber = 100'000'000'000'000;  // 15 digits: exact as a double
constexpr std::size_t kNumberDigits = 15;
constexpr std::size_t kRowsPerDevice = 16;  // of made-up messages
constexpr Nanos kDefaultObjective = std::chrono::milliseconds(20);

std::string_view digits_of(Stamp stamp) {
  switch (stamp) {
    case Stamp::kRfc3339:
      return "2026-01-01T00:00:00.000Z";
    case Stamp::kSeconds:
      return "1767225600";
    case Stamp::kMillis:
      return "1767225600000";
    case Stamp::kMicros:
      return "1767225600000000";
    case Stamp::kNanos:
      return "1767225600000000000";
    case Stamp::kNumber:
      break;
  }
  return "100000000000000";
}

// Of a time in the message: a text, or a number whose magnitude tells its unit.
Stamp stamp_of_time(std::string_view token) {
  if (token.starts_with('"')) {
    return Stamp::kRfc3339;
  }
  const double value = std::fabs(std::strtod(std::string(token).c_str(), nullptr));
  return value < 1e11   ? Stamp::kSeconds
         : value < 1e14 ? Stamp::kMillis
         : value < 1e17 ? Stamp::kMicros
                        : Stamp::kNanos;
}

// The token of a top-level field; empty if there is none or the text is no object.
std::string_view find_token(const simdjson::padded_string& text, std::string_view field) {
  simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  if (parser.iterate(text).get(document) != simdjson::SUCCESS ||
      document.get_object().get(object) != simdjson::SUCCESS) {
    return {};
  }
  for (auto entry : object) {
    simdjson::ondemand::field found;
    std::string_view key;
    if (std::move(entry).get(found) != simdjson::SUCCESS ||
        found.unescaped_key().get(key) != simdjson::SUCCESS) {
      return {};
    }
    if (key == field) {
      std::string_view token = trim(found.value().raw_json_token());
      const bool scalar =
          !token.empty() && token.front() != '{' && token.front() != '[' && token != "null";
      return scalar ? token : std::string_view();
    }
  }
  return {};
}

void put_stamp(Message& message, std::string_view field, bool time) {
  if (field.empty()) {
    return;
  }
  const simdjson::padded_string text(message.payload);
  const std::string_view token = find_token(text, field);
  if (token.empty()) {
    return;
  }
  const Stamp stamp = time ? stamp_of_time(token) : Stamp::kNumber;
  const bool quoted = token.starts_with('"');
  const auto begin =
      static_cast<std::size_t>(token.data() - std::string_view(text).data()) + (quoted ? 1 : 0);
  const std::size_t size = token.size() - (quoted ? 2 : 0);
  const std::string_view digits = digits_of(stamp);
  for (StampPlace& place : message.stamps) {
    if (place.at > begin) {
      place.at = static_cast<std::uint32_t>(place.at + digits.size() - size);
    }
  }
  message.payload.replace(begin, size, digits);
  message.stamps.push_back({stamp, static_cast<std::uint32_t>(begin)});
}

// A topic that the source takes, with the device where the source looks for it.
std::string topic_for(const config::Node& source, std::string_view device) {
  std::string filter = "bench";
  if (const config::Node* topics = source.find("topics");
      topics != nullptr && !topics->items().empty()) {
    filter = topics->items().front().text();
  }
  std::size_t level = std::string_view::npos;
  if (device.starts_with("topic[")) {
    level =
        static_cast<std::size_t>(std::strtoul(std::string(device.substr(6)).c_str(), nullptr, 10));
  }
  std::vector<std::string> levels;
  for (const std::string_view part : split(filter, '/')) {
    levels.emplace_back(part);
  }
  if (levels.back() == "#") {
    levels.back() = "bench";
    while (level != std::string_view::npos && levels.size() <= level && levels.size() < 64) {
      levels.emplace_back("bench");
    }
  }
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (i == level || (levels[i] == "+" && level == std::string_view::npos)) {
      levels[i] = kDevice;
    } else if (levels[i] == "+") {
      levels[i] = "bench";
    }
  }
  return fmt::format("{}", fmt::join(levels, "/"));
}

std::string text_of(const config::Node& node, std::string_view name, std::string_view otherwise) {
  const config::Node* found = node.find(name);
  return found != nullptr && found->is_scalar() ? found->text() : std::string(otherwise);
}

void add_name(std::vector<std::string>& names, std::string_view name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    names.emplace_back(name);
  }
}

// "pressure" of "mean(pressure)", "vibration" of "quantile(vibration, 0.9)".
std::string_view argument_of(std::string_view aggregate) {
  const std::size_t open = aggregate.find('(');
  const std::size_t end = aggregate.find_last_of(",)");
  return open == std::string_view::npos || end == std::string_view::npos || end < open
             ? std::string_view()
             : aggregate.substr(open + 1, end - open - 1);
}

// Columns that the expressions of a step read.
void add_read_by(const config::Node& node, bool expression, std::vector<std::string>& names) {
  for (const config::Node::Entry& entry : node.entries()) {
    const bool inside = expression || entry.name == "when" || entry.name == "alert_when" ||
                        entry.name == "clear_when" || entry.name == "add" || entry.name == "set";
    if (entry.value.is_scalar() && inside) {
      auto compiled = expr::compile(entry.value.text(), expr::Names::open(Schema{}), {});
      if (!compiled) {  // of a window
        compiled = expr::compile(argument_of(entry.value.text()), expr::Names::open(Schema{}), {});
      }
      for (std::size_t i = 0; compiled && i < compiled->fields().size(); ++i) {
        add_name(names, compiled->fields()[i]);
      }
    }
    add_read_by(entry.value, inside, names);
  }
}

const std::string* pipeline_of(const Plan& plan, std::string_view source) {
  for (const auto& [name, pipeline] : plan.config().pipelines) {
    if (std::find(pipeline.from.begin(), pipeline.from.end(), source) != pipeline.from.end()) {
      return &name;
    }
  }
  return nullptr;
}

}  // namespace

void Stamper::fill(const Message& message, char* payload, WallTime time, std::uint64_t number) {
  for (const StampPlace& place : message.stamps) {
    char* const at = payload + place.at;
    if (place.stamp == Stamp::kRfc3339) {
      const std::int64_t millis = time.ns / 1'000'000;
      if (millis != millis_) {
        millis_ = millis;
        rfc3339_.clear();
        append_rfc3339(rfc3339_, WallTime{millis / 1000 * 1'000'000'000});
        rfc3339_.resize(19);  // without fraction and zone
        rfc3339_ += fmt::format(".{:03}Z", millis % 1000);
      }
      std::memcpy(at, rfc3339_.data(), rfc3339_.size());
      continue;
    }
    std::uint64_t value = kFirstNumber + number;
    std::size_t digits = kNumberDigits;
    if (place.stamp != Stamp::kNumber) {
      digits = digits_of(place.stamp).size();
      value = static_cast<std::uint64_t>(time.ns);
      for (std::size_t i = digits; i < digits_of(Stamp::kNanos).size(); ++i) {
        value /= 10;
      }
    }
    for (std::size_t i = digits; i-- > 0; value /= 10) {
      at[i] = static_cast<char>('0' + value % 10);
    }
  }
}

Result<SourceFacts> source_facts(const Plan& plan, std::string_view wanted) {
  const config::Node* chosen = nullptr;
  SourceFacts facts;
  for (const auto& [name, node] : plan.config().sources) {
    if (pipeline_of(plan, name) == nullptr || (!wanted.empty() && name != wanted)) {
      continue;
    }
    const std::string kind = text_of(node, "type", "");
    if (chosen == nullptr || (kind == "mqtt_listen" && facts.kind != "mqtt_listen")) {
      chosen = &node;
      facts.source = name;
      facts.kind = kind;
    }
  }
  if (chosen == nullptr) {
    return wanted.empty() ? Error::invalid("no source feeds a pipeline")
                          : Error::not_found("no source '{}' that feeds a pipeline", wanted);
  }
  if (text_of(*chosen, "format", "json") == "csv" && facts.kind != "file") {
    return Error::invalid(
        "source '{}' reads CSV messages, and a benchmark sends JSON: try it with --set "
        "sources.{}.format=json",
        facts.source, facts.source);
  }
  const std::string device = text_of(*chosen, "device", "client_id");
  facts.topic = topic_for(*chosen, device);
  if (device != "client_id" && device != "topic" && !device.starts_with("topic[")) {
    facts.device_field = device;
  }
  if (const config::Node* time = chosen->find("time")) {
    facts.time_field = time->is_scalar() ? time->text() : text_of(*time, "field", "");
  }
  facts.id_field = text_of(*chosen, "message_id", "");

  config::Diagnostics diagnostics;
  facts.pipeline = *pipeline_of(plan, facts.source);
  const PipelineConfig& config = *plan.config().pipelines.find(facts.pipeline);
  const PlannedSteps steps = plan.make_steps(config, facts.pipeline, diagnostics);
  const Schema declared = plan.make_source(facts.source, {}, diagnostics).declared;
  for (const Field& field : declared.fields()) {
    if (field.type != Type::kString && field.type != Type::kTimestamp) {
      add_name(facts.fields, field.name);
    }
  }
  std::vector<std::string> read = steps.context.features;
  for (const config::Node& step : config.steps) {
    add_read_by(step, false, read);
  }
  for (const std::string& name : read) {
    if (!steps.context.known.find(name) && name != facts.device_field && name != facts.time_field &&
        name != facts.id_field && name != "score") {
      add_name(facts.fields, name);
    }
  }
  return facts;
}

Message make_message(RawMessage raw, const SourceFacts& facts) {
  Message message{std::move(raw.topic), std::move(raw.payload), std::move(raw.device), {}};
  put_stamp(message, facts.time_field, true);
  put_stamp(message, facts.id_field, false);
  return message;
}

std::vector<Message> made_up_messages(const SourceFacts& facts, std::uint32_t devices) {
  std::vector<Message> made;
  const std::vector<std::string> fields =
      facts.fields.empty() ? std::vector<std::string>{"value"} : facts.fields;
  for (std::size_t row = 0; row < kRowsPerDevice; ++row) {
    for (std::uint32_t device = 1; device <= devices; ++device) {
      RawMessage raw;
      raw.device = fmt::format("bench-{}", device);
      raw.topic = facts.topic;
      if (const std::size_t at = raw.topic.find(kDevice); at != std::string::npos) {
        raw.topic.replace(at, kDevice.size(), raw.device);
      }
      std::vector<std::string> members;
      if (!facts.device_field.empty()) {
        members.push_back(fmt::format("\"{}\":\"{}\"", facts.device_field, raw.device));
      }
      if (!facts.time_field.empty()) {
        members.push_back(fmt::format("\"{}\":\"2026-01-01T00:00:00Z\"", facts.time_field));
      }
      if (!facts.id_field.empty()) {
        members.push_back(fmt::format("\"{}\":1", facts.id_field));
      }
      for (std::size_t field = 0; field < fields.size(); ++field) {
        const double phase = static_cast<double>(row + 3 * field) + 0.37 * device;
        members.push_back(fmt::format("\"{}\":{:.2f}", fields[field], 50 + 10 * std::sin(phase)));
      }
      raw.payload = fmt::format("{{{}}}", fmt::join(members, ","));
      made.push_back(make_message(std::move(raw), facts));
    }
  }
  return made;
}

Status check_listener(const Plan& plan, const SourceFacts& facts) {
  if (facts.kind != "mqtt_listen") {
    return Error::invalid("--through listener: source '{}' is of type {}, not mqtt_listen",
                          facts.source, facts.kind);
  }
  if (plan.config().sources.find(facts.source)->find("tls") != nullptr) {
    return Error::invalid(
        "--through listener: source '{}' wants TLS, which this load does not speak; without "
        "--through the connections are left out",
        facts.source);
  }
  return {};
}

Nanos objective_of(const Plan& plan) {
  Nanos least = Nanos::max();
  for (const auto& [name, pipeline] : plan.config().pipelines) {
    for (const config::Node& step : pipeline.steps) {
      const config::Node* detect = step.find("detect");
      const config::Node* objective = detect == nullptr ? nullptr : detect->find("objective");
      if (objective == nullptr) {
        continue;
      }
      const auto p99 = parse_duration(text_of(*objective, "p99", ""));
      least = std::min(least, p99 ? *p99 : least);
    }
  }
  return least == Nanos::max() ? kDefaultObjective : least;
}

Result<Nanos> parse_objective(std::string_view text) {
  const std::string_view value = text.starts_with("p99=") ? text.substr(4) : text;
  const auto parsed = parse_duration(value);
  if (!parsed || parsed->count() <= 0) {
    return Error::invalid("'{}': expected p99= and a duration, such as p99=20ms", text);
  }
  return *parsed;
}

}  // namespace headwater::bench
