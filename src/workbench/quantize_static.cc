#include "workbench/quantize_static.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "workbench/graph.h"
#include "workbench/quantize_weights.h"

namespace headwater::workbench {
namespace {

// Operators that move elements and never compute: input and output share scale and zero point.
const std::set<std::string>& movers() {
  static const std::set<std::string> kOps = {"MaxPool",   "Reshape",     "Transpose", "Squeeze",
                                             "Unsqueeze", "Flatten",     "Slice",     "Split",
                                             "Resize",    "DepthToSpace"};
  return kOps;
}

// Operators with an int8 kernel of their own.
const std::set<std::string>& computers() {
  static const std::set<std::string> kOps = {
      "Add", "Mul", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Concat"};
  return kOps;
}

bool standard(const onnx::NodeProto& node) {
  return node.domain().empty() || node.domain() == "ai.onnx";
}

bool is_product(const onnx::NodeProto& node) {
  return standard(node) &&
         (node.op_type() == "Conv" || node.op_type() == "MatMul" || node.op_type() == "Gemm");
}

// How many leading inputs are activations.
int activations(const onnx::NodeProto& node) {
  if (node.op_type() == "Concat") {
    return node.input_size();
  }
  return node.op_type() == "Add" || node.op_type() == "Mul" ? 2 : 1;
}

float float_attribute(const onnx::NodeProto& node, const char* name, float otherwise) {
  const auto* found = attribute(node, name);
  return found != nullptr ? found->f() : otherwise;
}

const onnx::TensorProto* float_constant(const GraphIndex& index, const std::string& name) {
  const auto* tensor = index.is_input(name) ? nullptr : index.initializer(name);
  return tensor != nullptr && tensor->data_type() == onnx::TensorProto::FLOAT ? tensor : nullptr;
}

// "": it can be static int8; else the reason why not.
std::string hindrance(const GraphIndex& index, const onnx::NodeProto& node) {
  if (node.input_size() < 2 || node.output_size() != 1) {
    return "unusual inputs";
  }
  const auto* weight = float_constant(index, node.input(1));
  if (weight == nullptr) {
    return "its weight is not a constant float32 tensor";
  }
  if (index.initializer(node.input(0)) != nullptr) {
    return "its input is constant";
  }
  if (std::count(weight->dims().begin(), weight->dims().end(), 0) != 0) {
    return "its weight is empty";
  }
  if (node.op_type() == "Conv") {
    if (weight->dims_size() < 3) {
      return "its weight has less than three dimensions";
    }
  } else if (weight->dims_size() != 2) {
    return "its weight is not a matrix";
  }
  if (node.op_type() == "Gemm" &&
      (int_attribute(node, "transA", 0) != 0 || float_attribute(node, "alpha", 1) != 1.0F ||
       float_attribute(node, "beta", 1) != 1.0F)) {
    return "transA, alpha and beta are not supported in int8";
  }
  if (node.input_size() > 2 && !node.input(2).empty()) {
    const auto* bias = float_constant(index, node.input(2));
    const bool turned = node.op_type() == "Conv" || int_attribute(node, "transB", 0) != 0;
    const std::int64_t channels = weight->dims(turned ? 0 : 1);
    if (bias == nullptr || bias->dims_size() != 1 || bias->dims(0) != channels) {
      return "its bias is not a constant vector";
    }
  }
  return {};
}

struct Affine {
  float scale = 1;
  int zero = 0;
};

Affine affine_of(const Range& range) {
  const double low = std::min(0.0, static_cast<double>(range.low));
  const double high = std::max(0.0, static_cast<double>(range.high));
  Affine made;
  made.scale = static_cast<float>((high - low) / 255);
  if (!(made.scale > 1e-20F)) {
    return {};  // nothing but zeros
  }
  made.zero =
      std::clamp(static_cast<int>(std::lround(-low / static_cast<double>(made.scale))), 0, 255);
  return made;
}

class StaticRewriter {
 public:
  StaticRewriter(OnnxModel& model, const std::map<std::string, Range>& ranges,
                 const StaticOptions& options)
      : model_(model),
        graph_(*model.proto.mutable_graph()),
        index_(graph_),
        names_(model.proto),
        ranges_(ranges),
        options_(options),
        int8_(static_cast<std::size_t>(graph_.node_size()), false),
        clamp_(static_cast<std::size_t>(graph_.node_size()), -1) {}

  Result<std::vector<NodeNote>> run() {
    find_clamps();
    choose();
    if (std::none_of(int8_.begin(), int8_.end(), [](bool chosen) { return chosen; })) {
      return std::move(notes_);
    }
    find_values();
    HW_TRY(emit());
    drop_unused(model_.proto);
    return std::move(notes_);
  }

 private:
  const onnx::NodeProto& node(int i) const { return graph_.node(i); }
  bool int8(int i) const { return i >= 0 && int8_[static_cast<std::size_t>(i)]; }
  int clamp(int i) const { return clamp_[static_cast<std::size_t>(i)]; }

  // The value that node i makes once its clamp is folded in.
  const std::string& result(int i) const { return node(clamp(i) >= 0 ? clamp(i) : i).output(0); }
  // The node that makes a value, a folded clamp standing for the node before it.
  int maker(const std::string& value) const {
    const int made = index_.producer(value);
    const auto found = clamped_.find(made);
    return found != clamped_.end() ? found->second : made;
  }

  bool has_range(const std::string& value) const { return ranges_.count(value) != 0; }

  void find_clamps() {
    for (int i = 0; i < graph_.node_size(); ++i) {
      const auto& op = node(i).op_type();
      if (!is_product(node(i)) && op != "Add" && op != "Mul" && op != "AveragePool") {
        continue;
      }
      const std::string& value = node(i).output(0);
      const auto& readers = index_.consumers(value);
      if (readers.size() != 1 || index_.is_output(value)) {
        continue;
      }
      const auto& next = node(readers[0]);
      if (standard(next) &&
          (next.op_type() == "Relu" || (next.op_type() == "Clip" && holds_zero(next)))) {
        clamp_[static_cast<std::size_t>(i)] = readers[0];
        clamped_[readers[0]] = i;
      }
    }
  }

  // A Clip between constants around zero: the calibrated range lies inside, so uint8 clamps no
  // less.
  bool holds_zero(const onnx::NodeProto& clip) const {
    for (int i = 1; i < clip.input_size() && i < 3; ++i) {
      if (clip.input(i).empty()) {
        continue;
      }
      const auto* bound = float_constant(index_, clip.input(i));
      const auto values = bound != nullptr ? tensor_values<float>(model_, *bound)
                                           : Result<std::vector<float>>(std::vector<float>{});
      if (!values || values->size() != 1 || (i == 1 ? (*values)[0] > 0 : (*values)[0] < 0)) {
        return false;
      }
    }
    return true;
  }

  void note(int i, bool changed, std::string what) {
    notes_.push_back({node(i).name(), node(i).op_type(), changed, std::move(what)});
  }

  void choose() {
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (!is_product(node(i))) {
        continue;
      }
      if (std::string why = hindrance(index_, node(i)); !why.empty()) {
        note(i, false, std::move(why));
      } else if (options_.nodes.count(node(i).name()) == 0) {
        note(i, false, "left out");
      } else if (!has_range(node(i).input(0)) || !has_range(result(i))) {
        note(i, false, "its values could not be watched");
      } else {
        int8_[static_cast<std::size_t>(i)] = true;
        note(i, true, "static int8");
      }
    }
    if (!options_.connect) {
      return;
    }
    std::vector<int> between;
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (connects(i)) {
        between.push_back(i);
        int8_[static_cast<std::size_t>(i)] = true;
      }
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (const int i : between) {
        if (int8(i) && !worth(i)) {
          int8_[static_cast<std::size_t>(i)] = false;
          changed = true;
        }
      }
    }
    for (const int i : between) {
      if (int8(i)) {
        note(i, true, "static int8");
      }
    }
  }

