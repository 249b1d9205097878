// For the tests of listener and client: a listener on a loop that the test pumps, and a bare peer
// that speaks bytes.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/loop.h"
#include "io/socket.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/listener.h"

namespace headwater::mqtt::test {

inline constexpr Nanos kDeadline = std::chrono::seconds(10);

struct Got {
  std::uint32_t client = 0;
  std::uint64_t position = 0;
  std::string client_id{};
  std::string username{};
  std::string topic{};
  std::string payload{};
  std::string content_type{};
  std::uint8_t qos = 0;
  bool dup = false;
  bool retain = false;
  bool offline = false;
  bool allowed = true;
};

inline ListenerOptions loopback() {
  ListenerOptions options;
  options.address = "127.0.0.1:0";
  return options;
}

// A CONNECT whose session outlives the connection (3.1.1: unless `clean_start`).
inline Connect persistent(std::string_view id, Version version = Version::k5,
                          bool clean_start = false) {
  Connect connect;
  connect.version = version;
  connect.client_id = id;
  connect.clean_start = clean_start;
  if (version == Version::k5) {
    connect.properties.session_expiry = 3600;
  }
  return connect;
}

inline std::vector<std::uint16_t> ids(std::uint16_t from, std::uint16_t count) {
  std::vector<std::uint16_t> made(count);
  std::iota(made.begin(), made.end(), from);
  return made;
}

// One worker. What is taken is kept in `got`; with `acknowledge_all` it is acknowledged at once.
class Server {
 public:
  explicit Server(ListenerOptions options = loopback(),
                  const std::vector<SessionChange>& stored = {}) {
    auto made_loop = io::Loop::create();
    EXPECT_TRUE(made_loop);
    loop = *std::move(made_loop);
    std::array<io::Loop*, 1> loops = {loop.get()};
    auto made = ListenerGroup::open(options, loops);
    EXPECT_TRUE(made) << (made ? "" : made.error().text());
    group = *std::move(made);
    for (const SessionChange& change : stored) {
      if (!change.removed) {
        EXPECT_TRUE(group->restore_session(change.key, change.blob));
      }
    }
    group->start();
  }

  Listener& listener() { return group->worker(0); }
  std::uint16_t port() const { return group->port(); }

  void round() {
    loop->run_once(std::chrono::milliseconds(2));
    std::vector<Publish> out;
    Arena arena;
    listener().take(room, arena, out);
    for (const Publish& one : out) {
      got.push_back({one.client, one.position, std::string(one.client_id),
                     std::string(one.username), std::string(one.topic), std::string(one.payload),
                     std::string(one.content_type), one.qos, one.dup, one.retain, one.offline,
                     one.allowed});
      if (acknowledge_all) {
        listener().acknowledge(one.client, one.position);
      }
    }
    std::vector<SessionChange> fresh;
    listener().take_session_changes(fresh);
    for (SessionChange& change : fresh) {
      if (acknowledge_all && change.position > 0) {
        listener().acknowledge(change.client, change.position);
      }
      changes.push_back(std::move(change));
    }
    listener().flush();
  }

  // Rounds until `done`; false when the deadline passes first.
  bool until(const std::function<bool()>& done, Nanos deadline = kDeadline) {
    const MonoTime end = io::mono_now() + deadline;
    while (!done()) {
      if (io::mono_now() > end) {
        return false;
      }
      round();
    }
    return true;
  }

  // What a store would hold after the changes so far.
  std::vector<SessionChange> stored() const {
    std::vector<SessionChange> latest;
    for (const SessionChange& change : changes) {
      std::erase_if(latest, [&](const SessionChange& one) { return one.key == change.key; });
      if (!change.removed) {
        latest.push_back(change);
      }
    }
    return latest;
  }

  std::unique_ptr<io::Loop> loop;
  std::unique_ptr<ListenerGroup> group;
  std::vector<Got> got;
  std::vector<SessionChange> changes;
  std::size_t room = 1000;
  bool acknowledge_all = true;
};

// A client that says exactly what the test wants. Reading pumps the server.
class Peer {
 public:
  explicit Peer(Server& server) : server_(server) {
    auto address = io::numeric_address("127.0.0.1", server.port());
    EXPECT_TRUE(address);
    auto fd = io::connect_tcp(*address);
    EXPECT_TRUE(fd);
    fd_ = *std::move(fd);
    pollfd wait{fd_.get(), POLLOUT, 0};
    EXPECT_EQ(::poll(&wait, 1, 5000), 1);
  }

