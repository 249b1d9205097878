// Models and inputs that a sound exporter would not write, through the rewrites.
#include <gtest/gtest.h>

#include "workbench/opset.h"
#include "workbench/test_models.h"

namespace headwater::workbench {
namespace {

using test::add_node;
using test::empty_model;
using test::value;

TEST(OddModels, NodesWithoutInputsOrOutputsAreRefusedByTheUpgrade) {
  for (const char* op :
       {"Slice", "Pad", "Clip", "TopK", "Squeeze", "Split", "Dropout", "BatchNormalization",
        "Upsample", "Softmax", "LogSoftmax", "Hardmax", "Scatter", "ReduceSum"}) {
    for (const bool input : {true, false}) {
      OnnxModel model = empty_model(8);
      auto& graph = *model.proto.mutable_graph();
      *graph.add_input() = value("x", {2});
      *graph.add_output() = value("x", {2});
      if (input) {
        add_node(graph, op, {"x"}, {}, "odd");
      } else {
        add_node(graph, op, {}, {"y"}, "odd");
      }
      ASSERT_TRUE(check_model(model.proto).ok()) << op;
      const std::string before = serialize(model).value();
      EXPECT_THAT(upgrade_opset(model).unsupported,
                  testing::HasSubstr(input ? "it has no output" : "it has no input"))
          << op;
      EXPECT_EQ(serialize(model).value(), before) << op;
    }
  }
}

}  // namespace
}  // namespace headwater::workbench
