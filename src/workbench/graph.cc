#include "workbench/graph.h"

#include <algorithm>
#include <set>

#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

bool standard(std::string_view domain) {
  return domain.empty() || domain == "ai.onnx";
}

template <class Node, class Visit>
void each_subgraph(Node& node, const Visit& visit) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) {
      visit(attribute.g());
    }
    for (const auto& sub : attribute.graphs()) {
      visit(sub);
    }
  }
}

template <class Visit>
void each_mutable_subgraph(onnx::NodeProto& node, const Visit& visit) {
  for (auto& attribute : *node.mutable_attribute()) {
    if (attribute.has_g()) {
      visit(*attribute.mutable_g());
    }
    for (auto& sub : *attribute.mutable_graphs()) {
      visit(sub);
    }
  }
}

void visit_all(onnx::GraphProto& graph, const std::function<void(onnx::GraphProto&)>& visit) {
  visit(graph);
  for (auto& node : *graph.mutable_node()) {
    each_mutable_subgraph(node, [&](onnx::GraphProto& sub) { visit_all(sub, visit); });
  }
}

void visit_all(const onnx::GraphProto& graph,
               const std::function<void(const onnx::GraphProto&)>& visit) {
  visit(graph);
  for (const auto& node : graph.node()) {
    each_subgraph(node, [&](const onnx::GraphProto& sub) { visit_all(sub, visit); });
  }
}

// What a graph reads and does not make, appended to `free_names` once each.
void free_values(const onnx::GraphProto& graph, std::vector<std::string>& free_names,
                 std::unordered_set<std::string>& seen) {
  std::unordered_set<std::string> own;
  for (const auto& input : graph.input()) {
    own.insert(input.name());
  }
  for (const auto& tensor : graph.initializer()) {
    own.insert(tensor.name());
  }
  for (const auto& sparse : graph.sparse_initializer()) {
    own.insert(sparse.values().name());
  }
  for (const auto& node : graph.node()) {
    own.insert(node.output().begin(), node.output().end());
  }
  const auto read = [&](const std::string& name) {
    if (!name.empty() && own.count(name) == 0 && seen.insert(name).second) {
      free_names.push_back(name);
    }
  };
  for (const auto& node : graph.node()) {
    for (const auto& name : node.input()) {
      read(name);
    }
    for (const auto& name : captures(node)) {
      read(name);
    }
  }
  for (const auto& output : graph.output()) {
    read(output.name());
  }
}

// All that `node` reads: inputs and captures.
std::vector<std::string> reads(const onnx::NodeProto& node) {
  std::vector<std::string> names;
  for (const auto& name : node.input()) {
    if (!name.empty()) {
      names.push_back(name);
    }
  }
  for (auto& name : captures(node)) {
    names.push_back(std::move(name));
  }
  return names;
}

Status check_tensor(const onnx::TensorProto& tensor) {
  const std::uint64_t count = HW_TRY(element_count(tensor));
  const std::size_t width = type_width(tensor.data_type());
  if (is_external(tensor) || width == 0) {
    return {};
  }
  // Complex numbers stand as two entries, 4-bit types are packed: ONNX Runtime judges those.
  const std::uint64_t stored = stored_bytes(tensor);
  const bool narrow = !tensor.has_raw_data() && tensor.data_type() == onnx::TensorProto::UINT32;
  const std::uint64_t wanted = count * (narrow ? 8 : width);
  if (stored != wanted) {
    return Error::invalid("tensor '{}' has {} bytes of data, {} {} elements need {}", tensor.name(),
                          stored, count, type_name(tensor.data_type()), wanted);
  }
  return {};
}

