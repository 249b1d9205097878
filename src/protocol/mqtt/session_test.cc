// Sessions of the listener over real sockets: repeats, QoS 2, crashes, take-over, expiry.
#include <gtest/gtest.h>

#include "protocol/mqtt/listener.h"
#include "protocol/mqtt/listener_fixture.h"

namespace headwater::mqtt {
namespace {

using test::ids;
using test::loopback;
using test::Peer;
using test::persistent;
using test::Server;

TEST(ListenerSession, DoesNotGiveOutARepeatWithinAResumedSession) {
  Server server;
  server.acknowledge_all = false;
  {
    Peer peer(server);
    peer.connect(persistent("a"));
    peer.publish("t", "one", 1, 1);
    peer.publish("t", "two", 1, 2);
    ASSERT_TRUE(server.until([&] { return server.got.size() == 2; }));
    server.listener().acknowledge(0,
                                  1);  // "one" is on disk, its PUBACK is lost with the connection
  }
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  Peer peer(server);
  EXPECT_TRUE(peer.connect(persistent("a")).session_present);
  peer.publish("t", "one", 1, 1, true);
  peer.publish("t", "two", 1, 2, true);
  peer.publish("t", "new", 1, 3, true);  // never arrived the first time
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  ASSERT_TRUE(server.until([&] { return server.got.size() == 3; }));
  EXPECT_EQ(server.got[2].payload, "new");
  EXPECT_TRUE(peer.silent());  // "two" is in flight still
  server.listener().acknowledge(0, 3);
  server.listener().flush();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 2), ids(2, 2));
  EXPECT_EQ(server.listener().stats().duplicates, 2U);
}

TEST(ListenerSession, ARepeatWithOtherBytesOrWithoutDupIsANewMessage) {
  Server server;
  Peer peer(server);
  peer.connect(persistent("a"));
  peer.publish("t", "one", 1, 1);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  peer.publish("t", "one", 1, 1);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  peer.publish("t", "two", 1, 1, true);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  EXPECT_EQ(server.got.size(), 3U);
}

TEST(ListenerSession, ACleanSessionForgetsWhatItHasSeen) {
  Server server;
  {
    Peer peer(server);
    peer.connect("a");
    peer.publish("t", "one", 1, 1);
    EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  }
  ASSERT_TRUE(server.until([&] { return server.listener().stats().sessions == 0; }));
  Peer peer(server);
  EXPECT_FALSE(peer.connect("a").session_present);
  peer.publish("t", "one", 1, 1, true);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  EXPECT_EQ(server.got.size(), 2U);
  EXPECT_GT(server.got[1].position, server.got[0].position)
      << "handles are reused, positions never";
}

TEST(ListenerSession, Qos2IsGivenOutOnceAndCompletes) {
  for (const Version version : {Version::k311, Version::k5}) {
    Server server;
    Peer peer(server);
    peer.connect(persistent("a", version));
    peer.publish("t", "x", 2, 9);
    EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
    peer.publish("t", "x", 2, 9, true);
    EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
    peer.ack(PacketType::kPubrel, 9);
    EXPECT_EQ(peer.acks(PacketType::kPubcomp, 1), ids(9, 1));
    EXPECT_EQ(server.got.size(), 1U);
    peer.publish("t", "y", 2, 9);
    EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
    EXPECT_EQ(server.got.size(), 2U);
  }
}

TEST(ListenerSession, Qos2ReleaseIsAnsweredOnlyWhenItsRemovalIsStored) {
  Server server;
  server.acknowledge_all = false;
  Peer peer(server);
  peer.connect(persistent("a"));
  peer.publish("t", "x", 2, 9);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  EXPECT_TRUE(peer.silent());
  ASSERT_FALSE(server.changes.empty());
  EXPECT_EQ(server.changes.back().position, 1U) << "the packet id goes into the commit of the row";
  server.listener().acknowledge(0, 1);
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
  peer.ack(PacketType::kPubrel, 9);
  ASSERT_TRUE(server.until([&] { return server.changes.back().position == 2; }));
  EXPECT_TRUE(peer.silent());
  peer.ack(PacketType::kPubrel, 9);  // asked again: still not
  EXPECT_TRUE(peer.silent());
  server.listener().acknowledge(0, 2);
  EXPECT_EQ(peer.acks(PacketType::kPubcomp, 2), (std::vector<std::uint16_t>{9, 9}));
}

