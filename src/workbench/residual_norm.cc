#include "workbench/residual_norm.h"

#include <optional>
#include <set>

#include "workbench/graph.h"

namespace headwater::workbench {
namespace {

struct Norm {
  int add = 0;
  std::set<int> nodes;  // the Add and all of the norm
  int last = 0;
  std::string gamma;
  std::string beta;
  float epsilon = 0;
};

class Finder {
 public:
  Finder(const OnnxModel& model, const GraphIndex& index) : model_(model), index_(index) {}

  std::optional<Norm> find(int add) const {
    const auto& graph = index_.graph();
    const std::string& sum = graph.node(add).output(0);
    if (graph.node(add).op_type() != "Add" || graph.node(add).input_size() != 2 ||
        index_.is_output(sum)) {
      return std::nullopt;
    }
    Norm norm;
    norm.add = add;
    const auto& readers = index_.consumers(sum);
    if (readers.size() == 1 && graph.node(readers[0]).op_type() == "LayerNormalization") {
      return whole(norm, readers[0]);
    }
    return readers.size() == 2 ? written_out(norm, sum) : std::nullopt;
  }

 private:
  const onnx::NodeProto& node(int i) const { return index_.graph().node(i); }

  std::optional<Norm> whole(Norm norm, int at) const {
    const auto& layer = node(at);
    if (layer.output_size() != 1 || layer.input_size() != 3 ||
        int_attribute(layer, "axis", -1) != -1 || !vector(layer.input(1)) ||
        !vector(layer.input(2))) {
      return std::nullopt;
    }
    const auto* epsilon = attribute(layer, "epsilon");
    norm.epsilon = epsilon != nullptr ? epsilon->f() : 1e-5F;
    norm.gamma = layer.input(1);
    norm.beta = layer.input(2);
    norm.nodes = {norm.add, at};
    norm.last = at;
    return norm;
  }

  std::optional<Norm> written_out(Norm norm, const std::string& sum) const {
    const int mean = reader(sum, "ReduceMean");
    const int less = reader(sum, "Sub");
    if (!last_axis(mean) || less < 0 || node(less).input(0) != sum ||
        node(less).input(1) != node(mean).output(0) || !only(mean, {less})) {
      return std::nullopt;
    }
    const std::string& centred = node(less).output(0);
    const int square = reader(centred, "Pow");
    const int divide = reader(centred, "Div");
    if (square < 0 || divide < 0 || !only(less, {square, divide}) ||
        scalar(node(square).input(1)) != 2.0F) {
      return std::nullopt;
    }
    const int variance = reader(node(square).output(0), "ReduceMean");
    if (!last_axis(variance) || !only(square, {variance})) {
      return std::nullopt;
    }
    const int lift = reader(node(variance).output(0), "Add");
    if (lift < 0 || !only(variance, {lift})) {
      return std::nullopt;
    }
    const auto epsilon = scalar(other(lift, node(variance).output(0)));
    const int root = reader(node(lift).output(0), "Sqrt");
    if (!epsilon || root < 0 || !only(lift, {root}) || !only(root, {divide}) ||
        node(divide).input(0) != centred || node(divide).input(1) != node(root).output(0)) {
      return std::nullopt;
    }
    const int scale = reader(node(divide).output(0), "Mul");
    if (scale < 0 || !only(divide, {scale})) {
      return std::nullopt;
    }
    const int shift = reader(node(scale).output(0), "Add");
    if (shift < 0 || !only(scale, {shift})) {
      return std::nullopt;
    }
    norm.gamma = other(scale, node(divide).output(0));
    norm.beta = other(shift, node(scale).output(0));
    if (!vector(norm.gamma) || !vector(norm.beta)) {
      return std::nullopt;
    }
    norm.epsilon = *epsilon;
    norm.nodes = {norm.add, mean, less, square, divide, variance, lift, root, scale, shift};
    norm.last = shift;
    return norm;
  }