Status check_graph(const onnx::GraphProto& graph, const std::unordered_set<std::string>& outer) {
  std::unordered_set<std::string> made;
  for (const auto& input : graph.input()) {
    if (!input.name().empty() && !made.insert(input.name()).second) {
      return Error::invalid("input '{}' is there twice", input.name());
    }
  }
  std::unordered_set<std::string> tensors;
  for (const auto& tensor : graph.initializer()) {
    if (tensor.name().empty()) {
      return Error::invalid("an initializer has no name");
    }
    if (!tensors.insert(tensor.name()).second) {
      return Error::invalid("initializer '{}' is there twice", tensor.name());
    }
    HW_TRY(check_tensor(tensor));
  }
  made.insert(tensors.begin(), tensors.end());
  for (const auto& sparse : graph.sparse_initializer()) {
    made.insert(sparse.values().name());
  }
  std::unordered_set<std::string> later;
  for (const auto& node : graph.node()) {
    later.insert(node.output().begin(), node.output().end());
  }
  for (const auto& node : graph.node()) {
    if (node.op_type().empty()) {
      return Error::invalid("node '{}' has no operator", node.name());
    }
    for (const auto& name : node.input()) {
      if (name.empty() || made.count(name) != 0 ||
          (outer.count(name) != 0 && later.count(name) == 0)) {
        continue;
      }
      if (later.count(name) != 0) {
        return Error::invalid(
            "node {} reads '{}', which is made later or by itself: the graph has a cycle or its "
            "nodes are out of order",
            describe(node), name);
      }
      return Error::invalid("node {} reads '{}', which nothing makes", describe(node), name);
    }
    Status below;
    std::unordered_set<std::string> visible;
    each_subgraph(node, [&](const onnx::GraphProto& sub) {
      if (below && visible.empty()) {
        visible = made;
        visible.insert(outer.begin(), outer.end());
      }
      if (below) {
        below =
            check_graph(sub, visible).with("subgraph '{}' of node {}", sub.name(), describe(node));
      }
    });
    HW_TRY(std::move(below));
    for (const auto& name : node.output()) {
      if (!name.empty() && !made.insert(name).second) {
        return Error::invalid("'{}' is made twice, the second time by node {}", name,
                              describe(node));
      }
    }
  }
  for (const auto& output : graph.output()) {
    if (made.count(output.name()) == 0 && outer.count(output.name()) == 0) {
      return Error::invalid("output '{}' is made by no node", output.name());
    }
  }
  return {};
}

Status sort_graph(onnx::GraphProto& graph) {
  const int count = graph.node_size();
  std::unordered_map<std::string, int> makers;
  for (int i = 0; i < count; ++i) {
    for (const auto& name : graph.node(i).output()) {
      makers.emplace(name, i);
    }
  }
  std::vector<std::vector<int>> readers(static_cast<std::size_t>(count));
  std::vector<int> waits(static_cast<std::size_t>(count), 0);
  for (int i = 0; i < count; ++i) {
    for (const auto& name : reads(graph.node(i))) {
      if (const auto maker = makers.find(name); maker != makers.end()) {
        readers[static_cast<std::size_t>(maker->second)].push_back(i);
        ++waits[static_cast<std::size_t>(i)];
      }
    }
  }
  std::set<int> ready;
  for (int i = 0; i < count; ++i) {
    if (waits[static_cast<std::size_t>(i)] == 0) {
      ready.insert(i);
    }
  }
  std::vector<int> order;
  while (!ready.empty()) {
    const int i = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(i);
    for (const int reader : readers[static_cast<std::size_t>(i)]) {
      if (--waits[static_cast<std::size_t>(reader)] == 0) {
        ready.insert(reader);
      }
    }
  }
  if (order.size() != static_cast<std::size_t>(count)) {
    for (int i = 0; i < count; ++i) {
      if (waits[static_cast<std::size_t>(i)] > 0) {
        return Error::invalid("the graph has a cycle through node {}", describe(graph.node(i)));
      }
    }
  }
  if (!std::is_sorted(order.begin(), order.end())) {
    google::protobuf::RepeatedPtrField<onnx::NodeProto> sorted;
    for (const int i : order) {
      sorted.Add()->Swap(graph.mutable_node(i));
    }
    graph.mutable_node()->Swap(&sorted);
  }
  return {};
}

// The tensor of a Constant node; false for the kinds that stay nodes.
bool constant_tensor(const onnx::NodeProto& node, onnx::TensorProto& tensor) {
  if (node.attribute_size() != 1 || node.output_size() != 1) {
    return false;
  }
  const onnx::AttributeProto& from = node.attribute(0);
  const std::string& name = node.output(0);
  if (from.name() == "value" && from.has_t()) {
    tensor = from.t();
    tensor.set_name(name);
    tensor.clear_doc_string();
    return true;
  }
  if (from.name() == "value_float") {
    tensor = make_tensor<float>(name, {}, {from.f()});
  } else if (from.name() == "value_int") {
    tensor = make_tensor<std::int64_t>(name, {}, {from.i()});
  } else if (from.name() == "value_floats") {
    tensor = make_tensor<float>(name, {from.floats_size()},
                                {from.floats().begin(), from.floats().end()});
  } else if (from.name() == "value_ints") {
    tensor = make_tensor<std::int64_t>(name, {from.ints_size()},
                                       {from.ints().begin(), from.ints().end()});
  } else {
    return false;
  }
  return true;
}