  // Whether the operator could be int8 by its kind and inputs.
  bool connects(int i) const {
    const auto& at = node(i);
    const auto& op = at.op_type();
    if (!standard(at) || (movers().count(op) == 0 && computers().count(op) == 0)) {
      return false;
    }
    for (int k = 0; k < activations(at); ++k) {
      const auto* constant = index_.initializer(at.input(k));
      if (constant != nullptr &&
          ((op != "Add" && op != "Mul") || float_constant(index_, at.input(k)) == nullptr)) {
        return false;
      }
      if (constant == nullptr && !has_range(at.input(k))) {
        return false;
      }
    }
    if (op == "Resize") {
      const auto* mode = attribute(at, "mode");
      const std::string how = mode != nullptr ? mode->s() : "nearest";
      if (how != "nearest" && how != "linear") {
        return false;
      }
    }
    if (op == "MaxPool" && at.output_size() > 1) {
      return false;
    }
    return std::all_of(at.output().begin(), at.output().end(),
                       [&](const std::string& value) { return has_range(value); }) &&
           has_range(result(i));
  }

  bool worth(int i) const {
    const auto& at = node(i);
    for (int k = 0; k < activations(at); ++k) {
      if (index_.initializer(at.input(k)) == nullptr && !int8(maker(at.input(k)))) {
        return false;
      }
    }
    if (clamp(i) >= 0) {
      return read_in_int8(result(i));
    }
    return std::any_of(at.output().begin(), at.output().end(),
                       [&](const std::string& value) { return read_in_int8(value); });
  }

