#include "api/tap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "api/admin.h"
#include "protocol/http/client.h"

namespace headwater::api {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kDeadline{20};

bool eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

class Tap : public testing::Test {
 protected:
  void SetUp() override {
    http::Router router;
    ASSERT_TRUE(add_admin_routes(router, {.tap = &hub_}));
    auto server = http::Server::open({.name = "admin"}, std::move(router));
    ASSERT_TRUE(server);
    server_ = std::move(server).value();
  }
  std::unique_ptr<http::EventReader> listen(const std::string& query, TapKind kind) {
    auto reader = http::EventReader::open("http://" + server_->address() + "/api/v1/tap" + query);
    EXPECT_TRUE(reader) << reader.error().text();
    EXPECT_TRUE(eventually([&] { return hub_.wanted(kind); }));
    return std::move(reader).value();
  }
  static http::Event next(http::EventReader& reader) {
    auto event = reader.next(kDeadline);
    EXPECT_TRUE(event && *event);
    return event && *event ? std::move(**event) : http::Event{};
  }

  TapHub hub_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(Tap, IsWantedOnlyWhileSomeoneListens) {
  EXPECT_FALSE(hub_.wanted(TapKind::kReadings));
  EXPECT_FALSE(hub_.takes(TapKind::kReadings, "main"));
  hub_.publish(TapKind::kReadings, "main", "{}");
  {
    const auto reader = listen("", TapKind::kReadings);
    EXPECT_FALSE(hub_.wanted(TapKind::kAlerts));
  }
  EXPECT_TRUE(eventually([&] {
    hub_.sweep();
    return !hub_.wanted(TapKind::kReadings);
  }));
}

TEST_F(Tap, ShowsThePipelineAndKindAskedForUpToTheLimit) {
  const auto reader = listen("?pipeline=main&kind=alerts&limit=2", TapKind::kAlerts);
  hub_.publish(TapKind::kAlerts, "other", "{\"n\":0}");
  hub_.publish(TapKind::kReadings, "main", "{\"n\":1}");
  for (int n = 2; n < 6; ++n) {
    hub_.publish(TapKind::kAlerts, "main", "{\"n\":" + std::to_string(n) + "}");
  }
  const auto first = next(*reader);
  EXPECT_EQ(first.event, "alert");
  EXPECT_EQ(first.data, "{\"n\":2}");
  EXPECT_EQ(next(*reader).data, "{\"n\":3}");
  const auto end = next(*reader);
  EXPECT_EQ(end.event, "end");
  EXPECT_EQ(end.data, "{\"shown\":2}");
  EXPECT_FALSE(reader->next(kDeadline));
  EXPECT_FALSE(hub_.wanted(TapKind::kAlerts));
}

TEST_F(Tap, SkipsWhatIsOverTheRateAndTellsHowMuch) {
  const auto reader = listen("?rate=5", TapKind::kReadings);
  int taken = 0;
  for (int i = 0; i < 1'000; ++i) {
    if (hub_.takes(TapKind::kReadings, "main")) {
      ++taken;
      hub_.publish(TapKind::kReadings, "main", "{}");
    }
  }
  EXPECT_GE(taken, 5);
  EXPECT_LT(taken, 100);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(next(*reader).event, "reading");
  }
  // With the rate filled again the next event comes behind the number of those skipped.
  ASSERT_TRUE(eventually([&] { return hub_.takes(TapKind::kReadings, "main"); }));
  hub_.publish(TapKind::kReadings, "main", "{\"last\":true}");
  auto event = next(*reader);
  while (event.event == "reading" && event.data == "{}") {
    event = next(*reader);
  }
  EXPECT_EQ(event.event, "skipped");
  EXPECT_THAT(event.data, testing::MatchesRegex("\\{\"skipped\":[0-9]+\\}"));
}

TEST_F(Tap, TakesListenersUpToItsBound) {
  std::vector<std::unique_ptr<http::EventReader>> readers;
  for (std::size_t i = 0; i < TapHub::kMaxListeners; ++i) {
    readers.push_back(listen("", TapKind::kReadings));
  }
  ASSERT_TRUE(eventually([&] { return !hub_.has_room(); }));
  const auto refused = http::fetch("http://" + server_->address() + "/api/v1/tap");
  ASSERT_TRUE(refused);
  EXPECT_GE(refused->status, 400);
  readers.pop_back();
  EXPECT_TRUE(eventually([&] { return hub_.has_room(); }));
}

TEST_F(Tap, IsFedByManyThreads) {
  const auto reader = listen("?rate=1000&limit=400", TapKind::kReadings);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 100; ++i) {
        hub_.publish(TapKind::kReadings, "main", "{}");
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (int i = 0; i < 400; ++i) {
    ASSERT_EQ(next(*reader).event, "reading");
  }
  EXPECT_EQ(next(*reader).event, "end");
}

}  // namespace
}  // namespace headwater::api
