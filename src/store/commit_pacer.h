// CommitPacer: how long the first frame of a commit waits for others, from how long syncs take.
//
// A frame that arrives while the disk is quiet waits min(1 ms, a sync): long enough for a decision
// to join its reading, short beside the sync itself. While commits follow each other it waits one
// sync: half of the time is then the disk's, and what arrives meanwhile shares a sync. Never above
// 20 ms.
//
// With a write budget (flash wears by what is written) commits also wait until their blocks are
// within it, for 20 ms at most: a budget that is too small for what arrives is exceeded rather than
// let anybody wait longer. What was not used is kept for a minute. One thread.
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
  // `write_budget` is bytes a second; 0 is none. A fixed window knows no budget.
  explicit CommitPacer(std::optional<Nanos> fixed, double write_budget = 0)
      : fixed_(fixed), budget_(write_budget), credit_(write_budget * kKeptSeconds) {}

  // A sync that began at `from` and ended at `to` and wrote so many bytes of the device.
  void record(MonoTime from, MonoTime to, std::uint64_t device_bytes);
  // For a commit whose first frame arrived at `arrived`.
  Nanos window(MonoTime arrived) const;
  // Over the last 1,024 syncs; `share` 0.5 is the median.
  Nanos quantile(double share) const;

 private:
  static constexpr Nanos kMost = std::chrono::milliseconds(20);
  static constexpr Nanos kQuietMost = std::chrono::milliseconds(1);
  static constexpr Nanos kLeast = std::chrono::microseconds(50);

  static constexpr double kKeptSeconds = 60;

  std::optional<Nanos> fixed_;
  double budget_;
  double credit_;  // bytes that may be written; below 0: a debt
  Nanos average_ = kLeast;
  MonoTime last_end_{};
  std::array<std::int64_t, 1024> ring_{};
  std::size_t recorded_ = 0;
};

}  // namespace headwater
