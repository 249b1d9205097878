// Schedule: when each message of an open loop is due. Latency is measured from there, so what waits
// because the receiver is slow counts as late, and nobody waits for answers before sending more.
//
// Messages are numbered from 1 for the schedule's life; a new pace goes on with the next number.
// Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/time.h"

namespace headwater::bench {

class Schedule {
 public:
  // `rate` messages a second from `now` on, the first at once; 0: none. What was due and not taken
  // will not come.
  void pace(double rate, MonoTime now) {
    if (paces_.size() == kKept) {
      paces_.erase(paces_.begin());
    }
    paces_.push_back({taken_, now, rate > 0 ? 1e9 / rate : 0});
  }
  bool active() const { return !paces_.empty() && paces_.back().period > 0; }

  // Due and not taken.
  std::uint64_t waiting(MonoTime now) const {
    if (!active() || now < paces_.back().start) {
      return 0;
    }
    const Pace& pace = paces_.back();
    const double passed = static_cast<double>((now - pace.start).count());
    const std::uint64_t due = pace.before + static_cast<std::uint64_t>(passed / pace.period) + 1;
    return due - std::min(due, taken_);
  }
  // The next `count` of the waiting ones have gone.
  void take(std::uint64_t count) { taken_ += count; }
  std::uint64_t taken() const { return taken_; }
  // When the next one is due; while active.
  MonoTime next() const { return due(taken_ + 1); }

  // When number `n` was due. Of one older than the last paces that are kept: when the oldest began.
  MonoTime due(std::uint64_t n) const {
    auto pace = paces_.rbegin();
    while (pace + 1 != paces_.rend() && n <= pace->before) {
      ++pace;
    }
    const double index = n > pace->before ? static_cast<double>(n - pace->before - 1) : 0;
    return pace->start + Nanos(static_cast<std::int64_t>(index * pace->period));
  }

 private:
  static constexpr std::size_t kKept = 16;
  struct Pace {
    std::uint64_t before = 0;  // messages of earlier paces
    MonoTime start;
    double period = 0;  // nanoseconds; 0: none
  };
  std::vector<Pace> paces_;
  std::uint64_t taken_ = 0;
};

}  // namespace headwater::bench