TEST(ListenerSession, Qos2SurvivesACrashAtEachStepWithoutLossOrDouble) {
  // Crash after the commit of the publish, before PUBREC was received.
  std::vector<SessionChange> stored;
  {
    Server server;
    Peer peer(server);
    peer.connect(persistent("a"));
    peer.publish("t", "x", 2, 9);
    EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
    stored = server.stored();
    ASSERT_EQ(stored.size(), 1U);
  }
  {
    Server server(loopback(), stored);
    Peer peer(server);
    EXPECT_TRUE(peer.connect(persistent("a")).session_present);
    peer.publish("t", "x", 2, 9, true);
    EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
    EXPECT_TRUE(server.got.empty()) << "it is in the store already";
    // Crash after PUBREL was received, before its removal was stored.
    server.acknowledge_all = false;
    peer.ack(PacketType::kPubrel, 9);
    EXPECT_TRUE(peer.silent());
  }
  {
    Server server(loopback(), stored);
    Peer peer(server);
    EXPECT_TRUE(peer.connect(persistent("a")).session_present);
    peer.ack(PacketType::kPubrel, 9);
    EXPECT_EQ(peer.acks(PacketType::kPubcomp, 1), ids(9, 1));
    stored = server.stored();
  }
  {
    Server server(loopback(), stored);
    Peer peer(server);
    EXPECT_TRUE(peer.connect(persistent("a")).session_present);
    peer.publish("t", "next", 2, 9);  // the id is free: a new message, not a repeat
    EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
    EXPECT_EQ(server.got.size(), 1U);
  }
}

TEST(ListenerSession, AReleaseOfAnUnknownPacketIdIsAnswered) {
  Server server;
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.ack(PacketType::kPubrel, 77);
  EXPECT_EQ(peer.acks(PacketType::kPubcomp, 1), ids(77, 1));
  EXPECT_EQ(peer.last_reason, Reason::kSuccess);
}

TEST(ListenerSession, ASecondConnectionTakesTheSessionOver) {
  Server server;
  Peer first(server);
  first.connect(persistent("a"));
  Peer second(server);
  EXPECT_TRUE(second.connect(persistent("a")).session_present);
  EXPECT_EQ(first.disconnect_reason(), Reason::kSessionTakenOver);
  second.publish("t", "x", 1, 1);
  EXPECT_EQ(second.acks(PacketType::kPuback, 1), ids(1, 1));
  EXPECT_EQ(server.listener().stats().takeovers, 1U);
  EXPECT_EQ(server.listener().stats().connections, 1U);
}

TEST(ListenerSession, CleanStartEndsTheSessionBefore) {
  Server server;
  {
    Peer peer(server);
    EXPECT_FALSE(peer.connect(persistent("a")).session_present);
    peer.publish("t", "x", 2, 9);
    EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
  }
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  Peer peer(server);
  EXPECT_FALSE(peer.connect(persistent("a", Version::k5, true)).session_present);
  peer.publish("t", "x", 2, 9);
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(9, 1));
  EXPECT_EQ(server.got.size(), 2U);
}

TEST(ListenerSession, SessionsAreStoredWhenTheyOutliveTheConnectionAndForgottenAtTheirEnd) {
  Server server;
  {
    Peer clean(server);
    clean.connect("clean");
    Peer kept(server);
    kept.connect(persistent("kept", Version::k311));
    ASSERT_TRUE(server.until([&] { return server.stored().size() == 1; }));
    EXPECT_EQ(server.stored()[0].key, "kept");
  }
  Peer kept(server);
  kept.connect("kept");  // clean session now
  ASSERT_TRUE(server.until([&] { return server.stored().empty(); }));
}

TEST(ListenerSession, ASessionExpires) {
  Server server;
  {
    Peer peer(server);
    Connect connect = persistent("a");
    connect.properties.session_expiry = 1;
    peer.connect(connect);
  }
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  EXPECT_EQ(server.listener().stats().sessions, 1U);
  ASSERT_TRUE(server.until([&] { return server.listener().stats().sessions == 0; }));
  EXPECT_TRUE(server.stored().empty());
}

TEST(ListenerSession, CapsTheSessionExpiryAndSaysSo) {
  ListenerOptions options = loopback();
  options.max_session_expiry = std::chrono::seconds(100);
  Server server(options);
  Peer peer(server);
  EXPECT_EQ(peer.connect(persistent("a")).properties.session_expiry, 100U);
  Peer other(server);
  Connect modest = persistent("b");
  modest.properties.session_expiry = 50;
  EXPECT_FALSE(other.connect(modest).properties.session_expiry);
}

TEST(ListenerSession, DamagedSessionsAreReported) {
  Server server;
  const Status status = server.group->restore_session("a", "\x01junk");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace headwater::mqtt
