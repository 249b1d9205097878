// A non-blocking MQTT client on a Loop, for sinks, the simulator and the broker source.
//
//   auto client = HW_TRY(Client::open(options, loop));     // begins to connect; keeps reconnecting
//   HW_TRY(client->publish({.topic = t, .payload = p, .qos = 1, .token = 7}));
//   client->poll(outcomes);      // {7, kAcknowledged} when PUBACK came; in order of completion
//
// QoS 1 publishes are kept until PUBACK and sent again with DUP after a reconnect, in their order.
// QoS 0 publishes are done when they have been handed to the kernel; on a lost connection those not
// yet handed over fail with kDisconnected. Everything stays in memory: durable queues are the
// caller's (it learns of each message's end by its token).
//
// Messages come in as take() of the listener: views into the caller's arena. They are acknowledged
// in order by acknowledge(upto).
//
// QoS 2 in. PUBREC leaves after acknowledge() of the message's position. From then on until PUBREL
// its packet id is one of received_ids(): a second PUBLISH with it is not given out. PUBREL takes
// the id out and has a position of its own, PUBCOMP leaves after acknowledge() of that. So where
// the caller stores the ids with the rows of the same take(), and gives them back with
// restore_received_ids(), a crash neither loses nor doubles. The ids belong to the session at the
// broker: where that is gone, so are they.
//
// Thread rule: the loop's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "data/arena.h"
#include "io/loop.h"
#include "protocol/mqtt/packets.h"

namespace headwater::mqtt {

struct ClientTls {
  bool enabled = false;
  std::string ca{};           // PEM file; "": the system's trust store
  std::string certificate{};  // PEM file, for brokers that ask for one
  std::string key{};
  bool verify = true;  // host name and chain
};

struct ClientOptions {
  std::string host = "localhost";
  std::uint16_t port = 1883;
  Version version = Version::k5;
  std::string client_id{};  // "" with clean_start only
  std::optional<std::string> username{};
  std::optional<std::string> password{};
  ClientTls tls;
  bool clean_start = true;           // of the first connection; later ones resume the session
  std::uint32_t session_expiry = 0;  // MQTT 5, seconds
  std::uint16_t keep_alive = 30;     // seconds; 0: none
  std::uint16_t receive_maximum = 65'535;
  std::size_t max_in_flight = 1000;  // QoS 1 publishes not acknowledged
  std::size_t max_queued_bytes =
      8 * 1024 * 1024;  // in flight and not sent; publish() refuses above
  std::size_t max_packet_bytes = 4 * 1024 * 1024;
  Nanos connect_timeout = std::chrono::seconds(10);
  Nanos min_backoff = std::chrono::milliseconds(100);
  Nanos max_backoff = std::chrono::seconds(30);  // full jitter: a random part of the doubled delay
  bool reconnect = true;
};

// "mqtt://host:1883", "mqtts://user:pw@host", "host:1883"; fills host, port, tls.enabled and
// credentials.
Status apply_url(std::string_view url, ClientOptions* options);

struct OutgoingPublish {
  std::string_view topic{};
  std::string_view payload{};
  std::uint8_t qos = 0;  // 0 or 1
  bool retain = false;
  std::uint64_t token = 0;  // comes back in the outcome
  std::string_view content_type{};
};

enum class OutcomeKind : std::uint8_t {
  kAcknowledged,  // QoS 1: the broker has it (reason may be 0x10, no subscribers). QoS 0: sent
  kRejected,      // the broker refused it for `reason`; sending again will not help
  kDisconnected,  // QoS 0 not sent, or the client was closed first
};
struct Outcome {
  std::uint64_t token = 0;
  OutcomeKind kind = OutcomeKind::kAcknowledged;
  Reason reason = Reason::kSuccess;
};

struct ReceivedPublish {
  std::uint64_t position = 0;  // ascending from 1
  std::string_view topic{};
  std::string_view payload{};
  std::string_view content_type{};
  std::string_view properties{};
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool dup = false;
  bool retain = false;
};

enum class ClientState : std::uint8_t { kIdle, kConnecting, kConnected, kWaiting, kClosed };

struct ClientStats {
  std::uint64_t connects = 0;  // CONNACKs with success
  std::uint64_t disconnects = 0;
  std::uint64_t published = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t resent = 0;
  std::uint64_t received = 0;
  std::uint64_t in_flight = 0;
  std::uint64_t queued_bytes = 0;
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> open(ClientOptions options, io::Loop& loop);
  // Closes without DISCONNECT if close() was not called.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  ClientState state() const;
  // Why the last connection ended or could not be made; "" if nothing went wrong.
  const std::string& last_error() const;
  bool session_present() const;
  ClientStats stats() const;

  // Takes it (copied), or kExhausted when max_in_flight or max_queued_bytes is reached, kInvalid
  // for a bad topic or a packet larger than the broker takes. While not connected QoS 0 is refused
  // with kUnavailable, QoS 1 is queued. Sent at the end of the round or at flush().
  Status publish(const OutgoingPublish& message);
  void flush();
  // Appends outcomes since the last call.
  void poll(std::vector<Outcome>& out);

  // QoS 0, 1 or 2. Subscriptions are repeated after each reconnect. A refusal is in last_error()
  // and subscription_refused().
  Status subscribe(std::string_view filter, std::uint8_t qos);
  bool subscription_refused() const;
  // Appends at most `room` received publishes; true when more is waiting. Call it each round while
  // subscribed: nothing more is read from the broker until it has room.
  bool take(std::size_t room, Arena& arena, std::vector<ReceivedPublish>& out);
  void acknowledge(std::uint64_t upto);
  // Packet ids of QoS 2 whose PUBREL has not come, ascending. True: they changed since the last
  // call, and `position` is acknowledged when what `ids` says now is durable.
  bool take_received_ids(std::vector<std::uint16_t>& ids, std::uint64_t* position);
  // Those of an earlier process, before anything was received.
  void restore_received_ids(const std::vector<std::uint16_t>& ids);

  // Called after changes of state, outcomes and messages: the place to poll() and take(). One
  // function for the client, not per message. It must not destroy the client.
  void on_change(std::function<void()> call);

  // Sends DISCONNECT behind what has been written so far, then closes; never reconnects. QoS 1
  // publishes not acknowledged come out as kDisconnected: wait for in_flight 0 first to lose none.
  void close();

 private:
  class Core;
  explicit Client(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace headwater::mqtt
