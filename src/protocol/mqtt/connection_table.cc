#include "protocol/mqtt/connection_table.h"

#include <sys/epoll.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace headwater::mqtt {
namespace {

constexpr Nanos kSweep = std::chrono::milliseconds(250);

// 3.1.1 and 5.0: one and a half times the keep alive.
Nanos idle_limit(std::uint16_t keep_alive) {
  return std::chrono::milliseconds(keep_alive * 1500);
}

}  // namespace

ConnectionTable::ConnectionTable(const ListenerOptions& options, WriteRules rules,
                                 std::optional<TopicPattern> commands, io::Loop& loop)
    : options_(options),
      rules_(std::move(rules)),
      commands_(std::move(commands)),
      loop_(loop),
      lingering_(loop) {}

ConnectionTable::~ConnectionTable() {
  loop_.cancel(sweep_timer_);
  for (auto& [key, connection] : connections_) {
    loop_.cancel(connection->hold_timer);
    if (connection->watched) {
      loop_.unwatch(connection->stream.fd());
    }
  }
}

void ConnectionTable::admit(Admission admission) {
  if (draining_) {
    std::string answer;
    encode(answer, admission.version, Connack{.reason = Reason::kServerUnavailable});
    lingering_.close(std::move(admission.stream), answer);
    return;
  }
  if (admission.will && will_bytes_ > options_.max_held_total_bytes) {
    ++counts_.refused_other;  // wills that nobody takes: the store is blocked
    std::string answer;
    encode(answer, admission.version, Connack{.reason = Reason::kServerBusy});
    lingering_.close(std::move(admission.stream), answer);
    return;
  }
  auto found = sessions_.find(admission.client_id);
  const bool foreign = found != sessions_.end() && found->second->verified &&
                       (!admission.verified || found->second->username != admission.username);
  if (foreign && found->second->connection != nullptr) {
    ++counts_.refused_other;
    std::string answer;
    Connack refusal{.reason = Reason::kNotAuthorized};
    refusal.properties.reason_string = "another user is connected with this client id";
    encode(answer, admission.version, refusal);
    lingering_.close(std::move(admission.stream), answer);
    return;
  }
  if (found != sessions_.end() && found->second->connection != nullptr) {
    ++counts_.takeovers;
    close(*found->second->connection, Reason::kSessionTakenOver,
          "another connection has this client id");
    found = sessions_.find(admission.client_id);  // it may have ended with its connection
  }
  bool present = false;
  Session* session = nullptr;
  if (found == sessions_.end()) {
    session = &make_session(admission.client_id);
  } else {
    session = found->second.get();
    if (session->will) {
      KeptWill will = *std::exchange(session->will, std::nullopt);
      will_bytes_ -= will.bytes();
      if (foreign) {
        depart(*session, std::move(will));  // the one who has returned is another
      }
    }
    // Nobody inherits the session of a user he is not, nor a proven one that of an unproven.
    present = !admission.clean_start && !foreign && session->verified == admission.verified;
    if (!present) {
      clear_session(*session);
    }
  }
  const bool same = present && session->expiry == admission.session_expiry &&
                    session->username == admission.username &&
                    session->verified == admission.verified;
  session->username = std::move(admission.username);
  session->verified = admission.verified;
  session->expiry = admission.session_expiry;
  if (!same) {
    changed(*session);
  }

  auto made = std::make_unique<Connection>();
  Connection& connection = *made;
  connections_.emplace(&connection, std::move(made));
  connection.stream = std::move(admission.stream);
  connection.ticket = std::move(admission.ticket);
  connection.session = session;
  connection.version = admission.version;
  connection.wants_reasons = admission.wants_reasons;
  connection.max_packet = admission.max_packet;
  connection.receive_maximum = admission.receive_maximum;
  connection.idle_limit = idle_limit(admission.keep_alive);
  connection.last_heard = loop_.now();
  connection.refilled = loop_.now();
  connection.messages_left = options_.messages_per_second;
  connection.bytes_left = options_.bytes_per_second;
  connection.will = std::move(admission.will);
  session->connection = &connection;
  ++counts_.accepted;
  counts_.connections = connections_.size();

  Connack connack{.session_present = present};
  if (connection.version == Version::k5) {
    Properties& properties = connack.properties;
    properties.receive_maximum = options_.receive_maximum;
    properties.topic_alias_maximum = options_.topic_alias_maximum;
    properties.maximum_packet_size = static_cast<std::uint32_t>(
        std::min<std::size_t>(options_.max_packet_bytes, kMaxRemainingLength));
    if (!commands_) {
      properties.wildcard_subscription_available = false;
    }
    properties.subscription_id_available = false;
    properties.shared_subscription_available = false;
    if (admission.assigned) {
      properties.assigned_client_id = session->client_id;
    }
    if (admission.expiry_reduced) {
      properties.session_expiry = admission.session_expiry;
    }
  }
  encode(connection.out, connection.version, connack);
  resume_commands(connection);
  set_stash(connection, admission.buffered);
  const Status watched =
      loop_.watch(connection.stream.fd(), EPOLLIN,
                  [this, &connection](std::uint32_t events) { on_event(connection, events); });
  if (!watched) {
    close(connection, Reason::kServerBusy, "no room to watch the connection");
    purge();
    return;
  }
  connection.watched = true;
  connection.interest = EPOLLIN;
  connection.readable = true;  // decrypted bytes may be waiting, which epoll does not know
  write_out(connection);
  enqueue(connection);
  if (sweep_timer_ == 0) {
    sweep_timer_ = loop_.after(kSweep, [this] { sweep(); });
  }
  snapshot();
}

