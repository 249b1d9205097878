// Clock maps: moments at which the wall clock was set while the machine ran. Wall times of rows on
// either side of one do not compare; with it a reader converts them, by the monotonic clock. The
// entry is in docs/formats/spool.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"
#include "store/lane.h"
#include "store/spool_clock.h"

namespace headwater {

struct ClockMap {
  Id128 boot;
  MonoTime mono;    // when it was seen
  WallTime before;  // what the wall clock would have said then
  WallTime after;   // what it said
  // Of each lane: rows from this sequence on were stored by the new time.
  std::array<std::uint64_t, kLanes> next{};
  friend bool operator==(const ClockMap&, const ClockMap&) = default;
};

// Notices that the wall clock was set: wall less monotonic time has changed by more than kLeast
// since the log last said what it is (`opened`, or a clock map). One thread.
class ClockWatch {
 public:
  static constexpr Nanos kLeast = std::chrono::seconds(1);

  void start(MonoTime mono, WallTime wall) { offset_ = wall.ns - mono.ns; }
  // Boot and next sequences are the caller's to fill in.
  std::optional<ClockMap> look(MonoTime mono, WallTime wall);
  // The clocks as they are now, read at one moment; nothing when this thread was held up between
  // them.
  std::optional<ClockMap> look(const SpoolClock& clock);

 private:
  std::int64_t offset_ = 0;
};

// The newest of them.
class ClockMaps {
 public:
  static constexpr std::size_t kMost = 64;

  void add(const ClockMap& map);
  const std::deque<ClockMap>& all() const { return maps_; }
  // Bytes of their entries in a checkpoint, at most.
  std::size_t checkpoint_bytes() const { return maps_.size() * kEntryBytes; }

 private:
  static constexpr std::size_t kEntryBytes = 8 + 16 + 3 * 8 + 1 + kLanes * 10;
  std::deque<ClockMap> maps_;  // in the order of the log
};

namespace spool_format {

void put_clock(std::string& out, const ClockMap& map);
std::optional<ClockMap> decode_clock(std::string_view content);

}  // namespace spool_format
}  // namespace headwater
