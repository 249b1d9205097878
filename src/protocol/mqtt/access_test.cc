// Who may connect and publish: passwords, certificates, topics, bindings.
#include <gtest/gtest.h>

#include <fstream>
#include <optional>

#include "protocol/mqtt/client.h"
#include "protocol/mqtt/listener_fixture.h"
#include "protocol/mqtt/password_file.h"
#include "protocol/mqtt/test_certificates.h"

namespace headwater::mqtt {
namespace {

using test::Certificates;
using test::loopback;
using test::Peer;
using test::Server;
using test::TempDir;

// Written by mosquitto_passwd 2.0.11: anna has the password "secret", bob "p:w $7$ ü".
constexpr std::string_view kPasswords = R"(# users
anna:$7$101$a3b4CJkoiYBntaM5$HxNaSgUoG7/Dik/ddf2eqLWtE4qbJZGOxuTCD+Js95vFOIPPoHTowBjdZf6GkTlrIKKVe69K3QNaVq9HMhwSbA==
bob:$7$101$IkV0ODHo3Z0pF6gk$XmiWFBxvLI4C1Z4Nc8IoY+hzAMVpUb4M/0dznoWSUrmdT4ET7rwOSrva56Lk2wZkXd0piysH2e+O/YMtly86dA==
)";

TEST(PasswordFile, ReadsWhatMosquittoPasswdWrites) {
  const auto file = PasswordFile::parse(kPasswords);
  ASSERT_TRUE(file) << file.error().text();
  EXPECT_EQ(file->users(), 2U);
  EXPECT_TRUE(file->matches("anna", "secret"));
  EXPECT_FALSE(file->matches("anna", "Secret"));
  EXPECT_FALSE(file->matches("anna", ""));
  EXPECT_TRUE(file->matches("bob", "p:w $7$ ü"));
  EXPECT_FALSE(file->matches("bob", "secret"));
  EXPECT_FALSE(file->matches("carol", "secret"));
}

TEST(PasswordFile, ItsOwnLinesAreReadBack) {
  const auto line = PasswordFile::make_line("anna", "hunter2", 5);
  ASSERT_TRUE(line);
  const auto file = PasswordFile::parse(*line);
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->matches("anna", "hunter2"));
  EXPECT_FALSE(file->matches("anna", "hunter3"));
  EXPECT_FALSE(PasswordFile::make_line("an:na", "x"));
}

TEST(PasswordFile, NamesTheLineThatIsWrong) {
  const auto error = [](std::string_view text) {
    const auto file = PasswordFile::parse(text);
    return file ? std::string() : file.error().text();
  };
  EXPECT_EQ(error("anna:secret"),
            "line 1: the password of 'anna' is not hashed; run mosquitto_passwd -U on the file");
  EXPECT_EQ(error("\n\nanna"), "line 3: expected USER:HASH");
  EXPECT_EQ(error("anna:$7$x$AAAA$AAAA"), "line 1: 'x' is no iteration count");
  EXPECT_EQ(error("anna:$7$101$AAAA$AAAA"), "line 1: the hash of 'anna' is damaged");
}

std::string password_file(const TempDir& dir) {
  const std::string path = dir.path() + "/passwords";
  std::ofstream(path) << kPasswords;
  return path;
}

Connect as(std::string_view id, std::optional<std::string_view> user,
           std::optional<std::string_view> password, Version version = Version::k5) {
  Connect connect;
  connect.version = version;
  connect.client_id = id;
  connect.username = user;
  connect.password = password;
  return connect;
}

TEST(Access, APasswordFileLetsInOnlyItsUsers) {
  TempDir dir;
  ListenerOptions options = loopback();
  options.password_file = password_file(dir);
  Server server(options);
  const auto reason = [&](const Connect& connect) { return Peer(server).connect(connect).reason; };
  EXPECT_EQ(reason(as("1", "anna", "secret")), Reason::kSuccess);
  EXPECT_EQ(reason(as("2", "anna", "secret")), Reason::kSuccess);  // remembered
  EXPECT_EQ(reason(as("3", "anna", "wrong")), Reason::kBadCredentials);
  EXPECT_EQ(reason(as("4", "anna", std::nullopt)), Reason::kBadCredentials);
  EXPECT_EQ(reason(as("5", "carol", "secret", Version::k311)), Reason::kBadCredentials);
  EXPECT_EQ(reason(as("6", std::nullopt, std::nullopt)), Reason::kNotAuthorized);
  EXPECT_EQ(server.listener().stats().refused_credentials, 4U);
  Peer peer(server);
  peer.connect(as("7", "anna", "secret"));
  peer.publish("t", "x");
  ASSERT_TRUE(server.until([&] { return !server.got.empty(); }));
  EXPECT_EQ(server.got[0].username, "anna");
}

