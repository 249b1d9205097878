// Int8 weights: one scale a channel, symmetric, and two rewrites of a graph that use them.
//
//   quantize_dynamic()    MatMul, Gemm, LSTM → com.microsoft's operators that quantize their input
//                         at each call: faster where the weights are large, no calibration
//   store_weights_int8()  the file gets small, the arithmetic stays float32: weight → Cast → Mul,
//                         which any ONNX Runtime folds back when it opens the model. No session
//                         option is needed (DequantizeLinear would need
//                         session.disable_quant_qdq, else ONNX Runtime keeps it in the graph)
//
// ConvInteger is never written: the CPU provider runs it 3 to 15 times slower than float32.
//
// The model has named nodes and Constant nodes lifted (prepare_names(), lift_constants()). A graph
// is changed only where a node is quantized; what is left is told with its reason. Equal models
// give equal bytes. Source: ONNX Runtime's ContribOperators (DynamicQuantizeMatMul,
// MatMulIntegerToFloat, DynamicQuantizeLSTM).
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/onnx_file.h"
#include "workbench/quantize_report.h"

namespace headwater::workbench {

struct WeightOptions {
  bool per_channel = true;
  // Weights within ±64: two products fit 16 bits, so a CPU without VNNI cannot saturate.
  bool reduced_range = false;
  std::set<std::string> exclude{};  // names of nodes
  // Empty: all.
  std::set<std::string> only{};
};

Result<std::vector<NodeNote>> quantize_dynamic(OnnxModel& model, const WeightOptions& options);
// Weights that a node of `options.exclude` reads stay. Those that would not shrink stay too.
Result<std::vector<NodeNote>> store_weights_int8(OnnxModel& model, const WeightOptions& options);
// The same for tables that Gather reads, and nothing else.
Result<std::vector<NodeNote>> store_tables_int8(OnnxModel& model, const WeightOptions& options);

// Elements [outer, channels, inner]; the scale of a channel is its largest magnitude / `largest`.
struct Int8Weights {
  std::vector<std::int8_t> values;
  std::vector<float> scales;  // of a channel
  double noise = 0;           // Σ error² / Σ weight²
};
Int8Weights to_int8(std::span<const float> weights, std::size_t outer, std::size_t channels,
                    std::size_t inner, int largest);
inline int largest_int8(bool reduced_range) {
  return reduced_range ? 64 : 127;
}

}  // namespace headwater::workbench
