#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace headwater {
namespace {

// RFC 3720 appendix B.4, and the check value of the CRC catalogue.
TEST(Crc32c, HasTheKnownValues) {
  std::string ascending(32, '\0');
  for (std::size_t i = 0; i < 32; ++i) {
    ascending[i] = static_cast<char>(i);
  }
  std::string descending = ascending;
  std::reverse(descending.begin(), descending.end());
  for (const auto function : {&crc32c, &crc32c_portable}) {
    EXPECT_EQ(function("", 0), 0U);
    EXPECT_EQ(function("123456789", 0), 0xe3069283U);
    EXPECT_EQ(function(std::string(32, '\0'), 0), 0x8a9136aaU);
    EXPECT_EQ(function(std::string(32, '\xff'), 0), 0x62a8ab43U);
    EXPECT_EQ(function(ascending, 0), 0x46dd794eU);
    EXPECT_EQ(function(descending, 0), 0x113fdb5cU);
  }
}

TEST(Crc32c, FastPathAgreesWithTheTableAtEveryLengthAndAlignment) {
  std::mt19937 random(1);
  std::string bytes(300, '\0');
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random()); });
  for (std::size_t begin = 0; begin < 9; ++begin) {
    for (std::size_t size = 0; size + begin <= bytes.size(); ++size) {
      const std::string_view part = std::string_view(bytes).substr(begin, size);
      ASSERT_EQ(crc32c(part), crc32c_portable(part)) << begin << " " << size;
    }
  }
}

// Long texts are read in several places at once.
TEST(Crc32c, FastPathAgreesWithTheTableOnLongTexts) {
  std::mt19937 random(2);
  std::string bytes(20'000, '\0');
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random()); });
  for (const std::size_t size :
       {3071U, 3072U, 3073U, 6143U, 6144U, 6151U, 9216U, 12'345U, 20'000U}) {
    const std::string_view part = std::string_view(bytes).substr(0, size);
    EXPECT_EQ(crc32c(part), crc32c_portable(part)) << size;
    EXPECT_EQ(crc32c(part, 0x12345678U), crc32c_portable(part, 0x12345678U)) << size;
  }
}

TEST(Crc32c, ContinuesOverParts) {
  const std::string_view bytes = "the quick brown fox jumps over the lazy dog";
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    EXPECT_EQ(crc32c(bytes.substr(cut), crc32c(bytes.substr(0, cut))), crc32c(bytes));
  }
}

}  // namespace
}  // namespace headwater
