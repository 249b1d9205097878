// Publishes that the owner does not take, and what is handled while a client is held back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/mqtt/listener_fixture.h"

namespace headwater::mqtt::test {
namespace {

using testing::ElementsAre;

using Ids = std::vector<std::uint16_t>;

// Takes without acknowledging; what it took last is declined, then answered.
struct Refusing : Server {
  explicit Refusing(ListenerOptions options = quick(),
                    const std::vector<SessionChange>& stored = {})
      : Server(std::move(options), stored) {
    acknowledge_all = false;
  }
  static ListenerOptions quick() {
    ListenerOptions options = loopback();
    options.refused_pause = std::chrono::milliseconds(20);
    options.refused_close = std::chrono::milliseconds(20);
    return options;
  }
  bool takes(std::size_t count) {
    return until([&] { return got.size() == count; });
  }
  void decline(std::size_t first, std::size_t last) {
    listener().decline(got[first].client, got[first].position, got[last].position);
  }
  void answer_all() { listener().acknowledge(got.back().client, got.back().position); }
};

TEST(ListenerRefuses, A5ClientHearsNoInOrder) {
  Refusing server;
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.publish("t", "1", 1, 1);
  peer.publish("t", "2", 1, 2);
  peer.publish("t", "3", 2, 3);
  peer.publish("t", "4", 1, 4);
  ASSERT_TRUE(server.takes(4));
  server.decline(1, 2);
  EXPECT_TRUE(peer.silent()) << "the answers keep their order: 1 is not stored yet";
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), Ids{1});
  EXPECT_EQ(peer.last_reason, Reason::kSuccess);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), Ids{2});
  EXPECT_EQ(peer.last_reason, Reason::kQuotaExceeded);
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), Ids{3});
  EXPECT_EQ(peer.last_reason, Reason::kQuotaExceeded);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), Ids{4});
  EXPECT_EQ(peer.last_reason, Reason::kSuccess);
  EXPECT_FALSE(peer.ended());
}

TEST(ListenerRefuses, A5ClientIsReadOnAfterAPause) {
  ListenerOptions options = Refusing::quick();
  options.refused_pause = std::chrono::milliseconds(200);
  Refusing server(options);
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.publish("t", "1", 1, 1);
  ASSERT_TRUE(server.takes(1));
  const MonoTime refused = io::mono_now();
  server.decline(0, 0);
  server.answer_all();
  peer.publish("t", "2", 1, 2);
  ASSERT_TRUE(server.takes(2));
  EXPECT_GE(io::mono_now() - refused, std::chrono::milliseconds(200));
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 2), (Ids{1, 2}));
  EXPECT_EQ(peer.last_reason, Reason::kSuccess);
}

TEST(ListenerRefuses, A311ClientLosesItsConnectionAndSendsAgain) {
  Refusing server;
  Peer peer(server);
  Connect connect = persistent("a", Version::k311);
  Will will{.topic = "status/a", .payload = "gone"};
  connect.will = will;
  peer.connect(connect);
  peer.publish("t", "1", 1, 1);
  peer.publish("t", "2", 1, 2);
  ASSERT_TRUE(server.takes(2));
  server.decline(1, 1);
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 5), Ids{1}) << "2 is not answered, then the end";
  EXPECT_TRUE(peer.ended());
  EXPECT_EQ(server.listener().stats().closed[0x97 - 0x80], 1U);

  Peer again(server);
  again.connect(persistent("a", Version::k311));
  again.publish("t", "2", 1, 2, true);
  ASSERT_TRUE(server.takes(3)) << "what was refused is no repeat";
  EXPECT_EQ(server.got[2].payload, "2") << "and no will came before it: it was sent away";
  server.answer_all();
  EXPECT_EQ(again.acks(PacketType::kPuback, 1), Ids{2});
}

TEST(ListenerRefuses, AnOlderUseOfThePacketIdIsNoRepeatOfIt) {
  Refusing server;
  Peer peer(server);
  peer.connect(persistent("a", Version::k311));
  peer.publish("t", "20.0", 1, 1);
  ASSERT_TRUE(server.takes(1));
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), Ids{1});
  peer.publish("t", "20.0", 1, 1);
  ASSERT_TRUE(server.takes(2));
  server.decline(1, 1);
  server.answer_all();
  EXPECT_TRUE(peer.acks(PacketType::kPuback, 5).empty());
  EXPECT_TRUE(peer.ended());

  Peer again(server);
  again.connect(persistent("a", Version::k311));
  again.publish("t", "20.0", 1, 1, true);
  EXPECT_TRUE(server.takes(3)) << "stored is the first, not this one";
}

