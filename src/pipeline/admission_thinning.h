// AdmissionThinning: which readings are stored while the store runs full, so that it holds a longer
// time.
//
// Past the high-water mark the first reading of each device is kept, then every Nth; the others are
// acknowledged and not stored, behind a gap record that counts them. It ends when the store has
// emptied to 10 points below the mark. Counts start anew with each episode and with the process.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/bytes.h"
#include "telemetry/log.h"

namespace headwater {

class AdmissionThinning {
 public:
  static constexpr std::size_t kMostDevices = 1 << 16;
  static constexpr double kBackBy = 0.1;

  struct Options {
    double above = 0;               // part of the store that is needed; 0: never
    std::uint32_t keep_one_in = 1;  // of a device
  };

  AdmissionThinning(Options options, std::string source)
      : options_(options), source_(std::move(source)) {}

  // Before each batch: whether its rows are thinned. `fill` is Spool::fill().
  bool update(double fill) {
    if (options_.above <= 0) {
      return false;
    }
    if (!active_ && fill > options_.above) {
      active_ = true;
      log::warn("the store runs full: readings are thinned",
                {{"source", source_}, {"fill", fill}, {"keep_one_in", options_.keep_one_in}});
    } else if (active_ && fill < options_.above - kBackBy) {
      active_ = false;
      seen_.clear();
      log::info("all readings are stored again", {{"source", source_}, {"fill", fill}});
    }
    return active_;
  }
  bool keeps(std::string_view device) {
    if (seen_.size() >= kMostDevices) {
      seen_.clear();  // rather keep one more of each
    }
    return seen_[hash64(device)]++ % options_.keep_one_in == 0;
  }

 private:
  const Options options_;
  const std::string source_;
  bool active_ = false;
  std::unordered_map<std::uint64_t, std::uint32_t> seen_;  // by hash of the device; bounded
};

}  // namespace headwater
