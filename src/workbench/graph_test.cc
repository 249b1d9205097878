#include "workbench/graph.h"

#include "workbench/test_models.h"

namespace headwater::workbench {
namespace {

using test::add_node;
using test::dense_model;
using test::empty_model;
using test::value;

// cond, x → If(then: y1 = Relu(x), else: y2 = Add(x, w)) → y; w is captured.
OnnxModel branching_model() {
  OnnxModel model = empty_model(13);
  auto& graph = *model.proto.mutable_graph();
  *graph.add_input() = value("cond", {}, onnx::TensorProto::BOOL);
  *graph.add_input() = value("x", {2});
  *graph.add_output() = value("y", {2});
  *graph.add_initializer() = make_tensor<float>("w", {2}, {1, 2});
  auto& branch = add_node(graph, "If", {"cond"}, {"y"}, "choose");
  for (const bool taken : {true, false}) {
    auto& body = *branch.add_attribute();
    body.set_name(taken ? "then_branch" : "else_branch");
    body.set_type(onnx::AttributeProto::GRAPH);
    body.mutable_g()->set_name(body.name());
    if (taken) {
      add_node(*body.mutable_g(), "Relu", {"x"}, {"y1"});
      *body.mutable_g()->add_output() = value("y1", {2});
    } else {
      add_node(*body.mutable_g(), "Add", {"x", "w"}, {"y2"});
      *body.mutable_g()->add_output() = value("y2", {2});
    }
  }
  return model;
}

TEST(Graph, KnowsMakersReadersAndWeights) {
  const OnnxModel model = dense_model();
  const GraphIndex index(model.proto.graph());
  EXPECT_EQ(index.producer("xw"), 0);
  EXPECT_EQ(index.producer("x"), -1);
  EXPECT_EQ(index.producer("nobody"), -1);
  EXPECT_EQ(index.consumers("xw"), std::vector<int>{1});
  EXPECT_TRUE(index.consumers("y").empty());
  EXPECT_NE(index.initializer("w"), nullptr);
  EXPECT_EQ(index.initializer("x"), nullptr);
  EXPECT_TRUE(index.is_input("x"));
  EXPECT_TRUE(index.is_output("y"));
  ASSERT_NE(index.type("x"), nullptr);
  EXPECT_EQ(index.type("x")->tensor_type().shape().dim_size(), 2);
  EXPECT_EQ(index.type("xw"), nullptr);
}

TEST(Graph, SubgraphsReadValuesOfTheGraphAround) {
  const OnnxModel model = branching_model();
  EXPECT_EQ(captures(model.proto.graph().node(0)), (std::vector<std::string>{"x", "w"}));
  const GraphIndex index(model.proto.graph());
  EXPECT_EQ(index.consumers("w"), std::vector<int>{0});
  EXPECT_TRUE(check_model(model.proto).ok());
}

TEST(Graph, ChecksThatItHangsTogether) {
  const auto error = [](OnnxModel model) {
    const Status status = check_model(model.proto);
    return status ? std::string("fine") : status.error().text();
  };
  EXPECT_EQ(error(dense_model()), "fine");
  OnnxModel model = dense_model();
  model.proto.mutable_graph()->mutable_node(0)->set_input(0, "sum");
  EXPECT_THAT(error(model), testing::HasSubstr("node MatMul 'dense' reads 'sum'"));
  EXPECT_THAT(error(model), testing::HasSubstr("cycle"));
  EXPECT_THAT(sort_nodes(model.proto).error().text(), testing::HasSubstr("cycle through node"));
  model = dense_model();
  model.proto.mutable_graph()->mutable_node(1)->set_input(1, "gone");
  EXPECT_THAT(error(model), testing::HasSubstr("reads 'gone', which nothing makes"));
  model = dense_model();
  model.proto.mutable_graph()->mutable_node(2)->set_output(0, "xw");
  EXPECT_THAT(error(model), testing::HasSubstr("'xw' is made twice"));
  model = dense_model();
  model.proto.mutable_graph()->mutable_output(0)->set_name("z");
  EXPECT_THAT(error(model), testing::HasSubstr("output 'z' is made by no node"));
  model = dense_model();
  model.proto.mutable_graph()->mutable_initializer(0)->set_dims(0, 1000);
  EXPECT_THAT(error(model), testing::HasSubstr("tensor 'w' has 24 bytes of data"));
  model = branching_model();
  model.proto.mutable_graph()
      ->mutable_node(0)
      ->mutable_attribute(1)
      ->mutable_g()
      ->mutable_node(0)
      ->set_input(1, "gone");
  EXPECT_THAT(error(model), testing::HasSubstr("subgraph 'else_branch' of node If 'choose': node "
                                               "Add making 'y2' reads 'gone'"));
}

TEST(Graph, SortsNodesThatAreOutOfOrder) {
  OnnxModel model = dense_model();
  model.proto.mutable_graph()->mutable_node()->SwapElements(0, 2);
  EXPECT_FALSE(check_model(model.proto).ok());
  ASSERT_TRUE(sort_nodes(model.proto).ok());
  EXPECT_TRUE(check_model(model.proto).ok());
  EXPECT_EQ(serialize(model).value(), serialize(dense_model()).value());
}

TEST(Graph, EveryNodeGetsANameOfItsOwn) {
  OnnxModel model = branching_model();
  auto& graph = *model.proto.mutable_graph();
  add_node(graph, "Relu", {"y"}, {"z"}, "choose");
  *graph.add_output() = value("z", {2});
  EXPECT_EQ(prepare_names(model.proto), 3);
  std::vector<std::string> names;
  each_graph(model.proto, [&](const onnx::GraphProto& each) {
    for (const auto& node : each.node()) {
      names.push_back(node.name());
    }
  });
  EXPECT_EQ(names, (std::vector<std::string>{"choose", "choose_1", "Relu", "Add"}));
  EXPECT_EQ(prepare_names(model.proto), 0);
}

TEST(Graph, ConstantsBecomeInitializers) {
  OnnxModel model = dense_model();
  auto& graph = *model.proto.mutable_graph();
  graph.mutable_initializer()->RemoveLast();
  auto& node = add_node(graph, "Constant", {}, {"b"});
  auto& attribute = *node.add_attribute();
  attribute.set_name("value");
  attribute.set_type(onnx::AttributeProto::TENSOR);
  *attribute.mutable_t() = make_tensor<float>("", {2}, {-20, 0.5F});
  ASSERT_TRUE(sort_nodes(model.proto).ok());
  EXPECT_EQ(lift_constants(model.proto), 1);
  EXPECT_EQ(serialize(model).value(), serialize(dense_model()).value());
}

TEST(Graph, InitializersLeaveTheInputs) {
  OnnxModel model = dense_model();
  model.proto.set_ir_version(3);
  *model.proto.mutable_graph()->add_input() = value("w", {3, 2});
  EXPECT_EQ(drop_initializer_inputs(model.proto), 1);
  EXPECT_EQ(model.proto.ir_version(), 4);
  EXPECT_EQ(model.proto.graph().input_size(), 1);
}

TEST(Graph, WhatNobodyReadsGoes) {
  OnnxModel model = dense_model();
  auto& graph = *model.proto.mutable_graph();
  add_node(graph, "Relu", {"xw"}, {"unused1"});
  add_node(graph, "Add", {"unused1", "spare"}, {"unused2"});
  *graph.add_initializer() = make_tensor<float>("spare", {1}, {1});
  EXPECT_EQ(drop_unused(model.proto), 3);
  EXPECT_EQ(serialize(model).value(), serialize(dense_model()).value());
}

}  // namespace
}  // namespace headwater::workbench
