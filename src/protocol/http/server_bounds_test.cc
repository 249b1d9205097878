// Bad clients: too big, too slow, too many.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/http/client.h"
#include "protocol/http/server.h"
#include "protocol/http/test_socket.h"

namespace headwater::http {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

Router bounded_router(std::vector<Responder>* kept = nullptr) {
  Router router;
  EXPECT_TRUE(router.add("GET", "/hello",
                         [](Request&&, const Responder& r) { r.send(Response::text("hello")); }));
  EXPECT_TRUE(router.add("POST", "/small",
                         [](Request&& request, const Responder& r) {
                           r.send(Response::text(std::to_string(request.body.size())));
                         },
                         {.max_body = 1'000}));
  EXPECT_TRUE(router.add("GET", "/big", [](Request&&, const Responder& r) {
    r.send(Response::text(std::string(32 * 1024 * 1024, 'x')));
  }));
  EXPECT_TRUE(router.add("GET", "/never", [kept](Request&&, const Responder& r) {
    if (kept != nullptr) {
      kept->push_back(r);
    }
  }));
  return router;
}

TEST(HttpBounds, ABodyOverTheRoutesBoundIsRefusedBeforeItIsRead) {
  const auto server = open_server(bounded_router());
  const TestSocket declared(server->port());
  ASSERT_TRUE(declared.send("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"));
  EXPECT_THAT(declared.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  const TestSocket chunked(server->port());
  ASSERT_TRUE(
      chunked.send("POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
  ASSERT_TRUE(chunked.send("200\r\n" + std::string(512, 'a') + "\r\n200\r\n"));
  EXPECT_THAT(chunked.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  const TestSocket expecting(server->port());
  ASSERT_TRUE(
      expecting.send("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n"
                     "Expect: 100-continue\r\n\r\n"));
  EXPECT_THAT(expecting.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_EQ(fetch("http://" + server->address() + "/small",
                  {.method = "POST", .body = std::string(1'000, 'a')})
                ->body,
            "1000");
  EXPECT_EQ(fetch("http://" + server->address() + "/hello", {.body = "x"})->status, 413);
}

TEST(HttpBounds, AClientInTheMiddleOfATooLargeBodyStillReadsTheAnswer) {
  const auto server = open_server(bounded_router());
  const TestSocket socket(server->port());
  socket.send("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n");
  socket.send(std::string(500'000, 'a'));
  socket.half_close();
  bool reset = true;
  EXPECT_THAT(socket.read_to_end(&reset), StartsWith("HTTP/1.1 413 "));
  EXPECT_FALSE(reset);
}

TEST(HttpBounds, AHeaderOverTheBoundIsRefused) {
  const auto server = open_server(bounded_router());
  const TestSocket within(server->port());
  ASSERT_TRUE(
      within.send("GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(15'000, 'a') + "\r\n\r\n"));
  EXPECT_THAT(within.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  for (const auto& request :
       {"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(17'000, 'a') + "\r\n\r\n",
        "GET /" + std::string(17'000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /hello HTTP/1.1\r\n" + std::string(64'000, 'a')}) {
    const TestSocket socket(server->port());
    socket.send(request);
    EXPECT_THAT(socket.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
  }
}

TEST(HttpBounds, SlowRequestsAreClosedAndDoNotHinderOthers) {
  const auto server = open_server(bounded_router(), {.request_timeout = 300ms});
  std::vector<TestSocket> slow;
  for (int i = 0; i < 100; ++i) {
    slow.emplace_back(server->port());
    ASSERT_TRUE(slow.back().send("GET /hello HTTP/1.1\r\nX-"));
  }
  EXPECT_EQ(fetch("http://" + server->address() + "/hello")->body, "hello");
  for (auto& socket : slow) {
    socket.send("a");
    EXPECT_THAT(socket.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 408 "));
    socket.half_close();
    socket.read_to_end();
  }
  EXPECT_EQ(server->counts().timeouts, 100U);
  EXPECT_TRUE(eventually([&] { return server->counts().connections == 0; }));
}

TEST(HttpBounds, ABodyThatStallsIsClosed) {
  const auto server = open_server(bounded_router(), {.request_timeout = 100ms});
  const TestSocket socket(server->port());
  ASSERT_TRUE(socket.send("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"));
  EXPECT_THAT(socket.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 408 "));
}

TEST(HttpBounds, AnIdleConnectionIsClosed) {
  const auto server = open_server(bounded_router(), {.idle_timeout = 500ms});
  const TestSocket never_used(server->port());
  const TestSocket used(server->port());
  ASSERT_TRUE(used.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_THAT(used.read_to_end(), HasSubstr("hello"));
  EXPECT_EQ(never_used.read_to_end(), "");
  EXPECT_EQ(server->counts().timeouts, 0U);
}

TEST(HttpBounds, AnAnswerThatDoesNotComeIs503) {
  std::vector<Responder> kept;
  const auto server = open_server(bounded_router(&kept), {.answer_timeout = 100ms});
  EXPECT_EQ(fetch("http://" + server->address() + "/never")->status, 503);
  kept[0].send(Response::text("too late"));
  EXPECT_EQ(fetch("http://" + server->address() + "/hello")->body, "hello");
}

TEST(HttpBounds, AClientThatDoesNotReadIsClosed) {
  const auto server = open_server(bounded_router(), {.write_timeout = 100ms});
  const TestSocket socket(server->port(), 4096);
  ASSERT_TRUE(socket.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_TRUE(eventually([&] { return server->counts().timeouts == 1; }));
  EXPECT_TRUE(eventually([&] { return server->counts().connections == 0; }));
}

TEST(HttpBounds, ConnectionsOverTheBoundHear503) {
  const auto server = open_server(bounded_router(), {.max_connections = 8});
  std::vector<TestSocket> open;
  for (int i = 0; i < 8; ++i) {
    open.emplace_back(server->port());
    ASSERT_TRUE(open.back().send("GET /hel"));
  }
  ASSERT_TRUE(eventually([&] { return server->counts().connections == 8; }));
  const TestSocket over(server->port());
  EXPECT_THAT(over.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(server->counts().refused, 1U);
  // Far over the bound they are closed at once.
  std::vector<TestSocket> crowd;
  for (int i = 0; i < 100; ++i) {
    crowd.emplace_back(server->port());
  }
  ASSERT_TRUE(eventually([&] { return server->counts().refused == 101; }));
  EXPECT_LE(server->counts().connections, 8U + 16U);
  ASSERT_TRUE(open[0].send("lo HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_THAT(open[0].read_until("hello"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpBounds, AnIdleKeptConnectionGivesWayToANewOne) {
  const auto server = open_server(bounded_router(), {.max_connections = 2});
  const TestSocket first(server->port());
  const TestSocket second(server->port());
  for (const auto* socket : {&first, &second}) {
    ASSERT_TRUE(socket->send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
    socket->read_until("hello");
  }
  EXPECT_EQ(fetch("http://" + server->address() + "/hello")->body, "hello");
  EXPECT_EQ(first.read_to_end(), "");
  EXPECT_EQ(server->counts().refused, 0U);
}

}  // namespace
}  // namespace headwater::http
