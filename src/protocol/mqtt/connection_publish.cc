// What ConnectionTable does with a PUBLISH: may it come now, may it come at all, has it come
// before; then one copy into the batch.
#include <algorithm>

#include "base/bytes.h"
#include "protocol/mqtt/connection_table.h"

namespace headwater::mqtt {
namespace {

constexpr std::size_t kLeastRecent = 16;  // publishes remembered by their packet id

}  // namespace

ConnectionTable::Step ConnectionTable::publish(Connection& connection, const Frame& frame) {
  PublishPacket packet;
  const Fault fault = decode_publish(frame, connection.version, &packet, TopicCheck::kSkip);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  if (publishes_->size() >= limit_) {
    hold(connection, Hold::kRoom);
    return Step::kHold;
  }
  if (const Step step = check_window(connection, packet); step != Step::kNext) {
    return step;
  }
  if (!quota_left(connection, frame.size)) {
    return Step::kHold;
  }
  if (packet.topic_alias != 0 && !resolve_alias(connection, &packet)) {
    return fail(connection, Reason::kTopicAliasInvalid, "an unknown topic alias");
  }
  TopicCache::Topic* const topic = topics_.find(packet.topic);
  if (topic == nullptr) {
    const bool text = valid_text(packet.topic);
    return fail(connection, text ? Reason::kTopicNameInvalid : Reason::kMalformedPacket,
                "not a topic name");
  }
  if (!allowed(connection, *topic)) {
    return deny(connection, packet);
  }
  return deliver(connection, packet, *topic);
}

// Bounds what one client has in flight: by its connection, and by its session, which a client that
// reconnects again and again would otherwise fill.
ConnectionTable::Step ConnectionTable::check_window(Connection& connection,
                                                    const PublishPacket& packet) {
  if (packet.qos == 0) {
    return Step::kNext;
  }
  if (connection.answers.size() - connection.subacks.size() >= options_.receive_maximum) {
    if (connection.version == Version::k5) {
      return fail(connection, Reason::kReceiveMaximumExceeded,
                  "more unacknowledged publishes than the receive maximum");
    }
    hold(connection, Hold::kWindow);
    return Step::kHold;
  }
  Session& session = *connection.session;
  Ring<Recent>& recent = session.recent;
  // A repeat must get through to be recognised; there are at most as many of them again.
  const std::size_t most = options_.receive_maximum * (packet.dup ? 2U : 1U);
  if (packet.qos == 1 && recent.size() >= most &&
      recent.front().position > slots_[session.handle].acknowledged) {
    hold(connection, Hold::kWindow);
    return Step::kHold;
  }
  return Step::kNext;
}

bool ConnectionTable::resolve_alias(Connection& connection, PublishPacket* packet) {
  if (packet->topic_alias > options_.topic_alias_maximum) {
    return false;
  }
  const std::size_t at = packet->topic_alias - 1U;
  if (!packet->topic.empty()) {
    if (connection.aliases.size() <= at) {
      connection.aliases.resize(at + 1);
    }
    connection.aliases[at] = packet->topic;
    return true;
  }
  if (at >= connection.aliases.size() || connection.aliases[at].empty()) {
    return false;
  }
  packet->topic = connection.aliases[at];
  return true;
}

bool ConnectionTable::allowed(const Connection& connection, const TopicCache::Topic& topic) const {
  const Session& session = *connection.session;
  return topic.listed &&
         rules_.owns(topic.text,
                     {session.client_id,
                      session.verified ? std::string_view(session.username) : std::string_view()});
}

// Takes one message and its bytes from the quota, or holds the client back until there is some.
bool ConnectionTable::quota_left(Connection& connection, std::size_t bytes) {
  const double messages_rate = options_.messages_per_second;
  const double bytes_rate = options_.bytes_per_second;
  if (messages_rate <= 0 && bytes_rate <= 0) {
    return true;
  }
  const MonoTime now = loop_.now();
  const double elapsed = std::chrono::duration<double>(now - connection.refilled).count();
  connection.refilled = now;
  // One second's worth may be saved up; at least one message, and any packet when the bucket is
  // full.
  connection.messages_left =
      std::min(connection.messages_left + elapsed * messages_rate, std::max(messages_rate, 1.0));
  connection.bytes_left = std::min(connection.bytes_left + elapsed * bytes_rate, bytes_rate);
  double wait = 0;
  if (messages_rate > 0 && connection.messages_left < 1) {
    wait = (1 - connection.messages_left) / messages_rate;
  }
  const double need = std::min(static_cast<double>(bytes), bytes_rate);
  if (bytes_rate > 0 && connection.bytes_left < need) {
    wait = std::max(wait, (need - connection.bytes_left) / bytes_rate);
  }
  if (wait <= 0) {
    connection.messages_left -= 1;
    connection.bytes_left -= static_cast<double>(bytes);
    return true;
  }
  ++counts_.over_quota;
  hold(connection, Hold::kQuota);
  const auto delay = std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(wait));
  connection.hold_timer =
      loop_.after(std::max<Nanos>(delay, std::chrono::milliseconds(5)), [this, &connection] {
        if (connection.hold == Hold::kQuota) {
          release_hold(connection);
        }
      });
  return false;
}

