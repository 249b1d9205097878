// The client against our listener, and against a real mosquitto where there is one.
#include "protocol/mqtt/client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "protocol/mqtt/listener_fixture.h"
#include "protocol/mqtt/test_certificates.h"

namespace headwater::mqtt {
namespace {

using test::kDeadline;
using test::loopback;
using test::Peer;
using test::Server;
using test::TempDir;

ClientOptions towards(std::uint16_t port, Version version = Version::k5) {
  ClientOptions options;
  options.host = "127.0.0.1";
  options.port = port;
  options.version = version;
  options.client_id = "tester";
  options.min_backoff = std::chrono::milliseconds(5);
  options.max_backoff = std::chrono::milliseconds(50);
  return options;
}

std::unique_ptr<Client> opened(const ClientOptions& options, io::Loop& loop) {
  auto client = Client::open(options, loop);
  EXPECT_TRUE(client) << (client ? "" : client.error().text());
  return *std::move(client);
}

TEST(Client, PublishesWithBothQosAndBothVersions) {
  for (const Version version : {Version::k311, Version::k5}) {
    Server server;
    auto client = opened(towards(server.port(), version), *server.loop);
    ASSERT_TRUE(server.until([&] { return client->state() == ClientState::kConnected; }));
    ASSERT_TRUE(client->publish({.topic = "a", .payload = "zero", .qos = 0, .token = 10}));
    for (std::uint64_t i = 1; i <= 50; ++i) {
      ASSERT_TRUE(
          client->publish({.topic = "b", .payload = std::to_string(i), .qos = 1, .token = i}));
    }
    std::vector<Outcome> outcomes;
    ASSERT_TRUE(server.until([&] {
      client->poll(outcomes);
      return outcomes.size() == 51;
    }));
    EXPECT_EQ(outcomes[0].token, 10U);
    for (std::uint64_t i = 1; i <= 50; ++i) {
      EXPECT_EQ(outcomes[i].token, i);
      EXPECT_EQ(outcomes[i].kind, OutcomeKind::kAcknowledged);
      EXPECT_EQ(server.got[i].payload, std::to_string(i));
    }
    EXPECT_EQ(client->stats().in_flight, 0U);
    EXPECT_EQ(client->stats().queued_bytes, 0U);
  }
}

TEST(Client, QueuesQos1WhileNotConnectedAndRefusesQos0) {
  Server server;
  auto client = opened(towards(server.port()), *server.loop);
  const Status zero = client->publish({.topic = "t", .payload = "x", .qos = 0});
  ASSERT_FALSE(zero);
  EXPECT_EQ(zero.error().code(), Code::kUnavailable);
  ASSERT_TRUE(client->publish({.topic = "t", .payload = "x", .qos = 1, .token = 1}));
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
}

TEST(Client, BoundsWhatIsInFlight) {
  Server server;
  server.acknowledge_all = false;
  ClientOptions options = towards(server.port());
  options.max_in_flight = 3;
  auto client = opened(options, *server.loop);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client->publish({.topic = "t", .payload = "x", .qos = 1}));
  }
  const Status more = client->publish({.topic = "t", .payload = "x", .qos = 1});
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), Code::kExhausted);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 3; }));
  server.listener().acknowledge(0, 1);
  server.listener().flush();
  ASSERT_TRUE(server.until([&] { return client->stats().in_flight == 2; }));
  EXPECT_TRUE(client->publish({.topic = "t", .payload = "x", .qos = 1}));
}

TEST(Client, KeepsWithinTheReceiveMaximumOfTheServer) {
  ListenerOptions listener = loopback();
  listener.receive_maximum = 4;
  Server server(listener);
  server.acknowledge_all = false;
  auto client = opened(towards(server.port()), *server.loop);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(client->publish({.topic = "t", .payload = std::to_string(i), .qos = 1}));
  }
  ASSERT_TRUE(server.until([&] { return server.got.size() == 4; }));
  for (int i = 0; i < 20; ++i) {
    server.round();
  }
  EXPECT_EQ(server.got.size(), 4U);
  EXPECT_EQ(client->state(), ClientState::kConnected);
  server.acknowledge_all = true;
  server.listener().acknowledge(0, 4);
  server.listener().flush();
  ASSERT_TRUE(server.until([&] { return client->stats().in_flight == 0; }));
  EXPECT_EQ(server.got.size(), 20U);
}