Status ConnectionTable::restore(std::string_view key, std::string_view blob) {
  Session stored;
  HW_TRY(decode_session(blob, &stored).with("session of client '{}'", key));
  if (stored.expiry == 0) {
    return {};
  }
  Session& session = make_session(std::string(key));
  session.username = std::move(stored.username);
  session.verified = stored.verified;
  session.expiry = stored.expiry;
  session.stored = true;
  session.received = std::move(stored.received);
  session.mailbox = std::move(stored.mailbox);
  // How long the process was away is not known for sure; the whole time is given again.
  session.expires_at = loop_.now() + std::chrono::seconds(session.expiry);
  if (sweep_timer_ == 0) {
    sweep_timer_ = loop_.after(kSweep, [this] { sweep(); });
  }
  return {};
}

Session& ConnectionTable::make_session(const std::string& client_id) {
  auto& session = sessions_[client_id];
  if (session) {
    return *session;
  }
  session = std::make_unique<Session>();
  session->client_id = client_id;
  if (free_slots_.empty()) {
    session->handle = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    session->handle = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[session->handle].session = session.get();
  counts_.sessions = sessions_.size();
  return *session;
}

void ConnectionTable::clear_session(Session& session) {
  take_back_commands(session, true);
  session.mailbox.reset();
  session.recent.reset();
  session.received.clear();
  session.releasing.clear();
}

void ConnectionTable::changed(Session& session) {
  if (!session.changed && (session.stored || session.outlives_connection())) {
    session.changed = true;
    changes_.push_back(session.client_id);
  }
}

void ConnectionTable::end_session(Session& session) {
  Slot& slot = slots_[session.handle];
  if (session.stored || slot.last_change > 0) {
    gone_.push_back({.key = session.client_id,
                     .removed = true,
                     .client = session.handle,
                     .position = std::exchange(slot.last_change, 0)});
  }
  slot.session = nullptr;
  free_slots_.push_back(session.handle);
  sessions_.erase(sessions_.find(session.client_id));
  counts_.sessions = sessions_.size();
}

void ConnectionTable::take_changes(std::vector<SessionChange>& out) {
  std::move(gone_.begin(), gone_.end(), std::back_inserter(out));
  gone_.clear();
  for (std::string& key : changes_) {
    const auto found = sessions_.find(key);
    if (found == sessions_.end() || !found->second->changed) {
      continue;  // it has ended since; or it began again and is named twice
    }
    Session& session = *found->second;
    session.changed = false;
    session.stored = session.outlives_connection();
    out.push_back({.key = std::move(key),
                   .blob = session.stored ? encode_session(session) : std::string(),
                   .removed = !session.stored,
                   .client = session.handle,
                   .position = std::exchange(slots_[session.handle].last_change, 0)});
  }
  changes_.clear();
}

void ConnectionTable::close(Connection& connection, Reason reason, std::string_view why) {
  if (connection.closed) {
    return;
  }
  connection.closed = true;
  const auto code = static_cast<std::uint8_t>(reason);
  if (is_failure(reason) && code - 0x80U < counts_.closed.size()) {
    ++counts_.closed[code - 0x80U];
  }
  if (connection.watched) {
    loop_.unwatch(connection.stream.fd());
    connection.watched = false;
  }
  loop_.cancel(connection.hold_timer);
  if (is_failure(reason) && reason != Reason::kUnspecified) {
    if (connection.version == Version::k5) {
      Disconnect disconnect{reason, {}};
      if (!why.empty() && connection.wants_reasons) {
        disconnect.properties.reason_string = why;
      }
      encode(connection.out, connection.version, PacketType::kDisconnect, disconnect);
    }
    lingering_.close(std::move(connection.stream), connection.out);
  } else {
    (void)connection.stream.write(connection.out);
    connection.stream.close();
  }
  held_bytes_ -= connection.stash.size();
  Session& session = *connection.session;
  connection.session = nullptr;
  session.connection = nullptr;
  if (session.mailbox) {
    counts_.subscriptions -= session.mailbox->filters.size();
    take_back_commands(session, !session.outlives_connection());
  }
  // Taken over: the client is here. Shutting down: we leave, not the client.
  if (connection.will && reason != Reason::kSessionTakenOver &&
      reason != Reason::kServerShuttingDown) {
    leave(session, *std::move(connection.will));
  }
  if (session.outlives_connection()) {
    session.expires_at = loop_.now() + std::chrono::seconds(session.expiry);
  } else {
    end_session(session);
  }
  const auto found = connections_.find(&connection);
  graveyard_.push_back(std::move(found->second));
  connections_.erase(found);
  counts_.connections = connections_.size();
}

void ConnectionTable::purge() {
  if (graveyard_.empty()) {
    return;
  }
  const auto closed = [](const Connection* connection) { return connection->closed; };
  std::erase_if(ready_, closed);
  std::erase_if(serving_, closed);
  std::erase_if(waiting_for_room_, closed);
  std::erase_if(dirty_, closed);
  graveyard_.clear();
}

void ConnectionTable::sweep() {
  const MonoTime now = loop_.now();
  std::vector<Connection*> silent;
  for (const auto& [key, connection] : connections_) {
    const bool reading = (connection->interest & EPOLLIN) != 0 && !connection->readable;
    if (!reading) {
      connection->last_heard = now;  // whatever it said has not been read: not its fault
    } else if (connection->idle_limit.count() > 0 &&
               now - connection->last_heard > connection->idle_limit) {
      silent.push_back(key);
    }
  }
  for (Connection* connection : silent) {
    close(*connection, Reason::kKeepAliveTimeout, "nothing was heard for 1.5 times the keep alive");
  }
  std::vector<Session*> expired;
  for (const auto& [key, session] : sessions_) {
    if (session->will && session->will_at <= now) {
      KeptWill will = *std::exchange(session->will, std::nullopt);
      will_bytes_ -= will.bytes();
      depart(*session, std::move(will));
    }
    if (session->connection == nullptr && session->expires_at <= now) {
      expired.push_back(session.get());
    }
  }
  for (Session* session : expired) {
    end_session(*session);
  }
  expire_commands();
  purge();
  snapshot();
  const bool idle = connections_.empty() && sessions_.empty() && waiting_commands_.empty();
  sweep_timer_ = idle ? 0 : loop_.after(kSweep, [this] { sweep(); });
}

void ConnectionTable::drain() {
  draining_ = true;
  for (const auto& [key, connection] : connections_) {
    update_interest(*connection);
  }
}

void ConnectionTable::close_all() {
  draining_ = true;
  std::vector<Connection*> all;
  for (const auto& [key, connection] : connections_) {
    all.push_back(key);
  }
  for (Connection* connection : all) {
    close(*connection, Reason::kServerShuttingDown, "the edge is shutting down");
  }
  purge();
  snapshot();
}

void ConnectionTable::snapshot() {
  counts_.held_bytes = held_bytes_;
  const std::lock_guard lock(mutex_);
  shown_ = counts_;
}

ListenerStats ConnectionTable::stats() const {
  const std::lock_guard lock(mutex_);
  return shown_;
}

}  // namespace headwater::mqtt
