#include "workbench/opset.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>

#include "workbench/graph.h"

namespace headwater::workbench {
namespace {

constexpr std::int64_t kOldest = 7;

// Operators whose nodes mean the same from opset 7, or from when they came, to 13: later versions
// added types, optional attributes with the old default, or negative axes.
const std::set<std::string>& unchanged() {
  static const std::set<std::string> kNames = {"Abs",
                                               "Acos",
                                               "Acosh",
                                               "Add",
                                               "And",
                                               "ArgMax",
                                               "ArgMin",
                                               "Asin",
                                               "Asinh",
                                               "Atan",
                                               "Atanh",
                                               "AveragePool",
                                               "BitShift",
                                               "Cast",
                                               "Ceil",
                                               "Celu",
                                               "Compress",
                                               "Concat",
                                               "Constant",
                                               "ConcatFromSequence",
                                               "ConstantOfShape",
                                               "Conv",
                                               "ConvInteger",
                                               "ConvTranspose",
                                               "Cos",
                                               "Cosh",
                                               "CumSum",
                                               "DepthToSpace",
                                               "DequantizeLinear",
                                               "Det",
                                               "Div",
                                               "DynamicQuantizeLinear",
                                               "Einsum",
                                               "Elu",
                                               "Equal",
                                               "Erf",
                                               "Exp",
                                               "Expand",
                                               "EyeLike",
                                               "Flatten",
                                               "Floor",
                                               "GRU",
                                               "Gather",
                                               "GatherElements",
                                               "GatherND",
                                               "Gemm",
                                               "GlobalAveragePool",
                                               "GlobalLpPool",
                                               "GlobalMaxPool",
                                               "Greater",
                                               "GreaterOrEqual",
                                               "HardSigmoid",
                                               "Identity",
                                               "If",
                                               "InstanceNormalization",
                                               "IsInf",
                                               "IsNaN",
                                               "LRN",
                                               "LSTM",
                                               "LeakyRelu",
                                               "Less",
                                               "LessOrEqual",
                                               "Log",
                                               "Loop",
                                               "LpNormalization",
                                               "LpPool",
                                               "MatMul",
                                               "MatMulInteger",
                                               "Max",
                                               "MaxPool",
                                               "MaxRoiPool",
                                               "MaxUnpool",
                                               "Mean",
                                               "MeanVarianceNormalization",
                                               "Min",
                                               "Mod",
                                               "Mul",
                                               "Multinomial",
                                               "Neg",
                                               "NonMaxSuppression",
                                               "NonZero",
                                               "Not",
                                               "OneHot",
                                               "Or",
                                               "PRelu",
                                               "Pow",
                                               "QLinearConv",
                                               "QLinearMatMul",
                                               "QuantizeLinear",
                                               "RNN",
                                               "RandomNormal",
                                               "RandomNormalLike",
                                               "RandomUniform",
                                               "RandomUniformLike",
                                               "Range",
                                               "Reciprocal",
                                               "ReduceL1",
                                               "ReduceL2",
                                               "ReduceLogSum",
                                               "ReduceLogSumExp",
                                               "ReduceMax",
                                               "ReduceMean",
                                               "ReduceMin",
                                               "ReduceProd",
                                               "ReduceSumSquare",
                                               "Relu",
                                               "Reshape",
                                               "ReverseSequence",
                                               "RoiAlign",
                                               "Round",
                                               "ScatterElements",
                                               "ScatterND",
                                               "Selu",
                                               "SequenceAt",
                                               "SequenceConstruct",
                                               "SequenceEmpty",
                                               "SequenceErase",
                                               "SequenceInsert",
                                               "SequenceLength",
                                               "Shape",
                                               "Shrink",
                                               "Sigmoid",
                                               "Sign",
                                               "Sin",
                                               "Sinh",
                                               "Size",
                                               "Softplus",
                                               "Softsign",
                                               "SpaceToDepth",
                                               "SplitToSequence",
                                               "Sqrt",
                                               "StringNormalizer",
                                               "Sub",
                                               "Sum",
                                               "Tan",
                                               "Tanh",
                                               "TfIdfVectorizer",
                                               "ThresholdedRelu",
                                               "Tile",
                                               "Transpose",
                                               "Unique",
                                               "Where",
                                               "Xor"};
  return kNames;
}

using NodeList = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

void remove_attribute(onnx::NodeProto& node, std::string_view name) {
  auto* const all = node.mutable_attribute();
  for (int i = 0; i < all->size(); ++i) {
    if (all->Get(i).name() == name) {
      all->DeleteSubrange(i, 1);
      return;
    }
  }
}

std::vector<std::int64_t> ints_of(const onnx::AttributeProto& attribute) {
  return {attribute.ints().begin(), attribute.ints().end()};
}

void set_text(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  remove_attribute(node, name);
  auto& made = *node.add_attribute();
  made.set_name(name);
  made.set_type(onnx::AttributeProto::STRING);
  made.set_s(value);
}

void set_int(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
  remove_attribute(node, name);
  auto& made = *node.add_attribute();
  made.set_name(name);
  made.set_type(onnx::AttributeProto::INT);
  made.set_i(value);
}

// One graph being converted. Nodes are appended to `out` in order.
class Converter {
 public:
  Converter(std::int64_t from, const std::map<std::string, ValueFacts>& values, NameMaker& names,
            Upgrade& upgrade)
      : from_(from), values_(values), names_(names), upgrade_(upgrade) {}

