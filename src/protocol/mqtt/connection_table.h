// ConnectionTable: the connections and sessions of one worker; what is behind Listener.
//
// Reading: the loop says which sockets are readable, take() reads each of them once into one shared
// block, handles the packets in place and keeps only what is left over (`stash`, usually empty). So
// an idle connection costs its struct, and a busy one no buffer of its own.
//
// Holding back: a client that may not deliver now (no room, window full, quota used up) keeps its
// unhandled bytes in the stash, up to max_held_bytes; beyond that its socket is not read. Packets
// in the stash that say nothing about publishes (pings, subscriptions, answers to commands) are
// handled out of turn; publishes, PUBREL and DISCONNECT wait for theirs, so that nothing before
// them is lost.
//
// Handles: a slot belongs to one session at a time and counts positions for ever, so a late
// acknowledgement of an earlier tenant can never touch a later one.
//
// Loop thread only, but stats().
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "data/arena.h"
#include "io/loop.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/door.h"
#include "protocol/mqtt/lingering.h"
#include "protocol/mqtt/listener.h"
#include "protocol/mqtt/ring.h"
#include "protocol/mqtt/session.h"
#include "protocol/mqtt/topic.h"
#include "protocol/mqtt/topic_cache.h"

namespace headwater::mqtt {

enum class Hold : std::uint8_t {
  kNone,
  kRoom,     // until take() has room again
  kWindow,   // until acknowledge() has opened the window
  kQuota,    // until its timer
  kRefused,  // a publish of it was; until its timer, which ends the connection of a 3.1.1 client
};

// An answer that leaves when `position` is acknowledged, after all answers before it. SUBACK and
// UNSUBACK lie in Connection::subacks. A refusal that 3.1.1 has no words for is left out.
struct PendingAnswer {
  std::uint64_t position = 0;
  std::uint16_t packet_id = 0;
  PacketType type = PacketType::kPuback;
  Reason reason = Reason::kSuccess;
};

struct Connection {
  io::Stream stream;
  Ticket ticket;
  Session* session = nullptr;  // null once closed
  Version version = Version::k311;
  Hold hold = Hold::kNone;
  bool closed = false;
  bool ready = false;     // in the table's list of connections to serve
  bool readable = false;  // the socket has (or may have) bytes
  bool ended = false;     // the peer has ended its side
  bool dirty = false;     // in the list of connections with output
  bool watched = false;
  bool want_write = false;
  bool wants_reasons = true;
  bool end_refused = false;               // with Hold::kRefused: the timer ends the connection
  std::uint32_t interest = 0;             // epoll events watched
  std::uint32_t mean_packet = 160;        // bytes, of late
  std::uint32_t max_packet = 0xFFFFFFFF;  // that the client takes
  std::uint16_t receive_maximum = 0;      // likewise, of QoS 1
  std::uint64_t name_epoch = 0;           // take() in which client id and user name were copied
  Nanos idle_limit{0};                    // 0: none
  MonoTime last_heard;
  std::string stash;        // read, not handled
  std::size_t scanned = 0;  // bytes of the stash that have been looked through for pings
  std::string out;          // to send
  Ring<PendingAnswer> answers;
  std::vector<std::string> subacks;  // encoded, in the order of their answers
  std::string_view client_id_view;
  std::string_view username_view;
  std::vector<std::string> aliases;  // [alias - 1]; MQTT 5
  double messages_left = 0;          // token buckets
  double bytes_left = 0;
  MonoTime refilled;
  io::TimerId hold_timer = 0;
  std::optional<KeptWill> will;
};

class ConnectionTable {
 public:
  ConnectionTable(const ListenerOptions& options, WriteRules rules,
                  std::optional<TopicPattern> commands, io::Loop& loop);
  ~ConnectionTable();
  ConnectionTable(const ConnectionTable&) = delete;
  ConnectionTable& operator=(const ConnectionTable&) = delete;

  void admit(Admission admission);
  Status restore(std::string_view key, std::string_view blob);

  bool take(std::size_t room, Arena& arena, std::vector<Publish>& out);
  void acknowledge(std::uint32_t client, std::uint64_t upto);
  void decline(std::uint32_t client, std::uint64_t from, std::uint64_t upto);
  void send(std::shared_ptr<Command> command);
  void flush();
  void pause(bool paused) { paused_ = paused; }
  void drain();
  void close_all();
  void take_changes(std::vector<SessionChange>& out);
  ListenerStats stats() const;

 private:
  struct Slot {
    std::uint64_t last = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t last_change = 0;  // position that goes with the session's next change; 0: none
    Session* session = nullptr;
  };
  // What a packet did to the reading of its connection.
  enum class Step : std::uint8_t { kNext, kHold, kClosed };
  // A will that is due.
  struct Departure {
    std::uint32_t handle = 0;
    std::string client_id;
    std::string username;
    KeptWill will;
    bool allowed = false;
  };

