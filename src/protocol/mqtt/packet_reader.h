// PacketReader: the walk over the fields of one packet that all decoders share. Internal to the
// codec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/mqtt/codec.h"

namespace headwater::mqtt {

constexpr Fault malformed(std::string_view why) {
  return {Reason::kMalformedPacket, why};
}
constexpr Fault protocol_error(std::string_view why) {
  return {Reason::kProtocolError, why};
}

// Walks a packet; goes bad (sticky) instead of reading past the end or over invalid text.
class PacketReader {
 public:
  explicit PacketReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return why_.empty(); }
  Fault fault() const { return ok() ? Fault{} : malformed(why_); }
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  std::uint8_t u8() {
    if (!has(1)) {
      return 0;
    }
    const auto value = static_cast<std::uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return value;
  }
  std::uint16_t u16() {
    if (!has(2)) {
      return 0;
    }
    const auto value = static_cast<std::uint16_t>(byte(0) << 8 | byte(1));
    rest_.remove_prefix(2);
    return value;
  }
  std::uint32_t u32() {
    const std::uint32_t high = u16();
    return high << 16 | u16();
  }
  std::uint32_t varint() {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const std::uint8_t part = u8();
      if (!ok()) {
        return 0;
      }
      value |= static_cast<std::uint32_t>(part & 0x7F) << (7 * i);
      if ((part & 0x80) == 0) {
        // The shortest form is required [1.5.5].
        if (i > 0 && part == 0) {
          fail("a variable byte integer is longer than needed");
        }
        return value;
      }
    }
    fail("a variable byte integer has more than four bytes");
    return 0;
  }
  std::string_view bytes(std::size_t size) {
    if (!has(size)) {
      return {};
    }
    const std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }
  std::string_view binary() { return bytes(u16()); }
  std::string_view text() {
    const std::string_view value = binary();
    if (!valid_text(value)) {
      fail("a text is not valid UTF-8");
      return {};
    }
    return value;
  }
  void fail(std::string_view why) {
    if (ok()) {
      why_ = why;
    }
    rest_ = {};
  }

 private:
  unsigned byte(std::size_t at) const { return static_cast<unsigned char>(rest_[at]); }
  bool has(std::size_t size) {
    if (rest_.size() < size || !ok()) {
      fail("the packet ends inside a field");
      return false;
    }
    return true;
  }

  std::string_view rest_;
  std::string_view why_;
};

// Where a property may stand, as bits by packet type; the will has bit 0.
constexpr std::uint32_t place_of(PacketType type) {
  return 1U << static_cast<unsigned>(type);
}
inline constexpr std::uint32_t kWillPlace = 1;

// Property length, then the properties, of which each must be allowed at `place`.
Fault decode_properties(PacketReader& reader, std::uint32_t place, Properties* out);

}  // namespace headwater::mqtt
