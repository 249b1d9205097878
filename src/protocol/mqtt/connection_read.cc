// The reading half of ConnectionTable: bytes to packets, packets to publishes and answers.
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "protocol/mqtt/connection_table.h"

namespace headwater::mqtt {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;   // most that one read takes from one client
constexpr std::size_t kCarryBytes = 256 * 1024;  // most of a stash that is put in front of it
constexpr std::size_t kLeastRead = 8 * 1024;
constexpr std::size_t kCachedTopicBytes = 512;
constexpr std::size_t kLeastRecent = 16;  // publishes remembered by their packet id

}  // namespace

bool ConnectionTable::take(std::size_t room, Arena& arena, std::vector<Publish>& out) {
  more_ = false;
  if (draining_) {
    flush();
    return false;
  }
  if (paused_) {
    room = 0;
  }
  ++epoch_;
  arena_ = &arena;
  publishes_ = &out;
  limit_ = out.size() + room;
  if (room > 0) {
    for (Connection* connection : waiting_for_room_) {
      if (!connection->closed && connection->hold == Hold::kRoom) {
        release_hold(*connection);
      }
    }
    waiting_for_room_.clear();
  }
  serving_.swap(ready_);
  for (std::size_t i = 0; i < serving_.size(); ++i) {
    Connection& connection = *serving_[i];
    connection.ready = false;
    if (connection.closed) {
      continue;
    }
    if (room > 0 && out.size() >= limit_) {
      enqueue(connection);  // before those that were served this time
      more_ = true;
      continue;
    }
    serve(connection);
  }
  serving_.clear();
  more_ = more_ || (room > 0 && !waiting_for_room_.empty());
  flush();
  arena_ = nullptr;
  publishes_ = nullptr;
  return more_;
}

void ConnectionTable::on_event(Connection& connection, std::uint32_t events) {
  if ((events & EPOLLOUT) != 0 && connection.want_write) {
    write_out(connection);
    if (connection.closed) {
      return purge();
    }
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
    return;
  }
  if ((connection.interest & EPOLLIN) == 0) {
    // The connection is gone while it is held back. epoll tells of that whether asked or not, so it
    // is not watched any more; what was read ahead is handled in its turn.
    loop_.unwatch(connection.stream.fd());
    connection.watched = false;
  }
  connection.readable = true;
  enqueue(connection);
}

void ConnectionTable::enqueue(Connection& connection) {
  if (!connection.ready) {
    connection.ready = true;
    ready_.push_back(&connection);
  }
}

void ConnectionTable::serve(Connection& connection) {
  if (connection.hold != Hold::kNone) {
    return read_ahead(connection);
  }
  if (connection.stash.size() > kCarryBytes) {
    return serve_large(connection);
  }
  if (!block_) {
    block_.reset(new char[kReadBytes + kCarryBytes]);
  }
  std::size_t have = connection.stash.size();
  std::memcpy(block_.get(), connection.stash.data(), have);
  bool full = false;
  if (connection.readable && !connection.ended) {
    const std::size_t room = limit_ - publishes_->size();
    const std::size_t want =
        std::clamp(std::min(room, kReadBytes) * connection.mean_packet, kLeastRead, kReadBytes);
    const io::IoResult result = connection.stream.read(block_.get() + have, want);
    if (result.state == io::IoState::kOk) {
      have += result.bytes;
      full = result.bytes == want || connection.stream.has_pending();
      connection.last_heard = loop_.now();
    } else if (result.state == io::IoState::kClosed || result.state == io::IoState::kFailed) {
      connection.ended = true;
    }
    connection.readable = full;
  }
  const std::string_view bytes(block_.get(), have);
  const std::size_t used = handle_bytes(connection, bytes);
  if (connection.closed) {
    return;
  }
  set_stash(connection, bytes.substr(used));
  if (connection.hold != Hold::kNone) {
    answer_pings(connection);
    update_interest(connection);
    return;
  }
  if (connection.ended) {
    return close(connection, Reason::kSuccess, "");
  }
  if (held_bytes_ > options_.max_held_total_bytes && !connection.stash.empty()) {
    return close(connection, Reason::kQuotaExceeded, "too many unfinished packets at once");
  }
  if (full) {
    enqueue(connection);
    more_ = true;
  }
}

