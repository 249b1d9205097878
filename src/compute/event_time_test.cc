#include "compute/event_time.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace headwater {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kS = 1'000'000'000;

std::int64_t number(double value, TimeFormat format = TimeFormat::kAuto) {
  const auto time = time_from_number(value, format);
  return time ? time->ns : -1;
}
std::int64_t text(std::string_view value, TimeFormat format = TimeFormat::kAuto) {
  const auto time = time_from_text(value, format);
  return time ? time->ns : -1;
}

TEST(EventTime, TellsTheUnitOfANumberByItsMagnitude) {
  const std::int64_t want = 1'700'000'000 * kS + 123 * kMs;
  EXPECT_EQ(number(1'700'000'000.123), want);
  EXPECT_EQ(number(1'700'000'000'123.0), want);
  EXPECT_EQ(number(1'700'000'000'123'000.0), want);
  EXPECT_NEAR(static_cast<double>(number(1.700000000123e18) - want), 0, 128);
  EXPECT_EQ(time_from_integer(1'700'000'000'123'000'000, TimeFormat::kAuto)->ns, want);
  EXPECT_EQ(time_from_integer(1'700'000'000, TimeFormat::kAuto)->ns, 1'700'000'000 * kS);
  EXPECT_EQ(number(-1.5), -3 * kS / 2);
  EXPECT_EQ(number(0), 0);
}

TEST(EventTime, TakesTheGivenUnit) {
  EXPECT_EQ(number(5, TimeFormat::kEpochMs), 5 * kMs);
  EXPECT_EQ(number(5, TimeFormat::kEpochUs), 5'000);
  EXPECT_EQ(number(5, TimeFormat::kEpochNs), 5);
  EXPECT_EQ(text("5", TimeFormat::kEpochMs), 5 * kMs);
  EXPECT_EQ(text(" 1.5 ", TimeFormat::kEpochS), 3 * kS / 2);
  EXPECT_EQ(number(5, TimeFormat::kRfc3339), -1);
  EXPECT_EQ(text("5", TimeFormat::kRfc3339), -1);
  EXPECT_EQ(text("1970-01-01T00:00:05Z", TimeFormat::kEpochS), -1);
  EXPECT_EQ(text("1970-01-01T00:00:05Z"), 5 * kS);
  EXPECT_EQ(text("1700000000"), 1'700'000'000 * kS);
}

TEST(EventTime, RefusesWhatIsNoTime) {
  EXPECT_EQ(number(NAN), -1);
  EXPECT_EQ(number(INFINITY), -1);
  EXPECT_EQ(number(1e300), -1);
  EXPECT_EQ(number(1e11, TimeFormat::kEpochS), -1);
  EXPECT_FALSE(time_from_integer(INT64_MIN, TimeFormat::kAuto));
  EXPECT_FALSE(time_from_integer(INT64_MAX, TimeFormat::kEpochS));
  for (const char* bad : {"", "soon", "2013-13-01T00:00:00Z", "1e400", "0x10"}) {
    EXPECT_EQ(text(bad), -1) << bad;
  }
}

TEST(EventTime, ReadsZoneOffsets) {
  EXPECT_EQ(*parse_zone_offset("Z"), 0);
  EXPECT_EQ(*parse_zone_offset("UTC"), 0);
  EXPECT_EQ(*parse_zone_offset("+01:00"), 60);
  EXPECT_EQ(*parse_zone_offset("-0330"), -210);
  EXPECT_EQ(*parse_zone_offset("+05"), 300);
  for (const char* bad :
       {"", "01:00", "+1", "+01:", "+01:60", "+19:00", "+01:000", "Europe/Berlin"}) {
    EXPECT_FALSE(parse_zone_offset(bad)) << bad;
  }
}

class Resolve : public testing::Test {
 protected:
  Resolve() {
    for (int i = 0; i < 6; ++i) {
      Row row;
      row.received.ns = 1'700'000'000 * kS;
      batch.add_row(row);
    }
  }
  Batch batch;
  EventTimeStats stats;
};

TEST_F(Resolve, SetsTimesAndFlags) {
  Column& column = batch.add_column("at", Type::kFloat64);
  column.set(0, 1'699'999'999.5);
  column.set(1, 1'700'000'600.0);    // 10 minutes ahead: just good
  column.set(2, 1'700'000'600.001);  // beyond
  column.set(3, 1e300);
  EventTime({.field = "at"}).resolve(batch, stats);
  EXPECT_EQ(batch.row(0).time.ns, 1'699'999'999'500 * kMs);
  EXPECT_EQ(batch.row(0).flags, 0U);
  EXPECT_EQ(batch.row(1).flags, 0U);
  EXPECT_EQ(batch.row(2).flags, kRowTimeFuture);
  EXPECT_EQ(batch.row(2).time.ns, 1'700'000'600'001 * kMs);
  EXPECT_EQ(batch.row(3).flags, kRowTimeMissing);
  EXPECT_EQ(batch.row(3).time, batch.row(3).received);
  EXPECT_EQ(batch.row(4).flags, kRowTimeMissing);
  EXPECT_EQ(stats.missing, 2U);
  EXPECT_EQ(stats.invalid, 1U);
  EXPECT_EQ(stats.future, 1U);
}

TEST_F(Resolve, TakesTheArrivalWithoutAField) {
  EventTime({}).resolve(batch, stats);
  EXPECT_EQ(batch.row(0).flags, kRowTimeMissing);
  EXPECT_EQ(batch.row(0).time, batch.row(0).received);
  EXPECT_EQ(stats.missing, 0U);
  EventTime({.field = "nowhere"}).resolve(batch, stats);
  EXPECT_EQ(stats.missing, 6U);
}

TEST_F(Resolve, TouchesSelectedRowsOnly) {
  batch.select({1});
  EventTime({}).resolve(batch, stats);
  EXPECT_EQ(batch.row(0).time.ns, 0);
  EXPECT_EQ(batch.row(1).time, batch.row(1).received);
}

TEST_F(Resolve, ReadsStringsIntegersAndTimestamps) {
  Column& texts = batch.add_column("s", Type::kString);
  texts.set(0, std::string_view("2023-11-14T22:13:20"));
  texts.set(1, std::string_view("2023-11-14T22:13:20Z"));
  texts.set(2, std::string_view("1700000000"));
  EventTime({.field = "s", .zone_offset_minutes = 60}).resolve(batch, stats);
  EXPECT_EQ(batch.row(0).time.ns, (1'700'000'000 - 3600) * kS);
  EXPECT_EQ(batch.row(1).time.ns, 1'700'000'000 * kS);
  EXPECT_EQ(batch.row(2).time.ns, 1'700'000'000 * kS);
  batch.add_column("i", Type::kInt64).set(0, std::int64_t{1'700'000'000'000'000'001});
  EventTime({.field = "i"}).resolve(batch, stats);
  EXPECT_EQ(batch.row(0).time.ns, 1'700'000'000'000'000'001);
  batch.add_column("t", Type::kTimestamp).set(0, std::int64_t{77});
  EventTime({.field = "t"}).resolve(batch, stats);
  EXPECT_EQ(batch.row(0).time.ns, 77);
  batch.add_column("b", Type::kBool).set(0, std::uint8_t{1});
  stats = {};
  EventTime({.field = "b"}).resolve(batch, stats);
  EXPECT_EQ(stats.invalid, 1U);
}

// The fast path for RFC 3339 texts against the general parser, over damaged texts too.
TEST(EventTime, FastPathAgreesWithParseRfc3339) {
  std::mt19937 random(2);
  for (int round = 0; round < 40'000; ++round) {
    char buffer[64];
    const auto part = [&](unsigned below) { return static_cast<int>(random() % below); };
    std::snprintf(buffer, sizeof buffer, "%04d-%02d-%02dT%02d:%02d:%02d", 1960 + part(300),
                  part(14), part(33), part(25), part(61), part(61));
    std::string value = buffer;
    if (random() % 2 == 0) {
      value += "." + std::to_string(random()).substr(0, random() % 12);
    }
    value += random() % 5 == 0 ? "+01:00" : "Z";
    if (random() % 4 == 0) {
      value[random() % value.size()] = static_cast<char>(32 + random() % 95);
    }
    Batch batch;
    batch.add_row({});
    batch.add_column("t", Type::kString).set(0, std::string_view(value));
    EventTimeStats stats;
    EventTime({.field = "t", .format = TimeFormat::kRfc3339}).resolve(batch, stats);
    const auto want = parse_rfc3339(value);
    ASSERT_EQ(stats.invalid == 0, want.ok()) << value;
    if (want) {
      ASSERT_EQ(batch.row(0).time, *want) << value;
    }
  }
}

}  // namespace
}  // namespace headwater
