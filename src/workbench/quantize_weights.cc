#include "workbench/quantize_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <unordered_map>

#include "workbench/graph.h"

namespace headwater::workbench {
namespace {

constexpr const char* kContrib = "com.microsoft";
// Below this many elements the scales, names and nodes outweigh what int8 saves.
constexpr std::uint64_t kLeastElements = 512;

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;
// The graphs around a node, outermost first; names resolve from the innermost out.
using Scopes = std::vector<onnx::GraphProto*>;

bool standard_op(const onnx::NodeProto& node, const char* op) {
  return node.op_type() == op && (node.domain().empty() || node.domain() == "ai.onnx");
}

bool wanted(const WeightOptions& options, const std::string& name) {
  return options.exclude.count(name) == 0 &&
         (options.only.empty() || options.only.count(name) != 0);
}

std::vector<std::int64_t> dims_of(const onnx::TensorProto& tensor) {
  return {tensor.dims().begin(), tensor.dims().end()};
}

// Names, scopes and quantized weights of one model while it is rewritten.
class Rewriter {
 public:
  Rewriter(OnnxModel& model, const WeightOptions& options)
      : model_(model), options_(options), names_(model.proto) {}

  Result<std::vector<NodeNote>> dynamic() {
    Scopes scopes;
    HW_TRY(walk(*model_.proto.mutable_graph(), scopes,
                [&](onnx::GraphProto& graph, Scopes& at) { return dynamic_graph(graph, at); }));
    finish();
    return std::move(notes_);
  }

  Result<std::vector<NodeNote>> stored(bool tables_only) {
    Scopes scopes;
    std::set<std::string> kept;  // read by a node that stays
    each_graph(std::as_const(model_.proto), [&](const onnx::GraphProto& graph) {
      for (const auto& node : graph.node()) {
        if (!wanted(options_, node.name())) {
          kept.insert(node.input().begin(), node.input().end());
        }
      }
    });
    HW_TRY(walk(*model_.proto.mutable_graph(), scopes, [&](onnx::GraphProto& graph, Scopes&) {
      return store_graph(graph, kept, tables_only);
    }));
    finish();
    return std::move(notes_);
  }

 private:
  template <class Visit>
  Status walk(onnx::GraphProto& graph, Scopes& scopes, const Visit& visit) {
    scopes.push_back(&graph);
    for (auto& node : *graph.mutable_node()) {
      for (auto& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) {
          HW_TRY(walk(*attribute.mutable_g(), scopes, visit));
        }
        for (auto& sub : *attribute.mutable_graphs()) {
          HW_TRY(walk(sub, scopes, visit));
        }
      }
    }
    HW_TRY(visit(graph, scopes));
    scopes.pop_back();
    return {};
  }

  void finish() {
    const bool changed = std::any_of(notes_.begin(), notes_.end(),
                                     [](const NodeNote& note) { return note.changed; });
    if (!changed) {
      return;
    }
    if (uses_contrib_ && opset(model_.proto, kContrib) == 0) {
      set_opset(model_.proto, 1, kContrib);
    }
    drop_unused(model_.proto);
  }

  void note(const onnx::NodeProto& node, bool changed, std::string what) {
    notes_.push_back({node.name(), node.op_type(), changed, std::move(what)});
  }

  // The initializer that `name` means inside the innermost of `scopes`, and the graph that owns it;
  // null where a node or an input makes the value.
  std::pair<const onnx::TensorProto*, onnx::GraphProto*> constant(const Scopes& scopes,
                                                                  const std::string& name) {
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
      const auto& table = constants(**scope);
      if (const auto found = table.find(name); found != table.end()) {
        // Null: an input or the output of a node of that graph hides outer ones.
        return {found->second, *scope};
      }
    }
    return {nullptr, nullptr};
  }

