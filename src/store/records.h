// What the spool holds, as the program sees it. The bytes are in docs/formats/spool.md.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"
#include "store/lane.h"

namespace headwater {

// A stream tells rows of one lane apart (a worker, a pipeline): the caller's number. Cursors of a
// consumer that reads a whole lane use kAllStreams.
inline constexpr std::uint16_t kAllStreams = std::numeric_limits<std::uint16_t>::max();

// One row to store, or one row read back. Views: valid as long as what they were taken from.
struct StoredRow {
  std::string_view device;
  std::string_view topic;
  std::string_view sender;
  std::string_view payload;
  WallTime time;
  WallTime received;
  std::uint32_t flags = 0;  // RowFlags of data/batch.h; kRowReplayed is not stored
  Id128 identity;           // zero: none
  std::uint32_t partition = 0;
  std::uint64_t position = 0;
  // Why it is here, in a few words: reason of a dead letter, event of an alert. Stored like sender.
  std::string_view note = {};
};

// What was decided about rows of a lane: one score each. The rows are a range, a list, or rows of
// the same transaction.
struct Decisions {
  std::string_view pipeline;
  Lane lane = Lane::kReadings;
  std::uint16_t stream = 0;
  // Rows first, first + 1, …, first + count - 1, unless `sequences` is given (ascending).
  std::uint64_t first = 0;
  std::uint32_t count = 0;
  std::span<const std::uint64_t> sequences;
  // The numbers above are indexes (from 0) of the rows appended to this transaction's (lane,
  // stream); they become sequences at submit. Never set on what is read back.
  bool own_rows = false;
  std::string_view model_digest;
  std::uint64_t revision = 0;
  std::span<const double> scores;         // one a row; NaN: no score. Or empty: none has one
  std::span<const std::uint8_t> alerted;  // one a row, 0 or 1. Or empty: none alerted
};

enum class GapReason : std::uint8_t { kShed, kExpired, kCorrupt, kOperator };
std::string_view gap_reason_name(GapReason reason);

// Rows that were let go: `count` of the sequences first..last of a lane (all of them unless rows
// of the range were kept or delivered), stored between `from` and `to`.
struct Gap {
  Lane lane = Lane::kReadings;
  GapReason reason = GapReason::kShed;
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t count = 0;
  WallTime from;
  WallTime to;
  friend bool operator==(const Gap&, const Gap&) = default;
};

}  // namespace headwater