TEST(Access, PublishesSentRightBehindConnectWaitForTheVerdict) {
  TempDir dir;
  ListenerOptions options = loopback();
  options.password_file = password_file(dir);
  Server server(options);
  Peer good(server);
  Peer bad(server);
  std::string bytes;
  encode(bytes, as("good", "anna", "secret"));
  encode(bytes, Version::k5, PublishPacket{.topic = "t", .payload = "from good"});
  good.send(bytes);
  bytes.clear();
  encode(bytes, as("bad", "anna", "guess"));
  encode(bytes, Version::k5, PublishPacket{.topic = "t", .payload = "from bad"});
  bad.send(bytes);
  ASSERT_TRUE(server.until([&] { return bad.ended() && !server.got.empty(); }));
  ASSERT_EQ(server.got.size(), 1U);
  EXPECT_EQ(server.got[0].payload, "from good");
}

TEST(Access, AnonymousClientsCanBeRefused) {
  ListenerOptions options = loopback();
  options.anonymous = Anonymous::kNo;
  Server server(options);
  Peer peer(server);
  EXPECT_EQ(peer.connect("a", Version::k311).reason, Reason::kNotAuthorized);
}

TEST(Access, AUserCannotTakeTheConnectionOfAnother) {
  TempDir dir;
  ListenerOptions options = loopback();
  options.password_file = password_file(dir);
  Server server(options);
  Peer anna(server);
  anna.connect(as("press", "anna", "secret"));
  Peer bob(server);
  EXPECT_EQ(bob.connect(as("press", "bob", "p:w $7$ ü")).reason, Reason::kNotAuthorized);
  EXPECT_FALSE(anna.ended());
}

TEST(Access, TheClientIdCanBeBoundToTheUser) {
  TempDir dir;
  ListenerOptions options = loopback();
  options.password_file = password_file(dir);
  options.client_id_is_username = true;
  Server server(options);
  EXPECT_EQ(Peer(server).connect(as("anna", "anna", "secret")).reason, Reason::kSuccess);
  EXPECT_EQ(Peer(server).connect(as("other", "anna", "secret")).reason, Reason::kClientIdNotValid);
  EXPECT_EQ(Peer(server).connect(as("", "anna", "secret")).properties.assigned_client_id, "anna");
}

TEST(Access, DeniedTopicsAreRefusedWithoutLosingTheOrderOfAnswers) {
  ListenerOptions options = loopback();
  options.topics = {"sensors/+/readings"};
  Server server(options);
  server.acknowledge_all = false;
  Peer peer(server);
  peer.connect("a", Version::k5);
  peer.publish("sensors/1/readings", "x", 1, 1);
  peer.publish("other", "x", 1, 2);
  peer.publish("other", "x", 2, 3);
  peer.publish("other", "x", 0);
  peer.publish("sensors/2/readings", "x", 1, 4);
  ASSERT_TRUE(server.until([&] { return server.got.size() == 2; }));
  EXPECT_TRUE(peer.silent()) << "the refusal waits for the answer before it";
  server.listener().acknowledge(0, 2);
  server.listener().flush();
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), (std::vector<std::uint16_t>{1}));
  EXPECT_EQ(peer.last_reason, Reason::kSuccess);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), (std::vector<std::uint16_t>{2}));
  EXPECT_EQ(peer.last_reason, Reason::kNotAuthorized);
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), (std::vector<std::uint16_t>{3}));
  EXPECT_EQ(peer.last_reason, Reason::kNotAuthorized);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), (std::vector<std::uint16_t>{4}));
  EXPECT_EQ(server.listener().stats().denied, 3U);
}

TEST(Access, A311ClientIsDisconnectedOrItsPublishDropped) {
  ListenerOptions options = loopback();
  options.topics = {"good"};
  {
    Server server(options);
    Peer peer(server);
    peer.connect("a");
    peer.publish("other", "x", 0);
    EXPECT_TRUE(peer.silent()) << "QoS 0 is only counted";
    peer.publish("other", "x", 1, 1);
    EXPECT_EQ(peer.disconnect_reason(), Reason::kSuccess);
    EXPECT_EQ(server.listener().stats().denied, 2U);
  }
  options.on_denied = OnDenied::kDrop;
  Server server(options);
  Peer peer(server);
  peer.connect("a");
  peer.publish("other", "x", 1, 1);
  peer.publish("other", "x", 2, 2);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), (std::vector<std::uint16_t>{1}));
  EXPECT_EQ(peer.acks(PacketType::kPubrec, 1), (std::vector<std::uint16_t>{2}));
  peer.ack(PacketType::kPubrel, 2);
  EXPECT_EQ(peer.acks(PacketType::kPubcomp, 1), (std::vector<std::uint16_t>{2}));
  EXPECT_TRUE(server.got.empty());
}

TEST(Access, AClientWritesOnlyAsItself) {
  ListenerOptions options = loopback();
  options.write_own = {"sensors/%c/readings"};
  Server server(options);
  Peer peer(server);
  peer.connect("press-7", Version::k5);
  peer.publish("sensors/press-7/readings", "mine", 1, 1);
  peer.publish("sensors/press-8/readings", "not mine", 1, 2);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 2), (std::vector<std::uint16_t>{1, 2}));
  EXPECT_EQ(peer.last_reason, Reason::kNotAuthorized);
  ASSERT_EQ(server.got.size(), 1U);
  EXPECT_EQ(server.got[0].payload, "mine");
}

