// Models and inputs that a sound exporter would not write, through the rewrites.
#include <gtest/gtest.h>

#include <cstring>

#include "workbench/feeds.h"
#include "workbench/opset.h"
#include "workbench/quantize_static.h"
#include "workbench/quantize_weights.h"
#include "workbench/search.h"
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

TEST(OddModels, EmptyWeightsStayFloat) {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{3, 0}, {0, 3}}) {
    OnnxModel model = empty_model(13);
    auto& graph = *model.proto.mutable_graph();
    *graph.add_input() = value("x", {2, rows});
    *graph.add_output() = value("y", {2, columns});
    *graph.add_initializer() = make_tensor<float>("w", {rows, columns}, {});
    add_node(graph, "MatMul", {"x", "w"}, {"y"}, "dense");
    const std::map<std::string, Range> ranges = {{"x", {-1, 1}}, {"y", {-1, 1}}};
    const auto notes = quantize_static(model, ranges, {.nodes = {"dense"}});
    ASSERT_TRUE(notes.ok()) << notes.error().text();
    ASSERT_EQ(notes->size(), 1U);
    EXPECT_FALSE((*notes)[0].changed);
    EXPECT_EQ((*notes)[0].what, "its weight is empty");
  }
}

TEST(OddModels, RawInputsWhoseDimensionsWrapAreRefused) {
  const test::TempDir dir;
  ASSERT_TRUE(write_file(dir / "x.raw", "").ok());
  ASSERT_TRUE(write_file(dir / "y.raw", "12345678").ok());
  const std::int64_t huge = std::int64_t{1} << 62;
  // Times four bytes: 2^64, which is 0.
  for (const auto& shape :
       std::vector<std::vector<std::int64_t>>{{huge, -1}, {huge}, {huge, huge}}) {
    const std::vector<Port> ports = {
        {.name = "x", .type = 1, .shape = shape, .dims = {}, .text = {}}};
    const auto feeds = Feeds::open(dir.path(), ports, {});
    ASSERT_TRUE(feeds.ok()) << feeds.error().text();
    const auto feed = feeds->read(0);
    ASSERT_FALSE(feed.ok());
    EXPECT_THAT(feed.error().text(), testing::HasSubstr("more than 2^64 bytes"));
  }
  const std::vector<Port> ports = {
      {.name = "y", .type = 1, .shape = {-1, 2}, .dims = {}, .text = {}}};
  const auto sound = Feeds::open(dir.path(), ports, {}).value().read(0);
  ASSERT_TRUE(sound.ok()) << sound.error().text();
  EXPECT_EQ(sound->at("y").shape, (std::vector<std::int64_t>{1, 2}));
}

}  // namespace
}  // namespace headwater::workbench
