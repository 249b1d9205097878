// fsck: what a spool's folder holds and what is wrong with it, without changing a byte or taking
// the lock. On a spool in use the newest frames may look torn: they are being written.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/files.h"
#include "store/clock_map.h"
#include "store/format.h"
#include "store/records.h"
#include "store/spool_reader.h"

namespace headwater {

struct SegmentReport {
  std::string name;
  std::uint64_t generation = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t end = 0;  // bytes of it that are log
  std::uint64_t frames = 0;
  std::uint32_t epoch = 0;
  WallTime from;  // when it was begun
  WallTime to;    // its last frame
  std::array<std::uint64_t, kLanes> rows{};
};

struct Damage {
  std::string file;
  std::uint64_t from = 0;  // bytes [from, to)
  std::uint64_t to = 0;
  std::uint64_t frames = 0;  // lost
  std::string text;
  std::uint64_t generation = 0;  // of its segment
  bool on_record = false;        // `store repair` has been here: its rows have gap records
};

struct LaneReport {
  std::uint64_t first = 0;  // sequence of the first row that is there; 0: none
  std::uint64_t next = 1;
  std::uint64_t floor = 0;  // rows below are let go; 0: no limit has let any go
  std::uint64_t rows = 0;
  std::array<std::uint64_t, 4> gap_rows{};                       // by GapReason, from records
  std::vector<std::pair<std::uint64_t, std::uint64_t>> missing;  // without a record
  std::uint64_t repeated = 0;                                    // sequences seen twice
};

struct FsckReport {
  Id128 spool_id;
  std::vector<SegmentReport> segments;  // oldest first
  std::vector<std::string> spares;
  std::vector<Damage> damage;
  std::vector<Gap> gaps;
  std::array<LaneReport, kLanes> lanes;
  std::uint64_t frames = 0;
  std::uint64_t torn_bytes = 0;  // behind the last whole frame: never committed
  // No damage but what is on record, nothing missing without a record, nothing repeated. A torn
  // tail is sound.
  bool sound() const;
};

// Reads every frame. kNotFound when there is no spool in `dir`.
Result<FsckReport> fsck_spool(io::Files& files, std::string_view dir);

// A spool to look at: `store ls`, `cat`, `export`. The folder as it was at open; a spool in use
// may let segments go meanwhile, which then read as gaps.
class SpoolView {
 public:
  static Result<std::unique_ptr<SpoolView>> open(io::Files& files, std::string_view dir);
  virtual ~SpoolView() = default;

  virtual std::unique_ptr<SpoolReader> read(Lane lane, std::uint64_t from_sequence,
                                            ReadOptions options = {}) = 0;
  virtual Id128 id() const = 0;
  virtual std::uint64_t oldest_sequence(Lane lane) const = 0;
  virtual std::uint64_t next_sequence(Lane lane) const = 0;
  virtual std::vector<Gap> gaps() const = 0;
  virtual std::vector<ClockMap> clock_maps() const = 0;

  struct Cursor {
    std::string consumer;
    Lane lane = Lane::kReadings;
    std::uint16_t stream = 0;
    std::uint64_t upto = 0;
  };
  virtual std::vector<Cursor> cursors() const = 0;
  // Keys and sizes.
  virtual std::vector<std::pair<std::string, std::size_t>> states() const = 0;
  virtual std::string state(std::string_view key) const = 0;  // empty: none
};

}  // namespace headwater
