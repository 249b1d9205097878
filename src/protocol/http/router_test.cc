#include "protocol/http/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/http/server.h"

namespace headwater::http {
namespace {

using testing::ElementsAre;
using testing::Pair;

const Handler kNothing = [](Request&&, const Responder&) {};

TEST(Router, MatchesLiteralsParametersAndTheRest) {
  Router router;
  ASSERT_TRUE(router.add("GET", "/", kNothing));
  ASSERT_TRUE(router.add("GET", "/api/v1/alerts/{id}", kNothing));
  ASSERT_TRUE(router.add("GET", "/files/{path...}", kNothing));
  EXPECT_NE(router.match("GET", "/").handler, nullptr);
  EXPECT_THAT(router.match("GET", "/api/v1/alerts/a b").params, ElementsAre(Pair("id", "a b")));
  EXPECT_THAT(router.match("GET", "/files/a/b//c").params, ElementsAre(Pair("path", "a/b//c")));
  for (const char* path : {"/api/v1/alerts", "/api/v1/alerts/", "/api/v1/alerts/a/b", "/files",
                           "//", "/api", "", "x"}) {
    EXPECT_EQ(router.match("GET", path).handler, nullptr) << path;
  }
}

TEST(Router, ALiteralWinsWhateverTheOrder) {
  Router router;
  int hit = 0;
  ASSERT_TRUE(router.add("GET", "/a/{rest...}", [&](Request&&, const Responder&) { hit = 3; }));
  ASSERT_TRUE(router.add("GET", "/a/{x}", [&](Request&&, const Responder&) { hit = 2; }));
  ASSERT_TRUE(router.add("GET", "/a/b", [&](Request&&, const Responder&) { hit = 1; }));
  const auto call = [&](const char* path) {
    (*router.match("GET", path).handler)(Request{}, Responder(nullptr));
    return hit;
  };
  EXPECT_EQ(call("/a/b"), 1);
  EXPECT_EQ(call("/a/c"), 2);
  EXPECT_EQ(call("/a/b/c"), 3);
}

TEST(Router, AnotherMethodOfAKnownPathIsTold) {
  Router router;
  ASSERT_TRUE(router.add("GET", "/a", kNothing));
  ASSERT_TRUE(router.add("POST", "/a", kNothing, {.max_body = 10}));
  EXPECT_EQ(router.match("PUT", "/a").handler, nullptr);
  EXPECT_EQ(router.match("PUT", "/a").allow, "GET, HEAD, POST");
  EXPECT_EQ(router.match("PUT", "/b").allow, "");
  EXPECT_NE(router.match("HEAD", "/a").handler, nullptr);
  EXPECT_EQ(router.match("POST", "/a").options->max_body, 10U);
}

TEST(Router, RefusesBadAndRepeatedPatterns) {
  Router router;
  for (const char* bad :
       {"", "a", "/{", "/a{b}", "/{}", "/{A}", "/{a}/{a}", "/{a...}/b", "/{...}"}) {
    EXPECT_FALSE(router.add("GET", bad, kNothing)) << bad;
  }
  EXPECT_TRUE(router.add("GET", "/a/{x}", kNothing));
  EXPECT_FALSE(router.add("GET", "/a/{y}", kNothing));
  EXPECT_TRUE(router.add("PUT", "/a/{y}", kNothing));
}

}  // namespace
}  // namespace headwater::http
