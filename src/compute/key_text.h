// KeyText: a column's value as a key: strings as they are, numbers in their shortest notation
// ("42", "0.5"), so that 42, 42.0 and "42" are one key. Internal to compute.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "data/batch.h"

namespace headwater {

class KeyText {
 public:
  // Text of a valid row; a view into the column or into this object (until the next call). Empty
  // for NaN.
  std::string_view of(const Column& column, std::size_t row) {
    switch (column.type()) {
      case Type::kString:
      case Type::kBytes:
      case Type::kFrame:
        return column.values<std::string_view>()[row];
      case Type::kBool:
        return column.values<std::uint8_t>()[row] != 0 ? "true" : "false";
      case Type::kInt64:
      case Type::kTimestamp:
        return number(column.values<std::int64_t>()[row]);
      case Type::kFloat32:
        return real(column.values<float>()[row]);
      case Type::kFloat64:
        return real(column.values<double>()[row]);
    }
    return {};
  }

 private:
  template <class T>
  std::string_view number(T value) {
    const auto end = std::to_chars(text_, text_ + sizeof text_, value).ptr;
    return {text_, static_cast<std::size_t>(end - text_)};
  }
  template <class T>
  std::string_view real(T value) {
    if (std::isnan(value)) {
      return {};
    }
    if (std::trunc(value) == value && std::fabs(value) < static_cast<T>(1e15)) {
      return number(static_cast<std::int64_t>(value));
    }
    return number(value);
  }

  char text_[32];
};

// The column of a key by name. nullptr with `row_device` set: "device" and "device_id" mean
// Row::device where the batch has no such column; nullptr without: there is none.
inline const Column* find_key(const Batch& batch, std::string_view name, bool& row_device) {
  const Column* const column = batch.find(name);
  row_device = column == nullptr && (name == "device_id" || name == "device");
  return column;
}

}  // namespace headwater
