#include "compute/thinning.h"

#include <gmock/gmock.h>

#include <optional>
#include <string>
#include <vector>

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int64_t kSecond = 1'000'000'000;

struct Reading {
  std::string_view device;
  std::int64_t seconds = 0;
  std::optional<double> value{};
  std::uint32_t flags = 0;
  std::int64_t received = 0;
};

// The rows that are let on.
std::vector<std::size_t> let_on(Thinning& thinning, const std::vector<Reading>& readings) {
  Batch batch;
  for (const Reading& reading : readings) {
    Row row;
    row.device = reading.device;
    row.time = {reading.seconds * kSecond};
    row.received = {reading.received * kSecond};
    row.flags = reading.flags;
    batch.add_row(row);
  }
  Column& column = batch.add_column("v", Type::kFloat64);
  for (std::size_t row = 0; row < readings.size(); ++row) {
    if (readings[row].value) {
      column.set(row, *readings[row].value);
    }
  }
  std::vector<std::uint8_t> flags(batch.rows(), 1);
  thinning.process(batch, flags);
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < flags.size(); ++row) {
    if (flags[row] != 0) {
      rows.push_back(row);
    }
  }
  return rows;
}

std::unique_ptr<Thinning> deadband(double band, std::size_t max_keys = 100) {
  return std::move(
      *Thinning::create({.deadband = ThinningOptions::ByValue{"v", band}, .max_keys = max_keys}));
}
std::unique_ptr<Thinning> every(std::int64_t seconds) {
  return std::move(
      *Thinning::create({.rate_limit = ThinningOptions::ByTime{Nanos{seconds * kSecond}}}));
}

TEST(Thinning, ADeadbandComparesWithTheLastRowThatWasLetOn) {
  EXPECT_THAT(let_on(*deadband(1), {{"a", 0, 20}, {"a", 1, 20.6}, {"a", 2, 21.2}, {"a", 3, 20.2}}),
              ElementsAre(0, 2));
}

TEST(Thinning, ABandOfZeroLetsEveryChangeOn) {
  EXPECT_THAT(let_on(*deadband(0), {{"a", 0, 5}, {"a", 1, 5}, {"a", 2, 5.001}, {"a", 3, 5.001}}),
              ElementsAre(0, 2));
}

TEST(Thinning, RowsWithoutTheValueAreLetOnAndRememberedByNobody) {
  EXPECT_THAT(let_on(*deadband(1), {{"a", 0, 5}, {"a", 1, std::nullopt}, {"a", 2, 5}}),
              ElementsAre(0, 1));
}

TEST(Thinning, AnInfiniteValueIsAChangeOnce) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THAT(let_on(*deadband(1), {{"a", 0, 5}, {"a", 1, infinity}, {"a", 2, infinity}}),
              ElementsAre(0, 1));
}

TEST(Thinning, KeysAreIndependentAndNoKeyIsOne) {
  EXPECT_THAT(let_on(*every(10), {{"a", 0}, {"b", 1}, {"", 2}, {"a", 3}, {"", 4}, {"b", 11}}),
              ElementsAre(0, 1, 2, 5));
}

TEST(Thinning, ARateLimitCountsFromTheLastRowThatWasLetOn) {
  EXPECT_THAT(let_on(*every(10), {{"a", 0}, {"a", 9}, {"a", 10}, {"a", 19}, {"a", 20}}),
              ElementsAre(0, 2, 4));
}

TEST(Thinning, AClockThatWasSetBackSilencesNobody) {
  EXPECT_THAT(let_on(*every(10), {{"a", 10'000}, {"a", 9'995}, {"a", 100}, {"a", 105}, {"a", 110}}),
              ElementsAre(0, 2, 4));
}

TEST(Thinning, ATimeInTheFutureCountsAsItsArrival) {
  EXPECT_THAT(let_on(*every(10), {{"a", 100},
                                  {"a", 1'000'000, {}, kRowTimeFuture, 105},
                                  {"a", 2'000'000, {}, kRowTimeFuture, 112}}),
              ElementsAre(0, 2));
}

TEST(Thinning, TimesAtBothEndsOfTheRangeDoNotOverflow) {
  EXPECT_THAT(let_on(*every(10), {{"a", -9'000'000'000}, {"a", 9'000'000'000}}), ElementsAre(0, 1));
}

TEST(Thinning, ARowCountsAsLetOnOnlyWhenBothLetItOn) {
  auto both =
      std::move(*Thinning::create({.deadband = ThinningOptions::ByValue{"v", 1},
                                   .rate_limit = ThinningOptions::ByTime{Nanos{10 * kSecond}}}));
  EXPECT_THAT(let_on(*both, {{"a", 0, 1}, {"a", 5, 9}, {"a", 10, 1.5}, {"a", 12, 9}}),
              ElementsAre(0, 3));
}

