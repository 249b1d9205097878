#include "workbench/inspect.h"

#include <fstream>

#include "io/files.h"
#include "workbench/flops.h"
#include "workbench/optimize.h"
#include "workbench/test_models.h"

namespace headwater::workbench {
namespace {

using test::add_node;
using test::dense_model;
using test::TempDir;
using test::value;

TEST(Inspect, CountsOperatorsParametersAndWork) {
  const TempDir dir;
  ASSERT_TRUE(save_model(dense_model(), dir / "m.onnx").ok());
  const auto made = inspect(dir / "m.onnx");
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_EQ(made->nodes, 3);
  EXPECT_EQ(made->parameters, 8U);
  EXPECT_EQ(made->parameter_bytes, 32U);
  EXPECT_TRUE(made->runs);
  EXPECT_EQ(made->run_error, "");
  EXPECT_EQ(made->flops, 2U * 2 * 3 + 2 + 2);       // one row
  EXPECT_EQ(made->peak_activation_bytes, 12U + 8);  // x and x·w; sum and y weigh less
  EXPECT_EQ(made->inputs,
            (std::vector<std::pair<std::string, std::string>>{{"x", "float32 [N, 3]"}}));
  ASSERT_EQ(made->operators.size(), 3U);
  EXPECT_EQ(int8_on_cpu("", "MatMul"), "compute");
  EXPECT_EQ(int8_on_cpu("", "Reshape"), "moves");
  EXPECT_EQ(int8_on_cpu("", "LayerNormalization"), "float");
  EXPECT_EQ(int8_on_cpu("my.ops", "Conv"), "float");
  ASSERT_EQ(made->problems.size(), 1U);
  EXPECT_EQ(made->problems[0].kind, "unnamed_nodes");
  EXPECT_THAT(to_json(*made), testing::HasSubstr(R"("kind":"unnamed_nodes")"));
  EXPECT_THAT(to_text(*made), testing::HasSubstr("2 nodes have no name"));
}

TEST(Inspect, ShowsWhatDoesNotLoad) {
  OnnxModel model = dense_model();
  model.proto.mutable_graph()->mutable_node(0)->set_domain("my.ops");
  set_opset(model.proto, 1, "my.ops");
  const TempDir dir;
  ASSERT_TRUE(save_model(model, dir / "m.onnx").ok());
  const auto made = inspect(dir / "m.onnx");
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_FALSE(made->runs);
  EXPECT_THAT(made->run_error, testing::HasSubstr("my.ops"));
  EXPECT_EQ(made->problems.front().kind, "custom_domain");
  EXPECT_EQ(verdict_of(Error::invalid("{}", made->run_error)), Verdict::kUnsupported);
}

TEST(Inspect, DrawsTheGraph) {
  OnnxModel model = dense_model();
  model.proto.mutable_graph()->mutable_node(1)->set_name("a\"<b>&\n");
  const TempDir dir;
  ASSERT_TRUE(save_model(model, dir / "m.onnx").ok());
  const std::string dot = graph_dot(dir / "m.onnx").value();
  EXPECT_THAT(dot, testing::HasSubstr("n0 -> n1"));
  EXPECT_THAT(dot, testing::HasSubstr(R"(Add\na\"<b>&\n)"));
  const std::string svg = graph_svg(dir / "m.onnx").value();
  EXPECT_THAT(svg, testing::HasSubstr("a&quot;&lt;b&gt;&amp; "));
  EXPECT_THAT(svg, testing::Not(testing::HasSubstr("<b>")));
}

TEST(Inspect, RefusesGraphsThatDoNotHangTogether) {
  OnnxModel model = dense_model();
  model.proto.mutable_graph()->mutable_node(0)->set_input(0, "sum");
  const TempDir dir;
  ASSERT_TRUE(save_model(model, dir / "m.onnx").ok());
  EXPECT_THAT(inspect(dir / "m.onnx").error().text(), testing::HasSubstr("cycle"));
}

// Writes `model`, optimizes it; what stands in the folder afterwards is `names`.
GraphReport optimized(const TempDir& dir, const OnnxModel& model, GraphOptions options = {}) {
  EXPECT_TRUE(save_model(model, dir / "in.onnx").ok());
  options.input = dir / "in.onnx";
  options.output = dir / "out.onnx";
  options.feeds.allow_synthetic = true;
  auto report = optimize_graph(options);
  EXPECT_TRUE(report.ok()) << report.error().text();
  return report ? *report : GraphReport{};
}

OnnxModel untidy_model() {
  OnnxModel model = dense_model(11);
  auto& graph = *model.proto.mutable_graph();
  add_node(graph, "Relu", {"xw"}, {"unused"});
  test::set_ints(add_node(graph, "Unsqueeze", {"y"}, {"wide"}), "axes", {0});
  *graph.add_output() = value("wide", {1, -1, 2});
  return model;
}

TEST(OptimizeGraph, TidiesConvertsAndVerifies) {
  const TempDir dir;
  const GraphReport report = optimized(dir, untidy_model());
  EXPECT_EQ(report.verdict, Verdict::kImproved) << report.reason;
  EXPECT_EQ(report.opset_after, 13);
  EXPECT_LT(report.nodes_after, report.nodes_before);
  EXPECT_FALSE(report.verified);
  EXPECT_GT(report.comparison.worst_snr, 100);
  EXPECT_EQ(dir.names(), (std::vector<std::string>{"in.onnx", "out.onnx"}));
  EXPECT_TRUE(inspect(dir / "out.onnx")->runs);
  const std::string bytes = io::real_files().read_all(dir / "out.onnx").value();
  optimized(dir, untidy_model());
  EXPECT_EQ(io::real_files().read_all(dir / "out.onnx").value(), bytes);
}

TEST(OptimizeGraph, WhatIsTidyIsHandedBackAsItWas) {
  const TempDir dir;
  OnnxModel model = dense_model();
  model.proto.mutable_graph()->mutable_node()->DeleteSubrange(1, 2);
  model.proto.mutable_graph()->mutable_initializer()->RemoveLast();
  model.proto.mutable_graph()->mutable_node(0)->set_output(0, "y");
  const GraphReport report = optimized(dir, model);
  EXPECT_EQ(report.verdict, Verdict::kKept) << report.reason;
  EXPECT_EQ(io::real_files().read_all(dir / "out.onnx").value(),
            io::real_files().read_all(dir / "in.onnx").value());
}

TEST(OptimizeGraph, RefusalsWriteNothing) {
  const TempDir dir;
  OnnxModel model = untidy_model();
  set_opset(model.proto, 7);
  model.proto.mutable_graph()->mutable_node(2)->set_op_type("ImageScaler");
  const GraphReport report = optimized(dir, model);
  EXPECT_EQ(report.verdict, Verdict::kUnsupported);
  EXPECT_THAT(report.reason, testing::HasSubstr("ImageScaler"));
  EXPECT_EQ(dir.names(), std::vector<std::string>{"in.onnx"});
  std::ofstream(dir / "bad.onnx") << "no model";
  GraphOptions options;
  options.input = dir / "bad.onnx";
  options.output = dir / "out.onnx";
  const auto bad = optimize_graph(options);
  ASSERT_TRUE(bad.ok());
  EXPECT_EQ(bad->verdict, Verdict::kInvalidInput);
  EXPECT_EQ(dir.names(), (std::vector<std::string>{"bad.onnx", "in.onnx"}));
}

}  // namespace
}  // namespace headwater::workbench