template <class Field, class Keep>
int keep_if(Field& field, const Keep& keep) {
  int kept = 0;
  for (int i = 0; i < field.size(); ++i) {
    if (keep(field.Get(i))) {
      if (kept != i) {
        field.SwapElements(kept, i);
      }
      ++kept;
    }
  }
  const int gone = field.size() - kept;
  field.DeleteSubrange(kept, gone);
  return gone;
}

int drop_unused_in(onnx::GraphProto& graph) {
  std::unordered_set<std::string> needed;
  for (const auto& output : graph.output()) {
    needed.insert(output.name());
  }
  std::vector<bool> kept(static_cast<std::size_t>(graph.node_size()), false);
  for (int i = graph.node_size() - 1; i >= 0; --i) {
    auto& node = *graph.mutable_node(i);
    const bool live = std::any_of(node.output().begin(), node.output().end(),
                                  [&](const auto& name) { return needed.count(name) != 0; });
    if (live) {
      for (const auto& name : reads(node)) {
        needed.insert(name);
      }
      kept[static_cast<std::size_t>(i)] = true;
    }
  }
  int at = 0;
  int gone = keep_if(*graph.mutable_node(),
                     [&](const auto&) { return kept[static_cast<std::size_t>(at++)]; });
  std::unordered_set<std::string> inputs;
  for (const auto& input : graph.input()) {
    inputs.insert(input.name());
  }
  gone += keep_if(*graph.mutable_initializer(), [&](const onnx::TensorProto& tensor) {
    return needed.count(tensor.name()) != 0 || inputs.count(tensor.name()) != 0;
  });
  return gone;
}

}  // namespace

GraphIndex::GraphIndex(const onnx::GraphProto& graph) : graph_(graph) {
  for (const auto& info : graph.value_info()) {
    types_[info.name()] = &info.type();
  }
  for (const auto& input : graph.input()) {
    types_[input.name()] = &input.type();
    inputs_.insert(input.name());
  }
  for (const auto& output : graph.output()) {
    types_[output.name()] = &output.type();
    outputs_.insert(output.name());
  }
  for (const auto& tensor : graph.initializer()) {
    initializers_[tensor.name()] = &tensor;
  }
  for (int i = 0; i < graph.node_size(); ++i) {
    for (const auto& name : graph.node(i).output()) {
      producers_.emplace(name, i);
    }
    for (const auto& name : reads(graph.node(i))) {
      auto& readers = consumers_[name];
      if (readers.empty() || readers.back() != i) {
        readers.push_back(i);
      }
    }
  }
}

int GraphIndex::producer(const std::string& value) const {
  const auto found = producers_.find(value);
  return found == producers_.end() || value.empty() ? -1 : found->second;
}

const std::vector<int>& GraphIndex::consumers(const std::string& value) const {
  static const std::vector<int> kNone;
  const auto found = consumers_.find(value);
  return found == consumers_.end() ? kNone : found->second;
}

const onnx::TensorProto* GraphIndex::initializer(const std::string& value) const {
  const auto found = initializers_.find(value);
  return found == initializers_.end() ? nullptr : found->second;
}

const onnx::TypeProto* GraphIndex::type(const std::string& value) const {
  const auto found = types_.find(value);
  return found == types_.end() ? nullptr : found->second;
}

std::vector<std::string> captures(const onnx::NodeProto& node) {
  std::vector<std::string> names;
  std::unordered_set<std::string> seen;
  each_subgraph(node, [&](const onnx::GraphProto& sub) { free_values(sub, names, seen); });
  return names;
}

std::string describe(const onnx::NodeProto& node) {
  const std::string domain = standard(node.domain()) ? "" : node.domain() + ".";
  if (!node.name().empty()) {
    return fmt::format("{}{} '{}'", domain, node.op_type(), node.name());
  }
  return fmt::format("{}{} making '{}'", domain, node.op_type(),
                     node.output_size() > 0 ? node.output(0) : "");
}

const onnx::AttributeProto* attribute(const onnx::NodeProto& node, std::string_view name) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == name) {
      return &attribute;
    }
  }
  return nullptr;
}