TEST(ListenerRefuses, AnAnswerWithoutAPositionBehindItDoesNotHideIt) {
  Refusing server;
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.publish("t", "1", 2, 7);
  ASSERT_TRUE(server.takes(1));
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), Ids{7});
  peer.publish("t", "2", 2, 8);
  peer.ack(PacketType::kPubrel, 7);
  ASSERT_TRUE(server.takes(2));
  server.round();
  server.decline(1, 1);
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), Ids{8});
  EXPECT_EQ(peer.last_reason, Reason::kQuotaExceeded);
}

TEST(ListenerRefuses, A311ClientThatWaitsForNothingKeepsItsConnection) {
  Refusing server;
  Peer peer(server);
  peer.connect("a");
  peer.publish("t", "1");
  ASSERT_TRUE(server.takes(1));
  server.decline(0, 0);
  server.answer_all();
  peer.publish("t", "2");
  ASSERT_TRUE(server.takes(2));
  EXPECT_FALSE(peer.ended());
}

TEST(ListenerRefuses, AnExactlyOnceIdIsFreeAgainAlsoInTheStoredSession) {
  Refusing server;
  Peer peer(server);
  peer.connect(persistent("a"));
  peer.publish("t", "1", 2, 1);
  peer.publish("t", "2", 2, 2);
  ASSERT_TRUE(server.takes(2));
  server.decline(1, 1);
  server.round();
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 2), (Ids{1, 2}));
  EXPECT_EQ(peer.last_reason, Reason::kQuotaExceeded);

  Refusing restarted(Refusing::quick(), server.stored());
  Peer again(restarted);
  EXPECT_TRUE(again.connect(persistent("a")).session_present);
  again.publish("t", "1", 2, 1, true);
  again.publish("t", "2", 2, 2, true);
  ASSERT_TRUE(restarted.takes(1));
  EXPECT_EQ(restarted.got[0].payload, "2") << "1 was stored, 2 was not";
}

TEST(ListenerRefuses, UnknownClientsAndPositionsOfOthersAreLeftAlone) {
  Refusing server;
  server.listener().decline(7, 1, 9);
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.publish("t", "1", 1, 1);
  ASSERT_TRUE(server.takes(1));
  server.listener().decline(server.got[0].client, 5, 9);
  server.answer_all();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), Ids{1});
  EXPECT_EQ(peer.last_reason, Reason::kSuccess);
}

TEST(ListenerHeld, WhilePausedSubscriptionsAreAnsweredBehindPublishesThatWait) {
  ListenerOptions options = loopback();
  options.commands = "commands/%c/#";
  Server server(options);
  Peer peer(server);
  peer.connect("a", Version::k5);
  server.listener().pause(true);
  peer.publish("t", "1", 1, 1);
  std::string bytes;
  encode_pingreq(bytes);
  std::vector<Subscription> wanted = {{.filter = "commands/a/x", .qos = 1}};
  encode(bytes, Version::k5, Subscribe{.packet_id = 9, .subscriptions = wanted});
  peer.send(bytes);
  Frame frame;
  ASSERT_TRUE(peer.next(&frame));
  EXPECT_EQ(frame.type, PacketType::kPingresp);
  ASSERT_TRUE(peer.next(&frame));
  EXPECT_EQ(frame.type, PacketType::kSuback);
  EXPECT_TRUE(server.got.empty());
  server.listener().pause(false);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), Ids{1});
}

TEST(ListenerHeld, ABadControlPacketBehindPublishesThatWaitEndsTheConnection) {
  Server server;
  Peer peer(server);
  peer.connect("a", Version::k5);
  server.listener().pause(true);
  peer.publish("t", "1", 1, 1);
  peer.send(std::string_view("\xc0\x01\x00", 3));
  EXPECT_EQ(peer.disconnect_reason(), Reason::kMalformedPacket);
}

}  // namespace
}  // namespace headwater::mqtt::test