  // All of it, pumping the server while the socket is full.
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN) {
        server_.round();
      } else {
        return;
      }
    }
  }

  // Sends as much as the socket takes without anybody reading.
  std::size_t send_some(std::string_view bytes) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }

  template <class Packet>
  void send_connect(const Packet& connect) {
    version = connect.version;
    std::string bytes;
    encode(bytes, connect);
    send(bytes);
  }

  // CONNECT and CONNACK.
  Connack connect(const Connect& connect) {
    send_connect(connect);
    Frame frame;
    Connack connack;
    EXPECT_TRUE(next(&frame)) << "no CONNACK";
    EXPECT_TRUE(decode(frame, version, &connack).ok());
    return connack;
  }
  Connack connect(std::string_view id, Version with = Version::k311) {
    Connect packet;
    packet.version = with;
    packet.client_id = id;
    return connect(packet);
  }

  void publish(std::string_view topic, std::string_view payload, std::uint8_t qos = 0,
               std::uint16_t id = 0, bool dup = false) {
    std::string bytes;
    encode(
        bytes, version,
        PublishPacket{.topic = topic, .payload = payload, .packet_id = id, .qos = qos, .dup = dup});
    send(bytes);
  }
  void ack(PacketType type, std::uint16_t id) {
    std::string bytes;
    encode(bytes, version, type, Ack{.packet_id = id});
    send(bytes);
  }

  // The next packet; false when none comes (the connection ended or the deadline passed). The views
  // in `frame` live until the next call.
  bool next(Frame* frame, Nanos deadline = kDeadline) {
    in_.erase(0, used_);
    used_ = 0;
    const MonoTime end = io::mono_now() + deadline;
    while (true) {
      if (next_frame(in_, 1 << 20, frame) == Framing::kFrame) {
        used_ = frame->size;
        return true;
      }
      if (ended_ || io::mono_now() > end) {
        return false;
      }
      server_.round();
      read();
    }
  }

  // The packet ids of the next `count` packets, which must be of `type`.
  std::vector<std::uint16_t> acks(PacketType type, std::size_t count) {
    std::vector<std::uint16_t> ids;
    Frame frame;
    while (ids.size() < count && next(&frame)) {
      Ack one;
      EXPECT_EQ(frame.type, type);
      EXPECT_TRUE(decode(frame, version, &one).ok());
      last_reason = one.reason;
      ids.push_back(one.packet_id);
    }
    return ids;
  }

  // The reason of the DISCONNECT that comes; kSuccess when the connection ends without one.
  Reason disconnect_reason() {
    Frame frame;
    while (next(&frame)) {
      if (frame.type == PacketType::kDisconnect) {
        Disconnect packet;
        EXPECT_TRUE(decode(frame, version, &packet).ok());
        return packet.reason;
      }
    }
    EXPECT_TRUE(ended_) << "the connection is still open";
    return Reason::kSuccess;
  }

  // Whether anything comes within a few rounds.
  bool silent(int rounds = 10) {
    for (int i = 0; i < rounds; ++i) {
      server_.round();
      read();
    }
    return in_.size() == used_ && !ended_;
  }

  bool ended() {
    read();
    return ended_;
  }
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

  Version version = Version::k311;
  Reason last_reason = Reason::kSuccess;

 private:
  void read() {
    std::array<char, 65'536> chunk;
    while (!ended_) {
      const ssize_t got = recv(fd_.get(), chunk.data(), chunk.size(), 0);
      if (got > 0) {
        in_.append(chunk.data(), static_cast<std::size_t>(got));
      } else if (got == 0 || errno != EAGAIN) {
        ended_ = true;
      } else {
        return;
      }
    }
  }

  Server& server_;
  io::Fd fd_;
  std::string in_;
  std::size_t used_ = 0;
  bool ended_ = false;
};

}  // namespace headwater::mqtt::test
