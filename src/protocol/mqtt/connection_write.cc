// The writing half of ConnectionTable: answers in order, few sends.
#include <sys/epoll.h>

#include <algorithm>
#include <array>

#include "protocol/mqtt/connection_table.h"

namespace headwater::mqtt {

void ConnectionTable::acknowledge(std::uint32_t client, std::uint64_t upto) {
  if (client >= slots_.size()) {
    return;
  }
  Slot& slot = slots_[client];
  upto = std::min(upto, slot.last);
  if (upto <= slot.acknowledged) {
    return;
  }
  counts_.in_flight -= upto - slot.acknowledged;
  slot.acknowledged = upto;
  Session* const session = slot.session;
  if (session == nullptr) {
    return;
  }
  if (!session->releasing.empty()) {
    std::erase_if(session->releasing, [&](const auto& one) { return one.second <= upto; });
  }
  Connection* const connection = session->connection;
  if (connection == nullptr) {
    return;
  }
  send_answers(*connection);
  if (connection->hold == Hold::kWindow) {
    release_hold(*connection);
  }
}

void ConnectionTable::answer(Connection& connection, PendingAnswer pending) {
  connection.answers.push(pending);
  Session& session = *connection.session;
  session.most_in_flight = std::max(session.most_in_flight, connection.answers.size());
  if (connection.answers.size() == 1) {
    send_answers(connection);
  }
}

void ConnectionTable::send_answers(Connection& connection) {
  const std::uint64_t upto = slots_[connection.session->handle].acknowledged;
  Ring<PendingAnswer>& answers = connection.answers;
  const std::size_t before = connection.out.size();
  while (!answers.empty() && answers.front().position <= upto) {
    const PendingAnswer& next = answers.front();
    if (next.type == PacketType::kSuback) {
      connection.out += connection.subacks.front();
      connection.subacks.erase(connection.subacks.begin());
      answers.pop();
      continue;
    }
    if (next.reason != Reason::kSuccess && connection.version == Version::k311) {
      answers.pop();  // that version has no word for it
      continue;
    }
    if (next.reason == Reason::kSuccess) {
      const std::array<char, 4> bytes = {static_cast<char>(static_cast<unsigned>(next.type) << 4),
                                         2, static_cast<char>(next.packet_id >> 8),
                                         static_cast<char>(next.packet_id & 0xFF)};
      connection.out.append(bytes.data(), bytes.size());
    } else {
      Ack ack{.packet_id = next.packet_id, .reason = next.reason};
      if (next.reason == Reason::kNotAuthorized && connection.wants_reasons) {
        ack.reason_string = "this client may not publish to this topic";
      } else if (next.reason == Reason::kQuotaExceeded && connection.wants_reasons) {
        ack.reason_string = "the store is full; send it again later";
      }
      encode(connection.out, connection.version, next.type, ack);
    }
    answers.pop();
    ++counts_.acknowledged;
  }
  if (connection.out.size() != before) {
    mark_dirty(connection);
  }
}

void ConnectionTable::mark_dirty(Connection& connection) {
  if (!connection.dirty) {
    connection.dirty = true;
    dirty_.push_back(&connection);
  }
}

void ConnectionTable::flush() {
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    Connection& connection = *dirty_[i];
    connection.dirty = false;
    if (!connection.closed) {
      write_out(connection);
    }
  }
  dirty_.clear();
  purge();
  snapshot();
}

void ConnectionTable::write_out(Connection& connection) {
  std::size_t sent = 0;
  while (sent < connection.out.size()) {
    const io::IoResult result =
        connection.stream.write(std::string_view(connection.out).substr(sent));
    if (result.state == io::IoState::kFailed || result.state == io::IoState::kClosed) {
      connection.out.clear();
      // What the peer has sent before it went is still read: reading finds the end by itself. Only
      // a client that is not being read must go now.
      if (connection.hold != Hold::kNone || draining_) {
        return close(connection, Reason::kSuccess, "");
      }
      connection.want_write = false;
      connection.readable = true;
      enqueue(connection);
      return;
    }
    if (result.state != io::IoState::kOk) {
      break;
    }
    sent += result.bytes;
  }
  if (sent == connection.out.size() && connection.out.capacity() > 16 * 1024) {
    std::string().swap(connection.out);
  } else {
    connection.out.erase(0, sent);
  }
  if (connection.out.size() > options_.max_output_bytes) {
    connection.out.clear();  // half a packet may have gone out: nothing sensible can follow
    return close(connection, Reason::kUnspecified, "");
  }
  const bool want_write = !connection.out.empty();
  if (connection.want_write != want_write) {
    connection.want_write = want_write;
    update_interest(connection);
    if (!want_write) {
      send_commands(connection);  // they wait while the socket is full
    }
  }
}

}  // namespace headwater::mqtt