  bool read_in_int8(const std::string& value) const {
    const auto& readers = index_.consumers(value);
    return std::any_of(readers.begin(), readers.end(), [&](int reader) {
      if (!int8(reader)) {
        return false;
      }
      // As an activation, not as a shape or a weight.
      for (int k = 0; k < activations(node(reader)); ++k) {
        if (node(reader).input(k) == value) {
          return true;
        }
      }
      return false;
    });
  }

  // MatMul and Gemm have kernels with float32 results; without an int8 reader they use them.
  bool float_result(int i) const {
    return (node(i).op_type() == "MatMul" || node(i).op_type() == "Gemm") &&
           !read_in_int8(result(i));
  }

  void find_values() {
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (!int8(i)) {
        continue;
      }
      for (int k = 0; k < activations(node(i)); ++k) {
        if (index_.initializer(node(i).input(k)) == nullptr) {
          quantized_.insert(node(i).input(k));
        }
      }
      if (clamp(i) >= 0 && !float_result(i)) {
        quantized_.insert(result(i));
      } else if (!float_result(i)) {
        quantized_.insert(node(i).output().begin(), node(i).output().end());
      }
    }
  }

  // Scale and zero point; of what movers make, those of their input.
  Affine affine(const std::string& value) const {
    const int from = maker(value);
    if (int8(from) && movers().count(node(from).op_type()) != 0) {
      return affine(node(from).input(0));
    }
    const auto found = ranges_.find(value);
    return affine_of(found != ranges_.end() ? found->second : Range{});
  }

  void constant_scale(const std::string& base, const Affine& to, std::string& scale,
                      std::string& zero) {
    scale = names_.make(base + "_scale");
    zero = names_.make(base + "_zero");
    *graph_.add_initializer() = make_tensor<float>(scale, {}, {to.scale});
    *graph_.add_initializer() =
        make_tensor<std::uint8_t>(zero, {}, {static_cast<std::uint8_t>(to.zero)});
  }

  void linear(const char* op, const std::string& from, const std::string& to,
              const std::string& scale, const std::string& zero, int axis = -1) {
    auto& made = *nodes_.Add();
    made.set_op_type(op);
    made.set_name(names_.make(to + (*op == 'Q' ? "_quantize" : "_dequantize")));
    for (const std::string& input : {from, scale, zero}) {
      made.add_input(input);
    }
    made.add_output(to);
    if (axis >= 0) {
      auto& along = *made.add_attribute();
      along.set_name("axis");
      along.set_type(onnx::AttributeProto::INT);
      along.set_i(axis);
    }
  }

  // `from` holds the float value; readers in int8 take the value named `to` afterwards.
  void wrap(const std::string& value, const std::string& from, const std::string& to) {
    std::string scale;
    std::string zero;
    constant_scale(value, affine(value), scale, zero);
    const std::string small = names_.make(value + "_uint8");
    linear("QuantizeLinear", from, small, scale, zero);
    linear("DequantizeLinear", small, to, scale, zero);
  }

