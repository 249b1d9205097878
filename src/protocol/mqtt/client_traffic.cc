// The packets of Client::Core: publishing, acknowledging, receiving.
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "protocol/mqtt/client_core.h"
#include "protocol/mqtt/topic.h"

namespace headwater::mqtt {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr unsigned char kDupFlag = 0x08;

}  // namespace

Status Client::Core::publish(const OutgoingPublish& message) {
  if (phase_ == Phase::kClosed) {
    return Error::cancelled("the MQTT client is closed");
  }
  if (message.qos > 1) {
    return Error::invalid("QoS {}: this client publishes with 0 or 1", message.qos);
  }
  if (!valid_topic_name(message.topic)) {
    return Error::invalid("'{}' is not a topic name", message.topic);
  }
  const bool online = phase_ == Phase::kConnected;
  if (message.qos == 0 && !online) {
    return Error::unavailable("not connected: {}", last_error_);
  }
  const std::size_t bytes = message.topic.size() + message.payload.size() + 16 +
                            (message.content_type.empty() ? 0 : message.content_type.size() + 3);
  if (message.content_type.size() > kMaxText || bytes > options_.max_packet_bytes ||
      (online && bytes > server_max_packet_)) {
    return Error::invalid("a message of {} bytes is larger than a packet may be", bytes);
  }
  if (messages_.size() + fleeting_.size() >= options_.max_in_flight ||
      queued_bytes_ + out_.size() + bytes > options_.max_queued_bytes) {
    return Error::exhausted("{} publishes ({} bytes) wait for the broker",
                            messages_.size() + fleeting_.size(), queued_bytes_);
  }
  PublishPacket packet{.topic = message.topic,
                       .payload = message.payload,
                       .content_type = message.content_type,
                       .qos = message.qos,
                       .retain = message.retain};
  ++counts_.published;
  if (message.qos == 0) {
    const std::size_t before = out_.size();
    encode(out_, options_.version, packet);
    appended_ += out_.size() - before;
    fleeting_.push_back({message.token, appended_});
    schedule_flush();
    return {};
  }
  packet.packet_id = next_packet_id();
  Message& kept = messages_.emplace_back();
  kept.token = message.token;
  kept.packet_id = packet.packet_id;
  encode(kept.packet, options_.version, packet);
  queued_bytes_ += kept.packet.size();
  if (online) {
    send_waiting();
    schedule_flush();
  }
  return {};
}

std::uint16_t Client::Core::next_packet_id() {
  // There is one: at most max_in_flight, below 65,535, are in use, and one for SUBSCRIBE.
  do {
    ++last_id_;
  } while (last_id_ == 0 || ids_in_use_.test(last_id_));
  ids_in_use_.set(last_id_);
  return last_id_;
}

// Writes messages from `unsent_` on, as many as the broker's window takes.
void Client::Core::send_waiting() {
  while (unsent_ < messages_.size() && in_window_ < server_window_) {
    Message& message = messages_[unsent_++];
    if (message.done) {
      continue;
    }
    if (message.packet.size() > server_max_packet_ || server_max_qos_ == 0) {
      message.done = true;
      outcomes_.push_back(
          {message.token, OutcomeKind::kRejected,
           server_max_qos_ == 0 ? Reason::kQosNotSupported : Reason::kPacketTooLarge});
      changed_ = true;
      continue;
    }
    if (message.sent_before) {
      message.packet[0] =
          static_cast<char>(static_cast<unsigned char>(message.packet[0]) | kDupFlag);
      ++counts_.resent;
    }
    message.sent_before = true;
    out_.append(message.packet);
    appended_ += message.packet.size();
    ++in_window_;
  }
  finish_front();
}

void Client::Core::finish_front() {
  while (!messages_.empty() && messages_.front().done) {
    queued_bytes_ -= messages_.front().packet.size();
    ids_in_use_.reset(messages_.front().packet_id);
    messages_.pop_front();
    unsent_ -= unsent_ > 0 ? 1 : 0;
  }
}

