// Client::Core: the state machine behind Client.
//
//   idle → [resolving → connecting → handshaking → awaiting CONNACK] → connected
//            ↑ any failure: waiting (full jitter), then again ┘
//
// Publishes of QoS 1 live in `messages_` from publish() to PUBACK: first the sent ones, then those
// that the broker's receive maximum keeps back (`unsent_` is the index of the first).
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "data/arena.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/tls.h"
#include "protocol/mqtt/client.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/ring.h"

namespace headwater::mqtt {

class Client::Core {
 public:
  Core(ClientOptions options, io::Loop& loop, std::shared_ptr<io::TlsContext> tls);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void begin();
  ClientState state() const;
  const std::string& last_error() const { return last_error_; }
  bool session_present() const { return session_present_; }
  bool subscription_refused() const { return subscription_refused_; }
  ClientStats stats() const;
  Status publish(const OutgoingPublish& message);
  void flush();
  void poll(std::vector<Outcome>& out);
  Status subscribe(std::string_view filter, std::uint8_t qos);
  bool take(std::size_t room, Arena& arena, std::vector<ReceivedPublish>& out);
  void acknowledge(std::uint64_t upto);
  bool take_received_ids(std::vector<std::uint16_t>& ids, std::uint64_t* position);
  void restore_received_ids(const std::vector<std::uint16_t>& ids);
  void on_change(std::function<void()> call) { on_change_ = std::move(call); }
  void close();

 private:
  enum class Phase : std::uint8_t {
    kIdle,
    kResolving,
    kConnecting,
    kHandshaking,
    kAwaitingConnack,
    kConnected,
    kWaiting,
    kClosed,
  };
  struct Message {
    std::uint64_t token = 0;
    std::string packet;
    std::uint16_t packet_id = 0;
    bool sent_before = false;
    bool done = false;
  };
  // A QoS 0 publish ends when this many bytes of the connection have gone to the kernel.
  struct Fleeting {
    std::uint64_t token = 0;
    std::uint64_t end = 0;
  };
  struct Unacknowledged {
    std::uint64_t position = 0;
    std::uint16_t packet_id = 0;
    PacketType answer = PacketType::kPuback;
  };
  struct Wanted {
    std::string filter;
    std::uint8_t qos = 0;
  };

  // client_core.cc: making and losing connections
  void resolved(Result<std::vector<io::SocketAddress>> answer);
  void try_address();
  void on_event(std::uint32_t events);
  void handshake();
  void send_connect();
  void connected(const Connack& connack);
  void lost(std::string why);
  void drop_stream();
  void keep_alive();
  void notify();
  void set_interest();

  // client_traffic.cc: packets
  void read_ready();
  bool handle_packets();
  bool handle(const Frame& frame);
  bool handle_ack(const Frame& frame);
  bool release(const Frame& frame);
  void give(const PublishPacket& packet, Arena& arena, std::vector<ReceivedPublish>& out);
  void owe(std::uint64_t position, std::uint16_t packet_id, PacketType answer);
  void send_answers();
  void send_waiting();
  void send_subscribe();
  void write_out();
  void schedule_flush();
  std::uint16_t next_packet_id();
  void finish_front();
  void end_all(OutcomeKind kind);

  const ClientOptions options_;
  io::Loop& loop_;
  const std::shared_ptr<io::TlsContext> tls_;
  std::shared_ptr<Core*> alive_;  // posted calls find it gone when the client is

  Phase phase_ = Phase::kIdle;
  std::string last_error_;
  std::function<void()> on_change_;
  bool changed_ = false;
  bool ever_connected_ = false;
  bool session_present_ = false;
  unsigned attempt_ = 0;
  std::mt19937 random_;
  std::unique_ptr<io::Resolution> resolution_;
  std::vector<io::SocketAddress> addresses_;
  std::size_t next_address_ = 0;
  io::TimerId timer_ = 0;  // connect timeout, backoff, or keep alive, by phase
  MonoTime connected_at_;
  MonoTime last_sent_;
  MonoTime last_heard_;
  bool ping_waits_ = false;
  MonoTime ping_sent_;

  io::Stream stream_;
  bool watched_ = false;
  std::uint32_t interest_ = 0;
  bool want_write_ = false;
  bool flush_scheduled_ = false;
  std::string out_;
  std::uint64_t appended_ = 0;  // bytes put into out_ on this connection
  std::uint64_t written_ = 0;   // … and given to the kernel
  std::string in_;
  std::size_t in_used_ = 0;     // bytes of in_ that are handled
  bool publish_waits_ = false;  // a PUBLISH is at the front of in_, for take()

  bool hung_up_ = false;  // the connection ended while a PUBLISH waited

  // From CONNACK
  std::size_t server_window_ = 65'535;
  std::size_t server_max_packet_ = kMaxRemainingLength;
  std::uint8_t server_max_qos_ = 2;
  std::chrono::seconds keep_alive_{0};

  std::deque<Message> messages_;
  std::size_t unsent_ = 0;
  std::size_t in_window_ = 0;  // sent on this connection, not acknowledged
  std::deque<Fleeting> fleeting_;
  std::bitset<65'536> ids_in_use_;
  std::uint16_t last_id_ = 0;
  std::size_t queued_bytes_ = 0;
  std::vector<Outcome> outcomes_;

  std::vector<Wanted> wanted_;
  bool subscription_refused_ = false;
  std::uint64_t last_position_ = 0;
  std::uint64_t acknowledged_ = 0;
  Ring<Unacknowledged> unacknowledged_;
  // QoS 2 by packet id → position, until PUBREL; and of PUBRELs, until the removal is durable.
  std::map<std::uint16_t, std::uint64_t> received_;
  std::map<std::uint16_t, std::uint64_t> releasing_;
  bool received_changed_ = false;

  ClientStats counts_;
};

}  // namespace headwater::mqtt
