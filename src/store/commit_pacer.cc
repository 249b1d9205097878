#include "store/commit_pacer.h"

#include <vector>

namespace headwater {

void CommitPacer::record(MonoTime from, MonoTime to) {
  const Nanos took = to - from;
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
  return quiet ? std::min(sync, kQuietMost) : sync;
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