// A packet larger than the shared block is gathered in the stash itself.
void ConnectionTable::serve_large(Connection& connection) {
  const std::size_t before = connection.stash.size();
  if (connection.readable && !connection.ended) {
    connection.stash.resize(before + kReadBytes);
    const io::IoResult result =
        connection.stream.read(connection.stash.data() + before, kReadBytes);
    const bool got = result.state == io::IoState::kOk;
    connection.stash.resize(before + (got ? result.bytes : 0));
    held_bytes_ += connection.stash.size() - before;
    if (got) {
      connection.last_heard = loop_.now();
    } else if (result.state == io::IoState::kClosed || result.state == io::IoState::kFailed) {
      connection.ended = true;
    }
    connection.readable = got && (result.bytes == kReadBytes || connection.stream.has_pending());
  }
  std::string bytes;
  bytes.swap(connection.stash);
  held_bytes_ -= bytes.size();
  connection.scanned = 0;
  const std::size_t used = handle_bytes(connection, bytes);
  if (connection.closed) {
    return;
  }
  bytes.erase(0, used);
  held_bytes_ += bytes.size();
  connection.stash = std::move(bytes);
  if (connection.hold != Hold::kNone) {
    answer_pings(connection);
    update_interest(connection);
    return;
  }
  if (connection.ended) {
    return close(connection, Reason::kSuccess, "");
  }
  if (held_bytes_ > options_.max_held_total_bytes) {
    return close(connection, Reason::kQuotaExceeded, "too many unfinished packets at once");
  }
  if (connection.readable) {
    enqueue(connection);
    more_ = true;
  }
}

// Reads a client that is held back, as far as it may, to see its pings and its end.
void ConnectionTable::read_ahead(Connection& connection) {
  if (connection.readable && !connection.ended && connection.watched &&
      connection.stash.size() < options_.max_held_bytes &&
      held_bytes_ < options_.max_held_total_bytes) {
    if (!block_) {
      block_.reset(new char[kReadBytes + kCarryBytes]);
    }
    const std::size_t want =
        std::min(kReadBytes, options_.max_held_bytes - connection.stash.size());
    const io::IoResult result = connection.stream.read(block_.get(), want);
    connection.readable = false;
    if (result.state == io::IoState::kOk) {
      connection.stash.append(block_.get(), result.bytes);
      held_bytes_ += result.bytes;
      connection.last_heard = loop_.now();
      connection.readable = result.bytes == want || connection.stream.has_pending();
      answer_pings(connection);
    } else if (result.state == io::IoState::kClosed || result.state == io::IoState::kFailed) {
      connection.ended = true;
    }
  }
  update_interest(connection);
}

void ConnectionTable::answer_pings(Connection& connection) {
  std::string& stash = connection.stash;
  Frame frame;
  while (next_frame(std::string_view(stash).substr(connection.scanned), options_.max_packet_bytes,
                    &frame) == Framing::kFrame) {
    if (frame.type != PacketType::kPingreq) {
      connection.scanned += frame.size;
      continue;
    }
    stash.erase(connection.scanned, frame.size);
    held_bytes_ -= frame.size;
    encode_pingresp(connection.out);
    mark_dirty(connection);
  }
}

void ConnectionTable::hold(Connection& connection, Hold why) {
  connection.hold = why;
  if (why == Hold::kRoom) {
    waiting_for_room_.push_back(&connection);
  }
}

void ConnectionTable::release_hold(Connection& connection) {
  connection.hold = Hold::kNone;
  connection.scanned = 0;
  if (!connection.watched) {
    connection.readable = true;  // to find its end
  }
  update_interest(connection);
  enqueue(connection);
}

void ConnectionTable::set_stash(Connection& connection, std::string_view bytes) {
  std::string& stash = connection.stash;
  held_bytes_ = held_bytes_ - stash.size() + bytes.size();
  connection.scanned = 0;
  if (bytes.empty() && stash.capacity() > 1024) {
    std::string().swap(stash);
  } else {
    stash.assign(bytes);
  }
}

