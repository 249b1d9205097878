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
// the next ones wait until its bytes are paid. It holds at most one second's worth.
class Pacer {
 public:
  // 0: no limit.
  explicit Pacer(std::uint64_t bytes_per_second) : rate_(static_cast<double>(bytes_per_second)) {}

  // How long from `now` until something may go; 0: at once.
  Nanos wait(MonoTime now) {
    if (rate_ <= 0) {
      return Nanos{0};
    }
    refill(now);
    return balance_ >= 0 ? Nanos{0} : Nanos{static_cast<std::int64_t>(-balance_ / rate_ * 1e9) + 1};
  }
  void take(MonoTime now, std::uint64_t bytes) {
    if (rate_ > 0) {
      refill(now);
      balance_ -= static_cast<double>(bytes);
    }
  }

 private:
  void refill(MonoTime now) {
    if (at_.ns == 0) {
      at_ = now;
      balance_ = rate_;
    }
    balance_ = std::min(rate_, balance_ + rate_ * static_cast<double>((now - at_).count()) * 1e-9);
    at_ = now;
  }

  double rate_;
  double balance_ = 0;
  MonoTime at_;
};

}  // namespace headwater