  Status emit() {
    const auto wrap_made_outside = [&](const std::string& value) {
      const std::string to = names_.make(value + "_float");
      wrap(value, value, to);
      renamed_[value] = to;
    };
    for (const auto& input : graph_.input()) {
      if (quantized_.count(input.name()) != 0) {
        wrap_made_outside(input.name());
      }
    }
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (const auto folded = clamped_.find(i);
          folded != clamped_.end() && int8(folded->second) && !float_result(folded->second)) {
        continue;
      }
      if (!int8(i)) {
        const std::vector<std::string> outputs(node(i).output().begin(), node(i).output().end());
        *nodes_.Add() = node(i);
        for (const std::string& value : outputs) {
          if (quantized_.count(value) != 0) {
            wrap_made_outside(value);
          }
        }
        continue;
      }
      HW_TRY(emit_int8(i));
    }
    graph_.mutable_node()->Swap(&nodes_);
    return {};
  }

  Status emit_int8(int i) {
    onnx::NodeProto made = node(i);
    for (int k = 0; k < activations(made); ++k) {
      const std::string value = made.input(k);
      if (index_.initializer(value) != nullptr) {
        made.set_input(k, HW_TRY(small_constant(value)));
      } else if (const auto found = renamed_.find(value); found != renamed_.end()) {
        made.set_input(k, found->second);
      }
    }
    if (is_product(made)) {
      HW_TRY(small_weights(i, made));
    }
    if (float_result(i)) {
      *nodes_.Add() = std::move(made);
      return {};
    }
    std::vector<std::pair<std::string, std::string>> raws;
    const int outputs = clamp(i) >= 0 ? 1 : made.output_size();
    for (int k = 0; k < outputs; ++k) {
      const std::string value = clamp(i) >= 0 ? result(i) : made.output(k);
      raws.emplace_back(value, names_.make(value + "_raw"));
      made.set_output(k, raws.back().second);
    }
    *nodes_.Add() = std::move(made);
    for (const auto& [value, raw] : raws) {
      wrap(value, raw, value);
    }
    return {};
  }

  Result<std::string> small_constant(const std::string& name) {
    if (const auto known = constants_.find(name); known != constants_.end()) {
      return known->second;
    }
    const auto& tensor = *index_.initializer(name);
    const auto values = HW_TRY(tensor_values<float>(model_, tensor));
    Range range;
    for (const float value : values) {
      range.low = std::min(range.low, value);
      range.high = std::max(range.high, value);
    }
    const Affine to = affine_of(range);
    std::vector<std::uint8_t> small;
    for (const float value : values) {
      small.push_back(static_cast<std::uint8_t>(
          std::clamp(static_cast<int>(std::nearbyint(value / to.scale)) + to.zero, 0, 255)));
    }
    std::string scale;
    std::string zero;
    constant_scale(name, to, scale, zero);
    const std::string stored = names_.make(name + "_uint8");
    *graph_.add_initializer() =
        make_tensor<std::uint8_t>(stored, {tensor.dims().begin(), tensor.dims().end()}, small);
    std::string made = names_.make(name + "_float");
    linear("DequantizeLinear", stored, made, scale, zero);
    constants_[name] = made;
    return made;
  }

  struct Stored {
    std::string name;  // what DequantizeLinear makes
    std::vector<float> scales;
  };

  // Weights as int8 [channels first or last] behind DequantizeLinear, bias as int32.
  Status small_weights(int i, onnx::NodeProto& made) {
    const std::string weight = made.input(1);
    const float input_scale = affine(node(i).input(0)).scale;
    std::vector<float> bias;
    if (made.input_size() > 2 && !made.input(2).empty()) {
      bias = HW_TRY(tensor_values<float>(model_, *index_.initializer(made.input(2))));
    }
    const auto& tensor = *index_.initializer(weight);
    const bool conv = made.op_type() == "Conv";
    const bool turn = made.op_type() == "Gemm" && int_attribute(made, "transB", 0) != 0;
    std::vector<float> values = HW_TRY(tensor_values<float>(model_, tensor));
    std::vector<std::int64_t> dims(tensor.dims().begin(), tensor.dims().end());
    if (turn) {
      const auto rows = static_cast<std::size_t>(dims[0]);
      const auto columns = static_cast<std::size_t>(dims[1]);
      std::vector<float> turned(values.size());
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t column = 0; column < columns; ++column) {
          turned[column * rows + row] = values[row * columns + column];
        }
      }
      values = std::move(turned);
      std::swap(dims[0], dims[1]);
      auto* attributes = made.mutable_attribute();
      for (int k = attributes->size() - 1; k >= 0; --k) {
        if (attributes->Get(k).name() == "transB") {
          attributes->DeleteSubrange(k, 1);
        }
      }
    }
    const auto channels =
        !options_.per_channel ? std::size_t{1} : static_cast<std::size_t>(conv ? dims[0] : dims[1]);
    const std::size_t outer = conv || !options_.per_channel ? 1 : static_cast<std::size_t>(dims[0]);
    const std::size_t inner = values.size() / channels / outer;
    const int largest = largest_int8(options_.reduced_range);
    Int8Weights small = to_int8(values, outer, channels, inner, largest);
    widen(values, outer, channels, inner, bias, input_scale, largest, small);
    // Widening depends on the bias and the input: a weight that two nodes share is stored once
    // unless that differs.
    Stored& stored = stored_[weight + (turn ? "/turned" : "")];
    if (stored.name.empty() || stored.scales != small.scales) {
      stored.scales = small.scales;
      const std::string int8_name = names_.make(weight + "_int8");
      const std::string scale = names_.make(weight + "_scale");
      const std::string zero = names_.make(weight + "_zero");
      std::vector<std::int64_t> shape;
      if (options_.per_channel) {
        shape = {static_cast<std::int64_t>(channels)};
      }
      *graph_.add_initializer() = make_tensor<std::int8_t>(int8_name, dims, small.values);
      *graph_.add_initializer() = make_tensor<float>(scale, shape, small.scales);
      *graph_.add_initializer() =
          make_tensor<std::int8_t>(zero, shape, std::vector<std::int8_t>(channels, 0));
      stored.name = names_.make(weight + "_float");
      linear("DequantizeLinear", int8_name, stored.name, scale, zero,
             options_.per_channel ? (conv ? 0 : 1) : -1);
    }
    made.set_input(1, stored.name);
    if (bias.empty()) {
      return {};
    }
    std::vector<std::int32_t> whole(bias.size());
    std::vector<float> scales(channels);
    for (std::size_t c = 0; c < channels; ++c) {
      scales[c] = input_scale * small.scales[c];
    }
    for (std::size_t c = 0; c < bias.size(); ++c) {
      const double scaled =
          static_cast<double>(bias[c]) / static_cast<double>(scales[channels == 1 ? 0 : c]);
      whole[c] = static_cast<std::int32_t>(
          std::nearbyint(std::clamp(scaled, -2147483647.0, 2147483647.0)));
    }
    const std::string base = made.name() + "_bias";
    const std::string stored_bias = names_.make(base + "_int32");
    const std::string scale = names_.make(base + "_scale");
    const std::string zero = names_.make(base + "_zero");
    std::vector<std::int64_t> shape;
    if (channels > 1 || options_.per_channel) {
      shape = {static_cast<std::int64_t>(channels)};
    }
    *graph_.add_initializer() =
        make_tensor<std::int32_t>(stored_bias, {static_cast<std::int64_t>(whole.size())}, whole);
    *graph_.add_initializer() = make_tensor<float>(scale, shape, scales);
    *graph_.add_initializer() =
        make_tensor<std::int32_t>(zero, shape, std::vector<std::int32_t>(channels, 0));
    const std::string ready = names_.make(base + "_float");
    linear("DequantizeLinear", stored_bias, ready, scale, zero, shape.empty() ? -1 : 0);
    made.set_input(2, ready);
    return {};
  }

  // A bias is an int32 multiple of input scale × weight scale: where that would overflow, as with
  // channels of all but zero weights, the channel's scale is widened.
  static void widen(const std::vector<float>& values, std::size_t outer, std::size_t channels,
                    std::size_t inner, const std::vector<float>& bias, float input_scale,
                    int largest, Int8Weights& small) {
    constexpr double kRoom = 1 << 30;
    for (std::size_t c = 0; c < channels && !bias.empty(); ++c) {
      double most = 0;
      for (std::size_t b = channels == 1 ? 0 : c; b < (channels == 1 ? bias.size() : c + 1); ++b) {
        most = std::max(most, std::fabs(static_cast<double>(bias[b])));
      }
      const bool empty =
          std::all_of(small.values.begin() + static_cast<std::ptrdiff_t>(c * inner),
                      small.values.begin() + static_cast<std::ptrdiff_t>((c + 1) * inner),
                      [](std::int8_t value) { return value == 0; });
      const auto least = static_cast<float>(most / (kRoom * static_cast<double>(input_scale)));
      if (outer == 1 && empty && most > 0) {
        // Any scale will do for zeros: take one that keeps the bias exact.
        small.scales[c] = std::max(least * 64, 1e-30F);
        continue;
      }
      if (small.scales[c] >= least) {
        continue;
      }
      small.scales[c] = least;
      for (std::size_t o = 0; o < outer; ++o) {
        for (std::size_t k = 0; k < inner; ++k) {
          const std::size_t at = (o * channels + c) * inner + k;
          const float scaled = std::nearbyint(values[at] / least);
          small.values[at] = static_cast<std::int8_t>(
              std::clamp(scaled, -static_cast<float>(largest), static_cast<float>(largest)));
        }
      }
    }
  }

  OnnxModel& model_;
  onnx::GraphProto& graph_;
  GraphIndex index_;
  NameMaker names_;
  const std::map<std::string, Range>& ranges_;
  const StaticOptions& options_;
  std::vector<bool> int8_;
  std::vector<int> clamp_;                      // node → Relu or Clip that it takes in; -1: none
  std::unordered_map<int, int> clamped_;        // and back
  std::set<std::string> quantized_;             // values
  std::map<std::string, std::string> renamed_;  // made by float32 nodes: what int8 readers take
  std::map<std::string, std::string> constants_;
  std::map<std::string, Stored> stored_;
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes_;
  std::vector<NodeNote> notes_;
};

}  // namespace

