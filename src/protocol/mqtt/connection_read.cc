// The reading half of ConnectionTable: bytes to packets, packets to publishes and answers.
#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "protocol/mqtt/connection_table.h"

namespace headwater::mqtt {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;   // most that one read takes from one client
constexpr std::size_t kCarryBytes = 256 * 1024;  // most of a stash that is put in front of it
constexpr std::size_t kLeastRead = 8 * 1024;

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
  give_departures();
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
  more_ = more_ || (room > 0 && (!waiting_for_room_.empty() || !departures_.empty()));
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
  // As much as there is room for: what is read and not taken would have to be carried.
  const std::size_t room = limit_ - publishes_->size();
  std::size_t fitting =
      std::clamp(std::min(room, kReadBytes) * connection.mean_packet, kLeastRead, kReadBytes);
  Frame frame;
  if (next_frame({block_.get(), have}, options_.max_packet_bytes, &frame) == Framing::kMore) {
    fitting = std::max(fitting, have + kLeastRead);  // an unfinished packet needs its rest
  }
  if (connection.readable && !connection.ended && have < fitting) {
    const std::size_t want = fitting - have;
    const io::IoResult result = connection.stream.read(block_.get() + have, want);
    if (result.state == io::IoState::kOk) {
      have += result.bytes;
      full = result.bytes == want || connection.stream.has_pending();
      connection.last_heard = loop_.now();
    } else if (result.state == io::IoState::kClosed || result.state == io::IoState::kFailed) {
      connection.ended = true;
    }
    connection.readable = full || (!connection.watched && !connection.ended);
  }
  const std::string_view bytes(block_.get(), have);
  const std::size_t used = handle_bytes(connection, bytes);
  if (connection.closed) {
    return;
  }
  set_stash(connection, bytes.substr(used));
  if (connection.hold != Hold::kNone) {
    handle_controls(connection);
    update_interest(connection);
    return;
  }
  if (connection.ended) {
    return close(connection, Reason::kSuccess, "");
  }
  if (held_bytes_ > options_.max_held_total_bytes && !connection.stash.empty()) {
    return close(connection, Reason::kQuotaExceeded, "too many unfinished packets at once");
  }
  if (connection.readable) {
    enqueue(connection);
    more_ = true;
  }
}

// A packet larger than the shared block is gathered in the stash itself.
void ConnectionTable::serve_large(Connection& connection) {
  const std::size_t before = connection.stash.size();
  Frame frame;
  const bool unfinished =
      next_frame(connection.stash, options_.max_packet_bytes, &frame) == Framing::kMore;
  if (unfinished && connection.readable && !connection.ended) {
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
    connection.readable = got && (result.bytes == kReadBytes || connection.stream.has_pending() ||
                                  !connection.watched);
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
    handle_controls(connection);
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

// Reads a client that is held back, as far as it may, to see its controls and its end.
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
      handle_controls(connection);
    } else if (result.state == io::IoState::kClosed || result.state == io::IoState::kFailed) {
      connection.ended = true;
    }
  }
  update_interest(connection);
}

// Of a client that is held back, what need not wait. It may end the connection.
void ConnectionTable::handle_controls(Connection& connection) {
  std::string& stash = connection.stash;
  Frame frame;
  while (next_frame(std::string_view(stash).substr(connection.scanned), options_.max_packet_bytes,
                    &frame) == Framing::kFrame) {
    // Answers that wait for a commit are bounded as publishes are.
    const bool subscribes =
        frame.type == PacketType::kSubscribe || frame.type == PacketType::kUnsubscribe;
    const bool overtakes = frame.type == PacketType::kPingreq ||
                           frame.type == PacketType::kPuback ||
                           (subscribes && connection.subacks.size() < options_.receive_maximum);
    if (!overtakes) {
      connection.scanned += frame.size;
      continue;
    }
    if (handle(connection, frame) == Step::kClosed) {
      return;
    }
    stash.erase(connection.scanned, frame.size);
    held_bytes_ -= frame.size;
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
  if (!connection.watched || connection.closed) {
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
      return command_answer(connection, frame);
    case PacketType::kPubrec:
    case PacketType::kPubcomp:
      return fail(connection, Reason::kProtocolError, "an answer to a PUBLISH that was never sent");
    default:
      return fail(connection, Reason::kProtocolError, "a packet that clients do not send");
  }
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
  }
  // An id that is not known was released before, and the PUBCOMP was lost with the connection: no
  // error then (5.0, 3.7.2.1). With 0x92 MQTT.js would fail a publish that is stored.
  answer(connection, pending);
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
