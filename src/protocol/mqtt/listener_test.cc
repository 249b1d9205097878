// The listener over real sockets: delivery, acknowledgement, sessions, limits.
#include "protocol/mqtt/listener.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "protocol/mqtt/listener_fixture.h"

namespace headwater::mqtt {
namespace {

using test::Got;
using test::ids;
using test::loopback;
using test::Peer;
using test::persistent;
using test::Server;

TEST(Listener, GivesOutWhatDevicesPublishInOrder) {
  for (const Version version : {Version::k311, Version::k5}) {
    Server server;
    Peer peer(server);
    peer.connect("press-7", version);
    for (int i = 0; i < 100; ++i) {
      peer.publish("sensors/" + std::to_string(i % 3), std::to_string(i));
    }
    ASSERT_TRUE(server.until([&] { return server.got.size() == 100; }));
    for (std::size_t i = 0; i < 100; ++i) {
      EXPECT_EQ(server.got[i].payload, std::to_string(i));
      EXPECT_EQ(server.got[i].topic, "sensors/" + std::to_string(i % 3));
      EXPECT_EQ(server.got[i].position, i + 1);
      EXPECT_EQ(server.got[i].client_id, "press-7");
    }
  }
}

TEST(Listener, AcknowledgesOnlyWhatTheOwnerHasAcknowledged) {
  Server server;
  server.acknowledge_all = false;
  Peer peer(server);
  peer.connect("a");
  for (std::uint16_t id = 1; id <= 10; ++id) {
    peer.publish("t", "x", 1, id);
  }
  ASSERT_TRUE(server.until([&] { return server.got.size() == 10; }));
  EXPECT_TRUE(peer.silent());
  server.listener().acknowledge(server.got[0].client, 4);
  server.listener().flush();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 4), ids(1, 4));
  EXPECT_TRUE(peer.silent());
  EXPECT_EQ(server.listener().stats().in_flight, 6U);
  server.listener().acknowledge(server.got[0].client, 10);
  server.listener().flush();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 6), ids(5, 6));
}

TEST(Listener, AnswersOfMixedQosKeepTheOrderOfThePublishes) {
  Server server;
  Peer peer(server);
  peer.connect("a");
  server.acknowledge_all = false;
  peer.publish("t", "1", 1, 21);
  peer.publish("t", "2", 2, 22);
  peer.publish("t", "3", 0);
  peer.publish("t", "4", 1, 23);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 4; }));
  server.listener().acknowledge(0, 4);
  server.listener().flush();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(21, 1));
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), ids(22, 1));
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(23, 1));
}

TEST(Listener, TakesAtMostTheRoomItIsGiven) {
  Server server;
  server.room = 7;
  Peer peer(server);
  peer.connect("a");
  for (int i = 0; i < 50; ++i) {
    peer.publish("t", std::to_string(i));
  }
  std::size_t before = 0;
  while (server.got.size() < 50) {
    server.round();
    ASSERT_LE(server.got.size() - before, 7U);
    before = server.got.size();
  }
  for (std::size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(server.got[i].payload, std::to_string(i));
  }
}

TEST(Listener, SharesTheRoomAmongClients) {
  Server server;
  server.room = 10;
  Peer loud(server);
  Peer quiet(server);
  loud.connect("loud");
  quiet.connect("quiet");
  std::string burst;
  for (int i = 0; i < 2000; ++i) {
    encode(burst, Version::k311, PublishPacket{.topic = "t", .payload = "loud"});
  }
  loud.send(burst);
  quiet.publish("t", "quiet");
  ASSERT_TRUE(server.until([&] { return server.got.size() >= 200; }));
  bool heard = false;
  for (std::size_t i = 0; i < 200; ++i) {
    heard |= server.got[i].payload == "quiet";
  }
  EXPECT_TRUE(heard);
}

