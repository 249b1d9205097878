// Models and inputs that a sound exporter would not write, through the rewrites.
#include <gtest/gtest.h>

#include <cstring>

#include "workbench/feeds.h"
#include "workbench/inspect.h"
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

TEST(OddModels, BranchesWithOneNameHaveInt8WeightsOfTheirOwn) {
  OnnxModel model = empty_model(13);
  auto& graph = *model.proto.mutable_graph();
  *graph.add_input() = value("c", {}, onnx::TensorProto::BOOL);
  *graph.add_input() = value("x", {1, 32});
  *graph.add_output() = value("y", {1, 32});
  auto& choose = add_node(graph, "If", {"c"}, {"y"}, "choose");
  float weight = 1;
  for (const char* name : {"then_branch", "else_branch"}) {
    auto& branch = *choose.add_attribute();
    branch.set_name(name);
    branch.set_type(onnx::AttributeProto::GRAPH);
    auto& body = *branch.mutable_g();
    body.set_name(name);
    *body.add_initializer() =
        make_tensor<float>("w", {32, 32}, std::vector<float>(32 * 32, weight));
    const std::string out = std::string(name) + "_y";
    add_node(body, "MatMul", {"x", "w"}, {out.c_str()}, std::string(name) + "_dense");
    *body.add_output() = value(out, {1, 32});
    weight = 2;
  }
  ASSERT_TRUE(Session::open(model, {}).ok());
  const auto notes = quantize_dynamic(model, {});
  ASSERT_TRUE(notes.ok());
  const auto session = Session::open(model, {});
  ASSERT_TRUE(session.ok()) << session.error().text();
  Tensor ones{.type = 1, .shape = {1, 32}, .bytes = {}, .strings = {}};
  const float one = 1;
  for (int i = 0; i < 32; ++i) {
    ones.bytes.append(reinterpret_cast<const char*>(&one), sizeof one);
  }
  for (const bool which : {true, false}) {
    Tensor choice{.type = onnx::TensorProto::BOOL, .shape = {}, .bytes = {}, .strings = {}};
    choice.bytes.push_back(which ? 1 : 0);
    const auto outputs = (*session)->run({{"c", choice}, {"x", ones}});
    ASSERT_TRUE(outputs.ok()) << outputs.error().text();
    float first = 0;
    std::memcpy(&first, (*outputs)[0].bytes.data(), sizeof first);
    EXPECT_NEAR(first, which ? 32 : 64, 0.5);
  }
}

TEST(OddModels, ReplayHoldsARecipeAgainstMaxDrop) {
  const test::TempDir dir;
  OnnxModel model = empty_model(13);
  auto& graph = *model.proto.mutable_graph();
  *graph.add_input() = value("x", {1, 32});
  *graph.add_output() = value("y", {1, 32});
  std::vector<float> weights(32 * 32);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] = static_cast<float>((i * 7) % 31) - 15;
  }
  *graph.add_initializer() = make_tensor<float>("w", {32, 32}, weights);
  add_node(graph, "MatMul", {"x", "w"}, {"y"}, "dense");
  ASSERT_TRUE(save_model(model, dir / "m.onnx").ok());
  std::string labels;
  for (int i = 0; i < 32; ++i) {
    labels += "0\n";
  }
  ASSERT_TRUE(write_file(dir / "labels", labels).ok());
  ASSERT_TRUE(write_file(dir / "report.json",
                         R"({"chosen":{"kind":"weights","per_channel":true,"left_out":[]}})")
                  .ok());
  SearchOptions options;
  options.input = dir / "m.onnx";
  options.output = dir / "out.onnx";
  options.feeds.allow_synthetic = true;
  options.labels = dir / "labels";
  options.replay = dir / "report.json";
  options.max_drop = -200;  // asks for a gain that no recipe can have
  auto report = search(options);
  ASSERT_TRUE(report.ok()) << report.error().text();
  EXPECT_EQ(report->verdict, Verdict::kVerifyFailed);
  EXPECT_THAT(report->reason, testing::HasSubstr("points of accuracy here"));
  EXPECT_FALSE(std::filesystem::exists(options.output));
  options.max_drop = 100;
  report = search(options);
  ASSERT_TRUE(report.ok()) << report.error().text();
  EXPECT_EQ(report->verdict, Verdict::kImproved);
  EXPECT_TRUE(report->chosen->drop.has_value());
}

TEST(OddModels, ExternalWeightsCountBeforeAndAfter) {
  const test::TempDir dir;
  OnnxModel model = empty_model(13);
  auto& graph = *model.proto.mutable_graph();
  *graph.add_input() = value("x", {1, 64});
  *graph.add_output() = value("y", {1, 64});
  *graph.add_initializer() = make_tensor<float>("w", {64, 64}, std::vector<float>(64 * 64, 0.5F));
  add_node(graph, "MatMul", {"x", "w"}, {"y"}, "dense");
  ASSERT_TRUE(save_model(model, dir / "m.onnx", {.inline_bytes = 100}).ok());
  QuantizeOptions options;
  options.input = dir / "m.onnx";
  options.output = dir / "out.onnx";
  const auto report = quantize_file(options);
  ASSERT_TRUE(report.ok()) << report.error().text();
  // The .onnx alone is smaller than its int8 weights: it looked as if they made it larger.
  EXPECT_EQ(report->verdict, Verdict::kImproved) << report->reason;
  EXPECT_GT(report->bytes_before, 64U * 64 * 4);
  EXPECT_EQ(report->bytes_after, std::filesystem::file_size(options.output));
}

TEST(OddModels, InspectMakesUpNoHugeInputs) {
  const test::TempDir dir;
  // Each input passes alone; one wraps to zero elements.
  for (const auto& shape : std::vector<std::vector<std::int64_t>>{
           {std::int64_t{10} << 20}, {std::int64_t{1} << 32, std::int64_t{1} << 32}}) {
    OnnxModel model = empty_model(13);
    auto& graph = *model.proto.mutable_graph();
    for (const char* name : {"a", "b"}) {
      *graph.add_input() = value(name, shape);
      const std::string out = std::string(name) + "_y";
      add_node(graph, "Relu", {name}, {out.c_str()}, out);
      *graph.add_output() = value(out, shape);
    }
    ASSERT_TRUE(save_model(model, dir / "m.onnx").ok());
    const auto made = inspect(dir / "m.onnx");
    ASSERT_TRUE(made.ok()) << made.error().text();
    EXPECT_THAT(made->run_error, testing::HasSubstr("67108864 bytes are the limit"));
    EXPECT_EQ(made->flops, 0U);
  }
}

}  // namespace
}  // namespace headwater::workbench
