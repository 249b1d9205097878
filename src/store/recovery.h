// Recovery: from a folder of segment files to the state of the log. Reads only.
//
// It reads the header page of every segment and the frames of the newest: its time does not grow
// with what is stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/files.h"
#include "store/format.h"
#include "store/log_state.h"

namespace headwater {

struct FoundSegment {
  std::string name;
  spool_format::SegmentHeader header;

  // Both from the next segment; of the newest: from its frames.
  std::uint64_t end_frame = 0;
  spool_format::Sequences end_next{};
  std::optional<spool_format::SegmentSummary> summary;  // not of the newest
};

struct RecoveredLog {
  bool exists = false;  // false: nothing was ever committed here
  Id128 spool_id;
  std::vector<FoundSegment> segments;  // of the log, oldest first
  std::vector<std::string> spares;     // spares, and segments that were never begun
  std::vector<std::string> released;   // segments that were let go, but are still there
  std::vector<std::string> damaged;    // the header page and the first frame cannot be read
  LogState state;
  std::uint64_t committed = 0;  // the last frame of the log
  MonoTime last_mono;           // when it was written, in its boot
  std::uint32_t highest_epoch = 0;
  std::uint64_t highest_generation = 0;  // of any file
  std::uint64_t tail = 0;                // end of the log in the newest segment
  std::uint64_t unsure_from = 0;         // from here to the tail, no frame says that it was synced
  std::uint64_t torn_bytes = 0;
  std::uint64_t frames = 0;  // read
  std::vector<Gap> corrupt;  // sequences that damage took, without a record yet
  std::uint64_t damaged_frames = 0;
};

// kCorrupt when there are segments and none can be read; kInvalid when the format is of a later
// version or the segments are of two spools.
Result<RecoveredLog> recover_log(io::Files& files, std::string_view dir);

// The header of a segment file: from its page, or, if that is damaged, from its first frame.
// kNotFound when the segment was never begun.
Result<spool_format::SegmentHeader> read_segment_header(const io::File& file,
                                                        std::uint64_t generation,
                                                        const Id128* spool_id);

// The DeviceFilter of segment `generation` from the header page of the segment behind it; empty
// when that page does not tell.
Result<std::string> read_devices(const io::File& behind, std::uint64_t generation);

}  // namespace headwater
