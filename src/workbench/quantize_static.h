// Static int8: QuantizeLinear and DequantizeLinear around the nodes that ONNX Runtime's CPU
// provider really runs in int8, and around no others.
//
// Products (Conv, MatMul and Gemm with constant weights) are chosen by the caller. Between two of
// them the operators that have an int8 kernel (Add, Mul, pools, Concat, Resize, Sigmoid, …) follow
// when all their inputs come from int8 nodes and one of their readers is int8: a mask added to
// attention, Softmax and LayerNorm stay float32 for that reason. Relu and Clip behind a product go:
// the clamp to uint8 does their work. A value that only float32 nodes read is never quantized, so
// leaving a node out leaves no orphans.
//
// Activations uint8, weights int8 with a scale a channel, biases int32. The model has opset 13,
// named nodes and lifted constants. Only the main graph is rewritten.
// Source: ONNX Runtime's qdq_selector_action_transformer.cc for what runs in int8.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/calibrate.h"
#include "workbench/onnx_file.h"
#include "workbench/quantize.h"

namespace headwater::workbench {

struct StaticOptions {
  std::set<std::string> nodes;  // products to quantize, by name; others are ignored
  bool connect = true;          // take the operators in between along
  bool per_channel = true;
  bool reduced_range = false;
};

// Products that can be static int8, in the order of the graph. `notes`: why others cannot.
std::vector<std::string> static_products(const OnnxModel& model,
                                         std::vector<NodeNote>* notes = nullptr);
// The values whose ranges quantize_static() may ask for.
std::vector<std::string> values_to_watch(const OnnxModel& model);

// A product whose values have no range stays float32, with a note.
Result<std::vector<NodeNote>> quantize_static(OnnxModel& model,
                                              const std::map<std::string, Range>& ranges,
                                              const StaticOptions& options);

// The model in opset 13 with ONNX Runtime's portable clean-up (BatchNormalization folded, constants
// computed), held against the original on a feed: what static quantization starts from.
struct Prepared {
  OnnxModel model;
  std::vector<std::string> notes;
};
Result<Prepared> prepare_static(const OnnxModel& model, const Feed& feed);

// For quantize_file(): prepares, calibrates on options.data and quantizes all products.
struct StaticFile {
  std::vector<NodeNote> nodes;
  std::vector<std::string> notes;
};
Result<StaticFile> quantize_static_file(OnnxModel& model, const QuantizeOptions& options,
                                        const Progress& progress);

}  // namespace headwater::workbench
