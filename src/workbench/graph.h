// Reading and tidying an ONNX graph: who makes a value, who reads it, which names are free.
//
//   HW_TRY(check_model(model.proto));              // once, behind load_model(): hostile files stop
//   prepare_names(model.proto);                    // every node has a unique name from here on
//   const GraphIndex index(model.proto.graph());
//   const int maker = index.producer("conv1_out");  // node index, -1: an input or initializer
//
// An index borrows the graph and is out of date after any change of it: make a new one.
// Not thread-safe; const is.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "workbench/onnx_pb.h"

namespace headwater::workbench {

class GraphIndex {
 public:
  explicit GraphIndex(const onnx::GraphProto& graph);

  const onnx::GraphProto& graph() const { return graph_; }
  // Index of the node whose output it is; -1 where no node of this graph makes it.
  int producer(const std::string& value) const;
  // Nodes that read it, ascending, each once; nodes whose subgraphs read it count.
  const std::vector<int>& consumers(const std::string& value) const;
  // null: not an initializer of this graph.
  const onnx::TensorProto* initializer(const std::string& value) const;
  bool is_input(const std::string& value) const { return inputs_.count(value) != 0; }
  bool is_output(const std::string& value) const { return outputs_.count(value) != 0; }
  // From value_info, inputs and outputs; null where the file says nothing.
  const onnx::TypeProto* type(const std::string& value) const;

 private:
  const onnx::GraphProto& graph_;
  std::unordered_map<std::string, int> producers_;
  std::unordered_map<std::string, std::vector<int>> consumers_;
  std::unordered_map<std::string, const onnx::TensorProto*> initializers_;
  std::unordered_map<std::string, const onnx::TypeProto*> types_;
  std::unordered_set<std::string> inputs_;
  std::unordered_set<std::string> outputs_;
};

// Values of the outer graphs that the subgraphs of `node` read, each once, in order of first use.
std::vector<std::string> captures(const onnx::NodeProto& node);

// "Conv 'conv1'", or "Conv making 'x'" where the node has no name.
std::string describe(const onnx::NodeProto& node);
// null: the node has no such attribute.
const onnx::AttributeProto* attribute(const onnx::NodeProto& node, std::string_view name);
std::int64_t int_attribute(const onnx::NodeProto& node, std::string_view name,
                           std::int64_t otherwise);
// Version of a domain; "" and "ai.onnx" are one. 0: not imported.
std::int64_t opset(const onnx::ModelProto& model, std::string_view domain = "");
void set_opset(onnx::ModelProto& model, std::int64_t version, std::string_view domain = "");

// Every graph of the model: the main one first, then subgraphs in the order of nodes.
void each_graph(onnx::ModelProto& model, const std::function<void(onnx::GraphProto&)>& visit);
void each_graph(const onnx::ModelProto& model,
                const std::function<void(const onnx::GraphProto&)>& visit);

// That the graphs hang together: each value is made once and before it is read, outputs exist,
// initializers have the bytes their dims ask for. kInvalid names node and value; a cycle is named
// as one ("node …, reads 'x', which is made later or by itself: the graph has a cycle"). Nodes in
// another order than their data flow are sorted first by sort_nodes().
Status check_model(const onnx::ModelProto& model);
// Stable order by data flow of every graph. kInvalid: a cycle.
Status sort_nodes(onnx::ModelProto& model);

// Names free of clashes with every value, node and initializer of the model.
class NameMaker {
 public:
  explicit NameMaker(const onnx::ModelProto& model);
  // `wish`, or `wish_1`, `wish_2`, … if that is taken. The name is taken from then on.
  std::string make(std::string_view wish);

 private:
  std::unordered_set<std::string> taken_;
  std::unordered_map<std::string, int> next_;
};

// Gives unnamed and doubly named nodes, in all graphs, unique names ("Conv_12"). Deterministic.
// Returns how many.
int prepare_names(onnx::ModelProto& model);
// Constant nodes (value, value_float(s), value_int(s)) become initializers of their graph; others
// (strings, sparse) stay. Returns how many.
int lift_constants(onnx::ModelProto& model);
// Takes initializers out of the graph's inputs (they were there up to IR 3) and sets ir_version to
// at least 4. They can no longer be overridden by a caller. Returns how many.
int drop_initializer_inputs(onnx::ModelProto& model);
// Removes nodes whose outputs nobody reads and initializers without a reader, main graph and
// subgraphs. Returns how many of both.
int drop_unused(onnx::ModelProto& model);

}  // namespace headwater::workbench
