#include "nodes/sources/mqtt.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "io/loop.h"
#include "nodes/expression.h"
#include "protocol/mqtt/client.h"
#include "protocol/mqtt/topic.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr std::string_view kStateKey = "received";

// One broker connection is one partition: the broker's order is the order of acknowledgement.
class MqttSource final : public Source, public Checkpointed {
 public:
  MqttSource(std::string name, mqtt::ClientOptions options, std::vector<std::string> topics,
             std::uint8_t qos)
      : name_(std::move(name)),
        options_(std::move(options)),
        topics_(std::move(topics)),
        qos_(qos) {}

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    client_ = HW_TRY(mqtt::Client::open(options_, loop));
    client_->restore_received_ids(ids_);
    client_->on_change([this] { loop_->post([] {}); });  // a round, in which take() is called
    for (const std::string& topic : topics_) {
      HW_TRY(client_->subscribe(topic, qos_));
    }
    return {};
  }

  Result<More> take(std::size_t room, Batch& batch) override {
    if (client_ == nullptr || paused_) {
      return More::kNone;
    }
    tell_connection();
    received_.clear();
    const bool more = client_->take(room, batch.arena(), received_);
    const MonoTime arrived = io::mono_now();
    const WallTime now = io::wall_now();
    for (const mqtt::ReceivedPublish& publish : received_) {
      Row row;
      row.payload = publish.payload;
      row.topic = publish.topic;
      row.received = now;
      row.time = now;
      row.arrived = arrived;
      row.position = publish.position;
      batch.add_row(row);
    }
    if (client_->subscription_refused()) {
      return Error::invalid("the broker refused the subscription: {}", client_->last_error());
    }
    return more ? More::kYes : More::kNone;
  }

  Status acknowledge(Partition, Position upto) override {
    if (client_ != nullptr) {
      client_->acknowledge(upto);
    }
    return {};
  }

  void save(StateWriter& state, std::vector<std::pair<Partition, Position>>& upto) override {
    Position position = 0;
    if (client_ == nullptr || !client_->take_received_ids(ids_, &position)) {
      return;
    }
    std::string blob;
    ByteWriter writer(blob);
    writer.put_string(session_name());
    writer.put_varint(ids_.size());
    for (const std::uint16_t id : ids_) {
      writer.put(id);
    }
    state.put(kStateKey, blob);
    if (position != 0) {
      upto.emplace_back(0, position);
    }
  }

  Status restore(const StateReader& state) override {
    const std::string blob = state.get(kStateKey);
    if (blob.empty()) {
      return {};
    }
    ByteReader reader(blob);
    const std::string_view name = reader.get_string();
    const std::uint64_t count = reader.get_varint();
    if (!reader.ok() || reader.left() != count * sizeof(std::uint16_t)) {
      return Error::corrupt("the stored packet ids of QoS 2 are damaged");
    }
    if (name == session_name()) {  // else they are of another session
      for (std::uint64_t i = 0; i < count; ++i) {
        ids_.push_back(reader.get<std::uint16_t>());
      }
    }
    return {};
  }

  // Nothing more is read from the broker while nobody takes: its own flow control holds the rest.
  void pause(bool paused) override {
    if (std::exchange(paused_, paused) && !paused) {
      loop_->post([] {});
    }
  }

  void close() override {
    if (client_ != nullptr) {
      client_->flush();
      client_->close();
    }
  }

 private:
  std::string session_name() const {
    return fmt::format("{}@{}:{}", options_.client_id, options_.host, options_.port);
  }

  // Into the log, once a change: attempts that fail for the same reason are one line.
  void tell_connection() {
    if (client_->state() == mqtt::ClientState::kConnected) {
      if (!std::exchange(told_connected_, true)) {
        told_error_.clear();
        log::info("connected", {{"source", name_},
                                {"broker", fmt::format("{}:{}", options_.host, options_.port)},
                                {"client_id", options_.client_id}});
      }
      return;
    }
    told_connected_ = false;
    const std::string& error = client_->last_error();  // empty during an attempt
    if (!error.empty() && error != told_error_) {
      told_error_ = error;
      log::warn("not connected", {{"source", name_}, {"error", error}});
    }
  }

  std::string name_;
  mqtt::ClientOptions options_;
  std::vector<std::string> topics_;
  std::uint8_t qos_;
  io::Loop* loop_ = nullptr;
  std::unique_ptr<mqtt::Client> client_;
  bool paused_ = false;
  bool told_connected_ = false;
  std::string told_error_;
  std::vector<mqtt::ReceivedPublish> received_;  // reused
  std::vector<std::uint16_t> ids_;               // reused; at first those that were restored
};

mqtt::ClientOptions client_options(const MqttSourceOptions& options, const SourceContext& context) {
  mqtt::ClientOptions client;
  client.version = options.version == MqttVersion::k311 ? mqtt::Version::k311 : mqtt::Version::k5;
  client.client_id =
      options.client_id.empty() ? context.edge_id + "-" + context.name : options.client_id;
  if (options.username) {
    client.username = options.username;
  }
  if (!options.password.empty()) {
    client.password = options.password.reveal();
  }
  client.tls.ca = options.tls.ca.text;
  client.tls.certificate = options.tls.certificate.text;
  client.tls.key = options.tls.key.text;
  client.tls.verify = options.tls.verify;
  client.clean_start = options.clean_start;
  const auto seconds = [](config::Duration time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time).count();
  };
  client.session_expiry = static_cast<std::uint32_t>(
      std::min<std::int64_t>(seconds(options.session_expiry), 0xffffffff));
  client.keep_alive =
      static_cast<std::uint16_t>(std::min<std::int64_t>(seconds(options.keep_alive), 65'535));
  client.receive_maximum = options.receive_maximum;
  client.max_backoff = options.max_backoff;
  return client;
}

}  // namespace

SourceSet make_mqtt_source(const MqttSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics) {
  SourceSet set;
  set.acknowledges_on_receipt = options.qos > 0 && options.acknowledge == Acknowledge::kReceived;
  set.acknowledges = options.qos > 0 && !set.acknowledges_on_receipt;
  set.declared = declared_schema(options.reading);
  set.declares_id = !options.reading.message_id.empty();
  set.make_decode = [reading = options.reading, node] {
    config::Diagnostics ignored;  // reported below, once
    return make_json_decode(reading, node, ignored);
  };
  set.good = make_json_decode(options.reading, node, diagnostics) != nullptr;
  mqtt::ClientOptions client = client_options(options, context);
  if (Status applied = mqtt::apply_url(options.url, &client); !applied) {
    diagnostics.error(option_node(node, "url"), applied.error().text());
    set.good = false;
  }
  for (std::size_t i = 0; i < options.topics.size(); ++i) {
    if (!mqtt::valid_topic_filter(options.topics[i])) {
      const config::Node& list = option_node(node, "topics");
      diagnostics.error(i < list.items().size() ? list.items()[i] : list,
                        fmt::format("'{}' is not a topic filter: + stands for a level, # for the "
                                    "last ones",
                                    options.topics[i]));
      set.good = false;
    }
  }
  set.good = check_client_tls(options.tls, node, diagnostics) && set.good;
  if (set.good && !context.loops.empty()) {
    set.sources.resize(context.loops.size());
    set.sources[hash64(context.name) % context.loops.size()] = std::make_unique<MqttSource>(
        context.name, std::move(client), options.topics, static_cast<std::uint8_t>(options.qos));
  }
  return set;
}

}  // namespace headwater
