// Column: the values of one field for every row of a batch, with a validity bitmap (bit set = value
// present).
//
// Values of null rows are zero (empty views for strings), so a kernel may compute on all rows and
// mask afterwards. Buffers are kept by reset() and reused. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/schema.h"

namespace headwater {

class Column {
 public:
  explicit Column(Type type = Type::kFloat64) : type_(type) {}

  Type type() const { return type_; }
  std::size_t rows() const { return rows_; }

  // All rows null and zero.
  void reset(Type type, std::size_t rows);
  // Keeps what is there; new rows are null and zero.
  void grow(std::size_t rows);

  bool valid(std::size_t row) const { return ((bits_[row / 64] >> (row % 64)) & 1) != 0; }
  void set_valid(std::size_t row) { bits_[row / 64] |= std::uint64_t{1} << (row % 64); }
  void set_null(std::size_t row);
  void set_all_valid();
  bool all_valid() const;
  std::size_t null_count() const;
  // ceil(rows / 64) words; bits past the last row are zero.
  std::span<const std::uint64_t> validity() const { return {bits_.data(), (rows_ + 63) / 64}; }
  std::span<std::uint64_t> validity() { return {bits_.data(), (rows_ + 63) / 64}; }

  // The value buffer; T must be the type's C++ type: double, float, std::int64_t (kInt64,
  // kTimestamp), std::uint8_t (kBool), std::string_view (kString, kBytes, kFrame).
  template <class T>
  std::span<T> values() {
    return {reinterpret_cast<T*>(buffer_.get()), rows_};
  }
  template <class T>
  std::span<const T> values() const {
    return {reinterpret_cast<const T*>(buffer_.get()), rows_};
  }

  template <class T>
  void set(std::size_t row, T value) {
    reinterpret_cast<T*>(buffer_.get())[row] = value;
    set_valid(row);
  }

  // Value of a numeric, bool or timestamp row as a double; NaN for null rows and for strings.
  double as_double(std::size_t row) const;

 private:
  void reserve(std::size_t bytes);

  Type type_;
  std::size_t rows_ = 0;
  std::size_t capacity_ = 0;  // bytes of buffer_
  std::unique_ptr<std::byte[]> buffer_;
  std::vector<std::uint64_t> bits_;
};

}  // namespace headwater
