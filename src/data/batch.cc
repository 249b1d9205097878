#include "data/batch.h"

#include <numeric>

namespace headwater {

void Batch::clear() {
  arena_.clear();
  rows_.clear();
  for (Column& column : columns_) {
    spare_.push_back(std::move(column));
  }
  columns_.clear();
  schema_ = Schema();
  select_all();
}

std::size_t Batch::add_row(const Row& row) {
  rows_.push_back(row);
  for (Column& column : columns_) {
    column.grow(rows_.size());
  }
  if (!all_selected_) {
    selection_.push_back(static_cast<std::uint32_t>(rows_.size() - 1));
  }
  return rows_.size() - 1;
}

void Batch::replace_rows(std::vector<Row>& rows) {
  HW_CHECK(columns_.empty() && all_selected_, "columns and selection are by a row's index");
  rows_.swap(rows);
  selection_.clear();
}

Column& Batch::add_column(std::string_view name, Type type) {
  const std::size_t index = schema_.set({std::string(name), type, {}});
  if (index == columns_.size()) {
    if (spare_.empty()) {
      columns_.emplace_back(type);
    } else {
      columns_.push_back(std::move(spare_.back()));
      spare_.pop_back();
    }
  }
  columns_[index].reset(type, rows_.size());
  return columns_[index];
}

void Batch::drop_column(std::string_view name) {
  const auto index = schema_.find(name);
  if (!index) {
    return;
  }
  spare_.push_back(std::move(columns_[*index]));
  columns_.erase(columns_.begin() + static_cast<std::ptrdiff_t>(*index));
  schema_.erase(*index);
}

Column* Batch::find(std::string_view name) {
  const auto index = schema_.find(name);
  return index ? &columns_[*index] : nullptr;
}

const Column* Batch::find(std::string_view name) const {
  const auto index = schema_.find(name);
  return index ? &columns_[*index] : nullptr;
}

std::span<const std::uint32_t> Batch::selection() const {
  if (all_selected_ && selection_.size() != rows_.size()) {
    const std::size_t have = selection_.size() < rows_.size() ? selection_.size() : 0;
    selection_.resize(rows_.size());
    std::iota(selection_.begin() + static_cast<std::ptrdiff_t>(have), selection_.end(),
              static_cast<std::uint32_t>(have));
  }
  return selection_;
}

std::size_t Batch::keep(std::span<const std::uint8_t> flags) {
  const std::span<const std::uint32_t> before = selection();
  const std::size_t count = before.size();
  std::size_t kept = 0;
  for (const std::uint32_t row : before) {
    selection_[kept] = row;
    kept += flags[row] != 0 ? 1 : 0;
  }
  if (kept != count) {
    all_selected_ = false;
    selection_.resize(kept);
  }
  return count - kept;
}

void Batch::select(std::vector<std::uint32_t> rows) {
  selection_ = std::move(rows);
  all_selected_ = false;
}

void Batch::select_all() {
  all_selected_ = true;
  selection_.clear();
}

}  // namespace headwater
