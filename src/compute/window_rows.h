// What windows of all kinds share: which fields they read, how a row's key is found, which keys are
// kept, how a result is written. Internal to compute (compute/window.h is the interface).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "compute/key_map.h"
#include "compute/key_text.h"
#include "compute/moments.h"
#include "compute/window.h"

namespace headwater {

// a - b, or the nearest number that there is.
inline std::int64_t minus(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (!__builtin_sub_overflow(a, b, &result)) {
    return result;
  }
  return a < 0 ? std::numeric_limits<std::int64_t>::min()
               : std::numeric_limits<std::int64_t>::max();
}

inline double seconds_between(std::int64_t from, std::int64_t to) {
  return static_cast<double>(minus(to, from)) * 1e-9;
}

// The fields of a window and the layout of their partials: one row of partials is width() doubles,
// one row of values size() doubles, NaN for null.
class WindowFields {
 public:
  explicit WindowFields(const WindowOptions& options);

  std::size_t size() const { return fields_.size(); }
  std::size_t width() const { return width_; }
  const std::string& name(std::size_t field) const { return fields_[field].name; }

  // Adds the columns of the results to the batch and looks up those of the fields.
  void begin(Batch& batch, WindowStats& stats);
  // The row's values into `values`.
  void read(std::uint32_t row, double* values) const {
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      const Column* const column = fields_[f].column;
      values[f] =
          column == nullptr ? std::numeric_limits<double>::quiet_NaN() : column->as_double(row);
    }
  }

  void clear(double* partials) const {
    for (const Plan& plan : fields_) {
      plan.layout.clear(partials + plan.at);
    }
  }
  void add(double* partials, const double* values, double seconds, bool older) const {
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      fields_[f].layout.add(partials + fields_[f].at, values[f], seconds, older);
    }
  }
  void merge(double* partials, const double* newer) const {
    for (const Plan& plan : fields_) {
      plan.layout.merge(partials + plan.at, newer + plan.at);
    }
  }

  // The results of a window of `rows` rows with these partials; `values` are its rows' values, in
  // any order, for what partials cannot give.
  void write(std::uint32_t row, const double* partials, std::size_t rows,
             std::span<const double> values);

 private:
  static constexpr std::size_t kRows = std::numeric_limits<std::size_t>::max();  // count()

  struct Plan {
    std::string name;
    MomentsLayout layout;
    std::size_t at = 0;  // of its partial in a row of partials
    const Column* column = nullptr;
  };

  std::vector<AggregateSpec> aggregates_;
  std::size_t min_count_ = 1;
  std::vector<Plan> fields_;
  std::vector<std::size_t> field_of_;  // of each aggregate: index in fields_, or kRows
  std::size_t width_ = 0;
  std::vector<Column*> results_;
  std::vector<double> scratch_;  // of quantiles
};

// Calls add(row, key) for each selected row that has a place in a window, in order, after its
// values were read into `values`; a row for which it returns false is late.
template <class Add>
void for_each_window_row(Batch& batch, const std::string& by, const WindowFields& fields,
                         std::vector<double>& values, WindowStats& stats, Add add) {
  bool row_device = false;
  const Column* const column = by.empty() ? nullptr : find_key(batch, by, row_device);
  KeyText text;
  for (const std::uint32_t index : batch.selection()) {
    Row& row = batch.row(index);
    std::string_view key;
    bool has_key = by.empty();
    if (row_device) {
      key = row.device;
      has_key = !key.empty();
    } else if (column != nullptr && column->valid(index)) {
      key = text.of(*column, index);
      has_key = true;
    }
    if (!has_key || (row.flags & (kRowTimeFuture | kRowUndecoded | kRowDuplicate)) != 0) {
      ++stats.skipped;
      continue;
    }
    fields.read(index, values.data());
    if (!add(index, key)) {
      row.flags |= kRowLate;
      ++stats.late;
    }
  }
}

// State per key, bounded by number and age. T has `watermark`, the key's highest event time.
//
// Age is event time: the highest of all keys against the key's own. A key found too old starts
// anew whether or not it was forgotten meanwhile, so results do not depend on when that is.
template <class T>
class WindowKeys {
 public:
  using Keys = KeyMap<T>;

