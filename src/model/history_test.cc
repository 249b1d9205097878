#include "model/history.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace headwater::model {
namespace {

// Pushes one value; the window if it is full, else nothing.
std::vector<double> push(History& history, std::string_view key, double value) {
  std::vector<double> window(history.rows() * history.fields(), -1);
  const std::array<double, 1> values = {value};
  if (!history.push(key, values, window)) {
    window.clear();
  }
  return window;
}

TEST(History, GivesTheLastRowsOldestFirstOnceThereAreEnough) {
  History history(3, 1);
  EXPECT_TRUE(push(history, "a", 1).empty());
  EXPECT_TRUE(push(history, "a", 2).empty());
  EXPECT_EQ(push(history, "a", 3), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(push(history, "a", 4), (std::vector<double>{2, 3, 4}));
  EXPECT_EQ(push(history, "a", 5), (std::vector<double>{3, 4, 5}));
  EXPECT_EQ(push(history, "a", 6), (std::vector<double>{4, 5, 6}));
}

TEST(History, KeepsKeysApart) {
  History history(2, 1);
  push(history, "a", 1);
  EXPECT_TRUE(push(history, "b", 10).empty());
  EXPECT_EQ(push(history, "a", 2), (std::vector<double>{1, 2}));
  EXPECT_EQ(push(history, "b", 11), (std::vector<double>{10, 11}));
}

TEST(History, LetsTheKeyGoThatWasPushedLongestAgo) {
  History history(2, 1, 2);
  push(history, "a", 1);
  push(history, "b", 2);
  push(history, "a", 3);
  push(history, "c", 4);  // b leaves
  EXPECT_EQ(history.keys(), 2U);
  EXPECT_EQ(history.evicted(), 1U);
  EXPECT_EQ(push(history, "a", 5), (std::vector<double>{3, 5}));
  EXPECT_TRUE(push(history, "b", 6).empty());
}

TEST(History, GoesOnAfterARestoreAsIfNothingHadHappened) {
  History history(3, 1);
  for (double value = 1; value <= 4; ++value) {
    push(history, "full", value);
  }
  push(history, "partly", 7);
  std::string bytes;
  ByteWriter writer(bytes);
  history.save(writer);

  History restored(3, 1);
  push(restored, "gone", 1);
  ByteReader reader(bytes);
  ASSERT_TRUE(restored.restore(reader));
  EXPECT_TRUE(reader.empty());
  EXPECT_EQ(restored.keys(), 2U);
  EXPECT_EQ(push(restored, "full", 5), (std::vector<double>{3, 4, 5}));
  EXPECT_TRUE(push(restored, "partly", 8).empty());
  EXPECT_EQ(push(restored, "partly", 9), (std::vector<double>{7, 8, 9}));
}

TEST(History, RefusesTheStateOfAnotherWindow) {
  std::string bytes;
  ByteWriter writer(bytes);
  History(3, 1).save(writer);
  ByteReader reader(bytes);
  const Status restored = History(4, 1).restore(reader);
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().code(), Code::kInvalid);
}

TEST(History, IsLeftAsItWasByDamagedState) {
  History source(2, 2);
  const std::array<double, 2> row = {1, 2};
  std::array<double, 4> window{};
  source.push("a", row, window);
  source.push("b", row, window);
  std::string bytes;
  ByteWriter writer(bytes);
  source.save(writer);

  History history(2, 2);
  history.push("mine", row, window);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    ByteReader reader(std::string_view(bytes).substr(0, length));
    const Status restored = history.restore(reader);
    ASSERT_FALSE(restored) << length;
    EXPECT_EQ(restored.error().code(), Code::kCorrupt) << length;
    ASSERT_EQ(history.keys(), 1U);
  }
}

}  // namespace
}  // namespace headwater::model
