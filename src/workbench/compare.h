// How far the outputs of one model are from another's on the same inputs.
//
//   Comparer comparer(reference->outputs());
//   HW_TRY(comparer.add(reference_outputs, outputs));      // once a feed
//   const Comparison result = comparer.result();
//
// SNR = 10·log10(Σ reference² / Σ (reference − other)²) in dB over all elements of an output, of
// all samples together and of each alone; equal outputs give infinity, printed as "equal". Elements
// that are NaN or infinite in both count as equal, in one of them as an error as large as the
// signal.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/feeds.h"
#include "workbench/progress.h"
#include "workbench/session.h"

namespace headwater::workbench {

inline constexpr double kEqual = std::numeric_limits<double>::infinity();

struct OutputError {
  std::string name;
  std::string text;           // type and shape
  double snr = kEqual;        // all samples together
  double worst_snr = kEqual;  // of a sample
  std::size_t worst_sample = 0;
  double largest = 0;  // absolute difference of an element
  double mean = 0;     // absolute difference
  std::uint64_t elements = 0;
  std::uint64_t different = 0;  // elements that are not equal
  // Rows (all axes but the last) of a float output with 2 classes or more: how many have their
  // largest element at the same place. 0 rows: not such an output.
  std::uint64_t rows = 0;
  std::uint64_t agree = 0;
  std::vector<double> by_sample{};  // SNR
};

struct Comparison {
  std::vector<OutputError> outputs;
  std::size_t samples = 0;
  double snr = kEqual;        // of the worst output
  double worst_snr = kEqual;  // of the worst sample of the worst output
};

class Comparer {
 public:
  explicit Comparer(std::span<const Port> outputs);
  // kInvalid: another number of outputs, other types or shapes.
  Status add(std::span<const Tensor> reference, std::span<const Tensor> other);
  Comparison result() const;

 private:
  struct Sums {
    double signal = 0;
    double noise = 0;
    double absolute = 0;
  };
  std::vector<OutputError> outputs_;
  std::vector<Sums> sums_;
  std::size_t samples_ = 0;
};

// Both models over all feeds. Outputs are matched by name, else by position.
Result<Comparison> compare(Session& reference, Session& other, const Feeds& feeds,
                           const Progress& progress = {});

// "41.8 dB", "equal".
std::string snr_text(double snr);
// Elements as doubles; kInvalid for strings and types without arithmetic.
Result<std::vector<double>> as_doubles(const Tensor& tensor);

}  // namespace headwater::workbench
