#include "api/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/http/client.h"
#include "protocol/http/server.h"

namespace headwater::api {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Health : public testing::Test {
 protected:
  void SetUp() override {
    http::Router router;
    ASSERT_TRUE(add_health_routes(router, state_, registry_));
    auto server = http::Server::open({.name = "health"}, std::move(router));
    ASSERT_TRUE(server);
    server_ = std::move(server).value();
  }
  http::ClientResponse get(const std::string& path) {
    auto answer = http::fetch("http://" + server_->address() + path);
    EXPECT_TRUE(answer);
    return std::move(answer).value();
  }

  HealthState state_;
  telemetry::Registry registry_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(Health, StartsNotReadyAndBecomesReady) {
  EXPECT_EQ(get("/startupz").status, 503);
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_EQ(get("/livez").status, 200);
  state_.set_started();
  EXPECT_EQ(get("/startupz").status, 200);
  const auto ready = get("/readyz");
  EXPECT_EQ(ready.status, 200);
  EXPECT_EQ(ready.body, "{\"status\":\"ready\",\"reasons\":{}}\n");
}

TEST_F(Health, ACheckIsAskedEachTime) {
  state_.set_started();
  std::string reason;
  state_.add_check("store", [&reason] { return reason; });
  EXPECT_EQ(get("/readyz").status, 200);
  reason = "spool is full";
  EXPECT_FALSE(state_.ready());
  EXPECT_EQ(get("/readyz").body,
            "{\"status\":\"not_ready\",\"reasons\":{\"store\":\"spool is full\"}}\n");
  EXPECT_EQ(get("/livez").status, 200);
  reason.clear();
  EXPECT_EQ(get("/readyz").status, 200);
}

TEST_F(Health, AnyReasonMakesItNotReady) {
  state_.set_started();
  state_.set_not_ready("source line", "broker \"x\" is down");
  state_.set_not_ready("store", "full");
  const auto answer = get("/readyz");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body,
            "{\"status\":\"not_ready\",\"reasons\":{\"source line\":\"broker \\\"x\\\" is down\","
            "\"store\":\"full\"}}\n");
  EXPECT_EQ(get("/livez").status, 200);
  state_.set_ready("store");
  EXPECT_FALSE(state_.ready());
  state_.set_ready("source line");
  state_.set_ready("never set");
  EXPECT_TRUE(state_.ready());
  EXPECT_EQ(get("/readyz").status, 200);
}

TEST_F(Health, AHeartThatStopsIsNotLive) {
  auto& steady = state_.watch("worker 0", 1h);
  EXPECT_TRUE(state_.live());
  auto& stopped = state_.watch("worker 1", 0ms);
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (state_.live() && std::chrono::steady_clock::now() < deadline) {
  }
  const auto answer = get("/livez");
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, HasSubstr("\"worker 1\":\"silent for "));
  EXPECT_THAT(answer.body, testing::Not(HasSubstr("worker 0")));
  steady.beat();
  stopped.beat();
}

TEST_F(Health, MetricsAreThePrometheusText) {
  registry_.counter("headwater_test_rows_total", "Rows.").add(7);
  const auto answer = get("/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(answer.body, HasSubstr("\nheadwater_test_rows_total 7\n"));
}

TEST_F(Health, ServesNothingElse) {
  EXPECT_EQ(get("/").status, 404);
  EXPECT_EQ(get("/api/v1/status").status, 404);
}

}  // namespace
}  // namespace headwater::api
