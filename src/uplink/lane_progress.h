// LaneProgress: what of a lane the target has: everything up to a cursor, and ranges beyond it that
// went ahead of a backlog. Pure. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "store/ahead.h"

namespace headwater {

class LaneProgress {
 public:
  // So many ranges lie ahead at most: each begins when the stream of live rows jumps to the end of
  // its lane, and with this many it does not jump.
  static constexpr std::size_t kMostAhead = 64;

  LaneProgress() = default;
  // Ranges up to the cursor are left out.
  LaneProgress(std::uint64_t cursor, std::vector<SequenceRange> ahead);

  // The target has first..last, which it did not have before and which begins behind the cursor or
  // behind all ranges.
  void add(std::uint64_t first, std::uint64_t last);

  std::uint64_t cursor() const { return cursor_; }
  const std::vector<SequenceRange>& ahead() const { return ahead_; }
  // Sequences in the ranges ahead.
  std::uint64_t ahead_rows() const;
  // The last sequence that it has; 0: none.
  std::uint64_t end() const { return ahead_.empty() ? cursor_ : ahead_.back().last; }

 private:
  void absorb();

  std::uint64_t cursor_ = 0;
  std::vector<SequenceRange> ahead_;  // ascending, with holes between them, behind cursor_ + 1
};

}  // namespace headwater
