#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "protocol/http/client.h"
#include "protocol/http/server.h"
#include "protocol/http/test_socket.h"

namespace headwater::http {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// A fresh self-signed P-256 certificate for 127.0.0.1, written to `certificate` and `key`.
void make_certificate(const std::string& certificate, const std::string& key) {
  EVP_PKEY* pair = EVP_EC_gen("P-256");
  ASSERT_NE(pair, nullptr);
  X509* x509 = X509_new();
  X509_set_version(x509, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
  X509_set_pubkey(x509, pair);
  X509_NAME* name = X509_get_subject_name(x509);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
  X509_set_issuer_name(x509, name);
  for (const auto& [id, value] : {std::pair{NID_subject_alt_name, "IP:127.0.0.1"},
                                  std::pair{NID_basic_constraints, "critical,CA:TRUE"}}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, id, value);
    ASSERT_NE(extension, nullptr);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
  }
  ASSERT_GT(X509_sign(x509, pair, EVP_sha256()), 0);
  std::FILE* file = std::fopen(certificate.c_str(), "w");
  PEM_write_X509(file, x509);
  std::fclose(file);
  file = std::fopen(key.c_str(), "w");
  PEM_write_PrivateKey(file, pair, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  X509_free(x509);
  EVP_PKEY_free(pair);
}

class Tls : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    folder_ =
        std::filesystem::temp_directory_path() / ("hw_http_tls_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    make_certificate(path("cert.pem"), path("key.pem"));
    make_certificate(path("other.pem"), path("other_key.pem"));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  std::unique_ptr<Server> open(ServerOptions options = {}) {
    Router router;
    EXPECT_TRUE(router.add("GET", "/hello", [](Request&&, const Responder& r) {
      r.send(Response::text(std::string(200'000, 'h')));
    }));
    EXPECT_TRUE(router.add("GET", "/events", [](Request&&, const Responder& r) {
      const auto stream = r.stream();
      stream.push(format_event("one"));
      stream.push(format_event("two"));
      stream.close();
    }));
    options.tls = ServerTls{.certificate = path("cert.pem"), .private_key = path("key.pem")};
    return open_server(std::move(router), std::move(options));
  }
  ClientOptions trusting() const { return {.ca_file = path("cert.pem")}; }

  std::filesystem::path folder_;
};

TEST_F(Tls, ServesRequestsAndStreams) {
  const auto server = open();
  const auto base = "https://" + server->address();
  const auto answer = fetch(base + "/hello", trusting());
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->body, std::string(200'000, 'h'));
  const auto reader = EventReader::open(base + "/events", trusting());
  ASSERT_TRUE(reader) << reader.error().text();
  EXPECT_EQ((*reader)->next(kTestDeadline).value()->data, "one");
  EXPECT_EQ((*reader)->next(kTestDeadline).value()->data, "two");
  EXPECT_FALSE((*reader)->next(kTestDeadline));
}

TEST_F(Tls, AClientThatDoesNotTrustTheCertificateIsTold) {
  const auto server = open();
  const auto answer =
      fetch("https://" + server->address() + "/hello", {.ca_file = path("other.pem")});
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().text(), HasSubstr("certificate"));
}

TEST_F(Tls, ClientsWithoutACertificateAreRefusedWhenOneIsRequired) {
  ServerOptions options;
  Router router;
  EXPECT_TRUE(router.add("GET", "/hello",
                         [](Request&&, const Responder& r) { r.send(Response::text("hello")); }));
  options.tls = ServerTls{.certificate = path("cert.pem"),
                          .private_key = path("key.pem"),
                          .client_ca = path("other.pem")};
  const auto server = open_server(std::move(router), std::move(options));
  EXPECT_FALSE(fetch("https://" + server->address() + "/hello", trusting()));
  EXPECT_EQ(server->counts().requests, 0U);
}

TEST_F(Tls, PlainHttpAndSilenceOnATlsPortAreClosed) {
  const auto server = open({.request_timeout = 1s});
  const TestSocket plain(server->port());
  ASSERT_TRUE(plain.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
  plain.read_to_end();
  const TestSocket silent(server->port());
  silent.read_to_end();
  EXPECT_TRUE(eventually([&] { return server->counts().connections == 0; }));
  EXPECT_TRUE(fetch("https://" + server->address() + "/hello", trusting()));
}

TEST_F(Tls, BadFilesAreNamed) {
  const auto failure = [&](const char* certificate, const char* key) {
    return Server::open(
               {.tls = ServerTls{.certificate = path(certificate), .private_key = path(key)}},
               Router{})
        .error()
        .text();
  };
  EXPECT_THAT(failure("none.pem", "key.pem"), HasSubstr("none.pem"));
  EXPECT_THAT(failure("cert.pem", "none.pem"), HasSubstr("none.pem"));
  EXPECT_THAT(failure("cert.pem", "other_key.pem"), HasSubstr("other_key.pem"));
}

TEST_F(Tls, StopsWithOpenConnections) {
  const auto server = open();
  const auto reader = EventReader::open("https://" + server->address() + "/events", trusting());
  ASSERT_TRUE(reader);
  server->stop(5s);
  EXPECT_EQ(server->counts().connections, 0U);
}

}  // namespace
}  // namespace headwater::http
