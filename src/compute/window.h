// SlidingWindow: aggregates over the last rows of each key, by event time or by count.
//
//   WindowOptions options{.by = "device_id", .last = std::chrono::seconds(60)};
//   options.aggregates.push_back(HW_TRY(parse_aggregate("v", "rms(vibration)")));
//   auto window = HW_TRY(SlidingWindow::create(std::move(options)));
//   WindowStats stats;
//   HW_TRY(window->process(batch, stats));      // batch has the column "v"
//
// A row's value covers the rows of its key with event time in (t - last, t], itself included; with
// `rows: n` the n newest rows in order of arrival. Null and NaN values do not count. A value is
// null while its field has fewer than `min_count` values in the window; a count never is.
//
// Order. The watermark of a key is its highest event time. Windows by time take a row that is older
// than the watermark by up to `allowed_lateness`: it gets the window as of its own time, and later
// rows see it; values that were given out before stay. An older row is late: kRowLate, null
// results, no effect. Windows by count ignore the order of times. Rows with kRowTimeFuture,
// kRowUndecoded or kRowDuplicate and rows without a key get null and have no effect.
//
// Exactness. Values are combined, never subtracted (two-stack queue with mergeable moments), so a
// spike that left the window leaves no error behind; results agree with a plain recomputation to
// about 1e-12. They depend on the sequence of rows alone, not on how rows are cut into batches, and
// the state after restore() gives bit-identical values.
//
// Cost: amortised O(1) a row, O(window) for a row out of order. Memory is bounded by max_keys (the
// key unseen for longest is forgotten, counted) and max_rows per key (the oldest rows leave early,
// counted). Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "compute/aggregate.h"
#include "data/batch.h"

namespace headwater {

struct WindowOptions {
  // Column of the key. "device" and "device_id" mean Row::device when there is no such column.
  // Empty: one window over all rows.
  std::string by = "device_id";
  Nanos last{0};         // either this
  std::size_t rows = 0;  // or this
  Nanos allowed_lateness{0};
  std::size_t min_count = 1;
  std::size_t max_keys = 10'000;
  std::size_t max_rows = 100'000;  // per key
  std::vector<AggregateSpec> aggregates{};
};

// Sums since they were set to zero by the caller.
struct WindowStats {
  std::uint64_t late = 0;
  std::uint64_t out_of_order = 0;  // older than the watermark, but not late
  std::uint64_t skipped = 0;       // no key, time in the future, undecoded or duplicate
  std::uint64_t evicted_keys = 0;
  std::uint64_t truncated = 0;    // rows that left a window early because of max_rows
  std::uint64_t not_numeric = 0;  // batches x fields whose column is a string: taken as null
};

class SlidingWindow {
 public:
  // Invalid: no aggregate, two of one name, one with the name of a column the window reads, neither
  // or both of `last` and `rows`, a zero bound.
  static Result<std::unique_ptr<SlidingWindow>> create(WindowOptions options);
  ~SlidingWindow();

  // Processes the selected rows in ascending order; adds one column per aggregate.
  Status process(Batch& batch, WindowStats& stats);

  std::size_t keys() const;
  std::size_t held_rows() const;

  // restore() replaces the state. Corrupt if the bytes are damaged, invalid if they come from a
  // window of another key, size, lateness, max_rows or other fields; then nothing changes.
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);

 private:
  class State;
  explicit SlidingWindow(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace headwater
