// The embedded MQTT listener: devices publish straight to us, and PUBACK means what the owner makes
// it mean (on disk).
//
//   auto group = HW_TRY(ListenerGroup::open(options, loops));   // binds; before the loops run
//   for (const auto& [key, blob] : stored) HW_TRY(group->restore_session(key, blob));
//   group->start();                                             // accepts from here on
//   // in worker i, at the end of each round of its loop:
//   Listener& listener = group->worker(i);
//   more = listener.take(room, arena, publishes);
//   listener.take_session_changes(changes);       // same commit as the rows of this take()
//   // when the commit is on disk, back on the worker's thread:
//   listener.acknowledge(client, upto);  …  listener.flush();
//
// One worker owns a client from CONNECT on: hash(client id) % workers. Within a client, publishes
// come in the order the device sent them and have ascending positions; acknowledge() is contiguous.
//
// Delivery. QoS 1: PUBACK leaves after acknowledge(). A PUBLISH with DUP, the packet id and the
// bytes of one of the session's last QoS 1 publishes is not given out again, if the session lives
// on (not clean, or with an expiry). Remembered are twice as many as the client ever had in flight
// here, at least 16 and at most `receive_maximum`; an older repeat is given out, so give messages
// an id where that matters. QoS 2: the packet id goes into the session
// blob of the same commit, PUBREC leaves after acknowledge(); PUBREL removes the id in a later blob
// that has a position of its own, PUBCOMP leaves after acknowledge() of that. So a crash neither
// loses nor doubles. QoS 0: a position, no answer.
//
// Wills. When a connection ends without DISCONNECT 0x00, its will comes as a Publish with
// `offline`, behind what the client published, in its partition; with a Will Delay when that has
// passed and the client has not returned. A client that takes its connection over has returned: no
// will then, nor when we shut down. Wills are kept in memory: a restart forgets them, and the
// clients bring them again.
//
// Commands. A client may subscribe to the topics of `commands`, its own, and to nothing else
// (SUBACK 0x80 or 0x87). Only send() publishes to them. Subscriptions belong to the session: with
// one that lives on they are stored, and SUBACK leaves when they are. Retain flags of publishes are
// passed on and otherwise ignored.
//
// Thread rule: a Listener belongs to its worker's loop thread. stats() may be called from any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "data/arena.h"
#include "io/loop.h"
#include "protocol/mqtt/command.h"
#include "protocol/mqtt/packets.h"

namespace headwater::mqtt {

enum class Anonymous : std::uint8_t {
  kLoopback,  // from loopback addresses, if there is no password file; the default
  kYes,
  kNo,
};
enum class OnDenied : std::uint8_t {
  kDisconnect,  // what the 3.1.1 standard offers: it has no negative PUBACK
  kDrop,        // PUBACK, and counted as refused
};

struct ListenerTls {
  std::string certificate{};  // PEM file, chain included; "" is no TLS
  std::string key{};          // PEM file
  std::string client_ca{};  // PEM file: client certificates signed by it are accepted, their CN is
                            // the user name; "" asks for none
  bool require_client_certificate = false;
};

struct ListenerOptions {
  std::string address = "127.0.0.1:1884";  // HOST:PORT, [::1]:PORT; port 0 lets the kernel choose
  std::vector<std::string> topics{"#"};    // filters; other topics are denied
  std::vector<std::string> write_own{};    // patterns with %c and %u (topic.h); empty: no binding
  std::string commands{};                  // pattern of what a client may subscribe to; "": nothing
  bool wills = true;                       // false: they are ignored
  bool client_id_is_username = false;      // refuse a client id other than the verified user name
  OnDenied on_denied = OnDenied::kDisconnect;  // 3.1.1 and QoS above 0 only; 5.0 has PUBACK 0x87
  Anonymous anonymous = Anonymous::kLoopback;
  std::string password_file{};  // as mosquitto_passwd writes it; read at start
  ListenerTls tls;
  std::size_t max_packet_bytes = 1024 * 1024;
  std::uint32_t max_connections = 10'000;
  std::uint16_t receive_maximum = 1000;  // unacknowledged QoS 1 and 2 publishes per client
  std::uint16_t topic_alias_maximum = 16;
  Nanos connect_timeout = std::chrono::seconds(10);
  Nanos max_session_expiry = std::chrono::hours(24 * 7);
  double messages_per_second = 0;  // per client; 0: no quota. Bursts of one second pass.
  double bytes_per_second = 0;     // per client, whole packets; 0: no quota
  Nanos refused_pause = std::chrono::milliseconds(250);
  Nanos refused_close = std::chrono::seconds(2);  // on average: 0.5 to 1.5 times of it
  std::size_t max_output_bytes = 1024 * 1024;     // unread answers of a client before it is closed
  std::size_t max_held_bytes = 256 * 1024;        // read ahead of a client that is held back
  std::size_t max_held_total_bytes = 64 * 1024 * 1024;  // the same over all clients of a worker
};

// Views live in the Arena given to take().
struct Publish {
  std::uint32_t client = 0;  // handle of the client on its worker: the partition. Small, reused.
  std::uint32_t message_expiry = 0;  // MQTT 5, seconds; meaningful with has_expiry
  std::uint64_t position = 0;        // ascending from 1 per handle, for the life of the process
  std::string_view client_id{};
  std::string_view username{};  // "" for anonymous clients; proved if there is a password file
  std::string_view topic{};
  std::string_view payload{};       // followed by Arena::kPadding readable bytes
  std::string_view content_type{};  // MQTT 5
  std::string_view properties{};    // MQTT 5, encoded: next_user_property() of codec.h walks them
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool dup = false;
  bool retain = false;
  bool has_expiry = false;
  bool offline = false;  // the client has gone: topic and payload are those of its will
  bool allowed = true;   // the client may publish to the topic; a will may have any
};

// A session to write to the store, in the same commit as the rows of the same round. When it is on
// disk, acknowledge(client, position) as for a row (position 0: nothing waits for it).
struct SessionChange {
  std::string key{};  // the client id
  std::string blob{};
  bool removed = false;  // the session has ended: forget the key
  std::uint32_t client = 0;
  std::uint64_t position = 0;
};

struct ListenerStats {
  std::uint64_t connections = 0;    // open now
  std::uint64_t sessions = 0;       // known now, connected or not
  std::uint64_t accepted = 0;       // connections taken by this worker, ever
  std::uint64_t publishes = 0;      // given out by take()
  std::uint64_t publish_bytes = 0;  // topic and payload of those
  std::uint64_t duplicates = 0;     // repeats recognised, not given out
  std::uint64_t denied = 0;         // publishes refused by topics or write rules
  std::uint64_t acknowledged = 0;   // PUBACK, PUBREC and PUBCOMP sent
  std::uint64_t in_flight = 0;      // given out, not acknowledged
  std::uint64_t held_bytes = 0;     // read ahead of clients that are held back
  std::uint64_t takeovers = 0;
  std::uint64_t subscriptions = 0;  // of connected clients, now
  std::uint64_t refused_subscriptions = 0;
  std::uint64_t offline = 0;             // wills given out
  std::uint64_t commands = 0;            // sent to clients, repeats not counted
  std::uint64_t commands_delivered = 0;  // of them, acknowledged or of QoS 0
  std::uint64_t over_quota = 0;          // times a client was held back by its quota
  // Connections ended by us, by reason code (index: Reason as a number - 0x80; 0 to 0x22).
  std::array<std::uint64_t, 0x23> closed{};
  // Connections refused before or at CONNECT; counted by worker 0.
  std::uint64_t refused_credentials = 0;
  std::uint64_t refused_full = 0;
  std::uint64_t refused_other = 0;  // not MQTT, TLS failed, no CONNECT in time, …
  std::uint64_t accept_errors = 0;  // EMFILE and friends
};

class ConnectionTable;
class Door;

class Listener {
 public:
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Reads the clients that are ready, answers control packets, and appends at most `room` publishes
  // to `out`, their bytes to `arena`. True: call again without sleeping. Never blocks. Call it each
  // round, with room 0 when nothing can be taken (same as paused): otherwise ready sockets spin.
  bool take(std::size_t room, Arena& arena, std::vector<Publish>& out);