void Client::Core::end_all(OutcomeKind kind) {
  for (const Message& message : messages_) {
    if (!message.done) {
      outcomes_.push_back({message.token, kind, Reason::kSuccess});
    }
  }
  messages_.clear();
  ids_in_use_.reset();
  unsent_ = 0;
  in_window_ = 0;
  queued_bytes_ = 0;
}

void Client::Core::poll(std::vector<Outcome>& out) {
  out.insert(out.end(), outcomes_.begin(), outcomes_.end());
  outcomes_.clear();
}

void Client::Core::schedule_flush() {
  if (std::exchange(flush_scheduled_, true)) {
    return;
  }
  loop_.post([alive = std::weak_ptr<Core*>(alive_)] {
    if (const auto core = alive.lock()) {
      (*core)->flush_scheduled_ = false;
      (*core)->flush();
    }
  });
}

void Client::Core::flush() {
  if (phase_ == Phase::kConnected && !want_write_) {
    write_out();
    notify();
  }
}

void Client::Core::write_out() {
  std::size_t sent = 0;
  while (sent < out_.size()) {
    const io::IoResult result = stream_.write(std::string_view(out_).substr(sent));
    if (result.state == io::IoState::kFailed || result.state == io::IoState::kClosed) {
      return lost(stream_.error());
    }
    if (result.state != io::IoState::kOk) {
      break;
    }
    sent += result.bytes;
  }
  if (sent > 0) {
    last_sent_ = loop_.now();
    written_ += sent;
    out_.erase(0, sent);
    while (!fleeting_.empty() && fleeting_.front().end <= written_) {
      outcomes_.push_back({fleeting_.front().token, OutcomeKind::kAcknowledged, Reason::kSuccess});
      fleeting_.pop_front();
      ++counts_.acknowledged;
      changed_ = true;
    }
  }
  want_write_ = !out_.empty();
  set_interest();
}

void Client::Core::read_ready() {
  while (watched_ && !publish_waits_) {
    if (in_used_ > 0) {
      in_.erase(0, in_used_);
      in_used_ = 0;
    }
    const std::size_t before = in_.size();
    in_.resize(before + kReadBytes);
    const io::IoResult result = stream_.read(in_.data() + before, kReadBytes);
    in_.resize(before + (result.state == io::IoState::kOk ? result.bytes : 0));
    if (result.state == io::IoState::kWantRead || result.state == io::IoState::kWantWrite) {
      break;
    }
    if (result.state != io::IoState::kOk) {
      return lost(result.state == io::IoState::kClosed ? "the broker closed the connection"
                                                       : stream_.error());
    }
    last_heard_ = loop_.now();
    if (!handle_packets()) {
      return;
    }
    if (result.bytes < kReadBytes && !stream_.has_pending()) {
      break;
    }
  }
  if (phase_ == Phase::kConnected) {
    send_waiting();  // acknowledgements have opened the window
    write_out();
  }
}

// Handles what is in `in_` up to a PUBLISH; false when the connection is gone.
bool Client::Core::handle_packets() {
  publish_waits_ = false;
  while (true) {
    Frame frame;
    const Framing framing =
        next_frame(std::string_view(in_).substr(in_used_), options_.max_packet_bytes, &frame);
    if (framing == Framing::kMore) {
      return true;
    }
    if (framing == Framing::kFault) {
      lost(fmt::format("the broker sent nonsense: {}", frame.fault.why));
      return false;
    }
    if (frame.type == PacketType::kPublish && phase_ == Phase::kConnected) {
      publish_waits_ = true;
      changed_ = true;
      set_interest();
      return true;
    }
    if (!handle(frame)) {
      return false;
    }
    in_used_ += frame.size;
  }
}

