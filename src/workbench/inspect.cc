#include "workbench/inspect.h"

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "workbench/feeds.h"
#include "workbench/flops.h"
#include "workbench/graph.h"
#include "workbench/onnx_file.h"
#include "workbench/session.h"

namespace headwater::workbench {
namespace {

constexpr std::int64_t kMinOpset = 13;

std::string type_text(const onnx::TypeProto& type) {
  if (type.has_sequence_type()) {
    return "sequence";
  }
  if (type.has_map_type()) {
    return "map";
  }
  if (!type.has_tensor_type()) {
    return "not a tensor";
  }
  std::string text = type_name(type.tensor_type().elem_type());
  if (!type.tensor_type().has_shape()) {
    return text;
  }
  text += " [";
  bool first = true;
  for (const auto& dim : type.tensor_type().shape().dim()) {
    text += first ? "" : ", ";
    first = false;
    text += dim.has_dim_value()   ? std::to_string(dim.dim_value())
            : dim.has_dim_param() ? dim.dim_param()
                                  : "?";
  }
  return text + "]";
}

std::string count_of(int count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

// Everything that reading the graphs tells.
class Survey {
 public:
  Survey(const OnnxModel& model, Inspection& to) : model_(model), to_(to) {}

  void run() {
    std::map<std::pair<std::string, std::string>, OperatorUse> uses;
    int graphs = 0;
    each_graph(model_.proto, [&](const onnx::GraphProto& graph) {
      ++graphs;
      std::set<std::string> constants;
      for (const auto& tensor : graph.initializer()) {
        add_parameter(tensor);
      }
      for (const auto& node : graph.node()) {
        ++to_.nodes;
        OperatorUse& use = uses[{node.domain(), node.op_type()}];
        use.domain = node.domain() == "ai.onnx" ? "" : node.domain();
        use.op = node.op_type();
        ++use.nodes;
        look_at(node, constants);
      }
    });
    to_.subgraphs = graphs - 1;
    for (auto& [key, use] : uses) {
      use.int8 = int8_on_cpu(use.domain, use.op);
      to_.operators.push_back(std::move(use));
    }
    std::stable_sort(to_.operators.begin(), to_.operators.end(),
                     [](const auto& a, const auto& b) { return a.nodes > b.nodes; });
    problems();
  }

 private:
  void add_parameter(const onnx::TensorProto& tensor) {
    const std::uint64_t count = element_count(tensor).ok() ? *element_count(tensor) : 0;
    to_.parameters += count;
    to_.parameter_types[type_name(tensor.data_type())] += count;
    to_.parameter_bytes += stored_bytes(tensor);
    to_.external_bytes += is_external(tensor) ? stored_bytes(tensor) : 0;
  }

  void look_at(const onnx::NodeProto& node, std::set<std::string>& constants) {
    unnamed_ += node.name().empty() ? 1 : 0;
    twice_ += !node.name().empty() && !names_.insert(node.name()).second ? 1 : 0;
    if (!node.domain().empty() && node.domain() != "ai.onnx" && node.domain() != "ai.onnx.ml" &&
        node.domain() != "com.microsoft") {
      domains_.insert(node.domain());
    }
    if (node.op_type() == "Constant") {
      if (const auto* value = attribute(node, "value"); value != nullptr && value->has_t()) {
        add_parameter(value->t());
      }
      constants.insert(node.output().begin(), node.output().end());
    }
    const bool weighted = node.op_type() == "Conv" || node.op_type() == "MatMul" ||
                          node.op_type() == "Gemm" || node.op_type() == "ConvTranspose";
    if (weighted && node.input_size() > 1 && constants.count(node.input(1)) != 0) {
      ++constant_weights_;
    }
    const std::string& op = node.op_type();
    if (op == "QuantizeLinear" || op == "DequantizeLinear" || op.starts_with("QLinear") ||
        op == "ConvInteger" || op == "MatMulInteger" || op.starts_with("DynamicQuantize")) {
      ++quantized_;
    }
    if (op == "LSTM" || op == "GRU" || op == "RNN") {
      ++recurrent_;
    }
    if (weighted && node.input_size() > 1) {
      ++readers_[node.input(1)];
    }
  }

  void add(const char* kind, std::string text) { to_.problems.push_back({kind, std::move(text)}); }

  void problems() {
    for (const std::string& domain : domains_) {
      add("custom_domain",
          fmt::format("operators of the domain '{}' need a library of their own; ONNX Runtime "
                      "alone cannot run them",
                      domain));
    }
    const std::int64_t version = opset(model_.proto);
    if (version > 0 && version < kMinOpset) {
      add("old_opset", fmt::format("opset {}: quantization per channel needs {} (optimize --graph "
                                   "converts it)",
                                   version, kMinOpset));
    }
    if (version == 0 && to_.nodes > 0) {
      add("no_opset", "the model does not say which opset it was made for");
    }
    if (quantized_ > 0) {
      add("already_quantized",
          fmt::format("{} already: start from the float model to quantize",
                      count_of(quantized_, "node computes in int8", "nodes compute in int8")));
    }
    if (unnamed_ > 0) {
      add("unnamed_nodes", fmt::format("{} no name: some tools cannot tell them apart",
                                       count_of(unnamed_, "node has", "nodes have")));
    }
    if (twice_ > 0) {
      add("doubled_names",
          fmt::format("{} the name of another", count_of(twice_, "node has", "nodes have")));
    }
    if (constant_weights_ > 0) {
      add("constant_weights",
          fmt::format("{} from Constant nodes, where other quantizers do not see them",
                      count_of(constant_weights_, "weight comes", "weights come")));
    }
    int tied = 0;
    for (const auto& [weight, count] : readers_) {
      tied += count > 1 ? 1 : 0;
    }
    if (tied > 0) {
      add("tied_weights",
          fmt::format("{} by several nodes", count_of(tied, "weight is read", "weights are read")));
    }
    if (to_.subgraphs > 0) {
      add("subgraphs", fmt::format("{} (If, Loop, Scan): no intermediate values to calibrate there",
                                   count_of(to_.subgraphs, "subgraph", "subgraphs")));
    }
    std::set<std::string> inputs;
    for (const auto& input : model_.proto.graph().input()) {
      inputs.insert(input.name());
    }
    int both = 0;
    for (const auto& tensor : model_.proto.graph().initializer()) {
      both += inputs.count(tensor.name()) != 0 ? 1 : 0;
    }
    if (both > 0) {
      add("initializers_as_inputs",
          fmt::format("{} also an input, which stops constant folding",
                      count_of(both, "initializer is", "initializers are")));
    }
  }

  const OnnxModel& model_;
  Inspection& to_;
  std::set<std::string> domains_;
  std::set<std::string> names_;
  std::map<std::string, int> readers_;
  int unnamed_ = 0;
  int twice_ = 0;
  int quantized_ = 0;
  int recurrent_ = 0;
  int constant_weights_ = 0;
};

// Of the inputs made up for a model that nobody vouches for.
constexpr std::uint64_t kMaxMadeUpBytes = std::uint64_t{64} << 20;

// Shapes by one run, then FLOPs and the memory of live values.
Status measure_shapes(const OnnxModel& model, const InspectOptions& options, Inspection& to) {
  auto session = HW_TRY(Session::open(model, {.level = GraphLevel::kNone}));
  to.runs = true;
  const Feeds feeds = HW_TRY(Feeds::open("", session->inputs(),
                                         {.allow_synthetic = true,
                                          .synthetic_count = 1,
                                          .free_dimension = options.free_dimension,
                                          .max_synthetic_bytes = kMaxMadeUpBytes}));
  const Feed feed = HW_TRY(feeds.read(0));
  session.reset();
  std::map<std::string, ValueFacts> facts = HW_TRY(probe_values(model, feed));
  for (const auto& [name, tensor] : feed) {
    facts[name] = {tensor.type, tensor.shape};
  }
  for (const auto& tensor : model.proto.graph().initializer()) {
    facts[tensor.name()] = {tensor.data_type(), {tensor.dims().begin(), tensor.dims().end()}};
  }
  std::map<std::pair<std::string, std::string>, std::uint64_t> by_operator;
  for (const auto& node : model.proto.graph().node()) {
    const std::uint64_t flops = node_flops(node, facts);
    by_operator[{node.domain() == "ai.onnx" ? "" : node.domain(), node.op_type()}] += flops;
    to.flops += flops;
  }
  for (OperatorUse& use : to.operators) {
    const auto found = by_operator.find({use.domain, use.op});
    use.flops = found == by_operator.end() ? 0 : found->second;
  }
  to.peak_activation_bytes = peak_live_bytes(model.proto.graph(), facts);
  return {};
}

}  // namespace

std::string int8_on_cpu(const std::string& domain, const std::string& op) {
  static const std::set<std::string> kCompute = {"Conv",
                                                 "MatMul",
                                                 "Gemm",
                                                 "Add",
                                                 "Mul",
                                                 "AveragePool",
                                                 "GlobalAveragePool",
                                                 "LeakyRelu",
                                                 "Sigmoid",
                                                 "Softmax",
                                                 "Concat",
                                                 "Where",
                                                 "ArgMax",
                                                 "MaxPool",
                                                 "Resize",
                                                 "DepthToSpace",
                                                 "ReduceMin",
                                                 "ReduceMax"};
  static const std::set<std::string> kMoves = {"Reshape", "Transpose", "Slice",   "Gather",
                                               "Squeeze", "Unsqueeze", "Expand",  "Flatten",
                                               "Tile",    "Split",     "Identity"};
  // Absorbed by the quantization of what stands before them.
  static const std::set<std::string> kAbsorbed = {"Relu", "Clip"};
  if (!domain.empty()) {
    return "float";
  }
  if (op == "LSTM") {
    return "dynamic";
  }
  return kCompute.count(op) != 0                             ? "compute"
         : kMoves.count(op) != 0 || kAbsorbed.count(op) != 0 ? "moves"
                                                             : "float";
}

std::string cpu_int8(bool& fast) {
  fast = false;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vnni")) {
    fast = true;
    return "avx512_vnni";
  }
  if (__builtin_cpu_supports("avx512bw")) {
    return "avx512 without vnni";
  }
  return __builtin_cpu_supports("avx2") ? "avx2" : "sse";
#elif defined(__aarch64__)
  fast = true;
  return "arm64";
#else
  return "unknown";
#endif
}

Result<Inspection> inspect(const std::string& path, const InspectOptions& options) {
  OnnxModel model = HW_TRY(load_model(path));
  Inspection made;
  made.path = path;
  made.digest = model.digest;
  made.file_bytes = model.file_bytes;
  made.ir_version = model.proto.ir_version();
  made.producer =
      std::string(trim(model.proto.producer_name() + " " + model.proto.producer_version()));
  for (const auto& import : model.proto.opset_import()) {
    made.opsets.emplace_back(import.domain(), import.version());
  }
  std::set<std::string> tensors;
  for (const auto& tensor : model.proto.graph().initializer()) {
    tensors.insert(tensor.name());
  }
  for (const auto& input : model.proto.graph().input()) {
    if (tensors.count(input.name()) == 0) {
      made.inputs.emplace_back(input.name(), type_text(input.type()));
    }
  }
  for (const auto& output : model.proto.graph().output()) {
    made.outputs.emplace_back(output.name(), type_text(output.type()));
  }
  Survey(model, made).run();
  made.cpu = cpu_int8(made.fast_int8);
  HW_TRY(sort_nodes(model.proto).with("model '{}'", path));
  HW_TRY(check_model(model.proto).with("model '{}'", path));
  if (!options.run) {
    return made;
  }
  made.runtime = HW_TRY(runtime_version());
  const Status measured = measure_shapes(model, options, made);
  if (!measured) {
    made.run_error = measured.error().text();
    made.problems.push_back(
        {made.runs ? "no_run" : "does_not_load",
         made.runs ? "a run with made-up inputs failed, so FLOPs are unknown: " + made.run_error
                   : made.run_error});
  }
  return made;
}

}  // namespace headwater::workbench
