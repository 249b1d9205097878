// SpoolReader: walks one lane of a spool in the order of sequence, in bounded memory (one frame).
//
//   auto reader = spool.read(Lane::kReadings, cursor + 1);
//   for (;;) {
//     switch (HW_TRY(reader->next())) {
//       case ReadItem::kEnd:        // for now: next() goes on once more is committed
//         return;
//       case ReadItem::kRow:
//         use(reader->row());
//         break;
//       case ReadItem::kGap:        // sequences that are not there
//         report(reader->gap());
//         break;
//       case ReadItem::kDecisions:  // when asked for
//         use(reader->decisions());
//         break;
//     }
//   }
//
// It sees committed rows only. No sequence is skipped in silence: what is missing comes as a gap.
// One thread at a time; it may be another than the spool's users.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/lane.h"
#include "store/records.h"

namespace headwater {

enum class ReadItem : std::uint8_t { kEnd, kRow, kGap, kDecisions };

// What a caller is going to drop anyway: segments that hold nothing else are passed by, their gaps
// too. Rows that it does not take still come.
struct ReadFilter {
  WallTime from{std::numeric_limits<std::int64_t>::min()};  // event time, included
  WallTime to{std::numeric_limits<std::int64_t>::max()};    // not included
  std::string device;                                       // empty: any
  // While set, nothing is passed by: a caller that waits for decisions about rows it has.
  bool paused = false;
};

struct ReadOptions {
  std::optional<std::uint16_t> stream;  // rows and decisions of this stream only
  // Also decisions about rows of this lane, where they lie in the log: after or beside their rows.
  bool decisions = false;
  // Looked at as each segment begins; must outlive the reader.
  const ReadFilter* filter = nullptr;
};

struct ReadRow {
  Lane lane = Lane::kReadings;
  std::uint16_t stream = 0;
  std::uint64_t sequence = 0;
  WallTime stored;  // believed wall time of the frame
  MonoTime mono;    // and its monotonic time, of the boot `boot`
  Id128 boot;       // zero: not known (a row that was kept when its segment was let go)
  StoredRow row;    // views, valid until the next next()
};

class SpoolReader {
 public:
  virtual ~SpoolReader() = default;

  // kCorrupt never: damage comes as a gap. kUnavailable when the disk fails; try again.
  virtual Result<ReadItem> next() = 0;

  // Of the last next(), valid until the following one.
  virtual const ReadRow& row() const = 0;
  virtual const Gap& gap() const = 0;
  virtual const Decisions& decisions() const = 0;
};

}  // namespace headwater
