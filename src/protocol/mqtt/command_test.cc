// Subscriptions of a client to its own command topics, and the commands sent to them.
#include "protocol/mqtt/listener_fixture.h"
#include "protocol/mqtt/topic.h"

namespace headwater::mqtt {
namespace {

using test::loopback;
using test::Peer;
using test::persistent;
using test::Server;

ListenerOptions with_commands(std::string pattern = "commands/%c/#") {
  ListenerOptions options = loopback();
  options.commands = std::move(pattern);
  return options;
}

// The reasons of the SUBACK.
std::vector<Reason> subscribe(Peer& peer, const std::vector<std::string_view>& filters,
                              std::uint8_t qos = 1) {
  Subscribe packet;
  packet.packet_id = 7;
  for (const std::string_view filter : filters) {
    packet.subscriptions.push_back({filter, qos, false, false, 0});
  }
  std::string bytes;
  encode(bytes, peer.version, packet);
  peer.send(bytes);
  Frame frame;
  Suback suback;
  EXPECT_TRUE(peer.next(&frame));
  EXPECT_EQ(frame.type, PacketType::kSuback);
  EXPECT_TRUE(decode(frame, peer.version, &suback).ok());
  return suback.reasons;
}

std::shared_ptr<Command> send(Server& server, std::string topic, std::string payload,
                              std::uint8_t qos = 1, Nanos in = std::chrono::seconds(10)) {
  auto command = std::make_shared<Command>();
  command->topic = std::move(topic);
  command->payload = std::move(payload);
  command->content_type = "application/json";
  command->qos = qos;
  command->until = io::mono_now() + in;
  server.group->send(command);
  return command;
}

struct Taken {
  std::string topic{};
  std::string payload{};
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool dup = false;
};

// The next packet, which must be a PUBLISH.
Taken take(Peer& peer) {
  Frame frame;
  PublishPacket packet;
  EXPECT_TRUE(peer.next(&frame)) << "nothing came";
  EXPECT_EQ(frame.type, PacketType::kPublish);
  EXPECT_TRUE(decode_publish(frame, peer.version, &packet).ok());
  return {std::string(packet.topic), std::string(packet.payload), packet.packet_id, packet.qos,
          packet.dup};
}

TEST(Command, ReachesTheClientOfItsTopic) {
  for (const Version version : {Version::k311, Version::k5}) {
    Server server(with_commands());
    Peer press(server);
    press.connect("press-7", version);
    Peer other(server);
    other.connect("press-8", version);
    EXPECT_EQ(subscribe(press, {"commands/press-7/#"}), std::vector{Reason::kGrantedQos1});
    EXPECT_EQ(subscribe(other, {"commands/press-8/alarm"}, 0), std::vector{Reason::kSuccess});
    EXPECT_EQ(server.listener().stats().subscriptions, 2U);
    const auto command = send(server, "commands/press-7/alarm", "stop");
    const Taken got = take(press);
    EXPECT_EQ(got.topic, "commands/press-7/alarm");
    EXPECT_EQ(got.payload, "stop");
    EXPECT_EQ(got.qos, 1);
    EXPECT_EQ(command->state.load(), CommandState::kSent);
    press.ack(PacketType::kPuback, got.packet_id);
    ASSERT_TRUE(server.until([&] { return command->state == CommandState::kDelivered; }));
    const auto zero = send(server, "commands/press-8/alarm", "stop");  // subscribed with 0
    EXPECT_EQ(take(other).qos, 0);
    EXPECT_EQ(zero->state.load(), CommandState::kDelivered);
    EXPECT_TRUE(press.silent());
    EXPECT_EQ(server.listener().stats().commands, 2U);
    EXPECT_EQ(server.listener().stats().commands_delivered, 2U);
  }
}

TEST(Command, NothingButTheOwnTopicsCanBeSubscribedTo) {
  Server server(with_commands());
  Peer peer(server);
  peer.connect("press-7", Version::k5);
  const std::vector<std::string_view> foreign = {
      "#",          "+/press-7/#", "commands/#",          "commands/+/#",
      "commands/+", "$SYS/#",      "commands/press-8/#",  "$share/g/commands/press-7/#",
      "sensors/#",  "commands",    "commands/press-7x/#", "commands/press/#"};
  EXPECT_EQ(subscribe(peer, foreign), std::vector(foreign.size(), Reason::kNotAuthorized));
  EXPECT_EQ(server.listener().stats().refused_subscriptions, foreign.size());
  const std::vector<std::string_view> own = {"commands/press-7", "commands/press-7/+/x",
                                             "commands/press-7/#"};
  EXPECT_EQ(subscribe(peer, own), std::vector(own.size(), Reason::kGrantedQos1));
}

TEST(Command, AClientIdThatIsAWildcardWidensNothing) {
  Server server(with_commands());
  for (const std::string_view id : {"+", "#", "a/b", "press-7/#"}) {
    Peer peer(server);
    peer.connect(id, Version::k5);
    const std::string own = "commands/" + std::string(id) + "/#";
    for (const std::string_view filter : {std::string_view(own), std::string_view("commands/+/#"),
                                          std::string_view("commands/#")}) {
      if (valid_topic_filter(filter)) {
        EXPECT_EQ(subscribe(peer, {filter}), std::vector{Reason::kNotAuthorized}) << id;
      }
    }
  }
}

TEST(Command, WithoutAPatternNothingCanBeSubscribedTo) {
  Server server;
  Peer peer(server);
  peer.connect("a", Version::k311);
  EXPECT_EQ(subscribe(peer, {"commands/a/#"}), std::vector{Reason::kUnspecified});  // 0x80
  EXPECT_EQ(send(server, "commands/a/x", "y")->state.load(), CommandState::kRefused);
}

TEST(Command, WaitsForItsClientAndNoLongerThanItsTime) {
  Server server(with_commands());
  const auto in_time = send(server, "commands/a/x", "1");
  const auto late = send(server, "commands/a/x", "2", 1, std::chrono::milliseconds(1));
  ASSERT_TRUE(server.until([&] { return io::mono_now() > late->until; }));
  EXPECT_TRUE(late->expire());
  Peer peer(server);
  peer.connect("a", Version::k5);
  (void)subscribe(peer, {"commands/a/#"});
  const Taken got = take(peer);
  EXPECT_EQ(got.payload, "1");
  peer.ack(PacketType::kPuback, got.packet_id);
  ASSERT_TRUE(server.until([&] { return in_time->state == CommandState::kDelivered; }));
  EXPECT_TRUE(peer.silent());
  EXPECT_EQ(late->state.load(), CommandState::kExpired);
}

TEST(Command, IsSentAgainToASessionThatDidNotAnswer) {
  Server server(with_commands());
  std::uint16_t id = 0;
  const auto command = [&] {
    Peer peer(server);
    peer.connect(persistent("a"));
    EXPECT_EQ(subscribe(peer, {"commands/a/#"}), std::vector{Reason::kGrantedQos1});
    auto sent = send(server, "commands/a/x", "1");
    id = take(peer).packet_id;
    return sent;
  }();
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  Peer again(server);
  EXPECT_TRUE(again.connect(persistent("a")).session_present);
  const Taken got = take(again);
  EXPECT_EQ(got.packet_id, id);
  EXPECT_TRUE(got.dup);
  again.ack(PacketType::kPuback, id);
  ASSERT_TRUE(server.until([&] { return command->state == CommandState::kDelivered; }));
  again.ack(PacketType::kPuback, id);  // twice: no offence
  again.publish("t", "still here", 1, 1);
  EXPECT_EQ(again.acks(PacketType::kPuback, 1), test::ids(1, 1));
}

TEST(Command, SubscriptionsOfALongSessionOutliveTheProcess) {
  std::vector<SessionChange> stored;
  {
    Server server(with_commands());
    Peer peer(server);
    peer.connect(persistent("a"));
    (void)subscribe(peer, {"commands/a/one", "commands/a/two"});
    std::string bytes;
    encode(bytes, peer.version, Unsubscribe{.packet_id = 8, .filters = {"commands/a/two"}});
    peer.send(bytes);
    Frame frame;
    ASSERT_TRUE(peer.next(&frame));
    EXPECT_EQ(frame.type, PacketType::kUnsuback);
    stored = server.stored();
  }
  Server server(with_commands(), stored);
  Peer peer(server);
  EXPECT_TRUE(peer.connect(persistent("a")).session_present);
  (void)send(server, "commands/a/two", "no");
  (void)send(server, "commands/a/one", "yes");
  EXPECT_EQ(take(peer).payload, "yes");
}

TEST(Command, SubackOfALongSessionWaitsForTheDisk) {
  Server server(with_commands());
  server.acknowledge_all = false;
  Peer peer(server);
  peer.connect(persistent("a"));
  std::string bytes;
  Subscribe packet;
  packet.packet_id = 7;
  packet.subscriptions.push_back({"commands/a/#", 1, false, false, 0});
  encode(bytes, peer.version, packet);
  peer.send(bytes);
  EXPECT_TRUE(peer.silent());
  ASSERT_FALSE(server.changes.empty());
  server.listener().acknowledge(server.changes.back().client, server.changes.back().position);
  server.listener().flush();
  Frame frame;
  ASSERT_TRUE(peer.next(&frame));
  EXPECT_EQ(frame.type, PacketType::kSuback);
}

TEST(Command, KeepsWithinWhatTheClientTakes) {
  Server server(with_commands());
  Peer peer(server);
  Connect connect;
  connect.version = Version::k5;
  connect.client_id = "a";
  connect.properties.receive_maximum = 2;
  connect.properties.maximum_packet_size = 200;
  peer.connect(connect);
  (void)subscribe(peer, {"commands/a/#"});
  const auto large = send(server, "commands/a/x", std::string(300, 'x'));
  std::vector<std::shared_ptr<Command>> commands;
  for (int i = 0; i < 5; ++i) {
    commands.push_back(send(server, "commands/a/x", std::to_string(i)));
  }
  for (int i = 0; i < 5; ++i) {
    const Taken got = take(peer);
    EXPECT_EQ(got.payload, std::to_string(i));
    if (i == 1) {
      EXPECT_TRUE(peer.silent());  // two are not answered
      peer.ack(PacketType::kPuback, 1);
      peer.ack(PacketType::kPuback, 2);
    } else if (i > 1) {
      peer.ack(PacketType::kPuback, got.packet_id);
    }
  }
  ASSERT_TRUE(server.until([&] { return commands.back()->state == CommandState::kDelivered; }));
  EXPECT_EQ(large->state.load(), CommandState::kRefused);
}

TEST(Command, OfAClientThatNeverAnswersAreBounded) {
  Server server(with_commands());
  std::vector<std::shared_ptr<Command>> commands;
  for (int i = 0; i < 100; ++i) {
    commands.push_back(send(server, "commands/a/x", std::to_string(i)));
  }
  ASSERT_TRUE(server.until([&] { return commands.back()->state == CommandState::kRefused; }));
  EXPECT_EQ(commands.front()->state.load(), CommandState::kWaiting);
  EXPECT_EQ(commands[63]->state.load(), CommandState::kWaiting);
  EXPECT_EQ(commands[64]->state.load(), CommandState::kRefused);
}

TEST(Command, OfAUserNeedsAVerifiedName) {
  Server server(with_commands("users/+/%c"));  // no user is verified here: %u would match nothing
  Peer peer(server);
  peer.connect("a", Version::k5);
  EXPECT_EQ(subscribe(peer, {"users/+/a"}), std::vector{Reason::kGrantedQos1});
  (void)send(server, "users/any/a", "x", 0);
  EXPECT_EQ(take(peer).topic, "users/any/a");
  Server named(with_commands("users/%u/#"));
  Peer anonymous(named);
  Connect connect;
  connect.client_id = "a";
  connect.username = "eve";  // claimed, not proved
  anonymous.connect(connect);
  EXPECT_EQ(subscribe(anonymous, {"users/eve/#"}), std::vector{Reason::kNotAuthorized});
}

}  // namespace
}  // namespace headwater::mqtt