  // Every publish and session change of `client` up to `upto` is durable: queues their answers.
  // Unknown clients and positions already acknowledged are ignored.
  void acknowledge(std::uint32_t client, std::uint64_t upto);
  // The publishes of `client` at these positions, given out and not acknowledged, are not taken:
  // the place of their answers in acknowledge() is kept, but MQTT 5 clients hear PUBACK or PUBREC
  // 0x97 (quota exceeded), and others nothing. The client is then not read for `refused_pause`; one
  // of 3.1.1 that waits for an answer loses its connection instead after `refused_close`, since it
  // sends again on a new one only (its will does not count then). The next session changes take
  // back packet ids of QoS 2: commit them, with those before, without the rows.
  void decline(std::uint32_t client, std::uint64_t from, std::uint64_t upto);
  // Sends what acknowledge() queued; take() does it too.
  void flush();

  // While paused no PUBLISH is taken; pings, subscriptions and answers to commands are still
  // handled (a subscription that has to be stored is answered once it is), and at most
  // max_held_bytes are read ahead per client.
  void pause(bool paused);

  // Stops reading; what has been taken can still be acknowledged. (ListenerGroup::stop_accepting()
  // closes the door.) close() then tells 5.0 clients "server shutting down", flushes without
  // waiting and closes all connections.
  void drain();
  void close();

  // Sessions that changed since the last call; of two changes of a key the later one counts.
  // Appends.
  void take_session_changes(std::vector<SessionChange>& out);

  ListenerStats stats() const;

 private:
  friend class ListenerGroup;
  Listener();
  std::unique_ptr<ConnectionTable> table_;
  const Door* door_ = nullptr;  // worker 0's: counts of what it refused
};

// One listening socket and the workers that share its clients. Accepts and reads CONNECT on loop 0.
class ListenerGroup {
 public:
  // Checks the options, reads the password file and certificates, binds. The loops must outlive the
  // group; destroy it after they have stopped (or on their common thread).
  static Result<std::unique_ptr<ListenerGroup>> open(const ListenerOptions& options,
                                                     std::span<io::Loop* const> loops);
  ~ListenerGroup();
  ListenerGroup(const ListenerGroup&) = delete;
  ListenerGroup& operator=(const ListenerGroup&) = delete;

  // A session stored by an earlier process; before start(). kCorrupt: leave it out and go on.
  Status restore_session(std::string_view key, std::string_view blob);
  // Begins to accept. Callable from any thread; once.
  void start();
  // From any thread: closes the listening socket and the connections that have not sent CONNECT.
  void stop_accepting();

  // From any thread: sends a command to the clients that subscribed to its topic (command.h). It is
  // refused at once where clients may not subscribe at all.
  void send(std::shared_ptr<Command> command);

  std::uint16_t port() const;
  std::size_t workers() const;
  Listener& worker(std::size_t index);

 private:
  ListenerGroup();
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace headwater::mqtt
