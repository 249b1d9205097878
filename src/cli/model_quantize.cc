// headwater model quantize dynamic|static|weights MODEL -o OUT
#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "cli/model_view.h"
#include "workbench/quantize.h"

namespace headwater {
namespace {

struct QuantizeFlags {
  workbench::QuantizeKind kind = workbench::QuantizeKind::kDynamic;
  std::string model;
  std::string output;
  std::string ranges = "mse";
  std::string report;
  std::vector<std::string> exclude;
  DataFlags data;
  std::size_t max_inputs = 32;
  bool per_tensor = false;
  bool reduced_range = false;
  bool no_check = false;
  bool json = false;
};

Result<int> quantize(const QuantizeFlags& flags) {
  static const std::map<std::string, workbench::RangeMethod> kRanges = {
      {"min-max", workbench::RangeMethod::kMinMax},
      {"percentile", workbench::RangeMethod::kPercentile},
      {"mse", workbench::RangeMethod::kMse},
      {"entropy", workbench::RangeMethod::kEntropy}};
  workbench::FeedOptions feeds = HW_TRY(feed_options(flags.data));
  feeds.synthetic_count = flags.max_inputs;
  const workbench::QuantizeOptions options{.kind = flags.kind,
                                           .input = flags.model,
                                           .output = flags.output,
                                           .data = flags.data.data,
                                           .feeds = feeds,
                                           .ranges = kRanges.at(flags.ranges),
                                           .per_channel = !flags.per_tensor,
                                           .reduced_range = flags.reduced_range,
                                           .exclude = {flags.exclude.begin(), flags.exclude.end()},
                                           .max_feeds = flags.max_inputs,
                                           .check = !flags.no_check};
  const auto report = HW_TRY(workbench::quantize_file(options, terminal_progress()));
  end_progress();
  const bool kept = report.verdict == workbench::Verdict::kKept && !report.reason.empty();
  HW_TRY(show_report({.json = workbench::to_json(report),
                      .text = workbench::to_text(report),
                      .said = (kept ? "kept as it was: " : "") + report.reason},
                     flags.report, flags.json));
  return static_cast<int>(report.verdict);
}

void add_kind(CLI::App* parent, Action& action, const char* name, const char* what,
              workbench::QuantizeKind kind) {
  auto flags = std::make_shared<QuantizeFlags>();
  flags->kind = kind;
  CLI::App* command = parent->add_subcommand(name, what);
  command->add_option("MODEL", flags->model, "An .onnx file")->required();
  command->add_option("-o,--output", flags->output, "The file to write")->required();
  add_data_flags(command, flags->data);
  command->add_option("--max-inputs", flags->max_inputs, "Read at most so many inputs")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command->add_option("--exclude", flags->exclude, "Leave the node of this name as it is");
  command->add_flag("--per-tensor", flags->per_tensor, "One scale a weight, not one a channel");
  if (kind != workbench::QuantizeKind::kWeights) {
    command->add_flag("--reduced-range", flags->reduced_range,
                      "Weights within ±64: exact on CPUs without VNNI too");
  }
  if (kind == workbench::QuantizeKind::kStatic) {
    command->add_option("--ranges", flags->ranges, "min-max, percentile, mse or entropy")
        ->capture_default_str()
        ->check(CLI::IsMember({"min-max", "percentile", "mse", "entropy"}));
  }
  command->add_flag("--no-check", flags->no_check, "Do not open the result in ONNX Runtime");
  command->add_option("--report", flags->report, "Write the report as JSON here too");
  command->add_flag("--json", flags->json, "JSON for scripts");
  command->callback([flags, &action] {
    action = [flags] {
      const auto status = quantize(*flags);
      return status ? *status : model_fail(status.error());
    };
  });
}

}  // namespace

void add_model_quantize(CLI::App* model, Action& action) {
  CLI::App* command = model->add_subcommand("quantize", "Make a model int8 the way it is told");
  command->require_subcommand(1);
  add_kind(command, action, "dynamic",
           "MatMul, Gemm and LSTM; inputs are quantized at each call, no calibration",
           workbench::QuantizeKind::kDynamic);
  add_kind(command, action, "static",
           "Conv, MatMul, Gemm and what is between them; ranges come from --data",
           workbench::QuantizeKind::kStatic);
  add_kind(command, action, "weights", "Only the file gets small; the arithmetic stays float32",
           workbench::QuantizeKind::kWeights);
  command->footer(
      "These do as they are told: 'headwater model optimize --goal' measures and chooses.\n"
      "docs/guide/quantize.md says more.");
}

}  // namespace headwater