TEST(Client, ReportsRefusedTopicsByMessage) {
  ListenerOptions listener = loopback();
  listener.topics = {"good"};
  Server server(listener);
  auto client = opened(towards(server.port()), *server.loop);
  ASSERT_TRUE(client->publish({.topic = "good", .payload = "x", .qos = 1, .token = 1}));
  ASSERT_TRUE(client->publish({.topic = "bad", .payload = "x", .qos = 1, .token = 2}));
  std::vector<Outcome> outcomes;
  ASSERT_TRUE(server.until([&] {
    client->poll(outcomes);
    return outcomes.size() == 2;
  }));
  EXPECT_EQ(outcomes[0].kind, OutcomeKind::kAcknowledged);
  EXPECT_EQ(outcomes[1].kind, OutcomeKind::kRejected);
  EXPECT_EQ(outcomes[1].reason, Reason::kNotAuthorized);
}

TEST(Client, SendsAgainWithDupAfterALostConnectionAndTheListenerGivesItOutOnce) {
  Server server;
  server.acknowledge_all = false;
  ClientOptions options = towards(server.port());
  options.session_expiry = 3600;
  auto client = opened(options, *server.loop);
  ASSERT_TRUE(client->publish({.topic = "t", .payload = "one", .qos = 1, .token = 1}));
  ASSERT_TRUE(client->publish({.topic = "t", .payload = "two", .qos = 1, .token = 2}));
  ASSERT_TRUE(server.until([&] { return server.got.size() == 2; }));
  {
    Peer thief(server);  // takes the session, so that the client's connection ends
    Connect connect;
    connect.client_id = "tester";
    connect.clean_start = false;
    connect.properties.session_expiry = 3600;
    thief.connect(connect);
    ASSERT_TRUE(server.until([&] { return client->stats().disconnects == 1; }));
  }
  ASSERT_TRUE(server.until([&] { return client->stats().connects == 2; }));
  EXPECT_TRUE(client->session_present());
  ASSERT_TRUE(server.until([&] { return server.listener().stats().duplicates == 2; }));
  EXPECT_EQ(server.got.size(), 2U);
  EXPECT_EQ(client->stats().resent, 2U);
  server.listener().acknowledge(0, 2);
  server.listener().flush();
  std::vector<Outcome> outcomes;
  ASSERT_TRUE(server.until([&] {
    client->poll(outcomes);
    return outcomes.size() == 2;
  }));
  EXPECT_EQ(outcomes[0].token, 1U);
  EXPECT_EQ(outcomes[0].kind, OutcomeKind::kAcknowledged);
}

TEST(Client, ClosesCleanlyAndTellsWhatWasNotAcknowledged) {
  Server server;
  server.acknowledge_all = false;
  auto client = opened(towards(server.port()), *server.loop);
  ASSERT_TRUE(client->publish({.topic = "t", .payload = "x", .qos = 1, .token = 5}));
  ASSERT_TRUE(server.until([&] { return server.got.size() == 1; }));
  client->close();
  std::vector<Outcome> outcomes;
  client->poll(outcomes);
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].kind, OutcomeKind::kDisconnected);
  EXPECT_EQ(client->state(), ClientState::kClosed);
  ASSERT_TRUE(server.until([&] { return server.listener().stats().connections == 0; }));
  EXPECT_FALSE(client->publish({.topic = "t", .payload = "x", .qos = 1}));
}

TEST(Client, SaysWhyItCannotConnect) {
  Server server;
  std::uint16_t free_port = 0;
  {
    auto fd = io::listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(fd);
    free_port = io::local_address(fd->get())->port();
  }
  auto client = opened(towards(free_port), *server.loop);
  ASSERT_TRUE(server.until([&] { return !client->last_error().empty(); }));
  EXPECT_NE(client->last_error().find("Connection refused"), std::string::npos)
      << client->last_error();

  ListenerOptions closed = loopback();
  closed.anonymous = Anonymous::kNo;
  Server strict(closed);
  auto refused = opened(towards(strict.port()), *strict.loop);
  ASSERT_TRUE(strict.until([&] { return !refused->last_error().empty(); }));
  EXPECT_EQ(refused->last_error(),
            "the broker refused the connection: not_authorized: a user name and password are "
            "needed");
}

TEST(Client, ResolvesNamesOffTheLoop) {
  Server server;
  ClientOptions options = towards(server.port());
  options.host = "localhost";
  auto client = opened(options, *server.loop);
  EXPECT_TRUE(server.until([&] { return client->state() == ClientState::kConnected; }))
      << client->last_error();
}

TEST(Client, GivesUpOnAServerThatSaysNothing) {
  Server server;
  auto mute = io::listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(mute);
  ClientOptions options = towards(io::local_address(mute->get())->port());
  options.connect_timeout = std::chrono::milliseconds(100);
  options.reconnect = false;
  auto client = opened(options, *server.loop);
  ASSERT_TRUE(client->publish({.topic = "t", .payload = "x", .qos = 1, .token = 3}));
  ASSERT_TRUE(server.until([&] { return client->state() == ClientState::kClosed; }));
  EXPECT_NE(client->last_error().find("no answer within 100ms"), std::string::npos);
  std::vector<Outcome> outcomes;
  client->poll(outcomes);
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].kind, OutcomeKind::kDisconnected);
}

