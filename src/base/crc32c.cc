#include "base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace headwater {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78U : 0U);
    }
    table[i] = value;
  }
  return table;
}

constexpr std::array<std::uint32_t, 256> kTable = make_table();

#if defined(__x86_64__)
// The instruction takes three cycles and can begin one each cycle: three lanes side by side.
constexpr std::size_t kLaneBytes = 1024;

// What a state becomes by kLaneBytes of zeros. It is linear, so a table for each byte of the state
// has it.
struct LaneShift {
  std::array<std::array<std::uint32_t, 256>, 4> tables{};

  LaneShift() {
    for (std::size_t byte = 0; byte < tables.size(); ++byte) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        std::uint32_t state = 1U << (8 * byte + bit);
        for (std::size_t i = 0; i < kLaneBytes; ++i) {
          state = (state >> 8) ^ kTable[state & 0xff];
        }
        for (std::uint32_t value = 0; value < 256; ++value) {
          tables[byte][value] ^= (value >> bit & 1U) != 0 ? state : 0;
        }
      }
    }
  }
  std::uint32_t operator()(std::uint32_t state) const {
    return tables[0][state & 0xff] ^ tables[1][state >> 8 & 0xff] ^ tables[2][state >> 16 & 0xff] ^
           tables[3][state >> 24];
  }
};

std::uint64_t word_at(const char* at) {
  std::uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(std::string_view bytes,
                                                             std::uint32_t crc) {
  static const LaneShift shift;
  std::uint64_t state = ~crc;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 3 * kLaneBytes; left -= 3 * kLaneBytes, at += 3 * kLaneBytes) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < kLaneBytes; i += 8) {
      state = _mm_crc32_u64(state, word_at(at + i));
      second = _mm_crc32_u64(second, word_at(at + kLaneBytes + i));
      third = _mm_crc32_u64(third, word_at(at + 2 * kLaneBytes + i));
    }
    const std::uint32_t two =
        shift(static_cast<std::uint32_t>(state)) ^ static_cast<std::uint32_t>(second);
    state = shift(two) ^ static_cast<std::uint32_t>(third);
  }
  for (; left >= 8; left -= 8, at += 8) {
    state = _mm_crc32_u64(state, word_at(at));
  }
  auto narrow = static_cast<std::uint32_t>(state);
  for (; left > 0; --left, ++at) {
    narrow = _mm_crc32_u8(narrow, static_cast<std::uint8_t>(*at));
  }
  return ~narrow;
}
#endif

}  // namespace

std::uint32_t crc32c_portable(std::string_view bytes, std::uint32_t crc) {
  crc = ~crc;
  for (const char byte : bytes) {
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<std::uint8_t>(byte)) & 0xff];
  }
  return ~crc;
}

std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc) {
#if defined(__x86_64__)
  static const bool fast = __builtin_cpu_supports("sse4.2") != 0;
  if (fast) {
    return crc32c_sse42(bytes, crc);
  }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
  crc = ~crc;
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    crc = __crc32cd(crc, word);
  }
  for (; at < bytes.size(); ++at) {
    crc = __crc32cb(crc, static_cast<std::uint8_t>(bytes[at]));
  }
  return ~crc;
#endif
  return crc32c_portable(bytes, crc);
}

}  // namespace headwater
