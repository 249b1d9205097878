#include "api/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/http/client.h"
#include "protocol/http/server.h"

namespace headwater::api {
namespace {

using testing::HasSubstr;

struct Admin {
  explicit Admin(std::string token) {
    http::Router router;
    EXPECT_TRUE(add_admin_routes(router, {.status = [] { return std::string("{\"edge\":\"a\"}"); },
                                          .tap = &hub,
                                          .token = std::move(token)}));
    server = http::Server::open({.name = "admin"}, std::move(router)).value();
  }
  http::ClientResponse get(const std::string& path, const http::ClientOptions& options = {}) const {
    return http::fetch("http://" + server->address() + path, options).value();
  }

  TapHub hub;
  std::unique_ptr<http::Server> server;
};

TEST(AdminRoutes, StatusIsWhatTheCallbackSays) {
  const Admin admin("");
  const auto answer = admin.get("/api/v1/status");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("Content-Type"), "application/json");
  EXPECT_EQ(answer.header("Cache-Control"), "no-store");
  EXPECT_EQ(answer.body, "{\"edge\":\"a\"}");
}

TEST(AdminRoutes, WithATokenNothingIsServedWithoutIt) {
  const Admin admin("t0ken");
  for (const char* path : {"/api/v1/status", "/api/v1/tap"}) {
    EXPECT_EQ(admin.get(path).status, 401) << path;
    EXPECT_EQ(admin.get(path, {.token = "wrong"}).status, 401) << path;
  }
  EXPECT_EQ(admin.get("/api/v1/status", {.token = "t0ken"}).status, 200);
}

TEST(AdminRoutes, WithoutATokenAnotherSitesNameIsRefused) {
  const Admin admin("");
  const auto with_host = [&](const char* host) {
    return admin.get("/api/v1/status", {.host = host}).status;
  };
  EXPECT_EQ(with_host("rebind.example.org"), 403);
  EXPECT_EQ(with_host("127.0.0.1.example.org:80"), 403);
  EXPECT_EQ(with_host("localhost:8080"), 200);
  EXPECT_EQ(with_host("[::1]:8080"), 200);
  EXPECT_EQ(with_host("10.1.2.3"), 200);
}

TEST(AdminRoutes, TapParametersAreChecked) {
  const Admin admin("");
  for (const char* query : {"kind=frames", "limit=-1", "limit=x", "rate=0", "rate=nan", "rate=1e9",
                            "rate=2x", "speed=2"}) {
    EXPECT_EQ(admin.get(std::string("/api/v1/tap?") + query).status, 400) << query;
  }
  EXPECT_THAT(admin.get("/api/v1/tap?kind=frames").body,
              HasSubstr("kind: 'frames' is not readings or alerts"));
}

TEST(AdminExposure, BeyondLoopbackNeedsTlsAndToken) {
  EXPECT_TRUE(check_admin_exposure("127.0.0.1:8080", false, false));
  EXPECT_TRUE(check_admin_exposure("0.0.0.0:8443", true, true));
  EXPECT_EQ(check_admin_exposure("0.0.0.0:8443", true, false).error().text(),
            "admin address '0.0.0.0:8443' is reachable from elsewhere and has no token");
  EXPECT_EQ(check_admin_exposure("0.0.0.0:8443", false, true).error().text(),
            "admin address '0.0.0.0:8443' is reachable from elsewhere and has no TLS");
  EXPECT_FALSE(check_admin_exposure("[::]:80", false, false));
}

}  // namespace
}  // namespace headwater::api
