// CommitPacer: how long the first frame of a commit waits for others, from how long syncs take.
//
// A frame that arrives while the disk is quiet waits min(1 ms, a sync): long enough for a decision
// to join its reading, short beside the sync itself. While commits follow each other it waits one
// sync: half of the time is then the disk's, and what arrives meanwhile shares a sync. Never above
// 20 ms. One thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace headwater {

class CommitPacer {
 public:
  explicit CommitPacer(std::optional<Nanos> fixed) : fixed_(fixed) {}

  // A sync that began at `from` and ended at `to`.
  void record(MonoTime from, MonoTime to);
  // For a commit whose first frame arrived at `arrived`.
  Nanos window(MonoTime arrived) const;
  // Over the last 1,024 syncs; `share` 0.5 is the median.
  Nanos quantile(double share) const;

 private:
  static constexpr Nanos kMost = std::chrono::milliseconds(20);
  static constexpr Nanos kQuietMost = std::chrono::milliseconds(1);
  static constexpr Nanos kLeast = std::chrono::microseconds(50);

  std::optional<Nanos> fixed_;
  Nanos average_ = kLeast;
  MonoTime last_end_{};
  std::array<std::int64_t, 1024> ring_{};
  std::size_t recorded_ = 0;
};

}  // namespace headwater