void ConnectionTable::update_interest(Connection& connection) {
  if (!connection.watched) {
    return;
  }
  const bool held = connection.hold != Hold::kNone;
  const bool read = !draining_ && !connection.ended &&
                    (!held || (connection.stash.size() < options_.max_held_bytes &&
                               held_bytes_ < options_.max_held_total_bytes));
  const std::uint32_t interest =
      (read ? static_cast<std::uint32_t>(EPOLLIN) : 0U) |
      (connection.want_write ? static_cast<std::uint32_t>(EPOLLOUT) : 0U);
  if (interest != connection.interest) {
    connection.interest = interest;
    (void)loop_.rewatch(connection.stream.fd(), interest).ok();
  }
}

// Handles whole packets from the front; returns how many bytes of them.
std::size_t ConnectionTable::handle_bytes(Connection& connection, std::string_view bytes) {
  std::size_t at = 0;
  std::size_t packets = 0;
  Frame frame;
  while (at < bytes.size()) {
    const Framing framing = next_frame(bytes.substr(at), options_.max_packet_bytes, &frame);
    if (framing == Framing::kMore) {
      break;
    }
    if (framing == Framing::kFault) {
      (void)fail(connection, frame.fault.reason, frame.fault.why);
      return at;
    }
    const Step step =
        frame.type == PacketType::kPublish ? publish(connection, frame) : handle(connection, frame);
    if (step != Step::kNext) {
      break;
    }
    at += frame.size;
    ++packets;
  }
  if (packets > 0) {
    const std::size_t mean = std::clamp<std::size_t>(at / packets, 16, 65'536);
    connection.mean_packet = static_cast<std::uint32_t>((connection.mean_packet * 3 + mean) / 4);
  }
  return at;
}

ConnectionTable::Step ConnectionTable::fail(Connection& connection, Reason reason,
                                            std::string_view why) {
  close(connection, reason, why);
  return Step::kClosed;
}

ConnectionTable::Step ConnectionTable::handle(Connection& connection, const Frame& frame) {
  switch (frame.type) {
    case PacketType::kPingreq:
      if (!frame.body.empty()) {
        return fail(connection, Reason::kMalformedPacket, "PINGREQ has a body");
      }
      encode_pingresp(connection.out);
      mark_dirty(connection);
      return Step::kNext;
    case PacketType::kPubrel:
      return release(connection, frame);
    case PacketType::kSubscribe:
      return subscribe(connection, frame);
    case PacketType::kUnsubscribe:
      return unsubscribe(connection, frame);
    case PacketType::kDisconnect:
      return disconnect(connection, frame);
    case PacketType::kConnect:
      return fail(connection, Reason::kProtocolError, "a second CONNECT");
    case PacketType::kPuback:
    case PacketType::kPubrec:
    case PacketType::kPubcomp:
      return fail(connection, Reason::kProtocolError, "an answer to a PUBLISH that was never sent");
    default:
      return fail(connection, Reason::kProtocolError, "a packet that clients do not send");
  }
}

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
  if (packet.topic != connection.last_topic) {
    if (!valid_topic_name(packet.topic)) {
      const bool text = valid_text(packet.topic);
      return fail(connection, text ? Reason::kTopicNameInvalid : Reason::kMalformedPacket,
                  "not a topic name");
    }
    if (packet.topic.size() > kCachedTopicBytes) {
      connection.last_topic.clear();
      connection.last_allowed = allowed(connection, packet.topic);
    } else {
      connection.last_topic = packet.topic;
      connection.last_allowed = allowed(connection, packet.topic);
    }
    connection.topic_epoch = 0;
  }
  if (!connection.last_allowed) {
    return deny(connection, packet);
  }
  return deliver(connection, packet);
}

