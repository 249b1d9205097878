#include "store/commit_pacer.h"

#include <vector>

namespace headwater {

void CommitPacer::record(MonoTime from, MonoTime to, std::uint64_t device_bytes) {
  const Nanos took = to - from;
  if (budget_ > 0) {
    const double since =
        recorded_ == 0 ? 0
                       : static_cast<double>(std::max((to - last_end_).count(), std::int64_t{0}));
    credit_ = std::min(credit_ + since * 1e-9 * budget_, budget_ * kKeptSeconds) -
              static_cast<double>(device_bytes);
  }
  average_ = recorded_ == 0 ? took : average_ + (took - average_) / 8;
  ring_[recorded_ % ring_.size()] = took.count();
  ++recorded_;
  last_end_ = to;
}

Nanos CommitPacer::window(MonoTime arrived) const {
  if (fixed_) {
    return *fixed_;
  }
  const Nanos sync = std::clamp(average_, kLeast, kMost);
  const bool quiet = arrived - last_end_ > 2 * sync;
  const Nanos window = quiet ? std::min(sync, kQuietMost) : sync;
  if (budget_ <= 0) {
    return window;
  }
  const double due = credit_ + static_cast<double>((arrived - last_end_).count()) * 1e-9 * budget_;
  const double debt_seconds = std::max(0.0, -due / budget_);
  return std::max(
      window, std::min(kMost, Nanos{static_cast<std::int64_t>(std::min(debt_seconds, 1.0) * 1e9)}));
}

Nanos CommitPacer::quantile(double share) const {
  const std::size_t count = std::min(recorded_, ring_.size());
  if (count == 0) {
    return Nanos{0};
  }
  std::vector<std::int64_t> sorted(ring_.begin(),
                                   ring_.begin() + static_cast<std::ptrdiff_t>(count));
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(count - 1));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(rank),
                   sorted.end());
  return Nanos{sorted[rank]};
}

}  // namespace headwater