TEST(Listener, ClientsThatSendFasterThanThereIsRoomAreNotReadAhead) {
  Server server;
  server.room = 700;  // two of the four find room in a round, one gets the rest
  std::vector<std::unique_ptr<Peer>> peers;
  std::string burst;
  for (int i = 0; i < 2000; ++i) {
    encode(burst, Version::k311, PublishPacket{.topic = "t", .payload = std::string(160, 'x')});
  }
  for (int i = 0; i < 4; ++i) {
    peers.push_back(std::make_unique<Peer>(server));
    peers.back()->connect(std::to_string(i));
  }
  std::array<std::size_t, 4> at{};
  std::uint64_t most = 0;
  for (int round = 0; round < 200; ++round) {
    for (std::size_t i = 0; i < 4; ++i) {
      at[i] += peers[i]->send_some(std::string_view(burst).substr(at[i]));
      at[i] = at[i] == burst.size() ? 0 : at[i];
    }
    server.round();
    most = std::max(most, server.listener().stats().held_bytes);
  }
  EXPECT_LE(most, 4U * 512 * 1024);
  EXPECT_GT(server.got.size(), 50'000U);
}

TEST(Listener, WhilePausedItAnswersPingsBehindPublishesThatWait) {
  Server server;
  Peer peer(server);
  peer.connect("a");
  server.listener().pause(true);
  peer.publish("t", "held", 1, 1);
  std::string ping;
  encode_pingreq(ping);
  peer.send(ping);
  Frame frame;
  ASSERT_TRUE(peer.next(&frame));
  EXPECT_EQ(frame.type, PacketType::kPingresp);
  EXPECT_TRUE(server.got.empty());
  EXPECT_GT(server.listener().stats().held_bytes, 0U);
  server.listener().pause(false);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  EXPECT_EQ(server.got.size(), 1U);
  EXPECT_EQ(server.listener().stats().held_bytes, 0U);
}

TEST(Listener, WhilePausedItReadsOnlySoFarAhead) {
  ListenerOptions options = loopback();
  options.max_held_bytes = 64 * 1024;
  Server server(options);
  server.room = 100'000;
  Peer peer(server);
  peer.connect("a");
  server.listener().pause(true);
  std::string burst;
  for (int i = 0; i < 40; ++i) {
    encode(burst, Version::k311,
           PublishPacket{.topic = "t", .payload = std::to_string(i) + std::string(100'000, 'x')});
  }
  std::size_t sent = 0;
  for (int idle = 0; idle < 20;) {  // until the kernel's buffers are full too
    const std::size_t now = peer.send_some(std::string_view(burst).substr(sent));
    idle = now == 0 ? idle + 1 : 0;
    sent += now;
    server.round();
    if (sent == burst.size()) {
      break;
    }
  }
  EXPECT_LE(server.listener().stats().held_bytes, 64U * 1024 + 110'000);
  EXPECT_TRUE(server.got.empty());
  server.listener().pause(false);
  peer.send(std::string_view(burst).substr(sent));
  ASSERT_TRUE(server.until([&] { return server.got.size() == 40; }));
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(server.got[static_cast<std::size_t>(i)].payload,
              std::to_string(i) + std::string(100'000, 'x'));
  }
}

TEST(Listener, PacketsMayArriveByteByByte) {
  Server server;
  Peer peer(server);
  Connect connect = persistent("slow", Version::k311, true);
  std::string bytes;
  encode(bytes, connect);
  encode(bytes, Version::k311, PublishPacket{.topic = "a/b", .payload = "hello"});
  for (const char byte : bytes) {
    peer.send(std::string_view(&byte, 1));
    server.round();
  }
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  EXPECT_EQ(server.got[0].payload, "hello");
}

TEST(Listener, TakesPacketsUpToTheMaximumAndNoLarger) {
  for (const Version version : {Version::k311, Version::k5}) {
    Server server;
    Peer peer(server);
    const Connack connack = peer.connect("a", version);
    if (version == Version::k5) {
      EXPECT_EQ(connack.properties.maximum_packet_size, 1024U * 1024);
    }
    const std::string largest(1024 * 1024 - 16, 'x');
    peer.publish("t", largest, 1, 1);
    EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
    EXPECT_EQ(server.got[0].payload, largest);
    peer.send_some("\x30\xFF\xFF\xFF\x7F and so on");
    EXPECT_EQ(peer.disconnect_reason(),
              version == Version::k5 ? Reason::kPacketTooLarge : Reason::kSuccess);
    EXPECT_EQ(server.listener().stats().closed[0x15], 1U);
  }
}

TEST(Listener, ClosesOnMalformedPacketsWithTheReason) {
  struct Case {
    std::string bytes;
    Reason reason;
  };
  using namespace std::string_literals;
  for (const Case& one :
       {Case{"\x36\4\0\1t\0"s, Reason::kMalformedPacket},
        Case{"\x30\6\0\3a/#\0"s, Reason::kTopicNameInvalid},
        Case{"\x30\5\0\2\xC3\x28\0"s, Reason::kMalformedPacket},
        Case{"\x32\6\0\1t\0\0\0"s, Reason::kProtocolError},
        Case{"\x10\x0D\0\4MQTT\5\2\0\x3C\0\0\0"s, Reason::kProtocolError},
        Case{"\x40\2\0\1"s, Reason::kProtocolError}, Case{"\x20\3\0\0\0"s, Reason::kProtocolError},
        Case{"\xC0\1\0"s, Reason::kMalformedPacket},
        Case{"\x30\6\0\0\3\x23\0\7"s, Reason::kTopicAliasInvalid}}) {
    Server server;
    Peer peer(server);
    peer.connect("a", Version::k5);
    peer.send(one.bytes);
    EXPECT_EQ(peer.disconnect_reason(), one.reason);
    EXPECT_TRUE(server.got.empty());
    EXPECT_EQ(server.listener().stats().connections, 0U);
  }
}

TEST(Listener, ThePublishesBeforeAMalformedPacketCount) {
  Server server;
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.publish("t", "good");
  peer.send(std::string_view("\x00\x00", 2));
  EXPECT_EQ(peer.disconnect_reason(), Reason::kMalformedPacket);
  ASSERT_EQ(server.got.size(), 1U);
}

TEST(Listener, ResolvesTopicAliases) {
  Server server;
  Peer peer(server);
  EXPECT_EQ(peer.connect("a", Version::k5).properties.topic_alias_maximum, 16);
  const auto publish = [&](std::string_view topic, std::uint16_t alias) {
    std::string bytes;
    encode(bytes, Version::k5, PublishPacket{.topic = topic, .payload = "p", .topic_alias = alias});
    peer.send(bytes);
  };
  publish("first", 1);
  publish("second", 16);
  publish("", 1);
  publish("", 16);
  publish("moved", 1);
  publish("", 1);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 6; }));
  std::vector<std::string> topics;
  for (const Got& one : server.got) {
    topics.push_back(one.topic);
  }
  EXPECT_EQ(topics,
            (std::vector<std::string>{"first", "second", "first", "second", "moved", "moved"}));
  publish("x", 17);
  EXPECT_EQ(peer.disconnect_reason(), Reason::kTopicAliasInvalid);
}

TEST(Listener, PassesContentTypeAndFlagsOn) {
  Server server;
  Peer peer(server);
  peer.connect("a", Version::k5);
  std::string bytes;
  encode(bytes, Version::k5,
         PublishPacket{
             .topic = "t", .payload = "p", .content_type = "application/json", .retain = true});
  peer.send(bytes);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  EXPECT_EQ(server.got[0].content_type, "application/json");
  EXPECT_TRUE(server.got[0].retain);
}

TEST(Listener, A5ClientThatExceedsTheReceiveMaximumIsClosed) {
  ListenerOptions options = loopback();
  options.receive_maximum = 5;
  Server server(options);
  server.acknowledge_all = false;
  Peer peer(server);
  EXPECT_EQ(peer.connect("a", Version::k5).properties.receive_maximum, 5);
  for (std::uint16_t id = 1; id <= 6; ++id) {
    peer.publish("t", "x", 1, id);
  }
  EXPECT_EQ(peer.disconnect_reason(), Reason::kReceiveMaximumExceeded);
  EXPECT_EQ(server.got.size(), 5U);
}

TEST(Listener, A311ClientIsReadNoFurtherThanTheReceiveMaximum) {
  ListenerOptions options = loopback();
  options.receive_maximum = 5;
  Server server(options);
  server.acknowledge_all = false;
  Peer peer(server);
  peer.connect("a");
  for (std::uint16_t id = 1; id <= 12; ++id) {
    peer.publish("t", "x", 1, id);
  }
  ASSERT_TRUE(server.until([&] { return server.got.size() == 5; }));
  EXPECT_TRUE(peer.silent());
  EXPECT_EQ(server.got.size(), 5U);
  server.listener().acknowledge(0, 5);
  server.listener().flush();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 5), ids(1, 5));
  ASSERT_TRUE(server.until([&] { return server.got.size() == 10; }));
  server.acknowledge_all = true;
  server.listener().acknowledge(0, 10);
  server.listener().flush();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 7), ids(6, 7));
}