// Bounds what one client has in flight: by its connection, and by its session, which a client that
// reconnects again and again would otherwise fill.
ConnectionTable::Step ConnectionTable::check_window(Connection& connection,
                                                    const PublishPacket& packet) {
  if (packet.qos == 0) {
    return Step::kNext;
  }
  if (connection.answers.size() >= options_.receive_maximum) {
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

bool ConnectionTable::allowed(Connection& connection, std::string_view topic) {
  const Session& session = *connection.session;
  return rules_.allows(
      topic, {session.client_id,
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
  connection.quota_timer =
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

ConnectionTable::Step ConnectionTable::deliver(Connection& connection,
                                               const PublishPacket& packet) {
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
  std::string_view topic = connection.last_topic_view;
  if (connection.topic_epoch != epoch_) {
    topic = arena_->copy(packet.topic);
    if (packet.topic == connection.last_topic) {
      connection.topic_epoch = epoch_;
      connection.last_topic_view = topic;
    }
  }
  Publish& made = publishes_->emplace_back();
  made.client = session.handle;
  made.position = position;
  made.client_id = connection.client_id_view;
  made.username = connection.username_view;
  made.topic = topic;
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

// PUBREL: the packet id is free again once its removal from the stored session is on disk.
ConnectionTable::Step ConnectionTable::release(Connection& connection, const Frame& frame) {
  Ack ack;
  const Fault fault = decode(frame, connection.version, &ack);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  Session& session = *connection.session;
  Slot& slot = slots_[session.handle];
  PendingAnswer pending{.packet_id = ack.packet_id, .type = PacketType::kPubcomp};
  const auto releasing = session.releasing.find(ack.packet_id);
  if (const auto received = session.received.find(ack.packet_id);
      received != session.received.end()) {
    session.received.erase(received);
    if (session.outlives_connection()) {
      pending.position = ++slot.last;
      ++counts_.in_flight;
      session.releasing[ack.packet_id] = pending.position;
      slot.last_change = pending.position;
      changed(session);
    }
  } else if (releasing != session.releasing.end()) {
    pending.position = releasing->second;
  } else if (connection.version == Version::k5) {
    pending.reason = Reason::kPacketIdNotFound;
  }
  answer(connection, pending);
  return Step::kNext;
}

ConnectionTable::Step ConnectionTable::subscribe(Connection& connection, const Frame& frame) {
  Subscribe packet;
  const Fault fault = decode(frame, connection.version, &packet);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  counts_.refused_subscriptions += packet.subscriptions.size();
  Suback suback{.packet_id = packet.packet_id};
  suback.reasons.assign(packet.subscriptions.size(), Reason::kNotAuthorized);
  if (connection.wants_reasons) {
    suback.reason_string = "this listener takes readings and gives no subscriptions";
  }
  encode(connection.out, connection.version, PacketType::kSuback, suback);
  mark_dirty(connection);
  return Step::kNext;
}

ConnectionTable::Step ConnectionTable::unsubscribe(Connection& connection, const Frame& frame) {
  Unsubscribe packet;
  const Fault fault = decode(frame, connection.version, &packet);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  Suback unsuback{.packet_id = packet.packet_id};
  unsuback.reasons.assign(packet.filters.size(), Reason::kNoSubscriptionExisted);
  encode(connection.out, connection.version, PacketType::kUnsuback, unsuback);
  mark_dirty(connection);
  return Step::kNext;
}

ConnectionTable::Step ConnectionTable::disconnect(Connection& connection, const Frame& frame) {
  Disconnect packet;
  const Fault fault = decode(frame, connection.version, &packet);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  Session& session = *connection.session;
  if (packet.properties.session_expiry) {
    if (session.expiry == 0 && *packet.properties.session_expiry != 0) {
      return fail(connection, Reason::kProtocolError,
                  "a session expiry at DISCONNECT where CONNECT had none");
    }
    const auto most = static_cast<std::uint32_t>(std::min<std::int64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(options_.max_session_expiry).count(),
        0xFFFFFFFF));
    const std::uint32_t expiry = std::min(*packet.properties.session_expiry, most);
    if (expiry != session.expiry) {
      session.expiry = expiry;
      changed(session);
    }
  }
  if (packet.reason != Reason::kDisconnectWithWill) {
    connection.will.reset();
  }
  close(connection, Reason::kSuccess, "");
  return Step::kClosed;
}

}  // namespace headwater::mqtt
