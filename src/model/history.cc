#include "model/history.h"

#include <algorithm>
#include <utility>

namespace headwater::model {
namespace {

constexpr std::uint8_t kFormat = 1;

}  // namespace

History::History(std::size_t rows, std::size_t fields, std::size_t max_keys)
    : rows_(std::max<std::size_t>(1, rows)),
      fields_(fields),
      max_keys_(std::max<std::size_t>(1, max_keys)) {}

History::Ring& History::ring(std::string_view key) {
  if (const auto found = keys_.find(key); found != keys_.end()) {
    order_.splice(order_.end(), order_, found->second);
    return *found->second;
  }
  if (keys_.size() >= max_keys_) {
    keys_.erase(order_.front().key);
    // The oldest ring becomes the newest: its buffer is reused.
    order_.splice(order_.end(), order_, order_.begin());
    ++evicted_;
  } else {
    order_.emplace_back().values.resize(rows_ * fields_);
  }
  Ring& ring = order_.back();
  ring.key = key;
  ring.next = 0;
  ring.count = 0;
  keys_.emplace(ring.key, std::prev(order_.end()));
  return ring;
}

bool History::push(std::string_view key, std::span<const double> values, std::span<double> window) {
  Ring& to = ring(key);
  std::copy_n(values.begin(), fields_,
              to.values.begin() + static_cast<std::ptrdiff_t>(to.next * fields_));
  to.next = (to.next + 1) % rows_;
  to.count = std::min(to.count + 1, rows_);
  if (to.count < rows_) {
    return false;
  }
  // Full: the oldest row is where the next one will go.
  const auto split = to.values.begin() + static_cast<std::ptrdiff_t>(to.next * fields_);
  const auto rest = std::copy(split, to.values.end(), window.begin());
  std::copy(to.values.begin(), split, rest);
  return true;
}

// format u8, rows varint, fields varint, keys varint, then each key, least recently pushed first:
// key string, count varint, count × fields doubles, oldest row first.
void History::save(ByteWriter& out) const {
  out.put(kFormat);
  out.put_varint(rows_);
  out.put_varint(fields_);
  out.put_varint(keys_.size());
  for (const Ring& ring : order_) {
    out.put_string(ring.key);
    out.put_varint(ring.count);
    const std::size_t first = ring.count < rows_ ? 0 : ring.next;
    for (std::size_t i = 0; i < ring.count; ++i) {
      const std::size_t row = (first + i) % rows_;
      for (std::size_t field = 0; field < fields_; ++field) {
        out.put(ring.values[row * fields_ + field]);
      }
    }
  }
}

Status History::restore(ByteReader& in) {
  const auto format = in.get<std::uint8_t>();
  const std::uint64_t rows = in.get_varint();
  const std::uint64_t fields = in.get_varint();
  const std::uint64_t keys = in.get_varint();
  if (!in.ok()) {
    return Error::corrupt("window state is cut off");
  }
  if (format != kFormat || rows != rows_ || fields != fields_) {
    return Error::invalid("window state is of format {}, {} rows of {} fields, not {}, {} of {}",
                          format, rows, fields, kFormat, rows_, fields_);
  }
  History fresh(rows_, fields_, max_keys_);
  for (std::uint64_t i = 0; i < keys && in.ok(); ++i) {
    const std::string_view key = in.get_string();
    const std::uint64_t count = in.get_varint();
    if (!in.ok() || count == 0 || count > rows_ || in.left() / sizeof(double) < count * fields_) {
      return Error::corrupt("window state of key {} is damaged", i);
    }
    Ring& ring = fresh.ring(key);
    for (std::size_t value = 0; value < count * fields_; ++value) {
      ring.values[value] = in.get<double>();
    }
    ring.count = count;
    ring.next = count % rows_;
  }
  if (!in.ok()) {
    return Error::corrupt("window state is cut off");
  }
  order_ = std::move(fresh.order_);
  keys_ = std::move(fresh.keys_);  // list nodes do not move, so the views stay good
  return {};
}

void History::clear() {
  keys_.clear();
  order_.clear();
}

}  // namespace headwater::model
