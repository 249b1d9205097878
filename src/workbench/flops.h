// What a node computes and what a graph keeps alive, from the shapes of its values.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "workbench/onnx_pb.h"
#include "workbench/session.h"

namespace headwater::workbench {

// 2 per multiply-add of convolutions, matrix products and recurrent cells; 1 per output element of
// arithmetic and activations; 0 for what only moves data, and where shapes are missing.
std::uint64_t node_flops(const onnx::NodeProto& node,
                         const std::map<std::string, ValueFacts>& values);

// Bytes of inputs and intermediate values that are alive at once, at the worst node, when nodes run
// in file order and a value goes after its last reader. ONNX Runtime reuses buffers about so.
std::uint64_t peak_live_bytes(const onnx::GraphProto& graph,
                              const std::map<std::string, ValueFacts>& values);

}  // namespace headwater::workbench
