// Window: aggregates over rows of each key: a sliding window by event time or by count, or tumbling
// windows that lie side by side.
//
//   WindowOptions options{.by = "device_id", .last = std::chrono::seconds(60)};
//   options.aggregates.push_back(HW_TRY(parse_aggregate("v", "rms(vibration)")));
//   auto window = HW_TRY(Window::create(std::move(options)));
//   WindowStats stats;
//   HW_TRY(window->process(batch, stats));      // batch has the column "v"
//
// Sliding (`last`, `rows`). A row's value covers the rows of its key with event time in
// (t - last, t], itself included; with `rows: n` the n newest rows in order of arrival.
//
// Tumbling (`every`). Windows [k every, (k + 1) every) of event time, k an integer: they begin with
// the epoch, 1970-01-01T00:00:00Z. A window closes when the watermark of its key reaches its end
// plus `allowed_lateness`. The row that closes it belongs to a later window; it carries the results
// of the closed one, with the window's start in `start_column`, and every other row has null. If a
// row closes several windows at once it carries the newest that has rows, the others are counted
// (unreported). A window without rows is not reported, and nothing but a row of the same key closes
// one.
//
// Null and NaN values do not count. A value is null while its field has fewer than `min_count`
// values in the window; a count never is.
//
// Order. The watermark of a key is its highest event time. Sliding windows by time take a row that
// is older than the watermark by up to `allowed_lateness`: it gets the window as of its own time,
// and later rows see it; values that were given out before stay. Tumbling windows take a row while
// its window is open, and put it in its place by time. Other rows are late: kRowLate, null results,
// no effect. Windows by count ignore the order of times. Rows with kRowTimeFuture, kRowUndecoded or
// kRowDuplicate and rows without a key get null and have no effect.
//
// Exactness. Values are combined, never subtracted (two-stack queue with mergeable moments), so a
// spike that left the window leaves no error behind; results agree with a plain recomputation to
// about 1e-12. They depend on the sequence of rows alone, not on how rows are cut into batches, and
// the state after restore() gives bit-identical values.
//
// Cost: amortised O(1) a row. O(window) for a row out of order in a sliding window, and for every
// row with a quantile in it; a tumbling window computes its quantiles once.
//
// Memory is bounded: keys by max_keys (the key unseen for longest is forgotten, counted) and by
// max_age, rows by max_rows a key (the oldest rows leave early, counted). A key whose highest event
// time is more than max_age behind the highest of all keys is forgotten, with the rows of its open
// windows, and counted; if it comes back it begins anew. Measured on x86-64 with two aggregates of
// one field: a key with one row takes 377 bytes in a sliding window and 232 in a tumbling one; each
// further row of the window takes up to 96 and 48; of a forgotten key some 210 stay for the next
// one (window_memory_test.cc holds it to that). Not thread-safe.
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
  // One of three.
  Nanos last{0};
  std::size_t rows = 0;
  Nanos every{0};
  Nanos allowed_lateness{0};
  std::size_t min_count = 1;
  std::size_t max_keys = 10'000;
  Nanos max_age{0};                           // 0: none
  std::size_t max_rows = 100'000;             // per key
  std::string start_column = "window_start";  // of tumbling windows, a timestamp; empty: none
  std::vector<AggregateSpec> aggregates{};
};

// Sums since they were set to zero by the caller.
struct WindowStats {
  std::uint64_t late = 0;
  std::uint64_t out_of_order = 0;  // older than the watermark, but not late
  std::uint64_t skipped = 0;       // no key, time in the future, undecoded or duplicate
  std::uint64_t evicted_keys = 0;  // because of max_keys
  std::uint64_t aged_keys = 0;     // because of max_age
  std::uint64_t truncated = 0;     // rows that left a window early because of max_rows
  std::uint64_t closed = 0;        // tumbling windows with rows
  std::uint64_t unreported = 0;    // of `closed`: a newer one took their place
  std::uint64_t not_numeric = 0;   // batches x fields whose column is a string: taken as null
};

class Window {
 public:
  // Invalid: no aggregate, two of one name, one with the name of a column the window reads, not
  // exactly one of `last`, `rows` and `every`, a bound of zero, a max_age shorter than the window
  // and its lateness.
  static Result<std::unique_ptr<Window>> create(WindowOptions options);
  virtual ~Window() = default;

  // Processes the selected rows in ascending order; adds one column per aggregate.
  virtual Status process(Batch& batch, WindowStats& stats) = 0;

  virtual std::size_t keys() const = 0;
  virtual std::size_t held_rows() const = 0;

  // restore() replaces the state. Corrupt if the bytes are damaged, invalid if they come from a
  // window of another key, size, lateness, max_rows or other fields; then nothing changes.
  virtual void save(ByteWriter& out) const = 0;
  virtual Status restore(ByteReader& in) = 0;
};

}  // namespace headwater
