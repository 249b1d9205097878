#include <unordered_map>
#include <utility>

#include "io/tls.h"
#include "nodes/expression.h"
#include "nodes/sinks/answers.h"
#include "nodes/sinks/sinks.h"
#include "nodes/sinks/template.h"
#include "protocol/mqtt/client.h"
#include "protocol/mqtt/topic.h"

namespace headwater {
namespace {

class MqttSink final : public Sink {
 public:
  MqttSink(mqtt::ClientOptions client, RowTemplate topic, std::uint8_t qos, bool retain)
      : options_(std::move(client)), topic_(std::move(topic)), qos_(qos), retain_(retain) {}

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    client_ = HW_TRY(mqtt::Client::open(options_, loop));
    client_->on_change([this] { loop_->post([] {}); });  // a round, in which outcomes are polled
    return {};
  }

  Status submit(BatchRef batch, Token token) override {
    for (const std::uint32_t row : batch->selection()) {
      topic_.fill(batch->row(row), filled_);
      const std::uint64_t id = next_id_++;
      const Status sent = client_->publish({.topic = filled_,
                                            .payload = batch->row(row).payload,
                                            .qos = qos_,
                                            .retain = retain_,
                                            .token = id,
                                            .content_type = "application/json"});
      if (sent) {
        open_.emplace(id, std::pair{token, row});
      } else {
        answers_.add(token, row,
                     sent.error().code() == Code::kInvalid ? Verdict::kReject : Verdict::kRetry);
      }
    }
    client_->flush();
    return {};
  }

  std::size_t poll(std::span<Outcome> outcomes) override {
    polled_.clear();
    client_->poll(polled_);
    for (const mqtt::Outcome& outcome : polled_) {
      const auto found = open_.find(outcome.token);
      if (found == open_.end()) {
        continue;
      }
      const auto [token, row] = found->second;
      open_.erase(found);
      switch (outcome.kind) {
        case mqtt::OutcomeKind::kAcknowledged:
          answers_.add(token, row, Verdict::kOk);
          break;
        case mqtt::OutcomeKind::kRejected:
          answers_.add(token, row, Verdict::kReject);
          break;
        case mqtt::OutcomeKind::kDisconnected:
          answers_.add(token, row, Verdict::kRetry);
          break;
      }
    }
    return answers_.poll(outcomes);
  }

  std::string state() const override {
    if (client_ == nullptr) {
      return "closed";
    }
    switch (client_->state()) {
      case mqtt::ClientState::kConnected:
        return "connected";
      case mqtt::ClientState::kClosed:
        return "closed";
      default:
        return client_->last_error().empty() ? "connecting"
                                             : "connecting: " + client_->last_error();
    }
  }

  void close() override {
    if (client_ != nullptr) {
      client_->close();
    }
  }

 private:
  mqtt::ClientOptions options_;
  RowTemplate topic_;
  std::uint8_t qos_;
  bool retain_;
  io::Loop* loop_ = nullptr;
  std::unique_ptr<mqtt::Client> client_;
  std::uint64_t next_id_ = 1;
  std::unordered_map<std::uint64_t, std::pair<Token, std::uint32_t>> open_;
  std::string filled_;                 // reused
  std::vector<mqtt::Outcome> polled_;  // reused
  Answers answers_;
};

}  // namespace

bool check_client_tls(const ClientTlsOptions& options, const config::Node& node,
                      config::Diagnostics& diagnostics) {
  if (options.ca.empty() && options.certificate.empty() && options.key.empty()) {
    return true;
  }
  const auto made = io::TlsContext::client(
      {options.ca.text, options.certificate.text, options.key.text, options.verify});
  if (!made) {
    diagnostics.error(option_node(node, "tls"), made.error().text());
  }
  return made.ok();
}

std::unique_ptr<Sink> make_mqtt_sink(const MqttSinkOptions& options, const config::Node& node,
                                     const SinkContext& context, config::Diagnostics& diagnostics) {
  mqtt::ClientOptions client;
  bool good = true;
  if (Status applied = mqtt::apply_url(options.url, &client); !applied) {
    diagnostics.error(option_node(node, "url"), applied.error().text());
    good = false;
  }
  Result<RowTemplate> topic = RowTemplate::parse(options.topic, context.edge_id);
  if (!topic) {
    diagnostics.error(option_node(node, "topic"), topic.error().text());
    good = false;
  } else {
    std::string sample;
    Row row;
    row.topic = "topic";
    row.device = "device";
    topic->fill(row, sample);
    if (!mqtt::valid_topic_name(sample)) {
      diagnostics.error(option_node(node, "topic"),
                        fmt::format("'{}' is not a topic name: alerts go to one topic, without + "
                                    "and #",
                                    options.topic));
      good = false;
    }
  }
  good = check_client_tls(options.tls, node, diagnostics) && good;
  if (!good) {
    return nullptr;
  }
  // Not the id of a source of the same name: a broker has one connection for each.
  client.client_id = options.client_id.empty() ? context.edge_id + "-" + context.name + "-sink"
                                               : options.client_id;
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
  return std::make_unique<MqttSink>(std::move(client), std::move(*topic),
                                    static_cast<std::uint8_t>(options.qos), options.retain);
}

}  // namespace headwater
