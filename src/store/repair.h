// Repair: puts on record what damage took from a spool, so that nothing is missing in silence.
//
// The log is kept as it is: no row moves, no sequence changes, no file goes. Opening the spool cuts
// a torn tail, as any start does; then every lane is read to its end, and each range of sequences
// that does not read becomes a gap record, reason corrupt. A mark says how far this has been done:
// damage before it is known (Damage::on_record) and the spool is sound again. Receivers get the gap
// records like any others.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "io/files.h"
#include "store/fsck.h"

namespace headwater {

struct RepairReport {
  FsckReport before;
  FsckReport after;
  std::vector<Gap> recorded;  // new gap records
  bool changed = false;       // false: it was sound, and no byte was written
};

// Takes the folder's lock. kUnavailable while an edge runs, kNotFound without a spool, kCorrupt
// when no segment of it reads: then there is nothing to save but the bytes.
Result<RepairReport> repair_spool(io::Files& files, const std::string& dir);

}  // namespace headwater
