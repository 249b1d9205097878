// Batches for the tests of this library.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/batch.h"

namespace headwater::model {

// Rows of one device with columns; nullopt is a null.
//   TestBatch batch(3);  batch.numbers("x", {1, 2, std::nullopt});
class TestBatch {
 public:
  explicit TestBatch(std::size_t rows, std::string_view device = "d") {
    for (std::size_t i = 0; i < rows; ++i) {
      Row row{};
      row.device = batch_.arena().copy(device);
      batch_.add_row(row);
    }
  }
  void device(std::size_t row, std::string_view name) {
    batch_.row(row).device = batch_.arena().copy(name);
  }

  TestBatch& numbers(std::string_view name, const std::vector<std::optional<double>>& values) {
    return fill<double>(name, Type::kFloat64, values);
  }
  TestBatch& floats(std::string_view name, const std::vector<std::optional<float>>& values) {
    return fill<float>(name, Type::kFloat32, values);
  }
  TestBatch& integers(std::string_view name,
                      const std::vector<std::optional<std::int64_t>>& values) {
    return fill<std::int64_t>(name, Type::kInt64, values);
  }
  TestBatch& bools(std::string_view name, const std::vector<std::optional<std::uint8_t>>& values) {
    return fill<std::uint8_t>(name, Type::kBool, values);
  }
  TestBatch& strings(std::string_view name, const std::vector<std::string>& values) {
    Column& column = batch_.add_column(name, Type::kString);
    for (std::size_t row = 0; row < values.size(); ++row) {
      column.set(row, batch_.arena().copy(values[row]));
    }
    return *this;
  }

  Batch& operator*() { return batch_; }
  Batch* operator->() { return &batch_; }

  // A column of numbers as doubles; NaN for nulls, -1 for a column that is not there.
  std::vector<double> values(std::string_view name) {
    const Column* column = batch_.find(name);
    std::vector<double> all;
    for (std::size_t row = 0; row < batch_.rows(); ++row) {
      all.push_back(column == nullptr ? -1 : column->as_double(row));
    }
    return all;
  }

 private:
  template <class T>
  TestBatch& fill(std::string_view name, Type type, const std::vector<std::optional<T>>& values) {
    Column& column = batch_.add_column(name, type);
    for (std::size_t row = 0; row < values.size(); ++row) {
      if (values[row]) {
        column.set<T>(row, *values[row]);
      }
    }
    return *this;
  }

  Batch batch_;
};

}  // namespace headwater::model