TEST(Client, KeepsAQuietConnectionAlive) {
  Server server;
  ClientOptions options = towards(server.port());
  options.keep_alive = 1;
  auto client = opened(options, *server.loop);
  ASSERT_TRUE(server.until([&] { return client->state() == ClientState::kConnected; }));
  const MonoTime end = io::mono_now() + std::chrono::milliseconds(2200);
  ASSERT_TRUE(server.until([&] { return io::mono_now() > end; }));
  EXPECT_EQ(client->stats().connects, 1U);
  EXPECT_EQ(client->state(), ClientState::kConnected);
}

TEST(Client, RefusesWhatCannotBePublished) {
  Server server;
  auto client = opened(towards(server.port()), *server.loop);
  EXPECT_FALSE(client->publish({.topic = "a/#", .payload = "x", .qos = 1}));
  EXPECT_FALSE(client->publish({.topic = "a", .payload = "x", .qos = 2}));
  EXPECT_FALSE(client->publish({.topic = "a", .payload = std::string(5'000'000, 'x'), .qos = 1}));
  EXPECT_FALSE(client->subscribe("a#", 0));
  EXPECT_FALSE(client->subscribe("a", 3));
}

TEST(ClientUrl, FillsTheOptions) {
  ClientOptions options;
  ASSERT_TRUE(apply_url("mqtts://anna:s:ecret@broker.example", &options));
  EXPECT_EQ(options.host, "broker.example");
  EXPECT_EQ(options.port, 8883);
  EXPECT_TRUE(options.tls.enabled);
  EXPECT_EQ(options.username, "anna");
  EXPECT_EQ(options.password, "s:ecret");
  ASSERT_TRUE(apply_url("mqtt://[::1]:1900/", &options));
  EXPECT_EQ(options.host, "::1");
  EXPECT_EQ(options.port, 1900);
  EXPECT_FALSE(options.tls.enabled);
  ASSERT_TRUE(apply_url("localhost", &options));
  EXPECT_EQ(options.port, 1883);
  for (const char* bad :
       {"http://x", "mqtt://", "mqtt://host:x", "mqtt://host:99999", "mqtt://h/p"}) {
    EXPECT_FALSE(apply_url(bad, &options)) << bad;
  }
  EXPECT_EQ(options.host, "localhost") << "a refused URL changes nothing";
}

// A real broker on a port that is free now.
class Mosquitto {
 public:
  static constexpr const char* kProgram = "/usr/sbin/mosquitto";

  Mosquitto() {
    auto fd = io::listen_tcp({"127.0.0.1", 0});
    EXPECT_TRUE(fd);
    port_ = io::local_address(fd->get())->port();
    std::ofstream(dir_.path() + "/conf")
        << "listener " << port_ << " 127.0.0.1\nallow_anonymous true\n";
  }
  ~Mosquitto() { stop(); }

  void start() {
    pid_ = fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      const int null = open("/dev/null", O_RDWR);
      dup2(null, 1);
      dup2(null, 2);
      const std::string conf = dir_.path() + "/conf";
      execl(kProgram, kProgram, "-c", conf.c_str(), nullptr);
      _exit(127);
    }
  }
  void stop() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      pid_ = -1;
    }
  }
  std::uint16_t port() const { return port_; }

 private:
  TempDir dir_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

bool run_until(io::Loop& loop, const std::function<bool()>& done) {
  const MonoTime end = io::mono_now() + kDeadline;
  while (!done()) {
    if (io::mono_now() > end) {
      return false;
    }
    loop.run_once(std::chrono::milliseconds(5));
  }
  return true;
}

