// Lifts a model to a later opset by rewriting what changed in between, operator by operator.
//
// From opset 7 on, up to 13: quantization per channel and the axes of Softmax need 13, and every
// runtime since 2021 has it. Rewritten: Slice, Pad, Clip, TopK, Split, Squeeze, Unsqueeze,
// ReduceSum (attributes that became inputs), Upsample and Resize 10 (to Resize with the coordinates
// they had), Softmax, LogSoftmax and Hardmax (2-D semantics), Dropout (identity at inference),
// Scatter, BatchNormalization. Operators that kept their meaning pass; one that later opsets
// removed or that this table does not know stops the conversion and is named.
//
// Source: ONNX's Changelog of operators, versions 7 to 13.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/onnx_file.h"
#include "workbench/session.h"

namespace headwater::workbench {

inline constexpr std::int64_t kTargetOpset = 13;

struct Upgrade {
  std::int64_t from = 0;
  std::int64_t to = 0;                     // equal to `from`: nothing to do
  std::map<std::string, int> rewritten{};  // operator → nodes
  // Why it cannot be done, naming the node; "" when it was done. The model is unchanged then.
  std::string unsupported{};
};

// `values` (from probe_values()) gives ranks, which make some rewrites shorter; may be empty.
Upgrade upgrade_opset(OnnxModel& model, const std::map<std::string, ValueFacts>& values = {});

}  // namespace headwater::workbench
