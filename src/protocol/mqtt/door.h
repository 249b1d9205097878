// Door: accepts connections, does the TLS handshake, reads CONNECT and checks who is there. Those
// who may come in are handed to `admit` with their socket; it answers CONNACK.
//
// Loop thread only.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/tls.h"
#include "protocol/mqtt/authenticator.h"
#include "protocol/mqtt/lingering.h"
#include "protocol/mqtt/listener.h"
#include "protocol/mqtt/packets.h"
#include "protocol/mqtt/session.h"

namespace headwater::mqtt {

// One of the connections that max_connections counts; gives its place back when it goes.
class Ticket {
 public:
  Ticket() = default;
  explicit Ticket(std::shared_ptr<std::atomic<std::uint32_t>> count) : count_(std::move(count)) {
    count_->fetch_add(1, std::memory_order_relaxed);
  }
  Ticket(Ticket&&) noexcept = default;
  Ticket& operator=(Ticket&& other) noexcept {
    std::swap(count_, other.count_);
    return *this;
  }
  ~Ticket() {
    if (count_) {
      count_->fetch_sub(1, std::memory_order_relaxed);
    }
  }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

 private:
  std::shared_ptr<std::atomic<std::uint32_t>> count_;
};

// A client whose CONNECT is fine, on its way to its worker.
struct Admission {
  io::Stream stream;
  Ticket ticket;
  std::string buffered;  // bytes that came after CONNECT
  Version version = Version::k5;
  std::string client_id;
  bool assigned = false;  // the client id is of our making
  std::string username;
  bool verified = false;
  bool clean_start = true;
  std::uint16_t keep_alive = 0;            // seconds
  std::uint32_t session_expiry = 0;        // seconds, not above the maximum
  bool expiry_reduced = false;             // the client asked for more
  std::uint32_t max_packet = 0xFFFFFFFF;   // that the client takes
  std::uint16_t receive_maximum = 65'535;  // unacknowledged QoS 1 publishes that the client takes
  bool wants_reasons = true;               // request problem information
  std::optional<KeptWill> will;
};

// Counted by the door, read by any thread.
struct DoorCounts {
  std::atomic<std::uint64_t> refused_credentials{0};
  std::atomic<std::uint64_t> refused_full{0};
  std::atomic<std::uint64_t> refused_other{0};
  std::atomic<std::uint64_t> accept_errors{0};
};

class Door {
 public:
  using Admit = std::function<void(Admission)>;

  // Reads files and binds; begins to accept at start().
  static Result<std::unique_ptr<Door>> open(const ListenerOptions& options, io::Loop& loop,
                                            Admit admit);
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  void start();
  void stop();
  std::uint16_t port() const { return port_; }
  const DoorCounts& counts() const { return counts_; }

 private:
  struct Knock;

  Door(const ListenerOptions& options, io::Loop& loop, Admit admit);
  void accept_ready();
  void go_on(Knock& knock);
  void read_connect(Knock& knock);
  void judge(Knock& knock, const Connect& connect, std::size_t connect_size);
  void admit(Knock& knock);
  // `why` goes to clients of MQTT 5.
  void refuse(Knock& knock, Reason reason, std::atomic<std::uint64_t>& count, std::string_view why);
  void drop(Knock& knock);
  void sweep();

  const ListenerOptions options_;
  io::Loop& loop_;
  Admit admit_;
  io::Fd listening_;
  std::uint16_t port_ = 0;
  std::shared_ptr<io::TlsContext> tls_;
  std::unique_ptr<Authenticator> authenticator_;
  Lingering lingering_;
  std::shared_ptr<std::atomic<std::uint32_t>> open_connections_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Knock>> knocks_;
  std::uint64_t next_knock_ = 1;
  io::TimerId sweep_timer_ = 0;
  io::TimerId retry_timer_ = 0;
  DoorCounts counts_;
};

}  // namespace headwater::mqtt
