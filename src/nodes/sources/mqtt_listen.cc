#include "nodes/sources/mqtt_listen.h"

#include <utility>

#include "compute/device.h"
#include "io/loop.h"
#include "io/tls.h"
#include "nodes/expression.h"
#include "protocol/mqtt/listener.h"
#include "protocol/mqtt/password_file.h"
#include "protocol/mqtt/topic.h"

namespace headwater {
namespace {

template <class T>
Status status_of(const Result<T>& result) {
  return result ? Status() : Status(result.error());
}

// One worker's part of the listener. The group is shared; worker 0 restores sessions and opens the
// door.
class MqttListen final : public Source,
                         public Checkpointed,
                         public Declining,
                         public Refusing,
                         public Listening {
 public:
  MqttListen(std::shared_ptr<mqtt::ListenerGroup> group, std::size_t worker, std::string host,
             DeviceResolver device)
      : group_(std::move(group)),
        device_(std::move(device)),
        listener_(group_->worker(worker)),
        first_(worker == 0),
        host_(std::move(host)) {}

  Status start(io::Loop&) override {
    if (first_) {
      group_->start();
    }
    return {};
  }

  Result<More> take(std::size_t room, Batch& batch) override {
    publishes_.clear();
    const bool more = listener_.take(room, batch.arena(), publishes_);
    if (publishes_.empty()) {
      return more ? More::kYes : More::kNone;
    }
    const MonoTime arrived = io::mono_now();
    const WallTime received = io::wall_now();
    for (const mqtt::Publish& publish : publishes_) {
      Row row;
      row.payload = publish.payload;
      row.topic = publish.topic;
      row.sender = publish.client_id;
      row.received = received;
      row.time = received;
      row.arrived = arrived;
      row.partition = publish.client;
      row.position = publish.position;
      if (publish.offline) {
        row.flags = kRowOffline;
        // Not of a topic that the client may not write: nobody is told gone by another.
        row.device = publish.allowed ? device_.of(row.topic, row.sender) : std::string_view();
        row.device = row.device.empty() ? row.sender : row.device;
      }
      batch.add_row(row);
    }
    return more ? More::kYes : More::kNone;
  }

  Status acknowledge(Partition partition, Position upto) override {
    listener_.acknowledge(partition, upto);
    return {};
  }

  void decline(Partition partition, Position from, Position upto) override {
    listener_.decline(partition, from, upto);
  }

  void pause(bool paused) override { listener_.pause(paused); }

  void close() override {
    listener_.flush();
    if (first_) {
      group_->stop_accepting();
    }
    listener_.close();
  }

  void save(StateWriter& state, std::vector<std::pair<Partition, Position>>& upto) override {
    changes_.clear();
    listener_.take_session_changes(changes_);
    for (const mqtt::SessionChange& change : changes_) {
      state.put(change.key, change.removed ? std::string_view() : change.blob);
      if (change.position != 0) {
        upto.emplace_back(change.client, change.position);
      }
    }
  }

  Status restore(const StateReader& state) override {
    if (!first_) {
      return {};
    }
    for (const auto& [key, blob] : state.all()) {
      // A damaged session is as one that was never stored: its device connects anew.
      (void)group_->restore_session(key, blob);
    }
    return {};
  }

  std::uint64_t refused() const override { return listener_.stats().denied; }
  std::string address() const override { return host_ + ":" + std::to_string(group_->port()); }
  std::size_t connections() const override {
    return static_cast<std::size_t>(listener_.stats().connections);
  }
  std::vector<std::pair<std::string, std::uint64_t>> closed() const override {
    const mqtt::ListenerStats stats = listener_.stats();
    std::vector<std::pair<std::string, std::uint64_t>> out;
    const auto add = [&](std::string_view reason, std::uint64_t count) {
      if (count != 0) {
        out.emplace_back(reason, count);
      }
    };
    add("refused_credentials", stats.refused_credentials);
    add("refused_full", stats.refused_full);
    add("refused_other", stats.refused_other);
    for (std::size_t i = 0; i < stats.closed.size(); ++i) {
      add(mqtt::reason_name(static_cast<mqtt::Reason>(0x80 + i)), stats.closed[i]);
    }
    return out;
  }

  std::uint64_t subscriptions() const override { return listener_.stats().subscriptions; }
  std::uint64_t refused_subscriptions() const override {
    return listener_.stats().refused_subscriptions;
  }

 private:
  std::shared_ptr<mqtt::ListenerGroup> group_;
  DeviceResolver device_;  // of wills, which are not decoded
  mqtt::Listener& listener_;
  bool first_;
  std::string host_;
  std::vector<mqtt::Publish> publishes_;      // reused
  std::vector<mqtt::SessionChange> changes_;  // reused
};

// "commands/${client_id}/#" as the pattern of the listener: "commands/%c/#".
Result<std::string> command_pattern(std::string_view text) {
  std::string pattern;
  while (!text.empty()) {
    if (text.starts_with("${client_id}") || text.starts_with("${username}")) {
      pattern += text[2] == 'c' ? "%c" : "%u";
      text.remove_prefix(text.find('}') + 1);
    } else if (text.starts_with("${") || text[0] == '%') {
      return Error::invalid("'{}': there are ${{client_id}} and ${{username}}, and no '%'", text);
    } else {
      pattern += text[0];
      text.remove_prefix(1);
    }
  }
  if (!pattern.empty()) {
    HW_TRY(mqtt::TopicPattern::parse(pattern));
    if (pattern.find('%') == std::string::npos) {
      return Error::invalid(
          "'{}' has neither ${{client_id}} nor ${{username}}: each client would "
          "get the commands of all",
          pattern);
    }
  }
  return pattern;
}

mqtt::ListenerOptions listener_options(const MqttListenOptions& options) {
  mqtt::ListenerOptions listener;
  listener.address = options.address.text();
  listener.topics = options.topics;
  listener.write_own = options.write_own;
  if (Result<std::string> pattern = command_pattern(options.commands)) {
    listener.commands = *std::move(pattern);
  }
  listener.wills = options.wills == WillAction::kAlert;
  listener.anonymous = static_cast<mqtt::Anonymous>(options.anonymous);
  listener.password_file = options.password_file.text;
  listener.on_denied = static_cast<mqtt::OnDenied>(options.on_denied);
  if (options.tls) {
    listener.tls.certificate = options.tls->certificate.text;
    listener.tls.key = options.tls->key.text;
    listener.tls.client_ca = options.tls->client_ca.text;
    listener.tls.require_client_certificate = options.tls->require_client_certificate;
  }
  listener.max_packet_bytes = options.max_packet.bytes;
  listener.max_connections = options.max_connections;
  listener.receive_maximum = options.receive_maximum;
  listener.connect_timeout = options.connect_timeout;
  listener.max_session_expiry = options.max_session_expiry;
  listener.messages_per_second = options.messages_per_second;
  listener.bytes_per_second = options.bytes_per_second;
  return listener;
}

// What the listener would refuse at start, told by check too, at the option's place.
bool check_listener(const mqtt::ListenerOptions& listener, const config::Node& node,
                    config::Diagnostics& diagnostics) {
  bool good = true;
  const auto report = [&](std::string_view option, const Status& status) {
    if (!status) {
      diagnostics.error(option_node(node, option), status.error().text());
      good = false;
    }
  };
  report("address", status_of(io::parse_host_port(listener.address)));
  report(listener.write_own.empty() ? "topics" : "write_own",
         status_of(mqtt::WriteRules::create(listener.topics, listener.write_own)));
  if (!listener.tls.certificate.empty()) {
    report("tls", status_of(io::TlsContext::server({listener.tls.certificate, listener.tls.key,
                                                    listener.tls.client_ca,
                                                    listener.tls.require_client_certificate})));
  }
  if (!listener.password_file.empty()) {
    report("password_file", status_of(mqtt::PasswordFile::read(listener.password_file)));
  }
  return good;
}

}  // namespace

SourceSet make_mqtt_listen(const MqttListenOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics) {
  SourceSet set;
  set.acknowledges_on_receipt = options.acknowledge == Acknowledge::kReceived;
  set.acknowledges = !set.acknowledges_on_receipt;
  set.declared = declared_schema(options.reading);
  set.declares_id = !options.reading.message_id.empty();
  set.make_decode = [reading = options.reading, node] {
    config::Diagnostics ignored;  // reported below, once
    return make_json_decode(reading, node, ignored);
  };
  if (make_json_decode(options.reading, node, diagnostics) == nullptr) {
    return set;
  }
  if (const auto pattern = command_pattern(options.commands); !pattern) {
    diagnostics.error(option_node(node, "commands"), pattern.error().text());
    return set;
  }
  if (context.loops.empty()) {
    set.good = check_listener(listener_options(options), node, diagnostics);
    return set;
  }
  auto opened = mqtt::ListenerGroup::open(listener_options(options), context.loops);
  if (!opened) {
    diagnostics.error(option_node(node, "address"), opened.error());
    return set;
  }
  const std::shared_ptr<mqtt::ListenerGroup> group = std::move(*opened);
  for (std::size_t worker = 0; worker < context.loops.size(); ++worker) {
    set.sources.push_back(
        std::make_unique<MqttListen>(group, worker, options.address.host,
                                     DeviceResolver(parse_device(options.reading.device).value())));
  }
  if (context.listeners) {
    context.listeners->add(context.name, group);
  }
  set.good = true;
  return set;
}

}  // namespace headwater