TEST(Access, AClaimedUserNameBindsNothing) {
  ListenerOptions options = loopback();
  options.write_own = {"sensors/%u/readings"};
  Server server(options);
  Peer peer(server);
  peer.connect(as("x", "anna", "whatever"));
  peer.publish("sensors/anna/readings", "x", 1, 1);
  EXPECT_EQ(peer.acks(PacketType::kPuback, 1), (std::vector<std::uint16_t>{1}));
  EXPECT_EQ(peer.last_reason, Reason::kNotAuthorized);
}

// Connects our client over TLS, publishes once, and tells how it ended.
struct TlsTry {
  bool acknowledged = false;
  std::string error;
};
TlsTry publish_over_tls(Server& server, const ClientOptions& options) {
  auto client = Client::open(options, *server.loop);
  EXPECT_TRUE(client) << (client ? "" : client.error().text());
  TlsTry result;
  std::vector<Outcome> outcomes;
  EXPECT_TRUE((*client)->publish({.topic = "t", .payload = "over tls", .qos = 1, .token = 1}));
  // An error alone is no end: a name may have an address that nobody listens at before one that
  // works.
  (void)server.until(
      [&] {
        (*client)->poll(outcomes);
        return !outcomes.empty();
      },
      std::chrono::seconds(5));
  result.acknowledged = !outcomes.empty() && outcomes[0].kind == OutcomeKind::kAcknowledged;
  result.error = (*client)->last_error();
  (*client)->close();
  return result;
}

ClientOptions tls_client(const Server& server, const Certificates& certificates) {
  ClientOptions options;
  options.host = "127.0.0.1";
  options.port = server.port();
  options.client_id = "secure";
  options.reconnect = false;
  options.tls.enabled = true;
  options.tls.ca = certificates.ca();
  return options;
}

ListenerOptions tls_listener(const Certificates& certificates) {
  ListenerOptions options = loopback();
  options.tls.certificate = certificates.server();
  options.tls.key = certificates.server_key();
  return options;
}

TEST(Access, TlsCarriesPublishes) {
  Certificates certificates;
  Server server(tls_listener(certificates));
  const TlsTry result = publish_over_tls(server, tls_client(server, certificates));
  EXPECT_TRUE(result.acknowledged) << result.error;
  ASSERT_EQ(server.got.size(), 1U);
  EXPECT_EQ(server.got[0].payload, "over tls");
}

TEST(Access, TlsClientsRefuseAServerTheyDoNotTrust) {
  Certificates certificates;
  Certificates others;
  Server server(tls_listener(certificates));
  ClientOptions options = tls_client(server, others);
  EXPECT_NE(publish_over_tls(server, options).error.find("certificate refused"), std::string::npos);
  options = tls_client(server, certificates);
  options.host = "localhost";  // the certificate names 127.0.0.1 only
  const TlsTry result = publish_over_tls(server, options);
  EXPECT_FALSE(result.acknowledged);
  EXPECT_NE(result.error.find("certificate refused"), std::string::npos) << result.error;
  options.tls.verify = false;
  EXPECT_TRUE(publish_over_tls(server, options).acknowledged);
}

TEST(Access, AClientCertificateNamesTheUser) {
  Certificates certificates;
  ListenerOptions listener = tls_listener(certificates);
  listener.tls.client_ca = certificates.ca();
  listener.tls.require_client_certificate = true;
  listener.write_own = {"t"};
  Server server(listener);
  ClientOptions options = tls_client(server, certificates);
  const TlsTry without = publish_over_tls(server, options);
  EXPECT_FALSE(without.acknowledged);
  options.tls.certificate = certificates.client();
  options.tls.key = certificates.client_key();
  const TlsTry with = publish_over_tls(server, options);
  EXPECT_TRUE(with.acknowledged) << with.error;
  ASSERT_EQ(server.got.size(), 1U);
  EXPECT_EQ(server.got[0].username, "press-7");
}

TEST(Access, PlainBytesAtATlsPortAreDropped) {
  Certificates certificates;
  Server server(tls_listener(certificates));
  Peer peer(server);
  std::string bytes;
  encode(bytes, Connect{});
  peer.send(bytes);
  EXPECT_TRUE(server.until([&] { return peer.ended(); }));
  EXPECT_EQ(server.listener().stats().refused_other, 1U);
}

TEST(Access, LargeBurstsOverTlsArriveWhole) {
  Certificates certificates;
  Server server(tls_listener(certificates));
  server.room = 50;
  auto client = Client::open(tls_client(server, certificates), *server.loop);
  ASSERT_TRUE(client);
  std::size_t published = 0;
  ASSERT_TRUE(server.until([&] {
    while (published < 2000 &&
           (*client)->publish({.topic = "t",
                               .payload = std::to_string(published) + std::string(500, 'x'),
                               .qos = 1})) {
      ++published;
    }
    return server.got.size() >= 2000;
  }));
  for (std::size_t i = 0; i < 2000; ++i) {
    ASSERT_EQ(server.got[i].payload, std::to_string(i) + std::string(500, 'x'));
  }
}

}  // namespace
}  // namespace headwater::mqtt