  void convert(onnx::GraphProto& graph) {
    graph_ = &graph;
    read_.clear();
    for (const auto& output : graph.output()) {
      read_.insert(output.name());
    }
    for (const auto& node : graph.node()) {
      read_.insert(node.input().begin(), node.input().end());
      const auto captured = captures(node);
      read_.insert(captured.begin(), captured.end());
    }
    NodeList nodes;
    nodes.Swap(graph.mutable_node());
    for (auto& node : nodes) {
      if (!upgrade_.unsupported.empty()) {
        return;
      }
      convert(node);
    }
  }

 private:
  void refuse(const onnx::NodeProto& node, const std::string& why) {
    upgrade_.unsupported = fmt::format("{} at opset {}: {}", describe(node), from_, why);
  }

  void keep(onnx::NodeProto& node) { graph_->add_node()->Swap(&node); }

  void done(onnx::NodeProto& node) {
    ++upgrade_.rewritten[node.op_type()];
    keep(node);
  }

  template <class T>
  std::string constant(const onnx::NodeProto& node, std::string_view role,
                       std::vector<std::int64_t> dims, const std::vector<T>& values) {
    const std::string base = node.name().empty() ? node.output(0) : node.name();
    std::string name = names_.make(fmt::format("{}_{}", base, role));
    *graph_->add_initializer() = make_tensor<T>(name, std::move(dims), values);
    return name;
  }

  std::string ints_constant(const onnx::NodeProto& node, std::string_view role,
                            const std::vector<std::int64_t>& values) {
    return constant<std::int64_t>(node, role, {static_cast<std::int64_t>(values.size())}, values);
  }

  void set_input(onnx::NodeProto& node, int at, std::string name) {
    while (node.input_size() <= at) {
      node.add_input("");
    }
    node.set_input(at, std::move(name));
  }

  bool is_read(const onnx::NodeProto& node, int output) const {
    return output < node.output_size() && !node.output(output).empty() &&
           read_.count(node.output(output)) != 0;
  }

  // Of the input's elements, for constants that must have its type; float32 where nothing is known.
  int element_type(const onnx::NodeProto& node) const {
    const auto found = values_.find(node.input(0));
    if (found != values_.end() && found->second.type != 0) {
      return found->second.type;
    }
    for (const auto* list : {&graph_->value_info(), &graph_->input()}) {
      for (const auto& info : *list) {
        if (info.name() == node.input(0) && info.type().has_tensor_type()) {
          return info.type().tensor_type().elem_type();
        }
      }
    }
    return onnx::TensorProto::FLOAT;
  }

  // -1: not known.
  std::int64_t rank(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? -1 : static_cast<std::int64_t>(found->second.shape.size());
  }

  // A scalar of the input's type; "" when the type is not one of float32, float64.
  std::string scalar(const onnx::NodeProto& node, std::string_view role, float value) {
    const int type = element_type(node);
    if (type == onnx::TensorProto::DOUBLE) {
      return constant<double>(node, role, {}, {static_cast<double>(value)});
    }
    if (type == onnx::TensorProto::FLOAT) {
      return constant<float>(node, role, {}, {value});
    }
    return {};
  }

  void axes_to_input(onnx::NodeProto& node, const char* name) {
    if (const auto* axes = attribute(node, name); axes != nullptr) {
      set_input(node, 1, ints_constant(node, name, ints_of(*axes)));
      remove_attribute(node, name);
      done(node);
    } else {
      keep(node);
    }
  }

