// The sliding window: a two-stack queue of partials per key.
#include <algorithm>
#include <limits>
#include <utility>

#include "compute/window_kinds.h"
#include "compute/window_rows.h"

namespace headwater {
namespace {

// The rows of one key. Rows [0, head) have left the window and are kept only for rows that come
// out of order; [head, split) is the front stack, with `front` holding the partial of rows [i,
// split) for each i; [split, size) is the back stack with one partial, `back`. When the front is
// empty and a row must leave, the back becomes the front.
struct KeyRows {
  std::vector<std::int64_t> times;  // ascending in windows by time, else as they came
  std::vector<double> values;       // one per field and row; NaN is null
  std::vector<double> front;        // of rows from front_begin on
  std::vector<double> back;
  std::size_t front_begin = 0;
  std::size_t head = 0;
  std::size_t split = 0;
  std::int64_t base = 0;  // time that partials count from; renewed when the stacks turn
  std::int64_t watermark = std::numeric_limits<std::int64_t>::min();

  std::size_t in_window() const { return times.size() - head; }
};

class SlidingWindow final : public Window {
 public:
  explicit SlidingWindow(WindowOptions options)
      : options_(std::move(options)),
        fields_(options_),
        keys_(options_.max_keys, options_.max_age) {
    merged_.resize(fields_.width());
    row_.resize(fields_.size());
    fresh_.back.resize(fields_.width());
    fields_.clear(fresh_.back.data());
  }

  Status process(Batch& batch, WindowStats& stats) override;
  void save(ByteWriter& out) const override;
  Status restore(ByteReader& in) override;
  std::size_t keys() const override { return keys_.all().size(); }
  std::size_t held_rows() const override {
    std::size_t rows = 0;
    const Keys::Keys& keys = keys_.all();
    for (std::uint32_t at = keys.oldest(); at != Keys::Keys::kNone; at = keys.next(at)) {
      rows += keys.slot(at).value.times.size();
    }
    return rows;
  }

 private:
  Status restore_key(ByteReader& in, KeyRows& rows) const;
  using Keys = WindowKeys<KeyRows>;

  bool by_time() const { return options_.last.count() > 0; }
  // Puts the row into `rows`, the moments of its window into merged_ and its rows into first_ and
  // end_; false if it is late.
  bool add(KeyRows& rows, std::int64_t time, WindowStats& stats);
  void append(KeyRows& rows, std::int64_t time) const;
  void insert(KeyRows& rows, std::size_t at, std::int64_t time);
  void drop_oldest(KeyRows& rows) const;
  void turn(KeyRows& rows) const;
  void build_front(KeyRows& rows) const;
  void build_back(KeyRows& rows) const;
  void add_row(const KeyRows& rows, std::size_t row, double* partials, bool older) const {
    fields_.add(partials, rows.values.data() + row * fields_.size(),
                seconds_between(rows.base, rows.times[row]), older);
  }
  // First row that a row out of order may see. Depends on the rows' order alone: a row further
  // than max_rows before the head never comes nearer.
  std::size_t floor(const KeyRows& rows) const {
    if (!by_time() || options_.allowed_lateness.count() == 0) {
      return rows.head;
    }
    const std::size_t first = rows.head - std::min(rows.head, options_.max_rows);
    const std::int64_t limit =
        minus(minus(rows.watermark, options_.allowed_lateness.count()), options_.last.count());
    const auto begin = rows.times.begin();
    return static_cast<std::size_t>(std::upper_bound(begin + static_cast<std::ptrdiff_t>(first),
                                                     begin + static_cast<std::ptrdiff_t>(rows.head),
                                                     limit) -
                                    begin);
  }

  WindowOptions options_;
  WindowFields fields_;
  Keys keys_;
  KeyRows fresh_;  // of a new key