  WindowKeys(std::size_t max_keys, Nanos max_age)
      : max_keys_(max_keys), max_age_(max_age.count()) {}

  const Keys& all() const { return keys_; }

  // The state of the key of a row of this time: there before, or a copy of `fresh`.
  T& take(std::string_view key, std::int64_t time, const T& fresh, WindowStats& stats) {
    newest_ = std::max(newest_, time);
    std::uint32_t at = keys_.find(key);
    if (at != Keys::kNone) {
      keys_.touch(at);
    }
    if (max_age_ > 0) {
      forget_old(at, fresh, stats);
    }
    if (at != Keys::kNone) {
      return keys_.slot(at).value;
    }
    if (keys_.size() >= max_keys_) {
      keys_.erase(keys_.oldest());
      ++stats.evicted_keys;
    }
    return keys_.slot(keys_.insert(key, fresh)).value;
  }

  // For restore(): in the order of all(), without counting.
  void put(std::string_view key, T value) {
    if (keys_.size() >= max_keys_) {
      keys_.erase(keys_.oldest());
    }
    keys_.insert(key, std::move(value));
  }
  std::int64_t newest() const { return newest_; }
  void set_newest(std::int64_t newest) { newest_ = newest; }

 private:
  // Those unseen for longest first, as far as they are too old; and the one at hand.
  void forget_old(std::uint32_t at, const T& fresh, WindowStats& stats) {
    if (at != Keys::kNone && too_old(keys_.slot(at).value)) {
      keys_.slot(at).value = fresh;
      ++stats.aged_keys;
    }
    for (std::uint32_t old = keys_.oldest(); old != Keys::kNone && too_old(keys_.slot(old).value);
         old = keys_.oldest()) {
      keys_.erase(old);
      ++stats.aged_keys;
    }
  }
  bool too_old(const T& value) const {
    return value.watermark != std::numeric_limits<std::int64_t>::min() &&
           value.watermark < minus(newest_, max_age_);
  }

  std::size_t max_keys_;
  std::int64_t max_age_;  // nanoseconds; 0: none
  std::int64_t newest_ = std::numeric_limits<std::int64_t>::min();
  Keys keys_;
};

// Times as differences, values as they are: rows [from, times.size()).
void save_rows(ByteWriter& out, std::int64_t before, std::span<const std::int64_t> times,
               std::span<const double> values);
// `fields` values a row. Corrupt if the bytes end before.
Status restore_rows(ByteReader& in, std::int64_t before, std::uint64_t rows, std::size_t fields,
                    std::vector<std::int64_t>& times, std::vector<double>& values);

// What the saved state of a window depends on: its options and fields.
std::string window_fingerprint(const WindowOptions& options, const WindowFields& fields);

// The head of a saved state: its version and fingerprint.
void save_window_head(ByteWriter& out, std::string_view fingerprint);
Status restore_window_head(ByteReader& in, std::string_view fingerprint);

// A saved state: head, newest time, keys in the order of last use, each with what save(value) adds.
template <class T, class Save>
void save_window(ByteWriter& out, std::string_view fingerprint, const WindowKeys<T>& window,
                 Save save) {
  save_window_head(out, fingerprint);
  out.put(window.newest());
  const KeyMap<T>& keys = window.all();
  out.put_varint(keys.size());
  for (std::uint32_t at = keys.oldest(); at != KeyMap<T>::kNone; at = keys.next(at)) {
    out.put_string(keys.slot(at).key);
    save(keys.slot(at).value);
  }
}

// Fills `window`, which is empty, by restore(value) for each key. After an error it is of no use.
template <class T, class Restore>
Status restore_window(ByteReader& in, std::string_view fingerprint, WindowKeys<T>& window,
                      Restore restore) {
  HW_TRY(restore_window_head(in, fingerprint));
  window.set_newest(in.get<std::int64_t>());
  const std::uint64_t count = in.get_varint();
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = in.get_string();
    if (!in.ok() || window.all().find(key) != KeyMap<T>::kNone) {
      return Error::corrupt("window state: damaged at key {}", i);
    }
    T value;
    HW_TRY(restore(value).with("window state: key {}", i));
    window.put(key, std::move(value));
  }
  return in.ok() ? Status() : Error::corrupt("window state: cut off");
}

}  // namespace headwater
