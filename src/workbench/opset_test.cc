#include "workbench/opset.h"

#include <cstring>

#include "workbench/compare.h"
#include "workbench/test_models.h"

namespace headwater::workbench {
namespace {

using test::add_node;
using test::empty_model;
using test::set_float;
using test::set_floats;
using test::set_int;
using test::set_ints;
using test::set_text;
using test::value;

using Build = std::function<void(onnx::GraphProto&)>;

// x → what `build` adds → y, both float32.
OnnxModel one(std::int64_t version, std::vector<std::int64_t> from, std::vector<std::int64_t> to,
              const Build& build) {
  OnnxModel model = empty_model(version);
  auto& graph = *model.proto.mutable_graph();
  *graph.add_input() = value("x", std::move(from));
  *graph.add_output() = value("y", std::move(to));
  build(graph);
  model.proto.set_ir_version(4);
  return model;
}

Tensor ramp(const Port& port) {
  Tensor tensor;
  std::size_t count = 1;
  for (const std::int64_t dim : port.shape) {
    tensor.shape.push_back(dim);
    count *= static_cast<std::size_t>(dim);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const float element = static_cast<float>((i * 7) % 11) - 5.25F;
    tensor.bytes.append(reinterpret_cast<const char*>(&element), sizeof element);
  }
  return tensor;
}

// "" when the converted model gives exactly what the original gives; with and without known ranks.
std::string difference(const OnnxModel& model) {
  auto before = Session::open(model, {.level = GraphLevel::kNone});
  if (!before) {
    return "before: " + before.error().text();
  }
  const Feed feed = {{"x", ramp((*before)->inputs()[0])}};
  const auto expected = (*before)->run(feed);
  const auto values = probe_values(model, feed);
  if (!expected || !values) {
    return "the original does not run";
  }
  auto known = *values;
  known["x"] = {1, (*before)->inputs()[0].shape};
  for (const auto& ranks : {std::map<std::string, ValueFacts>{}, known}) {
    OnnxModel lifted = model;
    const Upgrade upgrade = upgrade_opset(lifted, ranks);
    if (!upgrade.unsupported.empty()) {
      return upgrade.unsupported;
    }
    if (opset(lifted.proto) != 13 || !check_model(lifted.proto)) {
      return "not a sound model of opset 13";
    }
    auto after = Session::open(lifted, {.level = GraphLevel::kNone});
    if (!after) {
      return "after: " + after.error().text();
    }
    const auto outputs = (*after)->run(feed);
    if (!outputs) {
      return "after: " + outputs.error().text();
    }
    Comparer comparer((*before)->outputs());
    if (const Status same = comparer.add(*expected, *outputs); !same) {
      return same.error().text();
    }
    if (comparer.result().snr < 120) {
      return "differs: " + snr_text(comparer.result().snr);
    }
  }
  return "";
}

TEST(Opset, SlicesAndPadsTakeTheirNumbersAsInputs) {
  EXPECT_EQ(difference(one(9, {4, 6}, {2, 3},
                           [](auto& graph) {
                             auto& node = add_node(graph, "Slice", {"x"}, {"y"});
                             set_ints(node, "starts", {1, -4});
                             set_ints(node, "ends", {3, -1});
                             set_ints(node, "axes", {0, 1});
                           })),
            "");
  EXPECT_EQ(difference(one(9, {2, 3}, {4, 6},
                           [](auto& graph) {
                             auto& node = add_node(graph, "Pad", {"x"}, {"y"}, "pad");
                             set_ints(node, "pads", {1, 0, 1, 3});
                             set_float(node, "value", 2.5F);
                           })),
            "");
  EXPECT_EQ(difference(one(7, {2, 3}, {4, 5},
                           [](auto& graph) {
                             auto& node = add_node(graph, "Pad", {"x"}, {"y"});
                             set_text(node, "mode", "reflect");
                             set_ints(node, "pads", {1, 1, 1, 1});
                           })),
            "");
}

TEST(Opset, ClipAndTopKTakeTheirLimitsAsInputs) {
  for (const bool both : {true, false}) {
    EXPECT_EQ(difference(one(8, {2, 3}, {2, 3},
                             [&](auto& graph) {
                               auto& node = add_node(graph, "Clip", {"x"}, {"y"});
                               set_float(node, "max", 2);
                               if (both) {
                                 set_float(node, "min", -1);
                               }
                             })),
              "");
  }
  EXPECT_EQ(difference(one(9, {2, 7}, {2, 3},
                           [](auto& graph) {
                             auto& node = add_node(graph, "TopK", {"x"}, {"y", "places"});
                             set_int(node, "k", 3);
                           })),
            "");
}

TEST(Opset, AxesBecomeInputs) {
  EXPECT_EQ(difference(one(11, {2, 3}, {2, 3},
                           [](auto& graph) {
                             set_ints(add_node(graph, "Unsqueeze", {"x"}, {"u"}), "axes", {0, 3});
                             set_ints(add_node(graph, "Squeeze", {"u"}, {"y"}), "axes", {0, 3});
                           })),
            "");
  EXPECT_EQ(difference(one(11, {2, 3, 4}, {2, 1, 4},
                           [](auto& graph) {
                             set_ints(add_node(graph, "ReduceSum", {"x"}, {"y"}), "axes", {1});
                           })),
            "");
  EXPECT_EQ(difference(one(8, {6, 2}, {2, 2},
                           [](auto& graph) {
                             auto& node = add_node(graph, "Split", {"x"}, {"a", "y"});
                             set_int(node, "axis", 0);
                             set_ints(node, "split", {4, 2});
                           })),
            "");
}

TEST(Opset, SoftmaxKeepsItsMatrixMeaning) {
  for (const char* op : {"Softmax", "LogSoftmax", "Hardmax"}) {
    for (const std::int64_t axis : {0, 1, 2, 3}) {
      EXPECT_EQ(difference(one(11, {2, 3, 4, 2}, {2, 3, 4, 2},
                               [&](auto& graph) {
                                 set_int(add_node(graph, op, {"x"}, {"y"}), "axis", axis);
                               })),
                "")
          << op << " axis " << axis;
    }
    EXPECT_EQ(difference(one(8, {2, 3, 4}, {2, 3, 4},
                             [&](auto& graph) { add_node(graph, op, {"x"}, {"y"}); })),
              "")
        << op << " without an axis";
  }
}

TEST(Opset, UpsampleBecomesResizeWithTheSameCoordinates) {
  for (const char* mode : {"nearest", "linear"}) {
    EXPECT_EQ(difference(one(7, {1, 2, 3, 4}, {1, 2, 6, 12},
                             [&](auto& graph) {
                               auto& node = add_node(graph, "Upsample", {"x"}, {"y"});
                               set_text(node, "mode", mode);
                               set_floats(node, "scales", {1, 1, 2, 3});
                             })),
              "")
        << mode;
    for (const char* op : {"Upsample", "Resize"}) {
      const int version = std::string_view(op) == "Upsample" ? 9 : 10;
      EXPECT_EQ(difference(one(
                    version, {1, 2, 4, 4}, {1, 2, 6, 8},
                    [&](auto& graph) {
                      *graph.add_initializer() = make_tensor<float>("scales", {4}, {1, 1, 1.5F, 2});
                      set_text(add_node(graph, op, {"x", "scales"}, {"y"}), "mode", mode);
                    })),
                "")
          << op << " " << mode;
    }
  }
}

TEST(Opset, TrainingPartsGo) {
  EXPECT_EQ(difference(one(7, {2, 3}, {2, 3},
                           [](auto& graph) {
                             auto& node = add_node(graph, "Dropout", {"x"}, {"y", "mask"});
                             set_float(node, "ratio", 0.5F);
                           })),
            "");
  EXPECT_EQ(
      difference(one(
          7, {2, 3, 4}, {2, 3, 4},
          [](auto& graph) {
            for (const char* name : {"s", "b", "m", "v"}) {
              *graph.add_initializer() = make_tensor<float>(name, {3}, {1, 2, 3});
            }
            auto& node = add_node(graph, "BatchNormalization", {"x", "s", "b", "m", "v"}, {"y"});
            set_int(node, "spatial", 1);
          })),
      "");
}

TEST(Opset, WhatCannotBeConvertedIsNamedAndUnchanged) {
  const auto refusal = [](OnnxModel model) {
    const std::string before = serialize(model).value();
    const Upgrade upgrade = upgrade_opset(model);
    EXPECT_EQ(serialize(model).value(), before);
    return upgrade.unsupported;
  };
  EXPECT_THAT(
      refusal(one(7, {1, 3, 4, 4}, {1, 3, 4, 4},
                  [](auto& graph) { add_node(graph, "ImageScaler", {"x"}, {"y"}, "scale"); })),
      testing::HasSubstr("ImageScaler 'scale' at opset 7: no conversion to opset 13"));
  EXPECT_THAT(refusal(one(7, {2}, {2},
                          [](auto& graph) {
                            add_node(graph, "Dropout", {"x"}, {"a", "y"}, "drop");
                          })),
              testing::HasSubstr("its mask is read"));
  EXPECT_THAT(refusal(one(6, {2}, {2}, [](auto& graph) { add_node(graph, "Relu", {"x"}, {"y"}); })),
              testing::HasSubstr("opset 6 is too old"));
}

TEST(Opset, ConvertsInsideSubgraphs) {
  OnnxModel model = empty_model(11);
  auto& graph = *model.proto.mutable_graph();
  *graph.add_input() = value("c", {}, onnx::TensorProto::BOOL);
  *graph.add_input() = value("x", {2, 3});
  *graph.add_output() = value("y", {2, 3});
  auto& branch = add_node(graph, "If", {"c"}, {"y"}, "choose");
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& body = *branch.add_attribute();
    body.set_name(name);
    body.set_type(onnx::AttributeProto::GRAPH);
    body.mutable_g()->set_name(name);
    set_ints(add_node(*body.mutable_g(), "Unsqueeze", {"x"},
                      {std::string(name) == "then_branch" ? "u1" : "u2"}),
             "axes", {0});
    set_ints(add_node(*body.mutable_g(), "Squeeze", {body.g().node(0).output(0).c_str()},
                      {std::string(name) == "then_branch" ? "z1" : "z2"}),
             "axes", {0});
    *body.mutable_g()->add_output() = value(body.g().node(1).output(0), {2, 3});
  }
  const Upgrade upgrade = upgrade_opset(model);
  EXPECT_EQ(upgrade.unsupported, "");
  EXPECT_EQ(upgrade.rewritten.at("Squeeze"), 2);
  EXPECT_TRUE(Session::open(model, {}).ok()) << Session::open(model, {}).error().text();
}

}  // namespace
}  // namespace headwater::workbench
