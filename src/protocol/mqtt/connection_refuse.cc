// What ConnectionTable does with publishes that the owner does not take: a word of no where the
// version has one, and a pause before the client is read again.
#include "protocol/mqtt/connection_table.h"

namespace headwater::mqtt {

void ConnectionTable::decline(std::uint32_t client, std::uint64_t from, std::uint64_t upto) {
  Session* const session = client < slots_.size() ? slots_[client].session : nullptr;
  if (session == nullptr) {
    return;
  }
  const auto inside = [&](std::uint64_t position) { return from <= position && position <= upto; };
  // It may come again, and is no repeat then; nor of an older use of its packet id.
  for (std::size_t i = session->recent.size(); i-- > 0 && session->recent[i].position >= from;) {
    if (inside(session->recent[i].position)) {
      session->recent[i].hash = ~session->recent[i].hash;
    }
  }
  if (std::erase_if(session->received, [&](const auto& one) { return inside(one.second); }) > 0) {
    changed(*session);
  }
  Connection* const connection = session->connection;
  if (connection == nullptr) {
    return;
  }
  bool owes = false;
  Ring<PendingAnswer>& answers = connection->answers;
  // Not in the order of positions: repeats have that of the first, some answers have none.
  for (std::size_t i = answers.size(); i-- > 0;) {
    PendingAnswer& answer = answers[i];
    const bool of_publish =
        answer.type == PacketType::kPuback || answer.type == PacketType::kPubrec;
    if (of_publish && answer.reason == Reason::kSuccess && inside(answer.position)) {
      answer.reason = Reason::kQuotaExceeded;
      owes = true;
    }
  }
  pause_refused(*connection, owes && connection->version == Version::k311);
}

// Answers at full speed would be answered by repeats at full speed. A 3.1.1 client that waits for a
// PUBACK sends the message again only on another connection: it loses this one, after a while that
// differs from client to client, so that they do not all come back at once.
void ConnectionTable::pause_refused(Connection& connection, bool end) {
  if (connection.hold == Hold::kRefused && (connection.end_refused || !end)) {
    return;
  }
  loop_.cancel(connection.hold_timer);
  connection.end_refused = end;
  Nanos pause = options_.refused_pause;
  if (end) {
    const double part = std::uniform_real_distribution<double>(0.5, 1.5)(random_);
    pause = std::chrono::duration_cast<Nanos>(options_.refused_close * part);
  }
  hold(connection, Hold::kRefused);
  connection.hold_timer = loop_.after(pause, [this, &connection] {
    if (connection.hold != Hold::kRefused) {
      return;
    }
    if (!connection.end_refused) {
      return release_hold(connection);
    }
    connection.will.reset();  // it is sent away, it has not vanished
    close(connection, Reason::kQuotaExceeded, "");
    purge();
    snapshot();
  });
  handle_controls(connection);
  update_interest(connection);
}

}  // namespace headwater::mqtt