TEST(Listener, NamesClientsThatHaveNoId) {
  Server server;
  Peer modern(server);
  const Connack connack = modern.connect("", Version::k5);
  ASSERT_TRUE(connack.properties.assigned_client_id);
  Peer old(server);
  EXPECT_EQ(old.connect("").reason, Reason::kSuccess);
  Peer refused(server);
  EXPECT_EQ(refused.connect(persistent("", Version::k311)).reason, Reason::kClientIdNotValid);
  EXPECT_TRUE(server.until([&] { return refused.ended(); }));
}

TEST(Listener, ClosesClientsThatFallSilent) {
  Server server;
  Peer old(server);
  Peer modern(server);
  Peer careful(server);
  Connect connect = persistent("old", Version::k311);
  connect.keep_alive = 1;
  old.connect(connect);
  connect = persistent("modern");
  connect.keep_alive = 1;
  modern.connect(connect);
  connect = persistent("careful");
  connect.keep_alive = 1;
  careful.connect(connect);
  std::string ping;
  encode_pingreq(ping);
  const MonoTime start = io::mono_now();
  MonoTime pinged = start;
  ASSERT_TRUE(server.until([&] {
    if (io::mono_now() - pinged > std::chrono::milliseconds(700)) {
      careful.send(ping);
      pinged = io::mono_now();
    }
    return old.ended() && modern.ended();
  }));
  EXPECT_GE(io::mono_now() - start, std::chrono::milliseconds(1400));
  EXPECT_EQ(modern.disconnect_reason(), Reason::kKeepAliveTimeout);
  EXPECT_EQ(server.listener().stats().connections, 1U);
}

