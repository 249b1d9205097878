#include "data/column.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace headwater {

void Column::reserve(std::size_t bytes) {
  if (bytes <= capacity_) {
    return;
  }
  const std::size_t wanted = std::max({bytes, capacity_ * 2, std::size_t{64}});
  std::unique_ptr<std::byte[]> bigger(new std::byte[wanted]);
  if (capacity_ != 0) {
    std::memcpy(bigger.get(), buffer_.get(), rows_ * type_width(type_));
  }
  buffer_ = std::move(bigger);
  capacity_ = wanted;
}

void Column::reset(Type type, std::size_t rows) {
  rows_ = 0;
  type_ = type;
  bits_.clear();
  grow(rows);
}

void Column::grow(std::size_t rows) {
  if (rows <= rows_) {
    return;
  }
  const std::size_t width = type_width(type_);
  reserve(rows * width);
  // A default std::string_view is all zero bytes here, as are 0, 0.0 and false.
  std::memset(buffer_.get() + rows_ * width, 0, (rows - rows_) * width);
  rows_ = rows;
  bits_.resize((rows + 63) / 64, 0);
}

void Column::set_null(std::size_t row) {
  const std::size_t width = type_width(type_);
  bits_[row / 64] &= ~(std::uint64_t{1} << (row % 64));
  std::memset(buffer_.get() + row * width, 0, width);
}

void Column::set_all_valid() {
  std::fill(bits_.begin(), bits_.end(), ~std::uint64_t{0});
  if (rows_ % 64 != 0) {
    bits_.back() = (std::uint64_t{1} << (rows_ % 64)) - 1;
  }
}

std::size_t Column::null_count() const {
  std::size_t present = 0;
  for (const std::uint64_t word : bits_) {
    present += static_cast<std::size_t>(std::popcount(word));
  }
  return rows_ - present;
}

bool Column::all_valid() const {
  const std::size_t words = rows_ / 64;
  for (std::size_t i = 0; i < words; ++i) {
    if (bits_[i] != ~std::uint64_t{0}) {
      return false;
    }
  }
  return rows_ % 64 == 0 || bits_[words] == (std::uint64_t{1} << (rows_ % 64)) - 1;
}

double Column::as_double(std::size_t row) const {
  if (!valid(row)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  switch (type_) {
    case Type::kFloat64:
      return values<double>()[row];
    case Type::kFloat32:
      return static_cast<double>(values<float>()[row]);
    case Type::kInt64:
    case Type::kTimestamp:
      return static_cast<double>(values<std::int64_t>()[row]);
    case Type::kBool:
      return values<std::uint8_t>()[row];
    case Type::kString:
    case Type::kBytes:
    case Type::kFrame:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace headwater
