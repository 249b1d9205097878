#include "protocol/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <stdexcept>

#include "protocol/http/client.h"
#include "protocol/http/server_metrics.h"
#include "protocol/http/test_socket.h"

namespace headwater::http {
namespace {

using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::string_view kGet = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

Router test_router() {
  Router router;
  EXPECT_TRUE(router.add("GET", "/hello",
                         [](Request&&, const Responder& r) { r.send(Response::text("hello")); }));
  EXPECT_TRUE(router.add("POST", "/echo/{name}",
                         [](Request&& request, const Responder& r) {
                           r.send(
                               Response::text(std::string(request.param("name")) + ":" +
                                              std::string(request.query_value("q").value_or("-")) +
                                              ":" + request.body));
                         },
                         {.max_body = 100'000}));
  EXPECT_TRUE(router.add("GET", "/throws", [](Request&&, const Responder&) {
    throw std::runtime_error("secret detail");
  }));
  EXPECT_TRUE(router.add("GET", "/forgets", [](Request&&, const Responder&) {}));
  return router;
}

class HttpServer : public testing::Test {
 protected:
  std::unique_ptr<Server> server_ = open_server(test_router());
  std::string base_ = "http://" + server_->address();
};

TEST_F(HttpServer, BindsToLoopbackOnAPortOfTheKernel) {
  EXPECT_EQ(server_->address(), "127.0.0.1:" + std::to_string(server_->port()));
  EXPECT_NE(server_->port(), 0);
}

TEST_F(HttpServer, AnswersWithParametersQueryAndBody) {
  const auto answer = fetch(base_ + "/echo/a%20b?q=1%2B1", {.method = "POST", .body = "body"});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "a b:1+1:body");
  EXPECT_EQ(answer->header("X-Content-Type-Options"), "nosniff");
}

TEST_F(HttpServer, KeepsAConnectionForSeveralRequests) {
  const TestSocket socket(server_->port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(socket.send(kGet));
    EXPECT_THAT(socket.read_until("\r\n\r\nhello"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
  EXPECT_EQ(server_->counts().accepted, 1U);
  EXPECT_EQ(server_->counts().requests, 3U);
}

TEST_F(HttpServer, AnswersPipelinedRequestsInOrder) {
  const TestSocket socket(server_->port());
  std::string all;
  for (int i = 0; i < 50; ++i) {
    all += "POST /echo/" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n#";
  }
  ASSERT_TRUE(
      socket.send(all + "\r\n" + "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  const auto answers = socket.read_to_end();
  EXPECT_EQ(count_of(answers, "HTTP/1.1 200 OK"), 51U);
  std::size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = answers.find("\r\n\r\n" + std::to_string(i) + ":-:#", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

TEST_F(HttpServer, TakesARequestByteByByte) {
  const TestSocket socket(server_->port());
  for (const char c :
       std::string("POST /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")) {
    ASSERT_TRUE(socket.send(std::string_view(&c, 1)));
  }
  socket.read_until("x:-:abc");
}

TEST_F(HttpServer, ReadsChunkedBodies) {
  const TestSocket socket(server_->port());
  ASSERT_TRUE(
      socket.send("POST /echo/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"));
  socket.read_until("x:-:abcde");
}

TEST_F(HttpServer, TellsTheClientToContinueBeforeALargeBody) {
  const TestSocket socket(server_->port());
  ASSERT_TRUE(
      socket.send("POST /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                  "Expect: 100-continue\r\n\r\n"));
  EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(socket.send("abc"));
  socket.read_until("x:-:abc");
}

TEST_F(HttpServer, UnknownPathsAndMethodsAreTold) {
  EXPECT_EQ(fetch(base_ + "/nothing")->status, 404);
  EXPECT_THAT(fetch(base_ + "/nothing")->body, HasSubstr("\"code\":\"not_found\""));
  const auto wrong = fetch(base_ + "/hello", {.method = "DELETE"});
  EXPECT_EQ(wrong->status, 405);
  EXPECT_EQ(wrong->header("Allow"), "GET, HEAD");
  EXPECT_EQ(fetch(base_ + "/nothing", {.method = "POST", .body = "x"})->status, 404);
}

TEST_F(HttpServer, HeadHasTheLengthAndNoBody) {
  const TestSocket socket(server_->port());
  ASSERT_TRUE(socket.send("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  const auto answer = socket.read_to_end();
  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServer, AnOldClientGetsOneAnswerAndAClose) {
  const TestSocket socket(server_->port());
  ASSERT_TRUE(socket.send("GET /hello HTTP/1.0\r\n\r\n"));
  EXPECT_THAT(socket.read_to_end(), EndsWith("hello"));
}

TEST_F(HttpServer, AClientThatHalfClosesStillHearsTheAnswer) {
  const TestSocket socket(server_->port());
  ASSERT_TRUE(socket.send(kGet));
  socket.half_close();
  EXPECT_THAT(socket.read_to_end(), EndsWith("hello"));
}

TEST_F(HttpServer, GarbageIsAnsweredAndClosed) {
  for (const std::string_view garbage :
       {std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
                         "0123456789\r\n\r\n",
                         25),
        std::string_view("hello there\r\n\r\n"), std::string_view("GET /hello HTTP/9.9\r\n\r\n"),
        std::string_view("GET /a b HTTP/1.1\r\n\r\n"),
        std::string_view("GET /hello HTTP/1.1\r\nno colon\r\n\r\n"),
        std::string_view("GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
        std::string_view("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n"),
        std::string_view("POST /echo/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        std::string_view("POST /echo/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        std::string_view("POST /echo/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        std::string_view("POST /echo/x HTTP/1.1\r\nContent-Length: 3\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")}) {
    const TestSocket socket(server_->port());
    socket.send(garbage);
    EXPECT_THAT(socket.read_to_end(), StartsWith("HTTP/1.1 400 ")) << garbage;
  }
  EXPECT_EQ(server_->counts().bad_requests, 11U);
  EXPECT_EQ(fetch(base_ + "/hello")->body, "hello");
}

TEST_F(HttpServer, AHandlerThatThrowsOrForgetsIsA500) {
  const auto thrown = fetch(base_ + "/throws");
  EXPECT_EQ(thrown->status, 500);
  EXPECT_THAT(thrown->body, Not(HasSubstr("secret detail")));
  EXPECT_EQ(fetch(base_ + "/forgets")->status, 500);
}

TEST(HttpServerAnswers, MayComeLaterFromAnotherThread) {
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<Responder> waiting;
  Router router;
  ASSERT_TRUE(router.add("GET", "/later", [&](Request&&, const Responder& r) {
    const std::lock_guard lock(mutex);
    waiting.push_back(r);
    arrived.notify_one();
  }));
  const auto server = open_server(std::move(router));
  std::thread worker([&] {
    for (int i = 0; i < 20; ++i) {
      std::unique_lock lock(mutex);
      arrived.wait(lock, [&] { return !waiting.empty(); });
      waiting.back().send(Response::text("late"));
      waiting.back().send(Response::text("twice"));  // ignored
      waiting.pop_back();
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(fetch("http://" + server->address() + "/later")->body, "late");
  }
  worker.join();
}

TEST(HttpServerAnswers, AResponderOutlivesItsServer) {
  std::vector<Responder> kept;
  Router router;
  ASSERT_TRUE(
      router.add("GET", "/kept", [&](Request&&, const Responder& r) { kept.push_back(r); }));
  auto server = open_server(std::move(router));
  const TestSocket socket(server->port());
  ASSERT_TRUE(socket.send("GET /kept HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(eventually([&] { return server->counts().requests == 1; }));
  server->stop();
  server.reset();
  ASSERT_EQ(kept.size(), 1U);
  kept[0].send(Response::text("to nobody"));
  EXPECT_TRUE(kept[0].stream().closed());
  EXPECT_EQ(socket.read_to_end(), "");
}

TEST(HttpServerStop, LetsARequestFinishWithinTheGrace) {
  std::mutex mutex;
  std::vector<Responder> waiting;
  Router router;
  ASSERT_TRUE(router.add("GET", "/later", [&](Request&&, const Responder& r) {
    const std::lock_guard lock(mutex);
    waiting.push_back(r);
  }));
  const auto server = open_server(std::move(router));
  const TestSocket idle(server->port());
  const TestSocket busy(server->port());
  ASSERT_TRUE(busy.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return !waiting.empty();
  }));
  ASSERT_TRUE(eventually([&] { return server->counts().connections == 2; }));
  std::thread stopper([&] { server->stop(20s); });
  EXPECT_EQ(idle.read_to_end(), "");
  {
    const std::lock_guard lock(mutex);
    waiting[0].send(Response::text("done"));
    waiting.clear();
  }
  EXPECT_THAT(busy.read_to_end(), EndsWith("done"));
  stopper.join();
  EXPECT_EQ(server->counts().connections, 0U);
  EXPECT_FALSE(fetch("http://" + server->address() + "/later", {.timeout = 1s}));
}

TEST(HttpServerStop, EndsWhenTheGraceIsOver) {
  std::vector<Responder> waiting;
  Router router;
  ASSERT_TRUE(
      router.add("GET", "/never", [&](Request&&, const Responder& r) { waiting.push_back(r); }));
  const auto server = open_server(std::move(router));
  const TestSocket socket(server->port());
  ASSERT_TRUE(socket.send("GET /never HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(eventually([&] { return server->counts().requests == 1; }));
  server->stop(50ms);
  server->stop(50ms);
  EXPECT_EQ(socket.read_to_end(), "");
}

TEST(HttpServerOpen, RefusesBadAddressesAndTakenPorts) {
  for (const char* bad : {"", "8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:80",
                          "example.org:80", "[::1]"}) {
    const auto server = Server::open({.address = bad}, Router{});
    ASSERT_FALSE(server) << bad;
    EXPECT_EQ(server.error().code(), Code::kInvalid) << bad;
  }
  const auto first = open_server(Router{});
  const auto second = Server::open({.address = first->address(), .name = "health"}, Router{});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().text(),
            "health listener: bind " + first->address() + ": Address already in use");
}

TEST(IsLoopback, TellsThisMachineFromOthers) {
  for (const char* yes : {"127.0.0.1:80", "localhost:80", ":80", "[::1]:80", "127.3.4.5:80"}) {
    EXPECT_TRUE(is_loopback(yes)) << yes;
  }
  for (const char* no : {"0.0.0.0:80", "[::]:80", "10.0.0.1:80", "nonsense"}) {
    EXPECT_FALSE(is_loopback(no)) << no;
  }
}

TEST(StaticPages, HaveTagsAndGzip) {
  Router router;
  ASSERT_TRUE(router.page("/", {.content_type = "text/html; charset=utf-8",
                                .body = "<p>plain</p>",
                                .gzip_body = "GZIPPED"}));
  const auto server = open_server(std::move(router));
  const auto url = "http://" + server->address() + "/";
  const auto plain = fetch(url);
  EXPECT_EQ(plain->body, "<p>plain</p>");
  EXPECT_EQ(plain->header("Cache-Control"), "no-cache");
  EXPECT_EQ(plain->header("Vary"), "Accept-Encoding");
  EXPECT_FALSE(plain->header("Content-Encoding"));
  const auto gzip = fetch(url, {.headers = {{"Accept-Encoding", "gzip"}}});
  EXPECT_EQ(gzip->body, "GZIPPED");
  EXPECT_EQ(gzip->header("Content-Encoding"), "gzip");
  const auto tag = std::string(plain->header("ETag").value());
  const auto again = fetch(url, {.headers = {{"If-None-Match", tag}}});
  EXPECT_EQ(again->status, 304);
  EXPECT_EQ(again->body, "");
  EXPECT_EQ(again->header("ETag"), tag);
}

TEST(ServerMetrics, AreTheServersCounts) {
  telemetry::Registry registry;
  const auto server = open_server(test_router(), {.name = "admin"});
  const auto callbacks = register_server_metrics(registry, *server);
  EXPECT_EQ(fetch("http://" + server->address() + "/hello")->status, 200);
  EXPECT_THAT(registry.prometheus_text(),
              HasSubstr("headwater_http_requests_total{listener=\"admin\"} 1\n"));
}

}  // namespace
}  // namespace headwater::http