  // connection_table.cc: lives of connections and sessions
  Session& make_session(const std::string& client_id);
  void end_session(Session& session);
  void clear_session(Session& session);
  void changed(Session& session);
  void close(Connection& connection, Reason reason, std::string_view why);
  void sweep();
  void purge();
  void snapshot();

  // connection_read.cc: bytes in
  void on_event(Connection& connection, std::uint32_t events);
  void enqueue(Connection& connection);
  void serve(Connection& connection);
  void serve_large(Connection& connection);
  void read_ahead(Connection& connection);
  std::size_t handle_bytes(Connection& connection, std::string_view bytes);
  Step handle(Connection& connection, const Frame& frame);
  Step release(Connection& connection, const Frame& frame);
  Step disconnect(Connection& connection, const Frame& frame);
  Step fail(Connection& connection, Reason reason, std::string_view why);
  void handle_controls(Connection& connection);
  void hold(Connection& connection, Hold why);
  void release_hold(Connection& connection);
  void set_stash(Connection& connection, std::string_view bytes);
  void update_interest(Connection& connection);

  // connection_publish.cc
  Step publish(Connection& connection, const Frame& frame);
  Step check_window(Connection& connection, const PublishPacket& packet);
  Step deliver(Connection& connection, const PublishPacket& packet, TopicCache::Topic& topic);
  void forget_acknowledged(Session& session);
  Step deny(Connection& connection, const PublishPacket& packet);
  bool is_repeat(Connection& connection, const PublishPacket& packet, std::uint64_t hash);
  bool resolve_alias(Connection& connection, PublishPacket* packet);
  bool allowed(const Connection& connection, const TopicCache::Topic& topic) const;
  bool quota_left(Connection& connection, std::size_t bytes);

  // connection_command.cc: subscriptions, commands, wills
  Step subscribe(Connection& connection, const Frame& frame);
  Step unsubscribe(Connection& connection, const Frame& frame);
  Step command_answer(Connection& connection, const Frame& frame);
  Reason grant(Session& session, const Subscription& wanted);
  void answer_subscription(Connection& connection, PacketType type, const Suback& packet,
                           bool session_changed);
  std::optional<std::uint8_t> subscribed(const Session& session, std::string_view topic) const;
  void queue_command(Connection& connection, std::shared_ptr<Command> command);
  void keep_command(std::shared_ptr<Command> command);
  void offer_commands(Connection& connection);
  void send_commands(Connection& connection);
  std::optional<std::uint16_t> send_command(Connection& connection, Command& command,
                                            std::uint16_t repeat_id);
  void resume_commands(Connection& connection);
  void take_back_commands(Session& session, bool session_ends);
  void expire_commands();
  void leave(Session& session, KeptWill will);
  void depart(Session& session, KeptWill will);
  void give_departures();

  // connection_refuse.cc: publishes that the owner does not take
  void pause_refused(Connection& connection, bool end);

  // connection_write.cc: bytes out
  void answer(Connection& connection, PendingAnswer answer);
  void send_answers(Connection& connection);
  void mark_dirty(Connection& connection);
  void write_out(Connection& connection);

  const ListenerOptions options_;
  const WriteRules rules_;
  TopicCache topics_{rules_};
  const std::optional<TopicPattern> commands_;
  io::Loop& loop_;
  Lingering lingering_;
  std::minstd_rand random_{std::random_device{}()};

  std::unordered_map<std::string, std::unique_ptr<Session>> sessions_;
  std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::string> changes_;  // keys of sessions that changed
  std::vector<SessionChange> gone_;   // of sessions that ended
  std::deque<Departure> departures_;
  std::size_t will_bytes_ = 0;  // of departures_ and of wills that wait for their delay
  std::deque<std::shared_ptr<Command>> waiting_commands_;  // for a client that takes them

  std::vector<Connection*> ready_;
  std::vector<Connection*> serving_;  // ready_ of the take() under way
  std::vector<Connection*> waiting_for_room_;
  std::vector<Connection*> dirty_;
  std::vector<std::unique_ptr<Connection>> graveyard_;  // closed; freed when no list names them

  std::unique_ptr<char[]> block_;  // shared by all reads
  Arena* arena_ = nullptr;         // of the take() under way
  std::vector<Publish>* publishes_ = nullptr;
  std::size_t limit_ = 0;  // size of *publishes_ at which there is no more room
  std::uint64_t epoch_ = 0;
  bool more_ = false;
  bool paused_ = false;
  bool draining_ = false;
  std::size_t held_bytes_ = 0;
  io::TimerId sweep_timer_ = 0;

  ListenerStats counts_;
  mutable std::mutex mutex_;  // guards shown_
  ListenerStats shown_;
};

}  // namespace headwater::mqtt