bool Client::Core::handle(const Frame& frame) {
  const auto nonsense = [&](std::string_view why) {
    lost(fmt::format("the broker sent nonsense: {}", why));
    return false;
  };
  if (phase_ == Phase::kAwaitingConnack) {
    Connack connack;
    if (frame.type != PacketType::kConnack) {
      return nonsense("the first packet is not CONNACK");
    }
    if (const Fault fault = decode(frame, options_.version, &connack); !fault.ok()) {
      return nonsense(fault.why);
    }
    if (connack.reason != Reason::kSuccess) {
      lost(fmt::format("the broker refused the connection: {}{}{}", reason_name(connack.reason),
                       connack.properties.reason_string ? ": " : "",
                       connack.properties.reason_string.value_or(std::string_view())));
      return false;
    }
    connected(connack);
    return watched_;
  }
  switch (frame.type) {
    case PacketType::kPuback:
      return handle_ack(frame);
    case PacketType::kPubrel:
      return release(frame);
    case PacketType::kPingresp:
      ping_waits_ = false;
      return true;
    case PacketType::kSuback: {
      Suback suback;
      if (const Fault fault = decode(frame, options_.version, &suback); !fault.ok()) {
        return nonsense(fault.why);
      }
      ids_in_use_.reset(suback.packet_id);
      for (std::size_t i = 0; i < suback.reasons.size() && i < wanted_.size(); ++i) {
        if (is_failure(suback.reasons[i])) {
          subscription_refused_ = true;
          last_error_ = fmt::format("the broker refused the subscription to '{}': {}",
                                    wanted_[i].filter, reason_name(suback.reasons[i]));
        }
      }
      changed_ = true;
      return true;
    }
    case PacketType::kDisconnect: {
      Disconnect disconnect;
      (void)decode(frame, options_.version, &disconnect).ok();
      lost(fmt::format("the broker ended the connection: {}", reason_name(disconnect.reason)));
      return false;
    }
    default:
      return nonsense("a packet that belongs elsewhere");
  }
}

bool Client::Core::handle_ack(const Frame& frame) {
  Ack ack;
  if (const Fault fault = decode(frame, options_.version, &ack); !fault.ok()) {
    lost(fmt::format("the broker sent nonsense: {}", fault.why));
    return false;
  }
  // Acknowledgements come in order: this finds it at the front.
  for (std::size_t i = 0; i < unsent_; ++i) {
    Message& message = messages_[i];
    if (message.packet_id != ack.packet_id || message.done) {
      continue;
    }
    message.done = true;
    --in_window_;
    ++counts_.acknowledged;
    changed_ = true;
    outcomes_.push_back(
        {message.token,
         is_failure(ack.reason) ? OutcomeKind::kRejected : OutcomeKind::kAcknowledged, ack.reason});
    finish_front();
    return true;
  }
  return true;  // of a message that ended otherwise
}

Status Client::Core::subscribe(std::string_view filter, std::uint8_t qos) {
  if (!valid_topic_filter(filter)) {
    return Error::invalid("'{}' is not a topic filter", filter);
  }
  if (qos > 2) {
    return Error::invalid("QoS {}: there are 0, 1 and 2", qos);
  }
  wanted_.push_back({std::string(filter), qos});
  if (phase_ == Phase::kConnected) {
    send_subscribe();
    schedule_flush();
  }
  return {};
}

void Client::Core::send_subscribe() {
  if (wanted_.empty()) {
    return;
  }
  Subscribe packet;
  packet.packet_id = next_packet_id();
  for (const Wanted& one : wanted_) {
    packet.subscriptions.push_back({one.filter, one.qos, false, false, 0});
  }
  subscription_refused_ = false;
  const std::size_t before = out_.size();
  encode(out_, options_.version, packet);
  appended_ += out_.size() - before;
}

void Client::Core::give(const PublishPacket& packet, Arena& arena,
                        std::vector<ReceivedPublish>& out) {
  ReceivedPublish& made = out.emplace_back();
  made.position = ++last_position_;
  made.topic = arena.copy(packet.topic);
  made.payload = arena.copy(packet.payload);
  if (!packet.properties.empty()) {
    made.properties = arena.copy(packet.properties);
    made.content_type =
        packet.content_type.empty() ? std::string_view() : arena.copy(packet.content_type);
  }
  made.packet_id = packet.packet_id;
  made.qos = packet.qos;
  made.dup = packet.dup;
  made.retain = packet.retain;
  ++counts_.received;
  if (packet.qos == 1) {
    owe(made.position, packet.packet_id, PacketType::kPuback);
  } else if (packet.qos == 2) {
    received_[packet.packet_id] = made.position;
    received_changed_ = true;
    owe(made.position, packet.packet_id, PacketType::kPubrec);
  }
}

