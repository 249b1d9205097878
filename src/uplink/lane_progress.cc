#include "uplink/lane_progress.h"

#include <algorithm>
#include <utility>

namespace headwater {

LaneProgress::LaneProgress(std::uint64_t cursor, std::vector<SequenceRange> ahead)
    : cursor_(cursor), ahead_(std::move(ahead)) {
  absorb();
}

void LaneProgress::add(std::uint64_t first, std::uint64_t last) {
  if (first == cursor_ + 1) {
    cursor_ = last;
  } else {
    ahead_.push_back({first, last});
    merge_ranges(ahead_);
  }
  absorb();
}

std::uint64_t LaneProgress::ahead_rows() const {
  std::uint64_t sum = 0;
  for (const SequenceRange& range : ahead_) {
    sum += range.last - range.first + 1;
  }
  return sum;
}

void LaneProgress::absorb() {
  auto joined = ahead_.begin();
  for (; joined != ahead_.end() && joined->first <= cursor_ + 1; ++joined) {
    cursor_ = std::max(cursor_, joined->last);
  }
  ahead_.erase(ahead_.begin(), joined);
}

}  // namespace headwater
