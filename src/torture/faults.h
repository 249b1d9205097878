// The faults that torture injects, and the operations of the store that a fault can hit.
//
// Simulated faults run against the real pipeline over a disk in memory that forgets what was not
// synced (io/fault_files.h). Real faults run against the real process on the real disk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headwater::torture {

enum class FaultKind : std::uint8_t {
  // simulated
  kPowerCut,
  kProcessKill,
  kTornWrite,
  kDiskFull,
  kWriteError,
  kSyncError,
  kBitFlip,
  kClockJump,
  kReconnect,
  kReceiverStall,
  // real
  kKill,
  kStop,
  kLinkDrop,
  kHalfOpen,
  kSlowReceiver,
  kFullDisk,
  kBrokerRestart,
};
inline constexpr std::size_t kFaultKinds = 17;

struct FaultFacts {
  FaultKind kind;
  std::string_view name;  // as in --faults
  bool real;
  std::string_view doc;
};
std::span<const FaultFacts> all_faults();
const FaultFacts& facts_of(FaultKind kind);
inline std::string_view name_of(FaultKind kind) {
  return facts_of(kind).name;
}

// "power_cut,kill9", "simulated", "real", "all"; without repeats, in the order above. kInvalid
// names the nearest for a name there is not.
Result<std::vector<FaultKind>> parse_faults(std::string_view list);

// Operations of the store that change the disk. Recovery is every one of them while the store is
// being opened.
enum class Boundary : std::uint8_t {
  kFrameWrite,     // rows, decisions and cursors appended to the log
  kFrameSync,      // the fdatasync that makes them durable
  kSegmentCreate,  // a spare file made and its blocks reserved
  kHeaderWrite,    // header page and checkpoint written into a spare, and synced
  kRename,         // the spare becomes a segment of the log
  kDirSync,        // the folder synced behind renames and removals
  kRecycle,        // a segment let go: renamed to a spare, or removed
  kRecovery,
};
inline constexpr std::size_t kBoundaries = 8;
inline constexpr std::array<std::string_view, kBoundaries> kBoundaryNames = {
    "frame_write", "frame_sync", "segment_create", "header_write",
    "rename",      "dir_sync",   "recycle",        "recovery"};
inline std::string_view name_of(Boundary boundary) {
  return kBoundaryNames[static_cast<std::size_t>(boundary)];
}

// What a trial of a simulated fault aims at; without a boundary the fault is not one of the disk.
struct Cell {
  FaultKind kind;
  std::optional<Boundary> boundary;
};
// Every combination there is, in a fixed order: a seed picks its cell by it.
std::span<const Cell> simulated_cells();
std::vector<FaultKind> real_faults();

}  // namespace headwater::torture
