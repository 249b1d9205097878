// Bytes in and out of buffers: little-endian integers, LEB128 varints, length-prefixed strings.
//
// ByteWriter appends to a std::string it does not own; ByteReader walks a span and goes bad
// (sticky) instead of reading past the end, so a decoder may read a whole record and ask ok() once.
// Neither allocates on its own account. Not thread-safe.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace headwater {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

static_assert(
    std::endian::native == std::endian::little,
    "integers are copied as they lie; a big-endian port swaps in load() and store() here");

template <class T>
requires std::is_trivially_copyable_v<T> T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
requires std::is_trivially_copyable_v<T>
void store(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  template <class T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) void put(T value) {
    const std::size_t at = out_.size();
    out_.resize(at + sizeof value);
    store(out_.data() + at, value);
  }
  // Unsigned LEB128, 1 to 10 bytes.
  void put_varint(std::uint64_t value);
  // Zigzag + LEB128: small magnitudes of either sign are short.
  void put_signed(std::int64_t value);
  // varint length, then the bytes.
  void put_string(std::string_view text);
  void put_bytes(std::string_view bytes) { out_.append(bytes); }

  std::size_t size() const { return out_.size(); }

 private:
  std::string& out_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::size_t left() const { return rest_.size(); }
  std::string_view rest() const { return rest_; }

  // Each returns a zero value and turns the reader bad when the bytes run out.
  template <class T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) T get() {
    if (rest_.size() < sizeof(T)) {
      fail();
      return T{};
    }
    const char* const at = rest_.data();
    rest_.remove_prefix(sizeof(T));
    if constexpr (std::is_same_v<T, bool>) {
      return *at != 0;  // a bool object of another byte would be undefined
    } else {
      return load<T>(at);
    }
  }
  std::uint64_t get_varint();
  std::int64_t get_signed();
  std::string_view get_string();
  std::string_view get_bytes(std::size_t count);

 private:
  void fail() {
    ok_ = false;
    rest_ = {};
  }

  std::string_view rest_;
  bool ok_ = true;
};

// 128 bits: spool ids, reading identities. Ordered and hashable; text is 32 lower-case hex digits.
struct Id128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  friend auto operator<=>(const Id128&, const Id128&) = default;
  std::string hex() const;
};

// Not cryptographic (XXH3); the seed separates uses. Stable across releases: stored in spools.
std::uint64_t hash64(std::string_view bytes, std::uint64_t seed = 0);
Id128 hash128(std::string_view bytes, std::uint64_t seed = 0);

}  // namespace headwater

template <>
struct std::hash<headwater::Id128> {
  std::size_t operator()(const headwater::Id128& id) const noexcept {
    return static_cast<std::size_t>(id.low ^ (id.high * 0x9e3779b97f4a7c15ULL));
  }
};
