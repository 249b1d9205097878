// Session: what the listener remembers about a client beyond one connection, and its bytes.
//
// A blob, all integers little-endian or LEB128 varints (base/bytes.h):
//   u8      1, the version; 2 if subscriptions follow
//   varint  session expiry in seconds
//   u8      1 if the user name was verified, else 0
//   string  user name: varint length, bytes
//   varint  count of QoS 2 packet ids whose PUBREL has not come
//   u16     … each of them, ascending
// and in version 2
//   varint  count of subscriptions
//   string  … the filter of each, followed by
//   u8        the QoS granted, 0 or 1
// The key is the client id.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "protocol/mqtt/command.h"
#include "protocol/mqtt/ring.h"

namespace headwater::mqtt {

struct Connection;

// A QoS 1 publish that was given out, to know its repeat by.
struct Recent {
  std::uint64_t position = 0;
  std::uint64_t hash = 0;  // of topic and payload
  std::uint16_t packet_id = 0;
};

struct KeptWill {
  std::string topic;
  std::string payload;
  std::uint32_t delay = 0;  // seconds

  std::size_t bytes() const { return topic.size() + payload.size(); }
};

// What a client that subscribed is sent. Commands in `queue` were not sent yet; a connection's end
// gives them back to the table.
struct Mailbox {
  struct Filter {
    std::string text;
    std::uint8_t qos = 0;
  };
  struct Sent {
    std::shared_ptr<Command> command;
    std::uint16_t packet_id = 0;
  };
  std::vector<Filter> filters;
  std::deque<std::shared_ptr<Command>> queue;
  std::deque<Sent> unanswered;  // QoS 1
  std::uint16_t last_id = 0;
};

struct Session {
  std::string client_id;
  std::string username;
  bool verified = false;     // the user name was proved by password or certificate
  std::uint32_t expiry = 0;  // seconds after the connection's end; 0: ends with it
  std::uint32_t handle = 0;  // slot in the table
  Connection* connection = nullptr;
  MonoTime expires_at;   // while not connected
  bool changed = false;  // its key is in the table's list of changes
  bool stored = false;   // the owner has been given a blob of it

  std::size_t most_in_flight = 0;  // answers waiting at a time
  Ring<Recent> recent;             // of sessions that outlive a connection; bounded by the table
  // QoS 2 by packet id → position: publishes until their PUBREL, and releases until their removal
  // is durable. Bounded by the 65,535 packet ids.
  std::unordered_map<std::uint16_t, std::uint64_t> received;
  std::unordered_map<std::uint16_t, std::uint64_t> releasing;

  std::optional<KeptWill> will;  // of the connection that ended, until `will_at`
  MonoTime will_at;
  std::unique_ptr<Mailbox> mailbox;  // null before the first subscription

  bool outlives_connection() const { return expiry > 0; }
};

std::string encode_session(const Session& session);
// Fills the stored fields of `out`. kCorrupt if the bytes are not a session.
Status decode_session(std::string_view blob, Session* out);

}  // namespace headwater::mqtt
