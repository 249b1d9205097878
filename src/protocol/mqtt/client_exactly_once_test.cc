// QoS 2 in, against a broker of bare packets.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "io/socket.h"
#include "protocol/mqtt/client.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/listener_fixture.h"

namespace headwater::mqtt {
namespace {

using test::kDeadline;

// One connection at a time; says exactly what the test wants.
class BareBroker {
 public:
  explicit BareBroker(io::Loop& loop) : loop_(loop) {
    listening_ = io::listen_tcp(io::parse_host_port("127.0.0.1:0").value()).value();
    port = io::local_address(listening_.get()).value().port();
  }

  // Takes a connection, its CONNECT and SUBSCRIBE.
  void accept(bool session_present) {
    in_.clear();
    until([&] {
      io::SocketAddress peer;
      fd_ = io::accept_tcp(listening_.get(), &peer).value();
      return static_cast<bool>(fd_);
    });
    EXPECT_EQ(expect().type, PacketType::kConnect);
    std::string bytes;
    encode(bytes, Version::k5, Connack{.session_present = session_present});
    send(bytes);
    EXPECT_EQ(expect().type, PacketType::kSubscribe);
  }
  void drop() { fd_.reset(); }

  void publish(std::uint16_t id, std::string_view payload, bool dup = false) {
    std::string bytes;
    encode(bytes, Version::k5,
           PublishPacket{.topic = "t", .payload = payload, .packet_id = id, .qos = 2, .dup = dup});
    send(bytes);
  }
  void release(std::uint16_t id) {
    std::string bytes;
    encode(bytes, Version::k5, PacketType::kPubrel, Ack{.packet_id = id});
    send(bytes);
  }
  // The packet id of the next packet, which must be of `type`.
  std::uint16_t answer(PacketType type) {
    const Frame frame = expect();
    Ack ack;
    EXPECT_EQ(frame.type, type);
    EXPECT_TRUE(decode(frame, Version::k5, &ack).ok());
    return ack.packet_id;
  }
  bool silent() {
    for (int i = 0; i < 10; ++i) {
      round();
    }
    return in_.size() == used_;
  }
  void until(const std::function<bool()>& done) {
    const MonoTime end = io::mono_now() + kDeadline;
    while (!done()) {
      ASSERT_LT(io::mono_now(), end);
      round();
    }
  }

  std::uint16_t port = 0;
  std::function<void()> each_round;

 private:
  Frame expect() {
    in_.erase(0, std::exchange(used_, 0));
    Frame frame;
    until([&] { return next_frame(in_, 1 << 20, &frame) == Framing::kFrame; });
    used_ = frame.size;
    return frame;
  }
  void send(std::string_view bytes) {
    EXPECT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void round() {
    loop_.run_once(std::chrono::milliseconds(2));
    if (each_round) {
      each_round();
    }
    std::array<char, 4096> chunk;
    if (fd_) {
      const ssize_t got = recv(fd_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
      in_.append(chunk.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    }
  }

  io::Loop& loop_;
  io::Fd listening_;
  io::Fd fd_;
  std::string in_;
  std::size_t used_ = 0;
};

// A client that has subscribed; what it takes is kept.
struct ExactlyOnce : testing::Test {
  void open(const std::vector<std::uint16_t>& restored = {}) {
    ClientOptions options;
    options.host = "127.0.0.1";
    options.port = broker.port;
    options.client_id = "edge";
    options.clean_start = false;
    options.session_expiry = 3600;
    options.min_backoff = options.max_backoff = std::chrono::milliseconds(5);
    client = Client::open(options, *loop).value();
    client->restore_received_ids(restored);
    ASSERT_TRUE(client->subscribe("t", 2));
    broker.each_round = [this] {
      std::vector<ReceivedPublish> out;
      client->take(100, arena, out);
      for (const ReceivedPublish& one : out) {
        got.emplace_back(one.payload);
        last = one.position;
      }
      client->take_received_ids(ids, &last);
    };
  }
  // Everything so far is durable.
  void commit() {
    client->acknowledge(last);
    client->flush();
  }

  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  BareBroker broker{*loop};
  Arena arena;
  std::unique_ptr<Client> client;
  std::vector<std::string> got;
  std::vector<std::uint16_t> ids;
  std::uint64_t last = 0;
};

TEST_F(ExactlyOnce, AnswersEachStepWhenItIsDurable) {
  open();
  broker.accept(false);
  broker.publish(5, "a");
  EXPECT_TRUE(broker.silent());
  EXPECT_EQ(got, std::vector<std::string>{"a"});
  EXPECT_EQ(ids, test::ids(5, 1));
  commit();
  EXPECT_EQ(broker.answer(PacketType::kPubrec), 5);
  broker.release(5);
  EXPECT_TRUE(broker.silent());
  EXPECT_TRUE(ids.empty());
  commit();
  EXPECT_EQ(broker.answer(PacketType::kPubcomp), 5);
  broker.publish(5, "b");  // the id is another message's now
  broker.until([&] { return got.size() == 2; });
  EXPECT_EQ(got[1], "b");
}

TEST_F(ExactlyOnce, ARepeatAfterALostConnectionIsGivenOutOnce) {
  open();
  broker.accept(false);
  broker.publish(5, "a");
  broker.publish(6, "b");
  broker.until([&] { return got.size() == 2; });
  broker.drop();
  broker.accept(true);
  broker.publish(5, "a", true);
  broker.publish(6, "b", true);
  EXPECT_TRUE(broker.silent());  // not durable yet
  commit();
  EXPECT_EQ(broker.answer(PacketType::kPubrec), 5);
  EXPECT_EQ(broker.answer(PacketType::kPubrec), 6);
  EXPECT_EQ(got.size(), 2U);
}

TEST_F(ExactlyOnce, ARepeatOfAnEarlierProcessIsAnsweredAtOnce) {
  open({5, 6});
  broker.accept(true);
  broker.publish(5, "a", true);
  EXPECT_EQ(broker.answer(PacketType::kPubrec), 5);
  broker.release(6);
  broker.release(7);  // released before, the PUBCOMP was lost
  EXPECT_TRUE(broker.silent());
  commit();
  EXPECT_EQ(broker.answer(PacketType::kPubcomp), 6);
  EXPECT_EQ(broker.answer(PacketType::kPubcomp), 7);
  EXPECT_TRUE(got.empty());
  EXPECT_EQ(ids, test::ids(5, 1));
}

TEST_F(ExactlyOnce, ABrokerThatForgotTheSessionGivesTheIdsToOthers) {
  open({5});
  broker.accept(false);
  broker.publish(5, "new");
  broker.until([&] { return got.size() == 1; });
  EXPECT_EQ(got[0], "new");
}

TEST_F(ExactlyOnce, APubrelThatComesAgainWaitsForTheSameCommit) {
  open();
  broker.accept(false);
  broker.publish(5, "a");
  broker.until([&] { return got.size() == 1; });
  commit();
  EXPECT_EQ(broker.answer(PacketType::kPubrec), 5);
  broker.release(5);
  broker.until([&] { return ids.empty(); });
  broker.drop();
  broker.accept(true);
  broker.release(5);
  EXPECT_TRUE(broker.silent());
  commit();
  EXPECT_EQ(broker.answer(PacketType::kPubcomp), 5);
}

}  // namespace
}  // namespace headwater::mqtt