  void slice(onnx::NodeProto& node) {
    const auto* starts = attribute(node, "starts");
    const auto* ends = attribute(node, "ends");
    const auto* axes = attribute(node, "axes");
    if (from_ >= 10) {
      return keep(node);
    }
    if (starts == nullptr || ends == nullptr) {
      return refuse(node, "no starts or ends");
    }
    node.add_input(ints_constant(node, "starts", ints_of(*starts)));
    node.add_input(ints_constant(node, "ends", ints_of(*ends)));
    if (axes != nullptr) {
      node.add_input(ints_constant(node, "axes", ints_of(*axes)));
    }
    node.clear_attribute();
    done(node);
  }

  void pad(onnx::NodeProto& node) {
    if (from_ >= 11) {
      return keep(node);
    }
    const auto* pads = attribute(node, "pads");
    const auto* value = attribute(node, "value");
    if (pads == nullptr) {
      return refuse(node, "no pads");
    }
    const std::string fill =
        value != nullptr && value->f() != 0 ? scalar(node, "value", value->f()) : std::string();
    if (value != nullptr && value->f() != 0 && fill.empty()) {
      return refuse(node, "a fill value of a type other than float32 or float64");
    }
    node.add_input(ints_constant(node, "pads", ints_of(*pads)));
    if (!fill.empty()) {
      node.add_input(fill);
    }
    remove_attribute(node, "pads");
    remove_attribute(node, "value");
    done(node);
  }

  void clip(onnx::NodeProto& node) {
    if (from_ >= 11) {
      return keep(node);
    }
    for (const auto& [name, at] : {std::pair{"min", 1}, {"max", 2}}) {
      if (const auto* limit = attribute(node, name); limit != nullptr) {
        const std::string made = scalar(node, name, limit->f());
        if (made.empty()) {
          return refuse(node, "limits of a type other than float32 or float64");
        }
        set_input(node, at, made);
      }
    }
    node.clear_attribute();
    done(node);
  }

  void top_k(onnx::NodeProto& node) {
    if (from_ >= 10) {
      return keep(node);
    }
    const auto* k = attribute(node, "k");
    if (k == nullptr) {
      return refuse(node, "no k");
    }
    node.add_input(ints_constant(node, "k", {k->i()}));
    remove_attribute(node, "k");
    done(node);
  }

  void dropout(onnx::NodeProto& node) {
    if (from_ >= 12) {
      return keep(node);
    }
    if (is_read(node, 1)) {
      return refuse(node, "its mask is read, and its type has changed");
    }
    ++upgrade_.rewritten["Dropout"];
    node.set_op_type("Identity");
    node.clear_attribute();
    node.mutable_input()->DeleteSubrange(1, node.input_size() - 1);
    node.mutable_output()->DeleteSubrange(1, node.output_size() - 1);
    keep(node);
  }

  void batch_normalization(onnx::NodeProto& node) {
    if (from_ < 9 && int_attribute(node, "spatial", 1) == 0) {
      return refuse(node, "spatial = 0 has no equal in later opsets");
    }
    for (int i = 1; i < node.output_size(); ++i) {
      if (is_read(node, i)) {
        return refuse(node, "outputs of training are read");
      }
    }
    const bool changed = attribute(node, "spatial") != nullptr || node.output_size() > 1;
    remove_attribute(node, "spatial");
    node.mutable_output()->DeleteSubrange(1, node.output_size() - 1);
    changed ? done(node) : keep(node);
  }

  // Both took corner coordinates unscaled and rounded down: asymmetric, floor.
  void resize(onnx::NodeProto& node) {
    const bool upsample = node.op_type() == "Upsample";
    if (!upsample && from_ >= 11) {
      return keep(node);
    }
    std::string scales;
    if (const auto* values = attribute(node, "scales"); upsample && values != nullptr) {
      scales = constant<float>(node, "scales", {values->floats_size()},
                               {values->floats().begin(), values->floats().end()});
    } else if (node.input_size() > 1) {
      scales = node.input(1);
    } else {
      return refuse(node, "no scales");
    }
    remove_attribute(node, "scales");
    node.set_op_type("Resize");
    node.mutable_input()->DeleteSubrange(1, node.input_size() - 1);
    node.add_input("");
    node.add_input(scales);
    set_text(node, "coordinate_transformation_mode", "asymmetric");
    set_text(node, "nearest_mode", "floor");
    done(node);
  }

