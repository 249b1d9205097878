#include "base/strings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace headwater {
namespace {

using ::testing::ElementsAre;

TEST(Split, KeepsEmptyParts) {
  EXPECT_THAT(split("a//b", '/'), ElementsAre("a", "", "b"));
  EXPECT_THAT(split("", '/'), ElementsAre(""));
  EXPECT_THAT(split("/", '/'), ElementsAre("", ""));
}

TEST(Trim, TakesBlanksOffBothEnds) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
}

TEST(Utf8, RefusesWhatRfc3629Refuses) {
  for (const char* good : {"", "a", "é", "€", "😀", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xe2\x82",
        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xc3"}) {
    EXPECT_FALSE(is_utf8(bad));
  }
}

std::string_view nearest(std::string_view name) {
  static constexpr std::string_view kNames[] = {"batch_size", "model", "qos", "type", "id"};
  return nearest_name(name, kNames);
}

TEST(NearestName, FindsSlipsOfThePen) {
  EXPECT_EQ(nearest("batchsize"), "batch_size");
  EXPECT_EQ(nearest("btach_size"), "batch_size");
  EXPECT_EQ(nearest("modle"), "model");
  EXPECT_EQ(nearest("tpye"), "type");
  EXPECT_EQ(nearest("qso"), "qos");
  EXPECT_EQ(nearest("model"), "model");
}

TEST(NearestName, IsSilentWhereNothingIsNear) {
  EXPECT_EQ(nearest("temperature"), "");
  EXPECT_EQ(nearest("x"), "");
  EXPECT_EQ(nearest(""), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(Size, ReadsUnits) {
  EXPECT_EQ(*parse_size("64MiB"), 64U << 20);
  EXPECT_EQ(*parse_size("512 KiB"), 512U << 10);
  EXPECT_EQ(*parse_size("1GB"), 1'000'000'000U);
  EXPECT_EQ(*parse_size("1.5KiB"), 1'536U);
  EXPECT_EQ(*parse_size("4096B"), 4'096U);
  EXPECT_EQ(*parse_size("0B"), 0U);
}

TEST(Size, RefusesWhatIsNoSize) {
  for (const char* text : {"", "5", "MiB", "-1B", "5mib", "nanB", "infB", "1e3B", "5MiBx",
                           "99999999999999999999B", "99999999TiB"}) {
    EXPECT_FALSE(parse_size(text).ok()) << text;
  }
}

TEST(Size, WhatIsWrittenIsRead) {
  EXPECT_EQ(format_size(64U << 20), "64MiB");
  EXPECT_EQ(format_size(1'000), "1000B");
  EXPECT_EQ(format_size(0), "0B");
  std::mt19937_64 random(5);
  for (int i = 0; i < 1'000; ++i) {
    const std::uint64_t size = random() >> (random() % 64);
    ASSERT_EQ(parse_size(format_size(size)).value(), size) << format_size(size);
  }
}

std::string json(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

TEST(JsonString, EscapesWhatMustBe) {
  EXPECT_EQ(json("a\"b\\c/\n\r\t"), R"("a\"b\\c/\n\r\t")");
  EXPECT_EQ(json(std::string_view("\x00\x1f", 2)), "\"\\u0000\\u001f\"");
  EXPECT_EQ(json("é😀"), "\"é😀\"");
  EXPECT_EQ(json("a\xff\xc3"), "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(JsonNumber, ReadsBackAsTheSameDouble) {
  for (const double value : {0.0, -0.0, 1.0, 0.1, 1e300, -2.5e-308, 5e-324, 1e17}) {
    std::string out;
    append_json_number(out, value);
    EXPECT_EQ(std::strtod(out.c_str(), nullptr), value) << out;
    EXPECT_EQ(std::signbit(std::strtod(out.c_str(), nullptr)), std::signbit(value));
  }
  std::string out;
  append_json_number(out, std::numeric_limits<double>::quiet_NaN());
  append_json_number(out, std::numeric_limits<double>::infinity());
  EXPECT_EQ(out, "nullnull");
}

TEST(Hex, IsLowerCase) {
  EXPECT_EQ(to_hex(std::string_view("\x00\xab\xff", 3)), "00abff");
}

}  // namespace
}  // namespace headwater
