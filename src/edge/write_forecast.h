// What the spool of a config will write to the disk under a given load: for flash, which wears.
//
// Readings arrive at random (Poisson). A commit writes the blocks of 4 KiB that its bytes touch, so
// one block more than they fill; how many commits there are follows from the time of a commit and
// CommitPacer's rule (src/store/commit_pacer.h). To that comes the journal of the file system, as
// ext4 keeps it with data=ordered and commit=5: three blocks whenever it commits. That is every
// five seconds, for the time of change; and, in a store that has not reached its limit, with each
// commit that reaches a block which was never written. Segments used again know no such blocks.
#pragma once

#include <optional>

#include "base/result.h"
#include "base/time.h"
#include "edge/plan.h"
#include "io/files.h"

namespace headwater {

struct ExpectedLoad {
  double readings_per_second = 100;
  double reading_bytes = 150;
  // One write and fdatasync of the disk; measure_commit_time() finds it. An SSD's if not given.
  std::optional<Nanos> commit_time = {};
};

// Bytes of the device, and commits, in a second.
struct WriteForecast {
  double commit_seconds = 0;
  double commits = 0;
  double log = 0;          // bytes of rows and frames: what the store grows by
  double store = 0;        // blocks that commits touch; SpoolStats::device_bytes counts the same
  double journal = 0;      // of the file system, once the store has reached its limit
  double new_journal = 0;  // before
  double total() const { return store + journal; }
  double new_total() const { return store + new_journal; }
};

WriteForecast forecast_writes(const StoreConfig& store, const ExpectedLoad& load);

// The median of 100 small writes with fdatasync to a file in `dir`, which is removed again.
Result<Nanos> measure_commit_time(io::Files& files, std::string_view dir);

}  // namespace headwater
