// What quantization is told and tells, in plain types: methods of ranges, notes by node.
#pragma once

#include <cstdint>
#include <string>

namespace headwater::workbench {

// How the range of an activation is chosen from its histogram.
enum class RangeMethod : std::uint8_t {
  kMinMax,      // all that was seen
  kPercentile,  // 99.99 % of it on each side
  kMse,         // least squared error of rounding and clipping together
  kEntropy,     // least relative entropy between the histogram and its 256 levels
};

struct NodeNote {
  std::string node;
  std::string op;
  bool changed = false;
  std::string what;  // "dynamic int8", or the reason why it was left
};

}  // namespace headwater::workbench