TEST(Listener, DropsConnectionsThatNeverSendConnect) {
  ListenerOptions options = loopback();
  options.connect_timeout = std::chrono::milliseconds(200);
  Server server(options);
  Peer silent(server);
  Peer half(server);
  half.send(std::string_view("\x10\x20\x00\x04MQ", 6));
  EXPECT_TRUE(server.until([&] { return silent.ended() && half.ended(); }));
  EXPECT_EQ(server.listener().stats().refused_other, 2U);
}

TEST(Listener, DropsWhatIsNotMqtt) {
  Server server;
  Peer peer(server);
  peer.send("GET / HTTP/1.1\r\nHost: edge\r\n\r\n");
  EXPECT_TRUE(server.until([&] { return peer.ended(); }));
}

TEST(Listener, RefusesOtherVersionsInTheOldForm) {
  Server server;
  Peer peer(server);
  peer.send(
      std::string_view("\x10\x0F\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x01"
                       "c",
                       17));
  Frame frame;
  ASSERT_TRUE(peer.next(&frame));
  EXPECT_EQ(frame.body, std::string_view("\x00\x01", 2));
}

TEST(Listener, AcceptsNoMoreThanTheMaximumOfConnections) {
  ListenerOptions options = loopback();
  options.max_connections = 2;
  Server server(options);
  auto first = std::make_unique<Peer>(server);
  Peer second(server);
  first->connect("1");
  second.connect("2");
  Peer third(server);
  EXPECT_TRUE(server.until([&] { return third.ended(); }));
  EXPECT_EQ(server.listener().stats().refused_full, 1U);
  first.reset();
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 1; }));
  Peer fourth(server);
  EXPECT_EQ(fourth.connect("4").reason, Reason::kSuccess);
}

TEST(Listener, WithoutDescriptorsItBacksOffAndRecovers) {
  Server server;
  Peer peer(server);  // waits in the queue: nobody has accepted it yet
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next_fd = dup(peer.fd());
  ASSERT_GE(next_fd, 0);
  ::close(next_fd);
  const rlimit none{static_cast<rlim_t>(next_fd), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const MonoTime end = io::mono_now() + std::chrono::milliseconds(250);
  (void)server.until([&] { return io::mono_now() > end; });
  setrlimit(RLIMIT_NOFILE, &before);
  const std::uint64_t errors = server.listener().stats().accept_errors;
  EXPECT_GE(errors, 1U);
  EXPECT_LE(errors, 4U) << "one try each 100 ms";
  EXPECT_EQ(peer.connect("a").reason, Reason::kSuccess);
}

TEST(Listener, AClientThatDoesNotReadItsAnswersIsClosed) {
  ListenerOptions options = loopback();
  options.max_output_bytes = 4096;
  options.receive_maximum = 65'535;
  Server server(options);
  server.room = 100'000;
  Peer peer(server);
  peer.connect("a");
  int small = 1024;
  setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  std::string burst;
  for (int i = 0; i < 20'000; ++i) {
    encode_pingreq(burst);
  }
  const auto closed = [&] { return server.listener().stats().connections == 0; };
  for (int i = 0; i < 1000 && !closed(); ++i) {
    peer.send_some(burst);
    server.round();
  }
  EXPECT_TRUE(closed());
}

TEST(Listener, QuotasSlowAClientDownAndDropNothing) {
  ListenerOptions options = loopback();
  options.messages_per_second = 200;
  Server server(options);
  Peer peer(server);
  Peer other(server);
  peer.connect("a");
  other.connect("b");
  const MonoTime start = io::mono_now();
  std::string burst;
  for (int i = 0; i < 300; ++i) {
    encode(burst, Version::k311, PublishPacket{.topic = "t", .payload = std::to_string(i)});
  }
  peer.send(burst);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 200; }));
  other.publish("t", "other");
  ASSERT_TRUE(server.until([&] { return server.got.size() == 301; }));
  EXPECT_GE(io::mono_now() - start, std::chrono::milliseconds(450));
  EXPECT_GT(server.listener().stats().over_quota, 0U);
  std::vector<std::string> from_a;
  bool other_before_end = false;
  for (const Got& one : server.got) {
    if (one.client_id == "a") {
      from_a.push_back(one.payload);
    } else {
      other_before_end = from_a.size() < 300;
    }
  }
  EXPECT_TRUE(other_before_end) << "a quota of one client holds no other back";
  for (std::size_t i = 0; i < 300; ++i) {
    ASSERT_EQ(from_a[i], std::to_string(i));
  }
}

