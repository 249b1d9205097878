// Segment: one file of the log as the process knows it; shared by the flusher and readers.
//
// A reader that holds a segment pins it: its file is then unlinked instead of recycled, so what the
// reader has open stays what it was.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/files.h"
#include "store/frame_scanner.h"
#include "store/log_state.h"

namespace headwater {

struct Segment {
  std::string path;
  spool_format::SegmentHeader header;
  // Bytes up to here are committed (of a segment found at open and closed: the file's size).
  std::atomic<std::uint64_t> end{spool_format::kPageBytes};
  // Set once, before `closed`: the first frame and the sequences of the next segment.
  std::uint64_t end_frame = 0;
  spool_format::Sequences end_next{};
  WallTime end_wall;
  std::uint64_t end_uptime = 0;
  // What it holds; nothing when that is not known (an earlier version, or a restart in it).
  std::optional<spool_format::SegmentSummary> summary;
  std::atomic<bool> closed{false};

  std::uint32_t tag() const {
    return spool_format::segment_tag(header.spool_id, header.generation);
  }
  // Bytes of a lane's rows; where no summary tells, by their share of the rows.
  // `upto` are the sequences behind its last rows.
  std::uint64_t lane_bytes(Lane lane, const spool_format::Sequences& upto) const;
};

// Where a reader finds segments: the live spool, or a folder that is only looked at.
class SegmentSource {
 public:
  virtual ~SegmentSource() = default;

  struct Opened {
    std::shared_ptr<const Segment> segment;
    std::unique_ptr<io::File> file;
  };
  // The oldest segment that may hold this sequence or a later one; null when there is none.
  virtual Result<Opened> find(Lane lane, std::uint64_t sequence) const = 0;
  // The next newer one; null when there is none yet.
  virtual Result<Opened> after(std::uint64_t generation) const = 0;
  // The first sequence of the lane that may still be in a segment: rows below are let go.
  virtual std::uint64_t oldest(Lane lane) const = 0;
  // The first gap record that reaches into the range.
  virtual std::optional<Gap> gap_in(Lane lane, std::uint64_t first, std::uint64_t last) const = 0;
  // The first kept row of the lane in the range: its sequence.
  virtual std::optional<std::pair<std::uint64_t, KeptRow>> kept_in(Lane lane, std::uint64_t first,
                                                                   std::uint64_t last) const = 0;
  // The DeviceFilter of a closed segment, from the header page of the one behind it; empty when
  // there is none.
  virtual Result<std::string> devices_of(const Segment& segment) const = 0;
  // Sequences that no record explains.
  virtual void report(const Gap& gap) = 0;
};

}  // namespace headwater
