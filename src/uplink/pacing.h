// When the next attempt may go: waits after failures, and a limit of bytes per second. Pure: time
// and randomness are arguments.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

#include "base/time.h"

namespace headwater {

// Full jitter: a random time from zero to a bound that doubles with each failure, so that edges
// that failed together do not come back together.
class Backoff {
 public:
  struct Options {
    Nanos base = std::chrono::milliseconds(500);
    Nanos most = std::chrono::seconds(60);
  };

  Backoff(Options options, std::uint64_t seed)
      : options_(options), random_(static_cast<std::minstd_rand::result_type>(seed)) {}

  // The wait after one more failure.
  Nanos next() {
    const Nanos doubled =
        options_.base * (std::int64_t{1} << std::min<std::uint32_t>(failures_, 20));
    ++failures_;
    return jitter(Nanos{0}, std::min(doubled, options_.most));
  }
  Nanos jitter(Nanos least, Nanos most) {
    return Nanos{std::uniform_int_distribution<std::int64_t>(least.count(), most.count())(random_)};
  }
  void reset() { failures_ = 0; }
  std::uint32_t failures() const { return failures_; }

 private:
  Options options_;
  std::minstd_rand random_;
  std::uint32_t failures_ = 0;
};

// A token bucket that lends: a batch goes when the bucket is not in debt, whatever its size, and
// the next ones wait until its bytes are paid. It holds at most half a second's worth: what a
// delay of this thread costs is made up for, and what was saved while idle is no burst.
//
// Live rows do not wait for the debt of others, only for their own: they use the limit first, and
// what they leave is for the rest. Over time all of it together keeps to the limit.
class Pacer {
 public:
  enum class Class : std::uint8_t { kLive, kBacklog };

  // 0: no limit.
  explicit Pacer(std::uint64_t bytes_per_second) : rate_(static_cast<double>(bytes_per_second)) {}

  // How long from `now` until something may go; 0: at once.
  Nanos wait(MonoTime now, Class pace = Class::kBacklog) {
    if (rate_ <= 0) {
      return Nanos{0};
    }
    refill(now);
    const double balance = pace == Class::kLive ? live_ : all_;
    return balance >= 0 ? Nanos{0} : Nanos{static_cast<std::int64_t>(-balance / rate_ * 1e9) + 1};
  }
  void take(MonoTime now, std::uint64_t bytes, Class pace = Class::kBacklog) {
    if (rate_ > 0) {
      refill(now);
      all_ -= static_cast<double>(bytes);
      live_ -= pace == Class::kLive ? static_cast<double>(bytes) : 0;
    }
  }

 private:
  static constexpr double kMostSavedSeconds = 0.5;

  void refill(MonoTime now) {
    const double most = rate_ * kMostSavedSeconds;
    if (at_.ns == 0) {
      at_ = now;
      all_ = live_ = most;
    }
    const double more = rate_ * static_cast<double>((now - at_).count()) * 1e-9;
    all_ = std::min(most, all_ + more);
    live_ = std::min(most, live_ + more);
    at_ = now;
  }

  double rate_;
  double all_ = 0;   // what may go, of every class
  double live_ = 0;  // what live rows may take of it
  MonoTime at_;
};

}  // namespace headwater
