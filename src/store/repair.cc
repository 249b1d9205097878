#include "store/repair.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "store/repair_mark.h"
#include "store/spool.h"

namespace headwater {
namespace {

constexpr Nanos kFlushLimit = std::chrono::seconds(60);

// Nothing may be let go while it is looked at.
SpoolOptions options_for(const std::string& dir, const FsckReport& report) {
  SpoolOptions options;
  options.dir = dir;
  options.min_free = 0;
  for (const SegmentReport& segment : report.segments) {
    options.max_bytes += 2 * segment.file_bytes;
    options.segment_bytes = segment.file_bytes;
  }
  return options;
}

// Reads a lane to its end. The reader itself reports what it finds missing.
Status walk(const Spool& spool, Lane lane) {
  const auto reader = spool.read(lane, spool.stats().lanes[index_of(lane)].oldest_sequence,
                                 {.stream = std::nullopt, .decisions = true});
  while (HW_TRY(reader->next()) != ReadItem::kEnd) {
  }
  return {};
}

}  // namespace

Result<RepairReport> repair_spool(io::Files& files, const std::string& dir) {
  RepairReport report;
  report.before = HW_TRY(fsck_spool(files, dir));
  if (report.before.sound()) {
    report.after = report.before;
    return report;
  }
  {
    const std::unique_ptr<Spool> spool =
        HW_TRY(Spool::open(files, options_for(dir, report.before)));
    for (const Lane lane : kAllLanes) {
      HW_TRY(walk(*spool, lane).with("read lane {}", lane_name(lane)));
    }
    HW_TRY(spool->flush(kFlushLimit));
    Transaction mark;
    mark.state(kRepairMark, encode_repair_mark(mark_behind(report.before)));
    HW_TRY(spool->submit(mark));
    HW_TRY(spool->flush(kFlushLimit));
  }
  report.after = HW_TRY(fsck_spool(files, dir));
  report.changed = true;
  const std::vector<Gap>& known = report.before.gaps;
  std::copy_if(
      report.after.gaps.begin(), report.after.gaps.end(), std::back_inserter(report.recorded),
      [&](const Gap& gap) { return std::find(known.begin(), known.end(), gap) == known.end(); });
  return report;
}

}  // namespace headwater