TEST(Thinning, RowsThatLeftAlreadyAreNotSeen) {
  const auto thinning = deadband(1);
  Batch batch;
  Row row;
  row.device = "a";
  batch.add_row(row);
  batch.add_column("v", Type::kFloat64).set(0, 5.0);
  std::vector<std::uint8_t> flags = {0};
  thinning->process(batch, flags);
  EXPECT_EQ(flags[0], 0);
  EXPECT_EQ(thinning->keys(), 0U);
}

TEST(Thinning, TheKeyUnseenForLongestIsForgotten) {
  const auto thinning = deadband(1, 2);
  EXPECT_THAT(let_on(*thinning, {{"a", 0, 1}, {"b", 0, 1}, {"a", 1, 1}, {"c", 2, 1}}),
              ElementsAre(0, 1, 3));
  EXPECT_EQ(thinning->keys(), 2U);
  EXPECT_THAT(let_on(*thinning, {{"a", 3, 1}, {"b", 3, 1}}), ElementsAre(1));
}

TEST(Thinning, RestoredStateForgetsInTheSameOrder) {
  const auto before = deadband(1, 2);
  let_on(*before, {{"a", 0, 1}, {"b", 0, 1}, {"a", 1, 1}});
  std::string blob;
  ByteWriter writer(blob);
  before->save(writer);
  const auto after = deadband(1, 2);
  ByteReader reader(blob);
  ASSERT_TRUE(after->restore(reader).ok());
  EXPECT_THAT(let_on(*after, {{"c", 2, 1}, {"a", 3, 1}, {"b", 3, 1}}), ElementsAre(0, 2));
}

TEST(Thinning, DamagedStateIsRefusedAndChangesNothing) {
  const auto thinning = deadband(1);
  let_on(*thinning, {{"a", 0, 1}, {"b", 0, 1}});
  std::string blob;
  ByteWriter writer(blob);
  thinning->save(writer);
  for (std::size_t size = 0; size < blob.size(); ++size) {
    ByteReader reader(std::string_view(blob).substr(0, size));
    EXPECT_FALSE(thinning->restore(reader).ok()) << size;
  }
  blob[0] = 9;
  ByteReader other(blob);
  EXPECT_FALSE(thinning->restore(other).ok());
  EXPECT_THAT(let_on(*thinning, {{"a", 1, 1}, {"b", 1, 1}}), IsEmpty());
}

TEST(Thinning, OptionsThatSayNothingAreRefused) {
  EXPECT_FALSE(Thinning::create({}));
  EXPECT_FALSE(Thinning::create({.deadband = ThinningOptions::ByValue{"v", -1}}));
  EXPECT_FALSE(Thinning::create({.rate_limit = ThinningOptions::ByTime{}}));
  EXPECT_FALSE(Thinning::create({.deadband = ThinningOptions::ByValue{"v", 1}, .max_keys = 0}));
  EXPECT_FALSE(Thinning::create({.dedupe = ThinningOptions::ByContent{.within = Nanos{-1}}}));
}

std::unique_ptr<Thinning> dedupe(std::int64_t within_seconds, std::size_t max_keys = 100) {
  return std::move(*Thinning::create(
      {.dedupe =
           ThinningOptions::ByContent{.fields = {"v"}, .within = Nanos{within_seconds * kSecond}},
       .max_keys = max_keys}));
}

TEST(Thinning, DedupeComparesWithTheLastRowLetOnAlsoAfterARestore) {
  const auto before = dedupe(10);
  EXPECT_THAT(let_on(*before, {{"a", 0, 1}, {"a", 1, 1}, {"b", 1, 1}, {"a", 2, 2}, {"a", 3, 1}}),
              ElementsAre(0, 2, 3, 4));
  std::string blob;
  ByteWriter writer(blob);
  before->save(writer);
  const auto after = dedupe(10);
  ByteReader reader(blob);
  ASSERT_TRUE(after->restore(reader).ok());
  EXPECT_TRUE(reader.empty());
  EXPECT_EQ(after->keys(), 2U);
  EXPECT_THAT(
      let_on(*after, {{"a", 12, 1}, {"a", 13, 1}, {"b", 9, 1}, {"b", 10, {}}, {"b", 11, {}}}),
      ElementsAre(1, 3))
      << "10 s after the last one let on it is none any more; no value is a value";
  for (std::size_t size = 0; size < blob.size(); ++size) {
    ByteReader cut(std::string_view(blob).substr(0, size));
    EXPECT_FALSE(after->restore(cut).ok()) << size;
  }
}

TEST(Thinning, DedupeForgetsTheKeyUnseenForLongest) {
  const auto thinning = dedupe(0, 2);
  EXPECT_THAT(
      let_on(*thinning, {{"a", 0, 1}, {"b", 0, 1}, {"c", 0, 1}, {"b", 999, 1}, {"a", 999, 1}}),
      ElementsAre(0, 1, 2, 4));
}

}  // namespace
}  // namespace headwater