ConnectionTable::Step ConnectionTable::deny(Connection& connection, const PublishPacket& packet) {
  ++counts_.denied;
  if (packet.qos == 0) {
    return Step::kNext;
  }
  const bool is_5 = connection.version == Version::k5;
  if (!is_5 && options_.on_denied == OnDenied::kDisconnect) {
    return fail(connection, Reason::kNotAuthorized, "");
  }
  answer(connection, {.position = slots_[connection.session->handle].last,
                      .packet_id = packet.packet_id,
                      .type = packet.qos == 1 ? PacketType::kPuback : PacketType::kPubrec,
                      .reason = is_5 ? Reason::kNotAuthorized : Reason::kSuccess});
  return Step::kNext;
}

// Whether this is a QoS 1 publish that was given out before; answers it then.
bool ConnectionTable::is_repeat(Connection& connection, const PublishPacket& packet,
                                std::uint64_t hash) {
  Ring<Recent>& recent = connection.session->recent;
  for (std::size_t i = recent.size(); i-- > 0;) {
    const Recent& one = recent[i];
    if (one.packet_id == packet.packet_id) {  // the newest use of this packet id decides
      if (one.hash != hash) {
        return false;
      }
      ++counts_.duplicates;
      answer(connection, {.position = one.position, .packet_id = packet.packet_id});
      return true;
    }
  }
  return false;
}

// Makes place for one more. As many as the client ever had in flight may come again; twice that is
// kept.
void ConnectionTable::forget_acknowledged(Session& session) {
  Ring<Recent>& recent = session.recent;
  const std::size_t most = std::min<std::size_t>(
      options_.receive_maximum, std::max(kLeastRecent, 2 * session.most_in_flight));
  while (recent.size() >= most && recent.front().position <= slots_[session.handle].acknowledged) {
    recent.pop();
  }
}

ConnectionTable::Step ConnectionTable::deliver(Connection& connection, const PublishPacket& packet,
                                               TopicCache::Topic& topic) {
  Session& session = *connection.session;
  Slot& slot = slots_[session.handle];
  std::uint64_t hash = 0;
  if (packet.qos == 1 && session.outlives_connection()) {
    hash = hash64(packet.payload, hash64(packet.topic));
    if (packet.dup && is_repeat(connection, packet, hash)) {
      return Step::kNext;
    }
    forget_acknowledged(session);
  }
  if (packet.qos == 2) {
    const auto found = session.received.find(packet.packet_id);
    if (found != session.received.end()) {
      ++counts_.duplicates;
      answer(
          connection,
          {.position = found->second, .packet_id = packet.packet_id, .type = PacketType::kPubrec});
      return Step::kNext;
    }
  }
  const std::uint64_t position = ++slot.last;
  ++counts_.in_flight;
  if (packet.qos == 1) {
    if (session.outlives_connection()) {
      session.recent.push({position, hash, packet.packet_id});
    }
  } else if (packet.qos == 2) {
    session.received.emplace(packet.packet_id, position);
    if (session.outlives_connection()) {
      changed(session);
      slot.last_change = position;
    }
  }

  if (connection.name_epoch != epoch_) {
    connection.name_epoch = epoch_;
    connection.client_id_view = arena_->copy(session.client_id);
    connection.username_view = arena_->copy(session.username);
  }
  Publish& made = publishes_->emplace_back();
  made.client = session.handle;
  made.position = position;
  made.client_id = connection.client_id_view;
  made.username = connection.username_view;
  made.topic = topic.in(*arena_, epoch_);
  made.payload = arena_->copy(packet.payload);
  made.packet_id = packet.packet_id;
  made.qos = packet.qos;
  made.dup = packet.dup;
  made.retain = packet.retain;
  if (!packet.properties.empty()) [[unlikely]] {
    made.properties = arena_->copy(packet.properties);
    if (!packet.content_type.empty()) {
      // The same bytes, seen in the copy.
      made.content_type = made.properties.substr(
          static_cast<std::size_t>(packet.content_type.data() - packet.properties.data()),
          packet.content_type.size());
    }
    made.has_expiry = packet.has_expiry;
    made.message_expiry = packet.message_expiry;
  }
  ++counts_.publishes;
  counts_.publish_bytes += packet.topic.size() + packet.payload.size();
  if (packet.qos > 0) {
    answer(connection, {.position = position,
                        .packet_id = packet.packet_id,
                        .type = packet.qos == 1 ? PacketType::kPuback : PacketType::kPubrec});
  }
  return Step::kNext;
}

}  // namespace headwater::mqtt