  // By name: the initializer's index, or null for inputs and what nodes make.
  const std::unordered_map<std::string, const onnx::TensorProto*>& constants(
      const onnx::GraphProto& graph) {
    auto [found, fresh] = constants_.try_emplace(&graph);
    if (fresh) {
      for (const auto& tensor : graph.initializer()) {
        found->second[tensor.name()] = &tensor;
      }
      for (const auto& input : graph.input()) {
        found->second[input.name()] = nullptr;  // a caller may override it
      }
      for (const auto& node : graph.node()) {
        for (const auto& output : node.output()) {
          found->second[output] = nullptr;
        }
      }
    }
    return found->second;
  }

  struct Weights {
    std::string values;
    std::string scales;
  };

  // A matrix product that can be int8.
  struct Product {
    int node = 0;
    int add = -1;  // the Add that the bias was taken from
    std::string output;
    std::string bias;  // a constant vector; "": none
    std::vector<float> bias_values;
    std::string addend;  // a computed bias, added behind; "": none
    const onnx::TensorProto* tensor = nullptr;
    onnx::GraphProto* owner = nullptr;
    bool turn = false;
    float factor = 1;
    std::size_t rows = 0;
    std::size_t columns = 0;
  };

  // B of one product, or of several that read one input side by side, as int8 [K, ΣN].
  Result<Weights> matrix(std::span<const Product> products) {
    std::string key;
    for (const Product& product : products) {
      key += fmt::format("{}/{}/{}/{}/", fmt::ptr(product.owner), product.tensor->name(),
                         product.turn, product.factor);
    }
    if (const auto known = matrices_.find(key); known != matrices_.end()) {
      return known->second;
    }
    const std::size_t rows = products[0].rows;
    std::size_t columns = 0;
    for (const Product& product : products) {
      columns += product.columns;
    }
    std::vector<float> values(rows * columns);
    std::size_t start = 0;
    for (const Product& product : products) {
      const std::vector<float> part = HW_TRY(tensor_values<float>(model_, *product.tensor));
      for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t column = 0; column < product.columns; ++column) {
          values[row * columns + start + column] =
              product.factor *
              part[product.turn ? column * rows + row : row * product.columns + column];
        }
      }
      start += product.columns;
    }
    const int largest = largest_int8(options_.reduced_range);
    const Int8Weights made = options_.per_channel ? to_int8(values, rows, columns, 1, largest)
                                                  : to_int8(values, 1, 1, values.size(), largest);
    const std::string& base = products[0].tensor->name();
    Weights weights{.values = names_.make(base + "_int8"), .scales = names_.make(base + "_scale")};
    std::vector<std::int64_t> shape;
    if (options_.per_channel) {
      shape = {static_cast<std::int64_t>(columns)};
    }
    onnx::GraphProto& owner = *products[0].owner;
    add(owner,
        make_tensor<std::int8_t>(
            weights.values, {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)},
            made.values));
    add(owner, make_tensor<float>(weights.scales, shape, made.scales));
    matrices_[key] = weights;
    return weights;
  }

  // Adding moves nothing: protobuf's repeated messages are pointers.
  static void add(onnx::GraphProto& owner, onnx::TensorProto tensor) {
    *owner.add_initializer() = std::move(tensor);
  }

  Status dynamic_graph(onnx::GraphProto& graph, const Scopes& scopes) {
    std::vector<std::vector<Product>> groups;  // those that read one input side by side
    {
      const GraphIndex index(graph);
      std::map<std::string, std::size_t> by_input;
      for (int i = 0; i < graph.node_size(); ++i) {
        auto& node = *graph.mutable_node(i);
        if (standard_op(node, "LSTM")) {
          HW_TRY(dynamic_lstm(node, scopes));
        } else if (standard_op(node, "MatMul") || standard_op(node, "Gemm")) {
          auto product = HW_TRY(dynamic_product(graph, index, i, scopes));
          if (!product) {
            continue;
          }
          note(node, true, "dynamic int8");
          // What is added behind may be made later than a sibling: such a product stays alone.
          const auto [found, fresh] = by_input.try_emplace(
              product->addend.empty() ? node.input(0) : node.input(0) + "/" + node.name(),
              groups.size());
          if (fresh) {
            groups.emplace_back();
          }
          auto& group = groups[found->second];
          if (!group.empty() &&
              (group[0].rows != product->rows || group[0].owner != product->owner)) {
            found->second = groups.size();
            groups.emplace_back();
          }
          groups[found->second].push_back(std::move(*product));
        }
      }
    }
    if (groups.empty()) {
      return {};
    }
    std::map<int, std::size_t> first;  // node → the group that it begins
    std::set<int> gone;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      first[groups[i][0].node] = i;
      for (const Product& product : groups[i]) {
        gone.insert({product.node, product.add});
      }
    }
    Nodes nodes;
    for (int i = 0; i < graph.node_size(); ++i) {
      if (const auto found = first.find(i); found != first.end()) {
        HW_TRY(emit(graph.node(i), groups[found->second], nodes));
      } else if (gone.count(i) == 0) {
        *nodes.Add() = std::move(*graph.mutable_node(i));
      }
    }
    graph.mutable_node()->Swap(&nodes);
    return {};
  }

  // One product for the group, and a Split where there are several: quantizing the input once and
  // one call of the kernel beat three of each.
  Status emit(const onnx::NodeProto& node, const std::vector<Product>& group, Nodes& nodes) {
    const Weights weights = HW_TRY(matrix(group));
    auto& made = *nodes.Add();
    made.set_name(node.name());
    made.set_op_type("DynamicQuantizeMatMul");
    made.set_domain(kContrib);
    uses_contrib_ = true;
    for (const std::string& input : {node.input(0), weights.values, weights.scales}) {
      made.add_input(input);
    }
    if (const std::string bias = HW_TRY(joined_bias(group)); !bias.empty()) {
      // The zero points of symmetric weights are left out: given as zeros, a column each, they
      // cost a slower path in the kernel.
      made.add_input("");
      made.add_input(bias);
    }
    if (!group[0].addend.empty()) {
      made.add_output(names_.make(group[0].output + "_product"));
      auto& sum = *nodes.Add();
      sum.set_name(names_.make(node.name() + "_add"));
      sum.set_op_type("Add");
      sum.add_input(nodes.Get(nodes.size() - 2).output(0));
      sum.add_input(group[0].addend);
      sum.add_output(group[0].output);
      return {};
    }
    if (group.size() == 1) {
      made.add_output(group[0].output);
      return {};
    }
    made.add_output(names_.make(group[0].output + "_joined"));
    std::vector<std::int64_t> widths;
    auto& split = *nodes.Add();
    split.set_name(names_.make(node.name() + "_split"));
    split.set_op_type("Split");
    split.add_input(nodes.Get(nodes.size() - 2).output(0));
    for (const Product& product : group) {
      split.add_output(product.output);
      widths.push_back(static_cast<std::int64_t>(product.columns));
    }
    auto& axis = *split.add_attribute();
    axis.set_name("axis");
    axis.set_type(onnx::AttributeProto::INT);
    axis.set_i(-1);
    if (opset(model_.proto) >= 13) {
      split.add_input(names_.make(split.name() + "_sizes"));
      add(*group[0].owner, make_tensor<std::int64_t>(
                               split.input(1), {static_cast<std::int64_t>(widths.size())}, widths));
    } else {
      auto& sizes = *split.add_attribute();
      sizes.set_name("split");
      sizes.set_type(onnx::AttributeProto::INTS);
      sizes.mutable_ints()->Assign(widths.begin(), widths.end());
    }
    return {};
  }

  // "": no product of the group has one.
  Result<std::string> joined_bias(const std::vector<Product>& group) {
    if (group.size() == 1 || std::all_of(group.begin(), group.end(), [](const Product& product) {
          return product.bias.empty();
        })) {
      return group[0].bias;
    }
    std::vector<float> values;
    for (const Product& product : group) {
      if (product.bias.empty()) {
        values.resize(values.size() + product.columns, 0);
        continue;
      }
      values.insert(values.end(), product.bias_values.begin(), product.bias_values.end());
    }
    std::string name = names_.make(group[0].tensor->name() + "_bias");
    add(*group[0].owner,
        make_tensor<float>(name, {static_cast<std::int64_t>(values.size())}, values));
    return name;
  }

  Result<std::optional<Product>> dynamic_product(const onnx::GraphProto& graph,
                                                 const GraphIndex& index, int at,
                                                 const Scopes& scopes) {
    const auto& node = graph.node(at);
    const auto left = [&](std::string why) {
      note(node, false, std::move(why));
      return std::optional<Product>{};
    };
    if (!wanted(options_, node.name())) {
      return left("excluded");
    }
    if (node.input_size() < 2 || node.output_size() != 1) {
      return left("unusual inputs");
    }
    const auto [tensor, owner] = constant(scopes, node.input(1));
    if (tensor == nullptr) {
      return left("its second input is computed");
    }
    if (tensor->data_type() != onnx::TensorProto::FLOAT || tensor->dims_size() != 2) {
      return left("its weight is not a float32 matrix");
    }
    if (HW_TRY(element_count(*tensor)) < kLeastElements) {
      return left("its weight is too small to gain");
    }
    if (constant(scopes, node.input(0)).first != nullptr) {
      return left("its input is constant");
    }
    Product product{.node = at,
                    .output = node.output(0),
                    .bias = {},
                    .bias_values = {},
                    .addend = {},
                    .tensor = tensor,
                    .owner = owner};
    const bool gemm = node.op_type() == "Gemm";
    if (gemm) {
      if (int_attribute(node, "transA", 0) != 0) {
        return left("transA is not supported in int8");
      }
      product.turn = int_attribute(node, "transB", 0) != 0;
      const auto* alpha = attribute(node, "alpha");
      product.factor = alpha != nullptr ? alpha->f() : 1.0F;
    }
    product.rows = static_cast<std::size_t>(tensor->dims(product.turn ? 1 : 0));
    product.columns = static_cast<std::size_t>(tensor->dims(product.turn ? 0 : 1));
    if (gemm && node.input_size() > 2 && !node.input(2).empty()) {
      const auto* beta = attribute(node, "beta");
      const float factor = beta != nullptr ? beta->f() : 1.0F;
      if (!HW_TRY(take_bias(scopes, node.input(2), factor, product))) {
        if (factor != 1.0F) {
          return left("its bias is neither a constant vector nor added as it is");
        }
        product.addend = node.input(2);
      }
    } else if (!gemm) {
      HW_TRY(take_added_bias(graph, index, node, scopes, product));
    }
    return std::optional<Product>(std::move(product));
  }

  // MatMul → Add of a constant vector, read by nobody else: the Add goes.
  Status take_added_bias(const onnx::GraphProto& graph, const GraphIndex& index,
                         const onnx::NodeProto& node, const Scopes& scopes, Product& product) {
    const auto& readers = index.consumers(node.output(0));
    if (readers.size() != 1 || index.is_output(node.output(0))) {
      return {};
    }
    const auto& sum = graph.node(readers[0]);
    if (!standard_op(sum, "Add") || sum.input_size() != 2 || sum.input(0) == sum.input(1)) {
      return {};
    }
    const std::string& other = sum.input(sum.input(0) == node.output(0) ? 1 : 0);
    const auto [tensor, owner] = constant(scopes, other);
    // A vector keeps the rank of the product; a matrix of one row might not.
    if (tensor != nullptr && tensor->dims_size() == 1 &&
        HW_TRY(take_bias(scopes, other, 1.0F, product))) {
      product.add = readers[0];
      product.output = sum.output(0);
    }
    return {};
  }

  // A constant float32 [columns] equal to `factor` × the value broadcast to a row; false: it is not
  // a constant row.
  Result<bool> take_bias(const Scopes& scopes, const std::string& name, float factor,
                         Product& product) {
    const auto [tensor, owner] = constant(scopes, name);
    if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::FLOAT) {
      return false;
    }
    std::vector<float> values = HW_TRY(tensor_values<float>(model_, *tensor));
    const bool row = tensor->dims_size() == 0 || tensor->dims(tensor->dims_size() - 1) ==
                                                     static_cast<std::int64_t>(values.size());
    if (!row || values.empty() || (values.size() != 1 && values.size() != product.columns)) {
      return false;
    }
    const bool as_it_is =
        factor == 1.0F && tensor->dims_size() == 1 && values.size() == product.columns;
    if (values.size() == 1) {
      values.resize(product.columns, values[0]);
    }
    for (float& value : values) {
      value *= factor;
    }
    product.bias = name;
    if (!as_it_is) {
      product.bias = names_.make(name + "_vector");
      add(*owner,
          make_tensor<float>(product.bias, {static_cast<std::int64_t>(values.size())}, values));
    }
    product.bias_values = std::move(values);
    return true;
  }

  Status dynamic_lstm(onnx::NodeProto& node, const Scopes& scopes) {
    const auto left = [&](std::string why) -> Status {
      note(node, false, std::move(why));
      return {};
    };
    if (!wanted(options_, node.name())) {
      return left("excluded");
    }
    if (node.input_size() < 3 || int_attribute(node, "layout", 0) != 0) {
      return left("its layout is not supported in int8");
    }
    std::array<std::pair<const onnx::TensorProto*, onnx::GraphProto*>, 2> found{
        constant(scopes, node.input(1)), constant(scopes, node.input(2))};
    for (const auto& [tensor, owner] : found) {
      if (tensor == nullptr || tensor->data_type() != onnx::TensorProto::FLOAT ||
          tensor->dims_size() != 3) {
        return left("its weights are not constant float32");
      }
    }
    std::vector<std::string> inputs(node.input().begin(), node.input().end());
    inputs.resize(12);
    for (std::size_t i = 0; i < 2; ++i) {
      const auto made = HW_TRY(lstm_weights(*found[i].first, *found[i].second));
      inputs[1 + i] = made[0];
      inputs[8 + 2 * i] = made[1];
      inputs[9 + 2 * i] = made[2];
    }
    note(node, true, "dynamic int8");
    node.set_op_type("DynamicQuantizeLSTM");
    node.set_domain(kContrib);
    node.clear_input();
    for (const std::string& input : inputs) {
      node.add_input(input);
    }
    auto* attributes = node.mutable_attribute();
    for (int i = attributes->size() - 1; i >= 0; --i) {
      if (attributes->Get(i).name() == "layout") {
        attributes->DeleteSubrange(i, 1);
      }
    }
    uses_contrib_ = true;
    return {};
  }

  // [directions, 4·hidden, K] → int8 [directions, K, 4·hidden], scales and zeros [directions,
  // 4·hidden].
  Result<std::array<std::string, 3>> lstm_weights(const onnx::TensorProto& tensor,
                                                  onnx::GraphProto& owner) {
    const std::pair<const onnx::GraphProto*, std::string> key(&owner, tensor.name());
    if (const auto known = recurrent_.find(key); known != recurrent_.end()) {
      return known->second;
    }
    const std::vector<float> values = HW_TRY(tensor_values<float>(model_, tensor));
    const auto directions = static_cast<std::size_t>(tensor.dims(0));
    const auto gates = static_cast<std::size_t>(tensor.dims(1));
    const auto depth = static_cast<std::size_t>(tensor.dims(2));
    std::vector<std::int8_t> turned(values.size());
    std::vector<float> scales;
    for (std::size_t direction = 0; direction < directions; ++direction) {
      const std::size_t start = direction * gates * depth;
      const Int8Weights made = to_int8(
          std::span(values).subspan(start, gates * depth), 1, options_.per_channel ? gates : 1,
          options_.per_channel ? depth : gates * depth, largest_int8(options_.reduced_range));
      for (std::size_t gate = 0; gate < gates; ++gate) {
        for (std::size_t k = 0; k < depth; ++k) {
          turned[start + k * gates + gate] = made.values[gate * depth + k];
        }
      }
      scales.insert(scales.end(), made.scales.begin(), made.scales.end());
    }
    std::vector<std::int64_t> shape{tensor.dims(0)};
    if (options_.per_channel) {
      shape.push_back(tensor.dims(1));
    }
    std::array<std::string, 3> made{names_.make(tensor.name() + "_int8"),
                                    names_.make(tensor.name() + "_scale"),
                                    names_.make(tensor.name() + "_zero")};
    add(owner, make_tensor<std::int8_t>(made[0], {tensor.dims(0), tensor.dims(2), tensor.dims(1)},
                                        turned));
    add(owner, make_tensor<float>(made[1], shape, scales));
    add(owner,
        make_tensor<std::int8_t>(made[2], shape, std::vector<std::int8_t>(scales.size(), 0)));
    recurrent_[key] = made;
    return made;
  }

  Status store_graph(onnx::GraphProto& graph, const std::set<std::string>& kept, bool tables_only);

  OnnxModel& model_;
  const WeightOptions& options_;
  NameMaker names_;
  bool uses_contrib_ = false;
  std::vector<NodeNote> notes_;
  std::unordered_map<const onnx::GraphProto*,
                     std::unordered_map<std::string, const onnx::TensorProto*>>
      constants_;
  // By the owning graph too: two branches may use one name. Looked up, never walked.
  std::map<std::string, Weights> matrices_;
  std::map<std::pair<const onnx::GraphProto*, std::string>, std::array<std::string, 3>> recurrent_;
};

