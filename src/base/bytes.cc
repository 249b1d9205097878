#include "base/bytes.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace headwater {

void ByteWriter::put_varint(std::uint64_t value) {
  char buffer[10];
  std::size_t count = 0;
  while (value >= 0x80) {
    buffer[count++] = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  buffer[count++] = static_cast<char>(value);
  out_.append(buffer, count);
}

void ByteWriter::put_signed(std::int64_t value) {
  put_varint((static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
}

void ByteWriter::put_string(std::string_view text) {
  put_varint(text.size());
  out_.append(text);
}

std::uint64_t ByteReader::get_varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) {
      fail();
      return 0;
    }
    const auto byte = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    if (shift == 63 && byte > 1) {  // bits past the 64th
      fail();
      return 0;
    }
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) {
      return value;
    }
  }
  fail();
  return 0;
}

std::int64_t ByteReader::get_signed() {
  const std::uint64_t raw = get_varint();
  return static_cast<std::int64_t>((raw >> 1) ^ (~(raw & 1) + 1));
}

std::string_view ByteReader::get_string() {
  const std::uint64_t length = get_varint();
  return get_bytes(length);
}

std::string_view ByteReader::get_bytes(std::size_t count) {
  if (!ok_ || count > rest_.size()) {
    fail();
    return {};
  }
  std::string_view bytes = rest_.substr(0, count);
  rest_.remove_prefix(count);
  return bytes;
}

std::string Id128::hex() const {
  return fmt::format("{:016x}{:016x}", high, low);
}

std::uint64_t hash64(std::string_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Id128 hash128(std::string_view bytes, std::uint64_t seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {hash.high64, hash.low64};
}

}  // namespace headwater