TEST(Listener, ByteQuotasLetAPacketLargerThanASecondThrough) {
  ListenerOptions options = loopback();
  options.bytes_per_second = 10'000;
  Server server(options);
  Peer peer(server);
  peer.connect("a");
  const MonoTime start = io::mono_now();
  peer.publish("t", std::string(13'000, 'x'));
  peer.publish("t", "after");
  ASSERT_TRUE(server.until([&] { return server.got.size() == 2; }));
  EXPECT_GE(io::mono_now() - start, std::chrono::milliseconds(250));
}

TEST(Listener, RefusesSubscriptionsClearly) {
  Server server;
  Peer modern(server);
  modern.connect("a", Version::k5);
  std::string bytes;
  Subscribe subscribe;
  subscribe.packet_id = 5;
  subscribe.subscriptions = {{"a/#", 1, false, false, 0}, {"b", 0, false, false, 0}};
  encode(bytes, Version::k5, subscribe);
  modern.send(bytes);
  Frame frame;
  Suback suback;
  ASSERT_TRUE(modern.next(&frame));
  ASSERT_TRUE(decode(frame, Version::k5, &suback).ok());
  EXPECT_EQ(suback.reasons, (std::vector<Reason>{Reason::kNotAuthorized, Reason::kNotAuthorized}));
  EXPECT_FALSE(suback.reason_string.empty());
  bytes.clear();
  Unsubscribe unsubscribe;
  unsubscribe.packet_id = 6;
  unsubscribe.filters = {"a/#"};
  encode(bytes, Version::k5, unsubscribe);
  modern.send(bytes);
  ASSERT_TRUE(modern.next(&frame));
  EXPECT_EQ(frame.type, PacketType::kUnsuback);

  Peer old(server);
  old.connect("b");
  bytes.clear();
  encode(bytes, Version::k311, subscribe);
  old.send(bytes);
  ASSERT_TRUE(old.next(&frame));
  EXPECT_EQ(frame.body, std::string_view("\x00\x05\x80\x80", 4));
}

TEST(Listener, DrainStopsReadingAndStillAcknowledges) {
  Server server;
  server.acknowledge_all = false;
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.publish("t", "before", 1, 1);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  server.group->stop_accepting();
  server.listener().drain();
  peer.publish("t", "after", 1, 2);
  EXPECT_TRUE(peer.silent());
  EXPECT_EQ(server.got.size(), 1U);
  server.listener().acknowledge(0, 1);
  server.listener().close();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), ids(1, 1));
  EXPECT_EQ(peer.disconnect_reason(), Reason::kServerShuttingDown);
}

TEST(Listener, DisconnectEndsTheConnectionAfterWhatCameBefore) {
  Server server;
  Peer peer(server);
  peer.connect("a", Version::k5);
  std::string bytes;
  encode(bytes, Version::k5, PublishPacket{.topic = "t", .payload = "last"});
  encode(bytes, Version::k5, PacketType::kDisconnect, Disconnect{});
  peer.send(bytes);
  peer.close();
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  ASSERT_TRUE(server.until([&] { return server.listener().stats().sessions == 0; }));
}

TEST(Listener, AHeldClientThatGoesAwayLosesNothingItSent) {
  Server server;
  auto peer = std::make_unique<Peer>(server);
  peer->connect("a");
  server.listener().pause(true);
  for (int i = 0; i < 100; ++i) {
    peer->publish("t", std::to_string(i));
  }
  EXPECT_TRUE(peer->silent());
  peer.reset();
  for (int i = 0; i < 10; ++i) {
    server.round();
  }
  server.listener().pause(false);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 100; }));
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
}

}  // namespace
}  // namespace headwater::mqtt