  // Before 13 the input was seen as a matrix, cut at `axis`; since then one axis counts.
  void softmax(onnx::NodeProto& node) {
    if (from_ >= 13) {
      return keep(node);
    }
    const std::int64_t axis = int_attribute(node, "axis", 1);
    const std::int64_t dims = rank(node.input(0));
    if (axis == -1 || (dims >= 0 && axis == dims - 1)) {
      set_int(node, "axis", -1);
      return done(node);
    }
    onnx::NodeProto shape;
    shape.set_op_type("Shape");
    shape.set_name(names_.make(node.output(0) + "_Shape"));
    shape.add_input(node.input(0));
    shape.add_output(names_.make(node.output(0) + "_shape"));
    onnx::NodeProto flat;
    flat.set_op_type("Flatten");
    flat.set_name(names_.make(node.output(0) + "_Flatten"));
    flat.add_input(node.input(0));
    flat.add_output(names_.make(node.output(0) + "_matrix"));
    set_int(flat, "axis", axis);
    onnx::NodeProto back;
    back.set_op_type("Reshape");
    back.set_name(names_.make(node.output(0) + "_Reshape"));
    back.add_output(node.output(0));
    node.set_input(0, flat.output(0));
    node.set_output(0, names_.make(node.output(0) + "_rows"));
    set_int(node, "axis", -1);
    back.add_input(node.output(0));
    back.add_input(shape.output(0));
    keep(shape);
    keep(flat);
    done(node);
    keep(back);
  }

  void convert(onnx::NodeProto& node) {
    const std::string& op = node.op_type();
    if (!node.domain().empty() && node.domain() != "ai.onnx") {
      return keep(node);
    }
    // A rewrite reads its first input and output; check_model() knows no operator's arity.
    if (unchanged().count(op) == 0 && (node.input_size() == 0 || node.output_size() == 0)) {
      return refuse(node, node.input_size() == 0 ? "it has no input" : "it has no output");
    }
    if (op == "Slice") {
      return slice(node);
    }
    if (op == "Pad") {
      return pad(node);
    }
    if (op == "Clip") {
      return clip(node);
    }
    if (op == "TopK") {
      return top_k(node);
    }
    if (op == "Squeeze" || op == "Unsqueeze" || op == "ReduceSum") {
      return axes_to_input(node, "axes");
    }
    if (op == "Split") {
      return axes_to_input(node, "split");
    }
    if (op == "Dropout") {
      return dropout(node);
    }
    if (op == "BatchNormalization") {
      return batch_normalization(node);
    }
    if (op == "Upsample" || op == "Resize") {
      return resize(node);
    }
    if (op == "Softmax" || op == "LogSoftmax" || op == "Hardmax") {
      return softmax(node);
    }
    if (op == "Scatter") {
      ++upgrade_.rewritten[op];
      node.set_op_type("ScatterElements");
      return keep(node);
    }
    if (op == "Scan" && from_ < 9) {
      return refuse(node, "Scan had another meaning before opset 9");
    }
    if (op == "Scan" || unchanged().count(op) != 0) {
      return keep(node);
    }
    refuse(node, fmt::format("no conversion to opset {} is known; later opsets may not have it",
                             kTargetOpset));
  }

  std::int64_t from_;
  const std::map<std::string, ValueFacts>& values_;
  NameMaker& names_;
  Upgrade& upgrade_;
  onnx::GraphProto* graph_ = nullptr;
  std::set<std::string> read_;
};

}  // namespace

Upgrade upgrade_opset(OnnxModel& model, const std::map<std::string, ValueFacts>& values) {
  Upgrade upgrade{.from = opset(model.proto), .to = opset(model.proto)};
  if (upgrade.from >= kTargetOpset) {
    return upgrade;
  }
  if (upgrade.from < kOldest) {
    upgrade.unsupported = fmt::format("opset {} is too old; from {} on a model can be converted",
                                      upgrade.from, kOldest);
    return upgrade;
  }
  OnnxModel changed = model;
  NameMaker names(changed.proto);
  Converter converter(upgrade.from, values, names, upgrade);
  each_graph(changed.proto, [&](onnx::GraphProto& graph) {
    if (upgrade.unsupported.empty()) {
      converter.convert(graph);
    }
  });
  if (!upgrade.unsupported.empty()) {
    return upgrade;
  }
  set_opset(changed.proto, kTargetOpset);
  drop_initializer_inputs(changed.proto);
  changed.proto.set_ir_version(std::max<std::int64_t>(changed.proto.ir_version(), 7));
  upgrade.to = kTargetOpset;
  model = std::move(changed);
  return upgrade;
}

}  // namespace headwater::workbench
