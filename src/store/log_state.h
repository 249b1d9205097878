// LogState: everything of the spool that is not rows, as of a frame: next sequences, floors,
// cursors, states, gaps, kept rows and clock maps. Built by applying frames in order; a checkpoint
// frame carries all of it. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "store/clock_map.h"
#include "store/format.h"
#include "store/gap_list.h"
#include "store/records.h"

namespace headwater {

struct KeptRow {
  std::uint16_t stream = 0;
  WallTime stored;
  std::string row;  // for RowDecoder
};

class LogState {
 public:
  LogState() {
    next.fill(1);
    segment_first_.fill(1);
  }

  struct Applied {
    bool ok =
        true;  // false: an entry that makes no sense (its frame was whole: a bug or an attack)
    std::array<std::uint64_t, kLanes> rows{};
    std::array<std::uint64_t, kLanes> row_bytes{};
    // Where a sequence is beyond the next one: what lies between is missing.
    std::vector<Gap> missing;
    bool told_next = false;  // the frame says how far every lane has come
  };
  // A checkpoint replaces everything but `next`, of which the larger counts.
  Applied apply(std::string_view body, bool checkpoint, WallTime at);

  // The segment at hand begins here: its checkpoint has been made.
  void begin_segment() { segment_first_ = next; }
  // The entries of a checkpoint frame; `opened` is given because each process writes its own.
  void put_checkpoint(std::string& body, const spool_format::OpenedEntry& opened) const;
  std::size_t checkpoint_bytes() const;
  // Of them, cursors and states.
  std::size_t given_bytes() const;

  std::optional<std::uint64_t> cursor(std::string_view consumer, Lane lane,
                                      std::uint16_t stream) const;
  // For SegmentSource: the first record that explains missing sequences of first..last, and the
  // first kept row in them. Rows from `oldest` on may still be in a segment.
  std::optional<Gap> gap_in(Lane lane, std::uint64_t first, std::uint64_t last,
                            std::uint64_t oldest) const;
  std::optional<std::pair<std::uint64_t, KeptRow>> kept_in(Lane lane, std::uint64_t first,
                                                           std::uint64_t last) const;
  // The lowest cursor of a consumer over the streams of a lane; 0 when it has none.
  std::uint64_t lowest_cursor(std::string_view consumer, Lane lane) const;

  using KeptRows = std::map<std::pair<std::uint8_t, std::uint64_t>, KeptRow>;  // lane, sequence
  KeptRows::iterator drop_kept(KeptRows::iterator row);

  using CursorKey = std::tuple<std::string, std::uint8_t, std::uint16_t>;
  spool_format::Sequences next{};
  std::map<CursorKey, std::uint64_t> cursors;
  std::map<std::string, std::string, std::less<>> states;
  GapList gaps;
  KeptRows kept;
  std::array<std::size_t, kLanes> kept_bytes{};
  // Rows of a lane below its floor are let go, wherever they lie. No kept row is below it.
  spool_format::Sequences floors{};
  std::uint64_t released = 0;  // generations up to here are let go
  std::uint32_t epoch = 0;     // of the last opened entry
  ClockMaps clocks;
  // The clocks as the log last told of them, and their boot. Zero: it has not.
  Id128 told_boot;
  MonoTime told_mono;
  WallTime told_wall;

 private:
  spool_format::Sequences segment_first_{};
  std::size_t state_bytes_ = 0;
  std::size_t cursor_bytes_ = 0;
};

}  // namespace headwater
