// Server-sent events.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "protocol/http/client.h"
#include "protocol/http/server.h"
#include "protocol/http/test_socket.h"

namespace headwater::http {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Streams : public testing::Test {
 protected:
  void open(ServerOptions options = {}) {
    Router router;
    ASSERT_TRUE(router.add("GET", "/events", [this](Request&&, const Responder& responder) {
      const std::lock_guard lock(mutex_);
      streams_.push_back(responder.stream());
    }));
    ASSERT_TRUE(router.add("GET", "/hello",
                           [](Request&&, const Responder& r) { r.send(Response::text("hello")); }));
    server_ = open_server(std::move(router), std::move(options));
  }
  std::string url(const char* path = "/events") const {
    return "http://" + server_->address() + path;
  }
  bool wait_for_streams(std::size_t count) {
    return eventually([&] {
      const std::lock_guard lock(mutex_);
      return streams_.size() == count && server_->counts().streams == count;
    });
  }
  EventStream stream(std::size_t index = 0) {
    const std::lock_guard lock(mutex_);
    return streams_.at(index);
  }

  std::mutex mutex_;
  std::vector<EventStream> streams_;
  std::unique_ptr<Server> server_;
};

TEST_F(Streams, CarryEventsInOrder) {
  open();
  const auto reader = EventReader::open(url());
  ASSERT_TRUE(reader) << reader.error().text();
  ASSERT_TRUE(wait_for_streams(1));
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_TRUE(
        stream().push(format_event("line\n" + std::to_string(i), "alert", std::to_string(i))));
  }
  stream().close();
  EXPECT_FALSE(stream().push("data: late\n\n"));
  for (int i = 0; i < 1'000; ++i) {
    const auto event = (*reader)->next(kTestDeadline);
    ASSERT_TRUE(event);
    ASSERT_TRUE(*event);
    EXPECT_EQ((*event)->data, "line\n" + std::to_string(i));
    EXPECT_EQ((*event)->event, "alert");
    EXPECT_EQ((*event)->id, std::to_string(i));
  }
  const auto end = (*reader)->next(kTestDeadline);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code(), Code::kUnavailable);
  EXPECT_TRUE(eventually([&] { return server_->counts().streams == 0; }));
}

TEST_F(Streams, ReadersWaitNoLongerThanAsked) {
  open();
  const auto reader = EventReader::open(url());
  ASSERT_TRUE(reader);
  const auto event = (*reader)->next(10ms);
  ASSERT_TRUE(event);
  EXPECT_FALSE(*event);
}

TEST_F(Streams, TwoHundredClientsAreFedByOneThread) {
  open();
  std::vector<TestSocket> clients;
  for (int i = 0; i < 200; ++i) {
    clients.emplace_back(server_->port());
    ASSERT_TRUE(clients.back().send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n"));
  }
  ASSERT_TRUE(wait_for_streams(200));
  const auto event = std::make_shared<const std::string>(format_event("to all"));
  for (std::size_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(stream(i).push(event));
  }
  EXPECT_EQ(fetch(url("/hello"))->body, "hello");
  for (const auto& client : clients) {
    client.read_until("data: to all\n\n");
  }
}

TEST_F(Streams, AClientThatIsTooSlowIsDropped) {
  open({.max_stream_backlog = 64 * 1024});
  const TestSocket slow(server_->port(), 4096);
  ASSERT_TRUE(slow.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n"));
  ASSERT_TRUE(wait_for_streams(1));
  const auto event = std::make_shared<const std::string>(format_event(std::string(10'000, 'x')));
  // The kernel's buffers take some megabytes before the backlog grows.
  EXPECT_TRUE(eventually([&] { return !stream().push(event); }));
  EXPECT_TRUE(stream().closed());
  EXPECT_TRUE(eventually([&] { return server_->counts().streams == 0; }));
  EXPECT_EQ(server_->counts().dropped_streams, 1U);
  EXPECT_EQ(fetch(url("/hello"))->body, "hello");
}

TEST_F(Streams, AClientThatGoesIsNoticed) {
  open();
  {
    const TestSocket client(server_->port());
    ASSERT_TRUE(client.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n"));
    ASSERT_TRUE(wait_for_streams(1));
  }
  EXPECT_TRUE(eventually([&] { return stream().closed(); }));
  EXPECT_FALSE(stream().push("data: x\n\n"));
}

TEST_F(Streams, QuietStreamsCarryAHeartbeat) {
  open({.heartbeat = 30ms});
  const TestSocket client(server_->port());
  ASSERT_TRUE(client.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n"));
  client.read_until(":\n\n:\n\n");
}

TEST_F(Streams, HeadGetsTheHeadersAlone) {
  open();
  const TestSocket client(server_->port());
  ASSERT_TRUE(client.send("HEAD /events HTTP/1.1\r\nHost: x\r\n\r\n"));
  client.half_close();
  EXPECT_THAT(client.read_to_end(), HasSubstr("Content-Type: text/event-stream\r\n"));
}

TEST_F(Streams, EndWithTheServer) {
  open();
  const auto reader = EventReader::open(url());
  ASSERT_TRUE(reader);
  ASSERT_TRUE(wait_for_streams(1));
  ASSERT_TRUE(stream().push(format_event("last")));
  server_->stop(kTestDeadline);
  EXPECT_EQ((*reader)->next(kTestDeadline).value()->data, "last");
  EXPECT_FALSE((*reader)->next(kTestDeadline));
  EXPECT_TRUE(stream().closed());
  server_.reset();
  EXPECT_FALSE(stream().push("data: x\n\n"));
}

TEST_F(Streams, TakePushesFromManyThreads) {
  open();
  const auto reader = EventReader::open(url());
  ASSERT_TRUE(reader);
  ASSERT_TRUE(wait_for_streams(1));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 200; ++i) {
        stream().push(format_event(std::to_string(t)));
      }
    });
  }
  std::array<int, 4> seen{};
  for (int i = 0; i < 800; ++i) {
    const auto event = (*reader)->next(kTestDeadline);
    ASSERT_TRUE(event && *event);
    ++seen[static_cast<std::size_t>(std::stoi((*event)->data))];
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_THAT(seen, testing::Each(200));
}

TEST_F(Streams, ARefusalCarriesItsStatus) {
  open();
  const auto reader = EventReader::open(url("/nothing"));
  ASSERT_FALSE(reader);
  EXPECT_THAT(reader.error().text(), HasSubstr("status 404"));
}

}  // namespace
}  // namespace headwater::http
