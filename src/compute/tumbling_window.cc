// Tumbling windows: the rows of the open ones per key, in order of time, computed when they close.
#include <algorithm>
#include <limits>
#include <utility>

#include "compute/window_kinds.h"
#include "compute/window_rows.h"

namespace headwater {
namespace {

constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

// Start of the window that `time` lies in.
std::int64_t start_of(std::int64_t time, std::int64_t every) {
  const std::int64_t whole = time / every - (time % every < 0 ? 1 : 0);
  std::int64_t start = 0;
  return __builtin_mul_overflow(whole, every, &start) ? kMin : start;
}

// The rows of one key whose windows are open: [head, size). Those before are gone, and leave the
// vectors when they are half of them.
struct OpenRows {
  std::vector<std::int64_t> times;  // ascending; of equal times in order of arrival
  std::vector<double> values;       // one per field and row; NaN is null
  std::size_t head = 0;
  std::int64_t watermark = kMin;
};

class TumblingWindow final : public Window {
 public:
  explicit TumblingWindow(WindowOptions options)
      : options_(std::move(options)),
        every_(options_.every.count()),
        fields_(options_),
        keys_(options_.max_keys, options_.max_age) {
    partials_.resize(fields_.width());
    row_.resize(fields_.size());
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
  Status restore_key(ByteReader& in, OpenRows& rows) const;
  using Keys = WindowKeys<OpenRows>;

  // All windows that end here or before are closed.
  std::int64_t closed_until(std::int64_t watermark) const {
    return start_of(minus(watermark, options_.allowed_lateness.count()), every_);
  }
  void add(OpenRows& rows, std::int64_t time, WindowStats& stats) const;
  // Closes what the watermark has passed; `index` is the row that moved it.
  void close(OpenRows& rows, std::uint32_t index, WindowStats& stats);
  void drop(OpenRows& rows, std::size_t upto) const;

  WindowOptions options_;
  std::int64_t every_;
  WindowFields fields_;
  Keys keys_;

  std::vector<double> row_;  // of the row at hand
  std::vector<double> partials_;
  Column* starts_ = nullptr;
};

Status TumblingWindow::process(Batch& batch, WindowStats& stats) {
  if (!options_.start_column.empty()) {
    batch.add_column(options_.start_column, Type::kTimestamp);
  }
  fields_.begin(batch, stats);
  starts_ = options_.start_column.empty() ? nullptr : batch.find(options_.start_column);
  for_each_window_row(batch, options_.by, fields_, row_, stats,
                      [&](std::uint32_t index, std::string_view key) {
                        const std::int64_t time = batch.row(index).time.ns;
                        OpenRows& rows = keys_.take(key, time, {}, stats);
                        if (rows.watermark != kMin && time < closed_until(rows.watermark)) {
                          return false;
                        }
                        stats.out_of_order += time < rows.watermark ? 1 : 0;
                        if (time > rows.watermark) {
                          rows.watermark = time;
                          close(rows, index, stats);
                        }
                        add(rows, time, stats);
                        return true;
                      });
  return {};
}

void TumblingWindow::add(OpenRows& rows, std::int64_t time, WindowStats& stats) const {
  const auto at = static_cast<std::size_t>(
      std::upper_bound(rows.times.begin() + static_cast<std::ptrdiff_t>(rows.head),
                       rows.times.end(), time) -
      rows.times.begin());
  rows.times.insert(rows.times.begin() + static_cast<std::ptrdiff_t>(at), time);
  rows.values.insert(rows.values.begin() + static_cast<std::ptrdiff_t>(at * fields_.size()),
                     row_.begin(), row_.end());
  if (rows.times.size() - rows.head > options_.max_rows) {
    drop(rows, rows.head + 1);
    ++stats.truncated;
  }
}

void TumblingWindow::close(OpenRows& rows, std::uint32_t index, WindowStats& stats) {
  const auto begin = rows.times.begin();
  const auto head = begin + static_cast<std::ptrdiff_t>(rows.head);
  const auto end = std::lower_bound(head, rows.times.end(), closed_until(rows.watermark));
  if (end == head) {
    return;
  }
  std::uint64_t closed = 1;
  for (auto at = head + 1; at != end; ++at) {
    closed += start_of(*at, every_) != start_of(*(at - 1), every_) ? 1 : 0;
  }
  stats.closed += closed;
  stats.unreported += closed - 1;
  const std::int64_t start = start_of(*(end - 1), every_);
  const auto first = static_cast<std::size_t>(std::lower_bound(head, end, start) - begin);
  const auto last = static_cast<std::size_t>(end - begin);
  fields_.clear(partials_.data());
  for (std::size_t row = first; row < last; ++row) {
    fields_.add(partials_.data(), rows.values.data() + row * fields_.size(),
                seconds_between(start, rows.times[row]), false);
  }
  fields_.write(index, partials_.data(), last - first,
                std::span<const double>(rows.values)
                    .subspan(first * fields_.size(), (last - first) * fields_.size()));
  if (starts_ != nullptr) {
    starts_->set(index, start);
  }
  drop(rows, last);
}

void TumblingWindow::drop(OpenRows& rows, std::size_t upto) const {
  rows.head = upto;
  if (rows.head * 2 >= rows.times.size()) {
    rows.times.erase(rows.times.begin(), rows.times.begin() + static_cast<std::ptrdiff_t>(upto));
    rows.values.erase(rows.values.begin(),
                      rows.values.begin() + static_cast<std::ptrdiff_t>(upto * fields_.size()));
    rows.head = 0;
  }
}

void TumblingWindow::save(ByteWriter& out) const {
  save_window(out, window_fingerprint(options_, fields_), keys_, [&](const OpenRows& rows) {
    out.put(rows.watermark);
    out.put_varint(rows.times.size() - rows.head);
    save_rows(out, rows.watermark, std::span<const std::int64_t>(rows.times).subspan(rows.head),
              std::span<const double>(rows.values).subspan(rows.head * fields_.size()));
  });
}

Status TumblingWindow::restore(ByteReader& in) {
  Keys keys(options_.max_keys, options_.max_age);
  HW_TRY(restore_window(in, window_fingerprint(options_, fields_), keys,
                        [&](OpenRows& rows) { return restore_key(in, rows); }));
  keys_ = std::move(keys);
  return {};
}

Status TumblingWindow::restore_key(ByteReader& in, OpenRows& rows) const {
  rows.watermark = in.get<std::int64_t>();
  const std::uint64_t held = in.get_varint();
  if (!in.ok() || held > options_.max_rows) {
    return Error::corrupt("damaged");
  }
  HW_TRY(restore_rows(in, rows.watermark, held, fields_.size(), rows.times, rows.values));
  if (!std::is_sorted(rows.times.begin(), rows.times.end())) {
    return Error::corrupt("damaged rows");
  }
  return {};
}

}  // namespace

std::unique_ptr<Window> make_tumbling_window(WindowOptions options) {
  return std::make_unique<TumblingWindow>(std::move(options));
}

}  // namespace headwater