  int reader(const std::string& value, const char* op) const {
    for (const int i : index_.consumers(value)) {
      if (node(i).op_type() == op) {
        return i;
      }
    }
    return -1;
  }
  bool only(int i, std::set<int> readers) const {
    const std::string& value = node(i).output(0);
    const auto& found = index_.consumers(value);
    return !index_.is_output(value) && std::set<int>(found.begin(), found.end()) == readers;
  }
  const std::string& other(int i, const std::string& value) const {
    return node(i).input(node(i).input(0) == value ? 1 : 0);
  }
  bool vector(const std::string& name) const {
    const auto* tensor = index_.initializer(name);
    return tensor != nullptr && tensor->data_type() == onnx::TensorProto::FLOAT &&
           tensor->dims_size() == 1;
  }
  std::optional<float> scalar(const std::string& name) const {
    const auto* tensor = index_.initializer(name);
    const auto values = tensor != nullptr ? tensor_values<float>(model_, *tensor)
                                          : Result<std::vector<float>>(std::vector<float>{});
    return values && values->size() == 1 ? std::optional<float>((*values)[0]) : std::nullopt;
  }
  bool last_axis(int i) const {
    if (i < 0 || int_attribute(node(i), "keepdims", 1) != 1) {
      return false;
    }
    const auto* axes = attribute(node(i), "axes");
    return axes != nullptr && axes->ints_size() == 1 && (axes->ints(0) == -1 || axes->ints(0) == 2);
  }

  const OnnxModel& model_;
  const GraphIndex& index_;
};

// The feed twice over along the first axis; as it is where the model fixes the axis.
Feed doubled(const Feed& feed, const Session& session) {
  Feed twice = feed;
  for (const Port& port : session.inputs()) {
    auto& tensor = twice.at(port.name);
    if (!port.shape.empty() && port.shape[0] < 0 && !tensor.shape.empty() && tensor.type != 8) {
      tensor.shape[0] *= 2;
      tensor.bytes += std::string(tensor.bytes);
    }
  }
  return twice;
}

}  // namespace

Result<int> join_residual_norms(OnnxModel& model, const Feed& feed) {
  auto& graph = *model.proto.mutable_graph();
  std::vector<Norm> found;
  std::vector<std::string> summands;
  {
    const GraphIndex index(graph);
    const Finder finder(model, index);
    for (int i = 0; i < graph.node_size(); ++i) {
      if (auto norm = finder.find(i)) {
        bool made = true;
        for (const auto& input : graph.node(i).input()) {
          made = made && index.producer(input) >= 0;
          summands.push_back(input);
        }
        if (made) {
          found.push_back(std::move(*norm));
        }
      }
    }
  }
  if (found.empty()) {
    return 0;
  }
  auto session = HW_TRY(Session::open(model, {.level = GraphLevel::kBasic}));
  const Feed twice = doubled(feed, *session);
  session.reset();
  const auto one = HW_TRY(probe_values(model, feed, summands));
  const auto two = HW_TRY(probe_values(model, twice, summands));
  std::set<int> gone;
  std::map<int, onnx::NodeProto> made;
  for (const Norm& norm : found) {
    const auto& add = graph.node(norm.add);
    bool alike = true;
    for (const auto* facts : {&one, &two}) {
      const auto a = facts->find(add.input(0));
      const auto b = facts->find(add.input(1));
      alike = alike && a != facts->end() && b != facts->end() && a->second.shape.size() == 3 &&
              a->second.shape == b->second.shape && a->second.type == onnx::TensorProto::FLOAT;
    }
    if (!alike) {
      continue;
    }
    auto& node = made[norm.last];
    node.set_op_type("SkipLayerNormalization");
    node.set_domain("com.microsoft");
    node.set_name(graph.node(norm.last).name());
    for (const std::string& input : {add.input(0), add.input(1), norm.gamma, norm.beta}) {
      node.add_input(input);
    }
    node.add_output(graph.node(norm.last).output(0));
    auto& epsilon = *node.add_attribute();
    epsilon.set_name("epsilon");
    epsilon.set_type(onnx::AttributeProto::FLOAT);
    epsilon.set_f(norm.epsilon);
    gone.insert(norm.nodes.begin(), norm.nodes.end());
  }
  if (made.empty()) {
    return 0;
  }
  google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
  for (int i = 0; i < graph.node_size(); ++i) {
    if (const auto at = made.find(i); at != made.end()) {
      *nodes.Add() = std::move(at->second);
    } else if (gone.count(i) == 0) {
      *nodes.Add() = std::move(*graph.mutable_node(i));
    }
  }
  graph.mutable_node()->Swap(&nodes);
  if (opset(model.proto, "com.microsoft") == 0) {
    set_opset(model.proto, 1, "com.microsoft");
  }
  drop_unused(model.proto);
  return static_cast<int>(made.size());
}

}  // namespace headwater::workbench
