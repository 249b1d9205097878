// Rows of one (lane, stream) of one frame as bytes: a bit per fact that repeats the row before, and
// differences of times. docs/formats/spool.md, "rows".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "store/records.h"

namespace headwater {

class RowEncoder {
 public:
  void append(const StoredRow& row);
  std::uint32_t count() const { return count_; }
  std::string_view bytes() const { return {buffer_.data(), used_}; }
  std::size_t size() const { return used_; }
  // Keeps the buffer.
  void clear();

 private:
  void grow(std::size_t need);

  std::string buffer_;  // its size is the room; used_ bytes are written
  std::size_t used_ = 0;
  std::uint32_t count_ = 0;
  // Where the last topic, device and sender lie in buffer_ (they survive the caller's buffers).
  struct Place {
    std::size_t offset = 0;
    std::size_t size = 0;
  };
  Place topic_;
  Place device_;
  Place sender_;
  std::int64_t time_ = 0;
  std::int64_t received_ = 0;
  std::uint64_t position_ = 0;
  Id128 identity_;
  std::uint32_t partition_ = 0;
};

// Reads what RowEncoder wrote. Views point into the bytes given.
class RowDecoder {
 public:
  explicit RowDecoder(std::string_view bytes) : rest_(bytes) {}

  // False at the end and on bytes that make no sense; ok() tells them apart.
  bool next(StoredRow* row);
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
  StoredRow last_;
};

}  // namespace headwater