std::int64_t int_attribute(const onnx::NodeProto& node, std::string_view name,
                           std::int64_t otherwise) {
  const onnx::AttributeProto* const found = attribute(node, name);
  return found != nullptr && found->has_i() ? found->i() : otherwise;
}

std::int64_t opset(const onnx::ModelProto& model, std::string_view domain) {
  for (const auto& import : model.opset_import()) {
    if (import.domain() == domain || (standard(domain) && standard(import.domain()))) {
      return import.version();
    }
  }
  return 0;
}

void set_opset(onnx::ModelProto& model, std::int64_t version, std::string_view domain) {
  for (auto& import : *model.mutable_opset_import()) {
    if (import.domain() == domain || (standard(domain) && standard(import.domain()))) {
      import.set_version(version);
      return;
    }
  }
  auto* import = model.add_opset_import();
  import->set_domain(std::string(domain));
  import->set_version(version);
}

void each_graph(onnx::ModelProto& model, const std::function<void(onnx::GraphProto&)>& visit) {
  visit_all(*model.mutable_graph(), visit);
}

void each_graph(const onnx::ModelProto& model,
                const std::function<void(const onnx::GraphProto&)>& visit) {
  visit_all(model.graph(), visit);
}

Status check_model(const onnx::ModelProto& model) {
  return check_graph(model.graph(), {});
}

Status sort_nodes(onnx::ModelProto& model) {
  Status status;
  each_graph(model, [&](onnx::GraphProto& graph) {
    if (status) {
      status = sort_graph(graph);
    }
  });
  return status;
}

NameMaker::NameMaker(const onnx::ModelProto& model) {
  each_graph(model, [&](const onnx::GraphProto& graph) {
    for (const auto& input : graph.input()) {
      taken_.insert(input.name());
    }
    for (const auto& output : graph.output()) {
      taken_.insert(output.name());
    }
    for (const auto& tensor : graph.initializer()) {
      taken_.insert(tensor.name());
    }
    for (const auto& node : graph.node()) {
      taken_.insert(node.name());
      taken_.insert(node.input().begin(), node.input().end());
      taken_.insert(node.output().begin(), node.output().end());
    }
  });
}

std::string NameMaker::make(std::string_view wish) {
  std::string name(wish);
  if (name.empty() || !taken_.insert(name).second) {
    int& number = next_[std::string(wish)];
    do {
      name = fmt::format("{}_{}", wish, ++number);
    } while (!taken_.insert(name).second);
  }
  return name;
}

int prepare_names(onnx::ModelProto& model) {
  NameMaker names(model);
  std::unordered_set<std::string> seen;
  int changed = 0;
  each_graph(model, [&](onnx::GraphProto& graph) {
    for (auto& node : *graph.mutable_node()) {
      if (node.name().empty() || !seen.insert(node.name()).second) {
        node.set_name(names.make(node.name().empty() ? node.op_type() : node.name()));
        seen.insert(node.name());
        ++changed;
      }
    }
  });
  return changed;
}

int lift_constants(onnx::ModelProto& model) {
  int lifted = 0;
  each_graph(model, [&](onnx::GraphProto& graph) {
    std::unordered_set<std::string> outputs;
    for (const auto& output : graph.output()) {
      outputs.insert(output.name());
    }
    lifted += keep_if(*graph.mutable_node(), [&](const onnx::NodeProto& node) {
      onnx::TensorProto tensor;
      if (node.op_type() != "Constant" || !standard(node.domain()) ||
          !constant_tensor(node, tensor) || outputs.count(node.output(0)) != 0) {
        return true;
      }
      graph.add_initializer()->Swap(&tensor);
      return false;
    });
  });
  if (lifted > 0) {
    model.set_ir_version(std::max<std::int64_t>(model.ir_version(), 4));
  }
  return lifted;
}

int drop_initializer_inputs(onnx::ModelProto& model) {
  std::unordered_set<std::string> tensors;
  for (const auto& tensor : model.graph().initializer()) {
    tensors.insert(tensor.name());
  }
  const int dropped =
      keep_if(*model.mutable_graph()->mutable_input(),
              [&](const onnx::ValueInfoProto& input) { return tensors.count(input.name()) == 0; });
  model.set_ir_version(std::max<std::int64_t>(model.ir_version(), 4));
  return dropped;
}

int drop_unused(onnx::ModelProto& model) {
  int gone = 0;
  each_graph(model, [&](onnx::GraphProto& graph) { gone += drop_unused_in(graph); });
  return gone;
}

}  // namespace headwater::workbench