// The axis along which the readers of a weight compute separate results; -1: none is known.
int channel_axis(const onnx::NodeProto& node, int input, int rank) {
  if (standard_op(node, "Conv") && input == 1) {
    return 0;
  }
  if (standard_op(node, "ConvTranspose") && input == 1) {
    return 1;
  }
  if (standard_op(node, "Gemm") && input == 1) {
    return int_attribute(node, "transB", 0) != 0 ? 0 : 1;
  }
  if ((standard_op(node, "LSTM") || standard_op(node, "GRU") || standard_op(node, "RNN")) &&
      (input == 1 || input == 2)) {
    return 1;
  }
  if (standard_op(node, "Gather") && input == 0) {
    return 0;  // a row has its own scale
  }
  return rank - 1;
}

Status Rewriter::store_graph(onnx::GraphProto& graph, const std::set<std::string>& kept,
                             bool tables_only) {
  // Readers inside subgraphs count too: through captures() the index knows the node around them.
  const GraphIndex index(graph);
  std::vector<onnx::NodeProto> made;
  std::vector<onnx::TensorProto> fresh;
  for (auto& tensor : *graph.mutable_initializer()) {
    const auto count = HW_TRY(element_count(tensor));
    const auto& readers = index.consumers(tensor.name());
    if (tensor.data_type() != onnx::TensorProto::FLOAT || tensor.dims_size() < 2 ||
        count < kLeastElements || readers.empty() || index.is_output(tensor.name()) ||
        index.is_input(tensor.name()) || kept.count(tensor.name()) != 0) {
      continue;
    }
    const auto& reader = graph.node(readers[0]);
    if (tables_only && !standard_op(reader, "Gather")) {
      continue;
    }
    // Of a weight that several nodes share, the first one's channels decide.
    const auto place = std::find(reader.input().begin(), reader.input().end(), tensor.name());
    const int axis = place == reader.input().end()
                         ? tensor.dims_size() - 1
                         : channel_axis(reader, static_cast<int>(place - reader.input().begin()),
                                        tensor.dims_size());
    std::size_t outer = 1;
    std::size_t inner = 1;
    std::vector<std::int64_t> shape(static_cast<std::size_t>(tensor.dims_size()), 1);
    const auto dims = dims_of(tensor);
    for (int i = 0; i < tensor.dims_size(); ++i) {
      (i < axis ? outer : inner) *=
          i == axis ? 1 : static_cast<std::size_t>(dims[static_cast<std::size_t>(i)]);
    }
    auto channels = static_cast<std::size_t>(tensor.dims(axis));
    if (!options_.per_channel) {
      outer = channels = 1;
      inner = count;
    } else {
      shape[static_cast<std::size_t>(axis)] = tensor.dims(axis);
    }
    if (count + 4 * channels + 256 > 4 * count) {
      continue;  // a scale for a few elements saves nothing
    }
    const std::vector<float> values = HW_TRY(tensor_values<float>(model_, tensor));
    const Int8Weights small = to_int8(values, outer, channels, inner, 127);
    const std::string name = tensor.name();
    onnx::NodeProto cast;
    cast.set_op_type("Cast");
    cast.set_name(names_.make(name + "_cast"));
    cast.add_input(names_.make(name + "_int8"));
    cast.add_output(names_.make(name + "_float"));
    auto& to = *cast.add_attribute();
    to.set_name("to");
    to.set_type(onnx::AttributeProto::INT);
    to.set_i(onnx::TensorProto::FLOAT);
    onnx::NodeProto scaled;
    scaled.set_op_type("Mul");
    scaled.set_name(names_.make(name + "_mul"));
    scaled.add_input(cast.output(0));
    scaled.add_input(names_.make(name + "_scale"));
    scaled.add_output(name);
    fresh.push_back(make_tensor<float>(scaled.input(1), shape, small.scales));
    notes_.push_back({name, reader.op_type(), true, "int8 in the file"});
    tensor = make_tensor<std::int8_t>(cast.input(0), dims, small.values);
    made.push_back(std::move(cast));
    made.push_back(std::move(scaled));
  }
  if (made.empty()) {
    return {};
  }
  for (auto& tensor : fresh) {
    add(graph, std::move(tensor));
  }
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  for (auto& node : made) {
    *nodes.Add() = std::move(node);
  }
  for (auto& node : *graph.mutable_node()) {
    *nodes.Add() = std::move(node);
  }
  graph.mutable_node()->Swap(&nodes);
  return {};
}

}  // namespace