std::vector<std::string> static_products(const OnnxModel& model, std::vector<NodeNote>* notes) {
  const GraphIndex index(model.proto.graph());
  std::vector<std::string> products;
  for (const auto& node : model.proto.graph().node()) {
    if (!is_product(node)) {
      continue;
    }
    std::string why = hindrance(index, node);
    if (why.empty()) {
      products.push_back(node.name());
    } else if (notes != nullptr) {
      notes->push_back({node.name(), node.op_type(), false, std::move(why)});
    }
  }
  return products;
}

std::vector<std::string> values_to_watch(const OnnxModel& model) {
  const GraphIndex index(model.proto.graph());
  std::set<std::string> values;
  const auto watch = [&](const std::string& value) {
    if (!value.empty() && index.initializer(value) == nullptr) {
      values.insert(value);
    }
  };
  for (const auto& node : model.proto.graph().node()) {
    const auto& op = node.op_type();
    const bool product = is_product(node) && hindrance(index, node).empty();
    if (!product && (!standard(node) || (movers().count(op) == 0 && computers().count(op) == 0 &&
                                         op != "Relu" && op != "Clip"))) {
      continue;
    }
    for (int k = 0; k < std::min(activations(node), node.input_size()); ++k) {
      watch(node.input(k));
    }
    for (const auto& output : node.output()) {
      watch(output);
    }
  }
  return {values.begin(), values.end()};
}

Result<std::vector<NodeNote>> quantize_static(OnnxModel& model,
                                              const std::map<std::string, Range>& ranges,
                                              const StaticOptions& options) {
  if (opset(model.proto) < 13) {
    return Error::invalid("static int8 needs opset 13, this model has {}", opset(model.proto));
  }
  return StaticRewriter(model, ranges, options).run();
}

}  // namespace headwater::workbench
