// Bugs planted on purpose, to test that torture finds them: in builds with tests (HW_PLANT_BUGS)
// one of them can be switched on from a test. In a release planted() is the constant false, and
// what depends on it is gone.
#pragma once

#include <atomic>
#include <cstdint>

namespace headwater {

enum class Bug : std::uint8_t {
  kNone,
  kCommitWithoutSync,    // a ticket is kept before fdatasync
  kAcknowledgeAtSubmit,  // a source is told before the commit
  kNoFolderSync,         // a segment's name is not synced
  kSequenceAgain,        // a restart gives the last sequence again
  kStaleBlock,           // frames left over in a recycled file are read as new ones
  kSyncAgain,            // an fsync that failed is tried again and believed
  kHighWaterDedupe,      // an id below the highest one known is taken for a repeat
  kNoCrc,                // bodies of frames are not checked
  kDecidedEarly,         // the cursor `decided` moves before the decisions
  kTornIsCommitted,      // a torn tail is taken for damage
  kGapAfterRelease,      // the gap record follows the removal
  kStateAheadOfCursor,   // the steps' state is newer than its cursor says
  kSinkCursorAhead,      // the sink's cursor counts alerts that were not answered
  kNoReplay,             // rows that were not decided are not scored after a restart
  kAlertsApart,          // alerts follow in a frame behind their decisions
  kShortGap,             // a gap record misses its last row
  kNoAnswerIsStored,     // the uplink's cursor passes a batch that has no answer
  kForgottenIds,         // ids of stored rows are not remembered: the set forgets at once
};

#ifdef HW_PLANT_BUGS
inline std::atomic<Bug> g_planted{Bug::kNone};
inline bool planted(Bug bug) {
  return g_planted.load(std::memory_order_relaxed) == bug;
}
inline void plant(Bug bug) {
  g_planted.store(bug);
}
#else
constexpr bool planted(Bug) {
  return false;
}
#endif

}  // namespace headwater
