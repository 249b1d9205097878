#include "protocol/http/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/http/static_page.h"
#include "protocol/http/wire.h"

namespace headwater::http {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

TEST(PercentDecode, DecodesAndRefusesBrokenEscapes) {
  EXPECT_EQ(percent_decode("a%20b%2fC%C3%A9").value(), "a b/Cé");
  EXPECT_EQ(percent_decode("a+b").value(), "a+b");
  EXPECT_EQ(percent_decode("a+b", true).value(), "a b");
  for (const char* bad : {"%", "%4", "%g1", "%1g", "%00"}) {
    EXPECT_FALSE(percent_decode(bad)) << bad;
  }
}

TEST(PercentEncode, RoundTripsAllBytes) {
  std::string all;
  for (int i = 1; i < 256; ++i) {
    all += static_cast<char>(i);
  }
  EXPECT_EQ(percent_decode(percent_encode(all)).value(), all);
  EXPECT_EQ(percent_encode("a b/é~"), "a%20b%2F%C3%A9~");
}

TEST(ParseQuery, KeepsOrderRepeatsAndEmptyValues) {
  EXPECT_THAT(parse_query("a=1&b=x%20y&a=2&flag&&c=+&d==e").value(),
              ElementsAre(Pair("a", "1"), Pair("b", "x y"), Pair("a", "2"), Pair("flag", ""),
                          Pair("c", " "), Pair("d", "=e")));
  EXPECT_TRUE(parse_query("").value().empty());
}

TEST(ParseQuery, BoundsTheNumberOfFields) {
  std::string text = "a=1";
  for (std::size_t i = 1; i < kMaxQueryFields; ++i) {
    text += "&a=1";
  }
  EXPECT_EQ(parse_query(text).value().size(), kMaxQueryFields);
  EXPECT_FALSE(parse_query(text + "&a=1"));
}

TEST(ParseTarget, TakesOriginAndAbsoluteForm) {
  EXPECT_EQ(parse_target("/a%20b?x=1#f").value().path, "/a b");
  EXPECT_EQ(parse_target("HTTP://host:80/a?x=1").value().path, "/a");
  EXPECT_EQ(parse_target("http://host").value().path, "/");
}

TEST(ParseTarget, RefusesWhatIsNotAPath) {
  for (const char* bad : {"", "*", "a", "host:443", "/%00", "/%0a", "/a/../b", "/..", "/.",
                          "/%2e%2e", "http://host?x", "/a?%zz"}) {
    EXPECT_FALSE(parse_target(bad)) << bad;
  }
  EXPECT_TRUE(parse_target("/..a/b.."));
}

TEST(Request, HeaderNamesCompareWithoutCase) {
  Request request;
  request.headers = {{"X-One", "1"}};
  EXPECT_EQ(request.header("x-oNE"), "1");
  EXPECT_FALSE(request.header("x-on"));
}

TEST(Request, QueryNumbersAreCheckedAgainstTheirBounds) {
  Request request;
  request.query = {{"limit", "12"}, {"bad", "12x"}, {"big", "99999999999999999999"}};
  EXPECT_EQ(request.query_number("limit", 5, 0, 100).value(), 12);
  EXPECT_EQ(request.query_number("none", 5, 0, 100).value(), 5);
  EXPECT_EQ(request.query_number("limit", 5, 0, 10).error().text(),
            "limit: '12' is not a whole number from 0 to 10");
  EXPECT_FALSE(request.query_number("bad", 5, 0, 100));
  EXPECT_FALSE(request.query_number("big", 5, 0, 100));
}

TEST(Response, AnErrorCarriesItsCodeAndText) {
  const auto response = Response::error(Error::not_found("no lane '{}'", "x\"y"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.body, "{\"error\":{\"code\":\"not_found\",\"text\":\"no lane 'x\\\"y'\"}}\n");
}

TEST(FormatEvent, SplitsLinesAndCannotBeForged) {
  EXPECT_EQ(format_event("a"), "data: a\n\n");
  EXPECT_EQ(format_event("a\nb\r\nc\rd", "alert\ndata: x", "7\n\n"),
            "id: 7\nevent: alert\ndata: a\ndata: b\ndata: c\ndata: d\n\n");
  EXPECT_EQ(format_event(""), "data: \n\n");
}

TEST(AppendHead, LeavesOutHeadersThatWouldSplitTheAnswer) {
  Response response;
  response.headers = {{"X-Good", "1"}, {"X-Bad", "1\r\nSet-Cookie: a"}, {"X\nBad", "2"}};
  std::string out;
  append_head(out, response, Framing::kLength, true);
  EXPECT_THAT(out, HasSubstr("X-Good: 1\r\n"));
  EXPECT_THAT(out, Not(HasSubstr("Bad")));
  EXPECT_THAT(out, HasSubstr("Cache-Control: no-store\r\n"));
  EXPECT_THAT(out, testing::ContainsRegex("Date: [A-Z][a-z][a-z], [0-9][0-9] [A-Z][a-z][a-z] 20"));
  EXPECT_TRUE(out.ends_with("Connection: close\r\n\r\n"));
}

TEST(AcceptsGzip, ReadsWeights) {
  EXPECT_TRUE(accepts_gzip("gzip"));
  EXPECT_TRUE(accepts_gzip("br, gzip;q=0.5"));
  EXPECT_TRUE(accepts_gzip("*"));
  EXPECT_FALSE(accepts_gzip(""));
  EXPECT_FALSE(accepts_gzip("br"));
  EXPECT_FALSE(accepts_gzip("gzip;q=0"));
  EXPECT_FALSE(accepts_gzip("gzip;q=0.000, *"));
}

TEST(EtagMatches, ComparesWeaklyInAList) {
  EXPECT_TRUE(etag_matches("\"a\"", "\"a\""));
  EXPECT_TRUE(etag_matches("\"b\", W/\"a\"", "\"a\""));
  EXPECT_TRUE(etag_matches("*", "\"a\""));
  EXPECT_FALSE(etag_matches("\"b\"", "\"a\""));
}

TEST(Header, NamesAreTokensAndValuesHaveNoControlCharacters) {
  for (const char* good : {"X-Site", "a", "!#$%&'*+-.^_`|~9"}) {
    EXPECT_TRUE(is_header_name(good)) << good;
  }
  for (const char* bad : {"", "X Site", "X:", "X\n",
                          "Stra\xc3\x9f"
                          "e"}) {
    EXPECT_FALSE(is_header_name(bad)) << bad;
  }
  EXPECT_TRUE(is_header_value(""));
  EXPECT_TRUE(is_header_value("a\tb c \xc3\x9f"));
  for (const std::string_view bad : {"a\r\nb", "a\nb", "\x7f"}) {
    EXPECT_FALSE(is_header_value(bad));
  }
  EXPECT_FALSE(is_header_value(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace headwater::http
