#include "protocol/http/auth.h"

#include <gtest/gtest.h>

#include "protocol/http/client.h"
#include "protocol/http/test_socket.h"

namespace headwater::http {
namespace {

Request with_header(std::string value) {
  Request request;
  request.headers.emplace_back("authorization", std::move(value));
  return request;
}

TEST(HasBearer, TakesTheTokenAlone) {
  EXPECT_TRUE(has_bearer(with_header("Bearer secret"), "secret"));
  EXPECT_TRUE(has_bearer(with_header("bearer secret"), "secret"));
  for (const char* bad : {"Bearer secre", "Bearer secrets", "Bearer ", "Bearer", "Basic secret", "",
                          "secret", "Bearer  secret"}) {
    EXPECT_FALSE(has_bearer(with_header(bad), "secret")) << bad;
  }
  EXPECT_FALSE(has_bearer(Request{}, "secret"));
}

TEST(HasBearer, AnEmptyTokenMatchesNothing) {
  EXPECT_FALSE(has_bearer(with_header("Bearer "), ""));
  EXPECT_FALSE(has_bearer(with_header("Bearer x"), ""));
}

TEST(RequireBearer, AnswersUnauthorizedWithoutIt) {
  Router router;
  ASSERT_TRUE(router.add("GET", "/a", require_bearer("s3cret", [](Request&&, const Responder& r) {
                           r.send(Response::text("in"));
                         })));
  ASSERT_TRUE(router.add("GET", "/open", require_bearer("", [](Request&&, const Responder& r) {
                           r.send(Response::text("in"));
                         })));
  const auto server = open_server(std::move(router));
  const auto base = "http://" + server->address();
  const auto without = fetch(base + "/a");
  ASSERT_TRUE(without);
  EXPECT_EQ(without->status, 401);
  EXPECT_EQ(without->header("WWW-Authenticate"), "Bearer realm=\"headwater\"");
  EXPECT_EQ(without->body.find("s3cret"), std::string::npos);
  EXPECT_EQ(fetch(base + "/a", {.token = "wrong"})->status, 401);
  EXPECT_EQ(fetch(base + "/a", {.token = "s3cret"})->status, 200);
  EXPECT_EQ(fetch(base + "/open")->status, 200);
}

}  // namespace
}  // namespace headwater::http