  // Of the row at hand.
  std::vector<double> row_;
  std::vector<double> merged_;
  std::size_t first_ = 0;
  std::size_t end_ = 0;
};

Status SlidingWindow::process(Batch& batch, WindowStats& stats) {
  fields_.begin(batch, stats);
  for_each_window_row(
      batch, options_.by, fields_, row_, stats, [&](std::uint32_t index, std::string_view key) {
        const std::int64_t time = batch.row(index).time.ns;
        KeyRows& rows = keys_.take(key, time, fresh_, stats);
        if (!add(rows, time, stats)) {
          return false;
        }
        fields_.write(index, merged_.data(), end_ - first_,
                      std::span<const double>(rows.values)
                          .subspan(first_ * fields_.size(), (end_ - first_) * fields_.size()));
        // After a row out of order; not before its window was read.
        if (rows.in_window() > options_.max_rows) {
          drop_oldest(rows);
          ++stats.truncated;
        }
        return true;
      });
  return {};
}

bool SlidingWindow::add(KeyRows& rows, std::int64_t time, WindowStats& stats) {
  if (rows.times.empty()) {
    rows.base = time;
  }
  if (by_time() && time < rows.watermark) {
    if (time < minus(rows.watermark, options_.allowed_lateness.count())) {
      return false;
    }
    ++stats.out_of_order;
    const std::size_t lowest = floor(rows);
    const auto begin = rows.times.begin();
    const auto at = static_cast<std::size_t>(
        std::upper_bound(begin + static_cast<std::ptrdiff_t>(lowest), rows.times.end(), time) -
        begin);
    const auto first =
        static_cast<std::size_t>(std::upper_bound(begin + static_cast<std::ptrdiff_t>(lowest),
                                                  begin + static_cast<std::ptrdiff_t>(at),
                                                  minus(time, options_.last.count())) -
                                 begin);
    insert(rows, at, time);
    fields_.clear(merged_.data());
    for (std::size_t row = first; row <= at; ++row) {
      add_row(rows, row, merged_.data(), false);
    }
    first_ = first;
    end_ = at + 1;
    return true;
  }
  if (by_time()) {
    rows.watermark = time;
    const std::int64_t leave = minus(time, options_.last.count());
    while (rows.head < rows.times.size() && rows.times[rows.head] <= leave) {
      drop_oldest(rows);
    }
  } else {
    rows.watermark = std::max(rows.watermark, time);
    if (rows.in_window() >= options_.rows) {
      drop_oldest(rows);
    }
  }
  if (rows.in_window() >= options_.max_rows) {
    drop_oldest(rows);
    ++stats.truncated;
  }
  append(rows, time);
  if (rows.head < rows.split) {
    const double* const front =
        rows.front.data() + (rows.head - rows.front_begin) * fields_.width();
    std::copy_n(front, fields_.width(), merged_.data());
    fields_.merge(merged_.data(), rows.back.data());
  } else {
    std::copy_n(rows.back.data(), fields_.width(), merged_.data());
  }
  first_ = rows.head;
  end_ = rows.times.size();
  return true;
}

void SlidingWindow::append(KeyRows& rows, std::int64_t time) const {
  rows.times.push_back(time);
  rows.values.insert(rows.values.end(), row_.begin(), row_.end());
  add_row(rows, rows.times.size() - 1, rows.back.data(), false);
}

// A row out of order. Partials stay what they are defined to be: functions of the rows in their
// order, so a restored state computes the same.
void SlidingWindow::insert(KeyRows& rows, std::size_t at, std::int64_t time) {
  rows.times.insert(rows.times.begin() + static_cast<std::ptrdiff_t>(at), time);
  rows.values.insert(rows.values.begin() + static_cast<std::ptrdiff_t>(at * fields_.size()),
                     row_.begin(), row_.end());
  const std::int64_t leave = minus(rows.watermark, options_.last.count());
  if (at < rows.head || time <= leave) {
    ++rows.head;
    ++rows.split;
    ++rows.front_begin;
  } else if (at < rows.split) {
    ++rows.split;
    build_front(rows);
  } else {
    build_back(rows);
  }
}

void SlidingWindow::drop_oldest(KeyRows& rows) const {
  if (rows.head == rows.split) {
    turn(rows);
  }
  ++rows.head;
}

// The back becomes the front; rows that nobody needs any more go.
void SlidingWindow::turn(KeyRows& rows) const {
  const std::size_t gone = floor(rows);
  rows.times.erase(rows.times.begin(), rows.times.begin() + static_cast<std::ptrdiff_t>(gone));
  rows.values.erase(rows.values.begin(),
                    rows.values.begin() + static_cast<std::ptrdiff_t>(gone * fields_.size()));
  rows.head -= gone;
  rows.split = rows.times.size();
  rows.base = rows.head < rows.times.size() ? rows.times[rows.head] : rows.base;
  build_front(rows);
  fields_.clear(rows.back.data());
}

void SlidingWindow::build_front(KeyRows& rows) const {
  const std::size_t count = rows.split - rows.head;
  rows.front_begin = rows.head;
  rows.front.resize(count * fields_.width());
  for (std::size_t i = count; i > 0; --i) {
    double* const partials = rows.front.data() + (i - 1) * fields_.width();
    if (i == count) {
      fields_.clear(partials);
    } else {
      std::copy_n(partials + fields_.width(), fields_.width(), partials);
    }
    add_row(rows, rows.head + i - 1, partials, true);
  }
}

void SlidingWindow::build_back(KeyRows& rows) const {
  fields_.clear(rows.back.data());
  for (std::size_t row = rows.split; row < rows.times.size(); ++row) {
    add_row(rows, row, rows.back.data(), false);
  }
}

void SlidingWindow::save(ByteWriter& out) const {
  save_window(out, window_fingerprint(options_, fields_), keys_, [&](const KeyRows& rows) {
    const std::size_t from = floor(rows);
    out.put(rows.base);
    out.put(rows.watermark);
    out.put_varint(rows.times.size() - from);
    out.put_varint(rows.head - from);
    out.put_varint(rows.split - from);
    save_rows(out, rows.base, std::span<const std::int64_t>(rows.times).subspan(from),
              std::span<const double>(rows.values).subspan(from * fields_.size()));
  });
}

Status SlidingWindow::restore(ByteReader& in) {
  Keys keys(options_.max_keys, options_.max_age);
  HW_TRY(restore_window(in, window_fingerprint(options_, fields_), keys,
                        [&](KeyRows& rows) { return restore_key(in, rows); }));
  keys_ = std::move(keys);
  return {};
}

Status SlidingWindow::restore_key(ByteReader& in, KeyRows& rows) const {
  rows.base = in.get<std::int64_t>();
  rows.watermark = in.get<std::int64_t>();
  const std::uint64_t held = in.get_varint();
  rows.head = in.get_varint();
  rows.split = in.get_varint();
  if (!in.ok() || rows.head > rows.split || rows.split > held ||
      held - rows.head > options_.max_rows) {
    return Error::corrupt("damaged");
  }
  HW_TRY(restore_rows(in, rows.base, held, fields_.size(), rows.times, rows.values));
  if (by_time() && !std::is_sorted(rows.times.begin(), rows.times.end())) {
    return Error::corrupt("damaged rows");
  }
  rows.back.resize(fields_.width());
  build_front(rows);
  build_back(rows);
  return {};
}

}  // namespace

std::unique_ptr<Window> make_sliding_window(WindowOptions options) {
  return std::make_unique<SlidingWindow>(std::move(options));
}

}  // namespace headwater
