#include "workbench/flops.h"

#include <algorithm>
#include <set>

#include "workbench/graph.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

std::uint64_t product(const std::vector<std::int64_t>& dims, std::size_t from = 0) {
  std::uint64_t all = 1;
  for (std::size_t i = from; i < dims.size(); ++i) {
    all *= static_cast<std::uint64_t>(std::max<std::int64_t>(dims[i], 0));
  }
  return all;
}

const ValueFacts* find(const std::map<std::string, ValueFacts>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? nullptr : &found->second;
}

}  // namespace

std::uint64_t node_flops(const onnx::NodeProto& node,
                         const std::map<std::string, ValueFacts>& values) {
  static const std::set<std::string> kMoves = {
      "Reshape", "Transpose", "Slice",     "Gather", "Squeeze",  "Unsqueeze", "Expand",
      "Flatten", "Tile",      "Split",     "Concat", "Identity", "Constant",  "Shape",
      "Cast",    "Pad",       "Dropout",   "If",     "Loop",     "Scan",      "ConstantOfShape",
      "Where",   "GatherND",  "ScatterND", "Size",   "Range",    "ZipMap",    "DepthToSpace"};
  const auto input = [&](int i) {
    return i < node.input_size() ? find(values, node.input(i)) : nullptr;
  };
  const ValueFacts* const out = node.output_size() > 0 ? find(values, node.output(0)) : nullptr;
  const std::string& op = node.op_type();
  if (op == "LSTM" || op == "GRU" || op == "RNN") {
    const ValueFacts* const x = input(0);
    const ValueFacts* const w = input(1);
    const ValueFacts* const r = input(2);
    if (x == nullptr || w == nullptr || r == nullptr || x->shape.size() < 2) {
      return 0;
    }
    const std::uint64_t steps = static_cast<std::uint64_t>(std::max<std::int64_t>(x->shape[0], 0));
    const std::uint64_t rows = static_cast<std::uint64_t>(std::max<std::int64_t>(x->shape[1], 0));
    return 2 * steps * rows * (product(w->shape) + product(r->shape));
  }
  if (out == nullptr) {
    return 0;
  }
  const std::uint64_t elements = product(out->shape);
  if (op == "Conv") {
    const ValueFacts* const w = input(1);
    return w == nullptr || w->shape.empty() ? 0 : 2 * elements * product(w->shape, 1);
  }
  if (op == "ConvTranspose") {
    const ValueFacts* const x = input(0);
    const ValueFacts* const w = input(1);
    return x == nullptr || w == nullptr || w->shape.empty()
               ? 0
               : 2 * product(x->shape) * product(w->shape, 1);
  }
  if (op == "MatMul" || op == "Gemm") {
    const ValueFacts* const a = input(0);
    if (a == nullptr || a->shape.empty()) {
      return 0;
    }
    const bool turned = op == "Gemm" && int_attribute(node, "transA", 0) != 0;
    return 2 * elements *
           static_cast<std::uint64_t>(
               std::max<std::int64_t>(turned ? a->shape.front() : a->shape.back(), 0));
  }
  return kMoves.count(op) != 0 ? 0 : elements;
}

std::uint64_t peak_live_bytes(const onnx::GraphProto& graph,
                              const std::map<std::string, ValueFacts>& values) {
  const GraphIndex index(graph);
  const auto bytes_of = [&](const std::string& name) -> std::uint64_t {
    const ValueFacts* const facts = find(values, name);
    return facts == nullptr || index.initializer(name) != nullptr
               ? 0
               : product(facts->shape) * type_width(facts->type);
  };
  std::uint64_t live = 0;
  for (const auto& input : graph.input()) {
    live += bytes_of(input.name());
  }
  std::uint64_t peak = live;
  for (int i = 0; i < graph.node_size(); ++i) {
    const onnx::NodeProto& node = graph.node(i);
    for (const auto& name : node.output()) {
      live += bytes_of(name);
    }
    peak = std::max(peak, live);
    std::set<std::string> done(node.input().begin(), node.input().end());
    done.insert(node.output().begin(), node.output().end());
    for (const auto& name : done) {
      const auto& readers = index.consumers(name);
      if (!index.is_output(name) && (readers.empty() || readers.back() == i)) {
        live -= std::min(live, bytes_of(name));
      }
    }
  }
  return peak;
}

}  // namespace headwater::workbench
