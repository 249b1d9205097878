// Wills: who left without good-bye, and when that is told.
#include "protocol/mqtt/listener_fixture.h"

namespace headwater::mqtt {
namespace {

using test::loopback;
using test::Peer;
using test::persistent;
using test::Server;

Connect with_will(std::string_view id, Version version, std::uint32_t delay = 0) {
  Connect connect = delay > 0 ? persistent(id, version) : Connect{};
  connect.version = version;
  connect.client_id = id;
  connect.will = Will{.topic = "status/press-7", .payload = "gone", .qos = 1};
  if (delay > 0) {
    connect.will->properties.will_delay = delay;
  }
  return connect;
}

void expect_offline(const test::Got& got, std::string_view client) {
  EXPECT_TRUE(got.offline);
  EXPECT_EQ(got.client_id, client);
  EXPECT_EQ(got.topic, "status/press-7");
  EXPECT_EQ(got.payload, "gone");
}

TEST(Departure, ComesBehindWhatTheClientPublished) {
  for (const Version version : {Version::k311, Version::k5}) {
    Server server;
    Peer peer(server);
    peer.connect(with_will("press-7", version));
    peer.publish("t", "1", 1, 1);
    peer.publish("t", "2", 1, 2);
    peer.close();
    ASSERT_TRUE(server.until([&] { return server.got.size() == 3; }));
    EXPECT_EQ(server.got[1].payload, "2");
    EXPECT_FALSE(server.got[1].offline);
    expect_offline(server.got[2], "press-7");
    EXPECT_GT(server.got[2].position, server.got[1].position);
    EXPECT_EQ(server.got[2].client, server.got[1].client);
    EXPECT_EQ(server.listener().stats().offline, 1U);
    EXPECT_EQ(server.listener().stats().in_flight, 0U);
  }
}

TEST(Departure, IsNotToldAfterAGoodBye) {
  Server server;
  Peer peer(server);
  peer.connect(with_will("a", Version::k311));
  peer.send(std::string_view("\xE0\0", sizeof("\xE0\0") - 1));
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  for (int i = 0; i < 20; ++i) {
    server.round();
  }
  EXPECT_TRUE(server.got.empty());
}

TEST(Departure, IsToldAfterAGoodByeThatAsksForIt) {
  Server server;
  Peer peer(server);
  peer.connect(with_will("a", Version::k5));
  std::string bytes;
  encode(bytes, Version::k5, PacketType::kDisconnect, Disconnect{Reason::kDisconnectWithWill, {}});
  peer.send(bytes);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  expect_offline(server.got[0], "a");
}

TEST(Departure, IsToldWhenWeEndTheConnection) {
  Server server;
  Peer peer(server);
  peer.connect(with_will("a", Version::k5));
  peer.send(
      std::string_view("\x30\x01\x00", sizeof("\x30\x01\x00") - 1));  // a PUBLISH without a topic
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  expect_offline(server.got[0], "a");
}

TEST(Departure, IsNotToldOfAClientThatTakesItsConnectionOver) {
  Server server;
  Peer first(server);
  first.connect(with_will("a", Version::k5));
  Peer second(server);
  second.connect(with_will("a", Version::k5));
  EXPECT_EQ(first.disconnect_reason(), Reason::kSessionTakenOver);
  second.publish("t", "here", 0);
  ASSERT_TRUE(server.until([&] { return !server.got.empty(); }));
  EXPECT_EQ(server.got[0].payload, "here");
  EXPECT_EQ(server.listener().stats().offline, 0U);
}

TEST(Departure, WaitsForTheWillDelayAndIsCancelledByAReturn) {
  Server server;
  {
    Peer returns(server);
    returns.connect(with_will("a", Version::k5, 1));
    Peer stays_away(server);
    stays_away.connect(with_will("b", Version::k5, 1));
  }
  const MonoTime gone = io::mono_now();
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  Peer again(server);
  EXPECT_TRUE(again.connect(persistent("a")).session_present);
  EXPECT_TRUE(server.got.empty());
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  EXPECT_GE(io::mono_now() - gone, std::chrono::seconds(1));
  expect_offline(server.got[0], "b");
  again.publish("t", "after", 1, 1);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 2; }));
  EXPECT_EQ(server.got[1].payload, "after");
}

TEST(Departure, ComesWithTheEndOfTheSessionAtTheLatest) {
  Server server;
  Peer peer(server);
  Connect connect = with_will("a", Version::k5, 3600);
  connect.properties.session_expiry = 0;
  peer.connect(connect);
  peer.close();
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  expect_offline(server.got[0], "a");
}

TEST(Departure, SaysWhetherTheClientMayWriteTheTopic) {
  ListenerOptions options = loopback();
  options.topics = {"status/+"};
  options.write_own = {"status/%c"};
  Server server(options);
  for (const std::string_view id : {"press-7", "press-8"}) {
    Peer peer(server);
    peer.connect(with_will(id, Version::k311));
    peer.close();
    const std::size_t before = server.got.size();
    ASSERT_TRUE(server.until([&] { return server.got.size() == before + 1; }));
    EXPECT_EQ(server.got.back().allowed, id == "press-7");
  }
}

TEST(Departure, WaitsForRoom) {
  Server server;
  server.room = 0;
  Peer peer(server);
  peer.connect(with_will("a", Version::k311));
  peer.close();
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  server.round();
  EXPECT_TRUE(server.got.empty());
  server.room = 1;
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
}

TEST(Departure, IsNotToldWhereWillsAreIgnored) {
  ListenerOptions options = loopback();
  options.wills = false;
  Server server(options);
  Peer peer(server);
  peer.connect(with_will("a", Version::k311));
  peer.publish("t", "last", 0);
  peer.close();
  ASSERT_TRUE(server.until(
      [&] { return server.got.size() == 1 && server.listener().stats().connections == 0; }));
  server.round();
  EXPECT_EQ(server.got.size(), 1U);
}

TEST(Departure, IsNotToldWhenWeShutDown) {
  Server server;
  Peer peer(server);
  peer.connect(with_will("a", Version::k5));
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 1; }));
  server.listener().close();
  EXPECT_EQ(peer.disconnect_reason(), Reason::kServerShuttingDown);
  EXPECT_EQ(server.listener().stats().offline, 0U);
}

}  // namespace
}  // namespace headwater::mqtt
