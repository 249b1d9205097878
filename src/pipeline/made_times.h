// When alerts that wait in the store were made, by the monotonic clock: for sinks that act only on
// fresh ones.
//
// Bounded: a mark stands for all sequences up to its own. When there are too many, neighbours are
// joined under the older time, so an alert may look older than it is, never younger.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/time.h"

namespace headwater {

class MadeTimes {
 public:
  static constexpr std::size_t kMost = 256;

  // What lies behind the last mark, up to `upto`, was made at `at`. Both ascend.
  void note(std::uint64_t upto, MonoTime at) {
    if (!marks_.empty() && upto <= marks_.back().upto) {
      return;
    }
    if (marks_.size() >= kMost) {
      for (std::size_t i = 0; i < kMost / 2; ++i) {
        marks_[i] = {marks_[2 * i + 1].upto, marks_[2 * i].at};
      }
      marks_.resize(kMost / 2);
    }
    marks_.push_back({upto, at});
  }
  // What was never noted was made at `now`.
  MonoTime of(std::uint64_t sequence, MonoTime now) const {
    const auto mark = std::lower_bound(
        marks_.begin(), marks_.end(), sequence,
        [](const Mark& known, std::uint64_t wanted) { return known.upto < wanted; });
    return mark == marks_.end() ? now : mark->at;
  }
  // Nobody asks for these any more.
  void forget(std::uint64_t upto) {
    const auto kept = std::find_if(marks_.begin(), marks_.end(),
                                   [&](const Mark& mark) { return mark.upto > upto; });
    marks_.erase(marks_.begin(), kept);
  }

 private:
  struct Mark {
    std::uint64_t upto = 0;
    MonoTime at;
  };
  std::vector<Mark> marks_;  // by upto
};

}  // namespace headwater
