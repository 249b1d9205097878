// What ConnectionTable sends to clients: subscriptions, the commands that match them; and the wills
// of those who left.
#include <algorithm>
#include <utility>

#include "protocol/mqtt/connection_table.h"

namespace headwater::mqtt {
namespace {

constexpr std::size_t kMostFilters = 16;            // of one client
constexpr std::size_t kMostQueued = 64;             // commands of one client, and of one topic
constexpr std::size_t kMostWaitingCommands = 1024;  // for clients that are not there

Writer writer_of(const Session& session) {
  return {session.client_id,
          session.verified ? std::string_view(session.username) : std::string_view()};
}

}  // namespace

ConnectionTable::Step ConnectionTable::subscribe(Connection& connection, const Frame& frame) {
  Subscribe packet;
  const Fault fault = decode(frame, connection.version, &packet);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  Session& session = *connection.session;
  Suback suback{.packet_id = packet.packet_id};
  bool granted = false;
  for (const Subscription& wanted : packet.subscriptions) {
    const Reason reason = packet.properties.subscription_id ? Reason::kSubscriptionIdsNotSupported
                                                            : grant(session, wanted);
    suback.reasons.push_back(reason);
    granted = granted || !is_failure(reason);
    counts_.refused_subscriptions += is_failure(reason) ? 1 : 0;
    if (reason == Reason::kNotAuthorized && connection.wants_reasons) {
      suback.reason_string = commands_ ? "a client may subscribe to its own command topics only"
                                       : "this listener gives no subscriptions";
    }
  }
  answer_subscription(connection, PacketType::kSuback, suback, granted);
  if (granted) {
    offer_commands(connection);
  }
  return Step::kNext;
}

// Takes the subscription into the session; the QoS granted, or why not.
Reason ConnectionTable::grant(Session& session, const Subscription& wanted) {
  if (!commands_ || !commands_->covers(wanted.filter, writer_of(session))) {
    return Reason::kNotAuthorized;
  }
  if (!session.mailbox) {
    session.mailbox = std::make_unique<Mailbox>();
  }
  std::vector<Mailbox::Filter>& filters = session.mailbox->filters;
  const auto qos = static_cast<std::uint8_t>(std::min<int>(wanted.qos, 1));
  const auto same = std::find_if(filters.begin(), filters.end(),
                                 [&](const auto& one) { return one.text == wanted.filter; });
  if (same != filters.end()) {
    same->qos = qos;
  } else if (filters.size() >= kMostFilters) {
    return Reason::kQuotaExceeded;
  } else {
    filters.push_back({std::string(wanted.filter), qos});
    ++counts_.subscriptions;
  }
  return qos == 0 ? Reason::kSuccess : Reason::kGrantedQos1;
}

ConnectionTable::Step ConnectionTable::unsubscribe(Connection& connection, const Frame& frame) {
  Unsubscribe packet;
  const Fault fault = decode(frame, connection.version, &packet);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  Session& session = *connection.session;
  Suback unsuback{.packet_id = packet.packet_id};
  std::size_t gone = 0;
  for (const std::string_view filter : packet.filters) {
    const std::size_t erased = session.mailbox == nullptr
                                   ? 0
                                   : std::erase_if(session.mailbox->filters, [&](const auto& one) {
                                       return one.text == filter;
                                     });
    gone += erased;
    unsuback.reasons.push_back(erased > 0 ? Reason::kSuccess : Reason::kNoSubscriptionExisted);
  }
  counts_.subscriptions -= gone;
  answer_subscription(connection, PacketType::kUnsuback, unsuback, gone > 0);
  return Step::kNext;
}

// SUBACK and UNSUBACK: when the session is on disk, if it is one that is stored.
void ConnectionTable::answer_subscription(Connection& connection, PacketType type,
                                          const Suback& packet, bool session_changed) {
  Session& session = *connection.session;
  if (!session_changed || !session.outlives_connection()) {
    encode(connection.out, connection.version, type, packet);
    mark_dirty(connection);
    return;
  }
  Slot& slot = slots_[session.handle];
  const std::uint64_t position = ++slot.last;
  ++counts_.in_flight;
  slot.last_change = position;
  changed(session);
  std::string& bytes = connection.subacks.emplace_back();
  encode(bytes, connection.version, type, packet);
  answer(connection, {.position = position, .type = PacketType::kSuback});
}

// The QoS at which the client has subscribed to `topic`.
std::optional<std::uint8_t> ConnectionTable::subscribed(const Session& session,
                                                        std::string_view topic) const {
  if (!commands_ || !session.mailbox || !commands_->matches(topic, writer_of(session))) {
    return std::nullopt;
  }
  std::optional<std::uint8_t> qos;
  for (const Mailbox::Filter& filter : session.mailbox->filters) {
    if (topic_matches(filter.text, topic)) {
      qos = std::max(qos.value_or(0), filter.qos);
    }
  }
  return qos;
}

void ConnectionTable::send(std::shared_ptr<Command> command) {
  if (draining_ || !commands_) {
    return command->end(CommandState::kRefused);
  }
  bool taken = false;
  const auto offer = [&](const Session& session) {
    if (session.connection != nullptr && subscribed(session, command->topic)) {
      taken = true;
      queue_command(*session.connection, command);
    }
  };
  if (const auto client = commands_->client_of(command->topic)) {
    const auto found = sessions_.find(std::string(*client));
    if (found != sessions_.end()) {
      offer(*found->second);
    }
  } else {
    for (const auto& [key, session] : sessions_) {
      offer(*session);
    }
  }
  if (!taken) {
    keep_command(std::move(command));
  }
  purge();
}

void ConnectionTable::queue_command(Connection& connection, std::shared_ptr<Command> command) {
  std::deque<std::shared_ptr<Command>>& queue = connection.session->mailbox->queue;
  if (queue.size() >= kMostQueued) {
    return command->end(CommandState::kRefused);
  }
  queue.push_back(std::move(command));
  send_commands(connection);
}

void ConnectionTable::keep_command(std::shared_ptr<Command> command) {
  expire_commands();
  const auto same_topic = [&](const auto& one) { return one->topic == command->topic; };
  if (waiting_commands_.size() >= kMostWaitingCommands ||
      static_cast<std::size_t>(std::count_if(waiting_commands_.begin(), waiting_commands_.end(),
                                             same_topic)) >= kMostQueued) {
    return command->end(CommandState::kRefused);
  }
  waiting_commands_.push_back(std::move(command));
  if (sweep_timer_ == 0) {
    sweep_timer_ = loop_.after(std::chrono::milliseconds(250), [this] { sweep(); });
  }
}

// The sender tells its own time; here they only go.
void ConnectionTable::expire_commands() {
  const MonoTime now = loop_.now();
  std::erase_if(waiting_commands_,
                [&](const auto& command) { return command->until <= now || !command->open(); });
}

// What waits for a client of these subscriptions.
void ConnectionTable::offer_commands(Connection& connection) {
  Session& session = *connection.session;
  expire_commands();
  std::deque<std::shared_ptr<Command>> others;
  for (std::shared_ptr<Command>& command : std::exchange(waiting_commands_, {})) {
    const bool wanted = session.mailbox && session.mailbox->queue.size() < kMostQueued &&
                        subscribed(session, command->topic);
    (wanted ? session.mailbox->queue : others).push_back(std::move(command));
  }
  waiting_commands_ = std::move(others);
  send_commands(connection);
}

// As many as the client's receive maximum and its socket take.
void ConnectionTable::send_commands(Connection& connection) {
  if (connection.closed || connection.want_write || !connection.session->mailbox) {
    return;
  }
  Mailbox& mailbox = *connection.session->mailbox;
  while (!mailbox.queue.empty() && mailbox.unanswered.size() < connection.receive_maximum) {
    const std::shared_ptr<Command> command = std::move(mailbox.queue.front());
    mailbox.queue.pop_front();
    if (const auto id = send_command(connection, *command, 0); id && *id != 0) {
      mailbox.unanswered.push_back({command, *id});
    }
  }
}

// Puts it behind what is to be sent; with `repeat_id` again, under that packet id. Its packet id, 0
// for QoS 0; nothing if it is too late, the client takes nothing so large, or has subscribed no
// more.
std::optional<std::uint16_t> ConnectionTable::send_command(Connection& connection, Command& command,
                                                           std::uint16_t repeat_id) {
  Session& session = *connection.session;
  const auto granted = subscribed(session, command.topic);
  if (!granted || command.until <= loop_.now() || !command.begin()) {
    return std::nullopt;
  }
  PublishPacket packet{.topic = command.topic,
                       .payload = command.payload,
                       .content_type = command.content_type,
                       .qos = std::min(*granted, command.qos),
                       .dup = repeat_id != 0};
  if (packet.qos > 0) {
    packet.packet_id = repeat_id;
    std::uint16_t& last = session.mailbox->last_id;
    const auto& unanswered = session.mailbox->unanswered;
    while (packet.packet_id == 0) {
      last = static_cast<std::uint16_t>(last % 65'535 + 1);
      const bool used = std::any_of(unanswered.begin(), unanswered.end(),
                                    [&](const auto& one) { return one.packet_id == last; });
      packet.packet_id = used ? 0 : last;
    }
  }
  const std::size_t before = connection.out.size();
  encode(connection.out, connection.version, packet);
  if (connection.out.size() - before > connection.max_packet) {
    connection.out.resize(before);
    command.end(CommandState::kRefused);
    return std::nullopt;
  }
  mark_dirty(connection);
  counts_.commands += repeat_id == 0 ? 1 : 0;
  if (packet.qos == 0) {
    ++counts_.commands_delivered;
    command.end(CommandState::kDelivered);
  }
  return packet.packet_id;
}

ConnectionTable::Step ConnectionTable::command_answer(Connection& connection, const Frame& frame) {
  Ack ack;
  const Fault fault = decode(frame, connection.version, &ack);
  if (!fault.ok()) {
    return fail(connection, fault.reason, fault.why);
  }
  Mailbox* const mailbox = connection.session->mailbox.get();
  if (mailbox == nullptr || mailbox->last_id == 0) {
    return fail(connection, Reason::kProtocolError, "an answer to a PUBLISH that was never sent");
  }
  const auto found = std::find_if(mailbox->unanswered.begin(), mailbox->unanswered.end(),
                                  [&](const auto& one) { return one.packet_id == ack.packet_id; });
  if (found == mailbox->unanswered.end()) {
    return Step::kNext;  // a second answer: the first was on its way when we sent it again
  }
  const std::shared_ptr<Command> command = std::move(found->command);
  mailbox->unanswered.erase(found);
  counts_.commands_delivered += is_failure(ack.reason) ? 0 : 1;
  command->end(is_failure(ack.reason) ? CommandState::kRefused : CommandState::kDelivered);
  send_commands(connection);
  return Step::kNext;
}

// A client has connected: what it did not answer comes again, if there is time, then what waits.
void ConnectionTable::resume_commands(Connection& connection) {
  Session& session = *connection.session;
  if (!session.mailbox) {
    return;
  }
  counts_.subscriptions += session.mailbox->filters.size();
  std::deque<Mailbox::Sent>& unanswered = session.mailbox->unanswered;
  for (Mailbox::Sent& sent : std::exchange(unanswered, {})) {
    if (!sent.command->open() || unanswered.size() >= connection.receive_maximum) {
      continue;
    }
    if (const auto id = send_command(connection, *sent.command, sent.packet_id); id && *id != 0) {
      unanswered.push_back(std::move(sent));
    }
  }
  offer_commands(connection);
}

// A connection or a session ends: what was not sent waits for another, and so does what was sent
// when the session, and with it the packet ids, is no more.
void ConnectionTable::take_back_commands(Session& session, bool session_ends) {
  if (!session.mailbox) {
    return;
  }
  if (session_ends) {
    for (Mailbox::Sent& sent : std::exchange(session.mailbox->unanswered, {})) {
      keep_command(std::move(sent.command));
    }
  }
  for (std::shared_ptr<Command>& command : std::exchange(session.mailbox->queue, {})) {
    keep_command(std::move(command));
  }
}

// A connection has ended without good-bye.
void ConnectionTable::leave(Session& session, KeptWill will) {
  const std::uint32_t delay = std::min(will.delay, session.expiry);
  if (delay == 0) {
    return depart(session, std::move(will));
  }
  will_bytes_ += will.bytes();
  session.will_at = loop_.now() + std::chrono::seconds(delay);
  session.will = std::move(will);
}

void ConnectionTable::depart(Session& session, KeptWill will) {
  will_bytes_ += will.bytes();
  const bool allowed = rules_.allows(will.topic, writer_of(session));
  departures_.push_back(
      {session.handle, session.client_id, session.username, std::move(will), allowed});
}

// Wills that are due, as publishes in the partition of their client. Another client may have the
// handle by now: its positions go on ascending all the same.
void ConnectionTable::give_departures() {
  while (!departures_.empty() && publishes_->size() < limit_) {
    const Departure departure = std::move(departures_.front());
    departures_.pop_front();
    will_bytes_ -= departure.will.bytes();
    ++counts_.in_flight;
    ++counts_.offline;
    Publish& made = publishes_->emplace_back();
    made.client = departure.handle;
    made.position = ++slots_[departure.handle].last;
    made.client_id = arena_->copy(departure.client_id);
    made.username = arena_->copy(departure.username);
    made.topic = arena_->copy(departure.will.topic);
    made.payload = arena_->copy(departure.will.payload);
    made.offline = true;
    made.allowed = departure.allowed;
  }
}

}  // namespace headwater::mqtt
