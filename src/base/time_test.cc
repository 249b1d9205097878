#include "base/time.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace headwater {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

std::int64_t ns(std::string_view text, int offset = 0) {
  const auto at = parse_rfc3339(text, offset);
  EXPECT_TRUE(at.ok()) << text;
  return at ? at->ns : 0;
}

TEST(Rfc3339, ReadsTheFormsThatReadingsCarry) {
  constexpr std::int64_t kAt = 1'386'018'900'000'000'000;
  EXPECT_EQ(ns("2013-12-02T21:15:00Z"), kAt);
  EXPECT_EQ(ns("2013-12-02t21:15:00z"), kAt);
  EXPECT_EQ(ns("2013-12-02 21:15:00"), kAt);
  EXPECT_EQ(ns("2013-12-02T21:15"), kAt);
  EXPECT_EQ(ns("2013-12-02T22:15:00+01:00"), kAt);
  EXPECT_EQ(ns("2013-12-02T22:15:00+0100"), kAt);
  EXPECT_EQ(ns("2013-12-02T15:45:00-05:30"), kAt);
  EXPECT_EQ(ns("2013-12-02T21:15:00.25Z"), kAt + 250'000'000);
  EXPECT_EQ(ns("2013-12-02T21:15:00.1234567899Z"), kAt + 123'456'789);
  EXPECT_EQ(ns("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(ns("1969-12-31T23:59:59.5Z"), -500'000'000);
}

TEST(Rfc3339, DefaultOffsetIsForTextsWithoutOne) {
  EXPECT_EQ(ns("1970-01-01T01:00:00", 60), 0);
  EXPECT_EQ(ns("1970-01-01T01:00:00Z", 60), seconds(3600) / std::chrono::nanoseconds(1));
}

TEST(Rfc3339, RefusesWhatIsNoTime) {
  for (const char* text :
       {"", "x", "2013", "2013-12", "2013-13-01T00:00:00Z", "2013-02-29T00:00:00Z",
        "2013-12-02T24:00:00Z", "2013-12-02T00:60:00Z", "2013-12-02T00:00:61Z",
        "2013-12-02T00:00:00.Z", "2013-12-02T00:00:00+1:00", "2013-12-02T00:00:00+24:00",
        "2013-12-02T00:00:00Zx", "2013-12-02T", "2013-12-02T00:00:", "1677-01-01T00:00:00Z",
        "2262-01-01T00:00:00Z", " 2013-12-02T00:00:00Z", "-013-12-02T00:00:00Z"}) {
    EXPECT_FALSE(parse_rfc3339(text).ok()) << text;
  }
  EXPECT_TRUE(parse_rfc3339("2012-02-29T23:59:60Z").ok()) << "leap day and leap second";
}

TEST(Rfc3339, WritesTheFewestDigitsThatLoseNothing) {
  EXPECT_EQ(format_rfc3339({0}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_rfc3339({250'000'000}), "1970-01-01T00:00:00.250Z");
  EXPECT_EQ(format_rfc3339({1'000}), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(format_rfc3339({-1}), "1969-12-31T23:59:59.999999999Z");
}

TEST(Rfc3339, WhatIsWrittenIsRead) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 2'000; ++i) {
    // 1680 to 2260
    const WallTime at{static_cast<std::int64_t>(random() % 18'300'000'000'000'000'000ULL -
                                                9'150'000'000'000'000'000ULL)};
    ASSERT_EQ(ns(format_rfc3339(at)), at.ns) << format_rfc3339(at);
  }
}

TEST(Duration, ReadsUnitsAndSums) {
  EXPECT_EQ(*parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(*parse_duration("1h30m"), minutes(90));
  EXPECT_EQ(*parse_duration("2d"), hours(48));
  EXPECT_EQ(*parse_duration("1.5s"), milliseconds(1'500));
  EXPECT_EQ(*parse_duration("0.25ms"), microseconds(250));
  EXPECT_EQ(*parse_duration("0s"), Nanos(0));
}

TEST(Duration, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "5", "s", "-5s", "5 s", "5x", "5s ", "nans", "infs", "1e3s", "5s5",
                           ".5s", "+5s", "300y", "107000d", "99999999999999999999s"}) {
    EXPECT_FALSE(parse_duration(text).ok()) << text;
  }
  EXPECT_EQ(parse_duration("5").error().text(),
            "'5' is not a duration such as 250ms, 30s or 1h30m: the unit is missing");
}

TEST(Duration, WhatIsWrittenIsRead) {
  EXPECT_EQ(format_duration(minutes(90)), "1h30m");
  EXPECT_EQ(format_duration(milliseconds(250)), "250ms");
  EXPECT_EQ(format_duration(Nanos(0)), "0s");
  EXPECT_EQ(format_duration(Nanos(-5)), "0s");
  std::mt19937_64 random(4);
  for (int i = 0; i < 1'000; ++i) {
    const Nanos value{static_cast<std::int64_t>(random() >> (1 + random() % 62))};
    ASSERT_EQ(parse_duration(format_duration(value)).value(), value) << format_duration(value);
  }
  const Nanos longest = Nanos::max();
  EXPECT_EQ(*parse_duration(format_duration(longest)), longest);
}

TEST(Time, ClocksAddAndSubtract) {
  EXPECT_EQ((MonoTime{10} + Nanos(5)).ns, 15);
  EXPECT_EQ(MonoTime{10} - MonoTime{4}, Nanos(6));
  EXPECT_LT(WallTime{1}, WallTime{2});
  EXPECT_EQ((WallTime{10} - Nanos(20)).ns, -10);
}

}  // namespace
}  // namespace headwater
