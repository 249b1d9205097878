// headwater model optimize --graph MODEL -o OUT --data DIR
#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "cli/model_view.h"
#include "workbench/optimize.h"

namespace headwater {
namespace {

struct OptimizeFlags {
  std::string model;
  std::string output;
  std::string level = "basic";
  std::string format = "onnx";
  std::string report;
  DataFlags data;
  SearchFlags search;
  bool graph = false;
  bool keep_opset = false;
  bool allow_larger = false;
  bool json = false;
};

Result<int> optimize(const OptimizeFlags& flags) {
  if (!flags.search.goal.empty() || !flags.search.replay.empty()) {
    return run_search(flags.search, flags.model, flags.output, flags.data, flags.report,
                      flags.json);
  }
  if (!flags.graph) {
    return Error::invalid("say --goal speed, size or balanced to search int8, or --graph to tidy");
  }
  static const std::map<std::string, workbench::GraphLevel> kLevels = {
      {"none", workbench::GraphLevel::kNone},
      {"basic", workbench::GraphLevel::kBasic},
      {"extended", workbench::GraphLevel::kExtended},
      {"all", workbench::GraphLevel::kAll}};
  const workbench::GraphOptions options{.input = flags.model,
                                        .output = flags.output,
                                        .data = flags.data.data,
                                        .feeds = HW_TRY(feed_options(flags.data)),
                                        .level = kLevels.at(flags.level),
                                        .upgrade = !flags.keep_opset,
                                        .ort_format = flags.format == "ort",
                                        .allow_larger = flags.allow_larger};
  const auto report = HW_TRY(workbench::optimize_graph(options, terminal_progress()));
  end_progress();
  HW_TRY(show_report({.json = workbench::to_json(report),
                      .text = workbench::to_text(report),
                      .said = flags.json ? report.reason : std::string()},
                     flags.report, flags.json));
  return static_cast<int>(report.verdict);
}

}  // namespace

void add_model_optimize(CLI::App* model, Action& action) {
  auto flags = std::make_shared<OptimizeFlags>();
  CLI::App* command =
      model->add_subcommand("optimize", "Tidy a model's graph without changing its numbers");
  command->add_option("MODEL", flags->model, "An .onnx file")->required();
  command->add_option("-o,--output", flags->output, "The file to write")->required();
  command->add_flag("--graph", flags->graph,
                    "Clean-up, opset 13 and ONNX Runtime's own graph levels");
  add_search_flags(command, flags->search);
  add_data_flags(command, flags->data);
  command
      ->add_option("--level", flags->level,
                   "none, basic (portable), extended or all (both tied to this CPU)")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "basic", "extended", "all"}));
  command->add_option("--format", flags->format, "onnx or ort")
      ->capture_default_str()
      ->check(CLI::IsMember({"onnx", "ort"}));
  command->add_flag("--keep-opset", flags->keep_opset, "Do not convert to opset 13");
  command->add_flag("--allow-larger", flags->allow_larger,
                    "Take a result that is more than 1 KiB larger than the input");
  command->add_option("--report", flags->report, "Write the report as JSON here too");
  command->add_flag("--json", flags->json, "JSON for scripts");
  command->footer(
      "Every step is verified against the original on the inputs; nothing is written when the "
      "result\ndiffers. docs/guide/optimize.md says more.");
  command->callback([flags, &action] {
    action = [flags] {
      const auto status = optimize(*flags);
      return status ? *status : model_fail(status.error());
    };
  });
}

}  // namespace headwater