Int8Weights to_int8(std::span<const float> weights, std::size_t outer, std::size_t channels,
                    std::size_t inner, int largest) {
  Int8Weights made;
  made.values.resize(weights.size());
  made.scales.assign(channels, 0);
  const auto each = [&](const auto& visit) {
    for (std::size_t o = 0; o < outer; ++o) {
      for (std::size_t c = 0; c < channels; ++c) {
        const std::size_t start = (o * channels + c) * inner;
        for (std::size_t i = start; i < start + inner; ++i) {
          visit(i, c);
        }
      }
    }
  };
  each([&](std::size_t i, std::size_t c) {
    // A NaN or an infinity has no place in int8: it does not widen the scale.
    const float magnitude = std::fabs(weights[i]);
    if (magnitude > made.scales[c] && std::isfinite(magnitude)) {
      made.scales[c] = magnitude;
    }
  });
  std::vector<float> inverse(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    made.scales[c] /= static_cast<float>(largest);
    if (!(made.scales[c] > 1e-30F)) {
      made.scales[c] = 1;  // all zero: any scale will do
    }
    inverse[c] = 1 / made.scales[c];
  }
  double signal = 0;
  double error = 0;
  const auto limit = static_cast<float>(largest);
  each([&](std::size_t i, std::size_t c) {
    const float scaled = weights[i] * inverse[c];
    const float rounded =
        std::nearbyint(std::clamp(std::isnan(scaled) ? 0 : scaled, -limit, limit));
    made.values[i] = static_cast<std::int8_t>(rounded);
    const double off =
        static_cast<double>(weights[i]) - static_cast<double>(rounded * made.scales[c]);
    signal += static_cast<double>(weights[i]) * static_cast<double>(weights[i]);
    error += off * off;
  });
  made.noise = signal > 0 ? error / signal : 0;
  return made;
}

Result<std::vector<NodeNote>> quantize_dynamic(OnnxModel& model, const WeightOptions& options) {
  return Rewriter(model, options).dynamic();
}

Result<std::vector<NodeNote>> store_weights_int8(OnnxModel& model, const WeightOptions& options) {
  return Rewriter(model, options).stored(false);
}

Result<std::vector<NodeNote>> store_tables_int8(OnnxModel& model, const WeightOptions& options) {
  return Rewriter(model, options).stored(true);
}

}  // namespace headwater::workbench