bool Client::Core::take(std::size_t room, Arena& arena, std::vector<ReceivedPublish>& out) {
  const std::size_t limit = out.size() + room;
  while (publish_waits_ && out.size() < limit) {
    Frame frame;
    (void)next_frame(std::string_view(in_).substr(in_used_), options_.max_packet_bytes, &frame);
    PublishPacket packet;
    Fault fault = decode_publish(frame, options_.version, &packet);
    if (fault.ok() && packet.topic.empty()) {
      fault = {Reason::kTopicAliasInvalid, "a topic alias, of which none was allowed"};
    }
    if (!fault.ok()) {
      lost(fmt::format("the broker sent nonsense: {}", fault.why));
      notify();
      return false;
    }
    const auto known = packet.qos == 2 ? received_.find(packet.packet_id) : received_.end();
    if (known != received_.end()) {
      owe(known->second, packet.packet_id, PacketType::kPubrec);
    } else {
      give(packet, arena, out);
    }
    in_used_ += frame.size;
    if (!handle_packets()) {
      notify();
      return false;
    }
    if (!publish_waits_ && hung_up_) {
      lost("the broker closed the connection");
      notify();
      return false;
    }
    if (!publish_waits_) {
      read_ready();
    }
  }
  set_interest();
  return publish_waits_;
}

// PUBREL: the packet id is free again once its removal is on the caller's disk.
bool Client::Core::release(const Frame& frame) {
  Ack ack;
  if (const Fault fault = decode(frame, options_.version, &ack); !fault.ok()) {
    lost(fmt::format("the broker sent nonsense: {}", fault.why));
    return false;
  }
  std::uint64_t position = 0;  // of an id that is not known: its removal is durable already
  if (received_.erase(ack.packet_id) > 0) {
    position = ++last_position_;
    releasing_[ack.packet_id] = position;
    received_changed_ = true;
    changed_ = true;
  } else if (const auto found = releasing_.find(ack.packet_id); found != releasing_.end()) {
    position = found->second;
  }
  owe(position, ack.packet_id, PacketType::kPubcomp);
  return true;
}

void Client::Core::owe(std::uint64_t position, std::uint16_t packet_id, PacketType answer) {
  unacknowledged_.push({position, packet_id, answer});
  send_answers();
}

void Client::Core::send_answers() {
  const std::size_t before = out_.size();
  while (!unacknowledged_.empty() && unacknowledged_.front().position <= acknowledged_) {
    const Unacknowledged& first = unacknowledged_.front();
    encode(out_, options_.version, first.answer, Ack{.packet_id = first.packet_id});
    unacknowledged_.pop();
  }
  if (out_.size() != before) {
    appended_ += out_.size() - before;
    schedule_flush();
  }
}

void Client::Core::acknowledge(std::uint64_t upto) {
  acknowledged_ = std::max(acknowledged_, std::min(upto, last_position_));
  std::erase_if(releasing_, [&](const auto& one) { return one.second <= acknowledged_; });
  send_answers();
}

bool Client::Core::take_received_ids(std::vector<std::uint16_t>& ids, std::uint64_t* position) {
  if (!std::exchange(received_changed_, false)) {
    return false;
  }
  ids.clear();
  for (const auto& [id, at] : received_) {
    ids.push_back(id);
  }
  *position = last_position_;
  return true;
}

void Client::Core::restore_received_ids(const std::vector<std::uint16_t>& ids) {
  for (const std::uint16_t id : ids) {
    received_.emplace(id, 0);
  }
}

}  // namespace headwater::mqtt
