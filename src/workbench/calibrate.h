// Ranges of activations, from running a model on inputs one at a time.
//
//   auto seen = HW_TRY(calibrate(model, feeds, {0, 2, 4}, {"conv1_out"}));
//   const Range range = seen.at("conv1_out").range(RangeMethod::kMse);
//
// A histogram has 8192 bins over [-2^k, 2^k]; when a larger value comes, k grows and pairs of bins
// are joined. Memory depends on the number of values watched and the size of one input's
// activations, never on the number of inputs.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/feeds.h"
#include "workbench/progress.h"
#include "workbench/quantize_report.h"

namespace headwater::workbench {

struct OnnxModel;

// Holds zero: low ≤ 0 ≤ high.
struct Range {
  float low = 0;
  float high = 0;
};

class Histogram {
 public:
  static constexpr int kBins = 8192;

  // NaN and infinities are counted apart and do not widen the range.
  void add(std::span<const float> values);
  Range range(RangeMethod method) const;
  std::uint64_t count() const { return count_; }
  std::uint64_t not_finite() const { return not_finite_; }

 private:
  void grow(float magnitude);
  double centre(int bin) const {
    return (static_cast<double>(bin) + 0.5) * (2 * reach_ / kBins) - reach_;
  }
  Range percentile() const;
  Range least_error() const;
  Range least_entropy() const;

  std::vector<std::uint64_t> bins_;
  double reach_ = 0;  // a power of two; 0: nothing but zeros so far
  std::uint64_t zeros_before_ = 0;
  float low_ = 0;
  float high_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t not_finite_ = 0;
};

// Float32 values of the main graph by name, over the feeds at `which`. Values that are no float32
// tensors are left out. Runs several times when the values of one input are above 128 MiB.
Result<std::map<std::string, Histogram>> calibrate(const OnnxModel& model, const Feeds& feeds,
                                                   std::span<const std::size_t> which,
                                                   std::vector<std::string> names,
                                                   const Progress& progress = {});

}  // namespace headwater::workbench