TEST(ClientWithMosquitto, PublishesAndReceivesInOrderWithAcknowledgementByTheOwner) {
  if (!std::filesystem::exists(Mosquitto::kProgram)) {
    GTEST_SKIP() << "no " << Mosquitto::kProgram << " (apt-get install mosquitto)";
  }
  Mosquitto broker;
  broker.start();
  for (const Version version : {Version::k311, Version::k5}) {
    auto loop = *io::Loop::create();
    ClientOptions options = towards(broker.port(), version);
    options.client_id = "receiver";
    auto receiver = opened(options, *loop);
    ASSERT_TRUE(receiver->subscribe("in/#", 1));
    options.client_id = "sender";
    auto sender = opened(options, *loop);
    ASSERT_TRUE(run_until(*loop, [&] {
      return receiver->state() == ClientState::kConnected &&
             sender->state() == ClientState::kConnected;
    }));
    std::vector<ReceivedPublish> received;
    Arena arena;
    std::vector<Outcome> outcomes;
    // Until the subscription holds, what is sent reaches nobody.
    ASSERT_TRUE(run_until(*loop, [&] {
      if (sender->stats().in_flight == 0) {
        EXPECT_TRUE(sender->publish({.topic = "in/probe", .payload = "probe", .qos = 1}));
      }
      receiver->take(100, arena, received);
      return !received.empty();
    }));
    for (int i = 0; i < 500; ++i) {
      ASSERT_TRUE(sender->publish({.topic = "in/x", .payload = std::to_string(i), .qos = 1}));
    }
    std::vector<std::string> payloads;
    std::size_t seen = 0;
    ASSERT_TRUE(run_until(*loop, [&] {
      receiver->take(7, arena, received);
      for (; seen < received.size(); ++seen) {
        if (received[seen].topic == "in/x") {
          payloads.emplace_back(received[seen].payload);
        }
      }
      receiver->acknowledge(received.back().position);
      return payloads.size() == 500;
    }));
    for (std::size_t i = 0; i < 500; ++i) {
      ASSERT_EQ(payloads[i], std::to_string(i));
    }
    sender->poll(outcomes);
    receiver->close();
    sender->close();
  }
}

TEST(ClientWithMosquitto, SurvivesARestartOfTheBroker) {
  if (!std::filesystem::exists(Mosquitto::kProgram)) {
    GTEST_SKIP() << "no " << Mosquitto::kProgram << " (apt-get install mosquitto)";
  }
  Mosquitto broker;
  auto loop = *io::Loop::create();
  auto client = opened(towards(broker.port()), *loop);
  ASSERT_TRUE(client->publish({.topic = "t", .payload = "early", .qos = 1, .token = 1}));
  ASSERT_TRUE(run_until(*loop, [&] { return client->state() == ClientState::kWaiting; }));
  broker.start();
  std::vector<Outcome> outcomes;
  ASSERT_TRUE(run_until(*loop, [&] {
    client->poll(outcomes);
    return outcomes.size() == 1;
  }));
  broker.stop();
  ASSERT_TRUE(run_until(*loop, [&] { return client->state() != ClientState::kConnected; }));
  ASSERT_TRUE(client->publish({.topic = "t", .payload = "meanwhile", .qos = 1, .token = 2}));
  broker.start();
  ASSERT_TRUE(run_until(*loop, [&] {
    client->poll(outcomes);
    return outcomes.size() == 2;
  }));
  EXPECT_EQ(outcomes[1].token, 2U);
  EXPECT_EQ(outcomes[1].kind, OutcomeKind::kAcknowledged);
  EXPECT_EQ(client->stats().connects, 2U);
}

// mosquitto_pub, a client that others wrote, against our listener.
TEST(ListenerWithMosquittoPub, TakesAllQosOfBothVersions) {
  constexpr const char* kPub = "/usr/bin/mosquitto_pub";
  if (!std::filesystem::exists(kPub)) {
    GTEST_SKIP() << "no " << kPub << " (apt-get install mosquitto-clients)";
  }
  for (const char* version : {"mqttv311", "mqttv5"}) {
    for (const char* qos : {"0", "1", "2"}) {
      Server server;
      TempDir dir;
      const std::string lines = dir.path() + "/lines";
      {
        std::ofstream out(lines);
        for (int i = 0; i < 200; ++i) {
          out << "line " << i << '\n';
        }
      }
      const std::string port = std::to_string(server.port());
      const pid_t pid = fork();
      ASSERT_GE(pid, 0);
      if (pid == 0) {
        const int in = open(lines.c_str(), O_RDONLY);
        dup2(in, 0);
        execl(kPub, kPub, "-h", "127.0.0.1", "-p", port.c_str(), "-V", version, "-q", qos, "-t",
              "sensors/1/readings", "-i", "pub", "-l", nullptr);
        _exit(127);
      }
      int status = -1;
      EXPECT_TRUE(server.until([&] { return waitpid(pid, &status, WNOHANG) == pid; }));
      EXPECT_EQ(status, 0) << version << " QoS " << qos;
      EXPECT_TRUE(server.until([&] { return server.got.size() >= 200; }));
      ASSERT_EQ(server.got.size(), 200U);
      for (std::size_t i = 0; i < 200; ++i) {
        ASSERT_EQ(server.got[i].payload, "line " + std::to_string(i));
      }
    }
  }
}

}  // namespace
}  // namespace headwater::mqtt
