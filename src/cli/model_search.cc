// headwater model optimize --goal and headwater model sensitivity
#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "cli/model_view.h"
#include "workbench/search.h"

namespace headwater {
namespace {

struct RankFlags {
  std::string model;
  DataFlags data;
  std::string report;
  bool json = false;
};

Result<int> show(const Result<workbench::SearchReport>& result, const std::string& path,
                 bool as_json) {
  end_progress();
  if (!result) {
    return Error(result.error());
  }
  HW_TRY(show_report({.json = workbench::to_json(*result),
                      .text = workbench::to_text(*result),
                      .said = result->reason},
                     path, as_json));
  return static_cast<int>(result->verdict);
}

Result<double> parse_seconds(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  if (end == text.c_str() || !(value > 0) || (!unit.empty() && unit != "s" && unit != "m")) {
    return Error::invalid("--budget '{}': write seconds or minutes, such as 60s or 2m", text);
  }
  return unit == "m" ? value * 60 : value;
}

}  // namespace

Result<int> run_search(const SearchFlags& flags, const std::string& model,
                       const std::string& output, const DataFlags& data, const std::string& report,
                       bool json) {
  static const std::map<std::string, workbench::Goal> kGoals = {
      {"speed", workbench::Goal::kSpeed},
      {"size", workbench::Goal::kSize},
      {"balanced", workbench::Goal::kBalanced}};
  workbench::SearchOptions options;
  options.input = model;
  options.output = output;
  options.data = data.data;
  options.feeds = HW_TRY(feed_options(data));
  options.goal = kGoals.at(flags.goal.empty() ? "speed" : flags.goal);
  options.min_snr = flags.min_snr;
  if (flags.max_drop >= 0) {
    options.max_drop = flags.max_drop;
    options.max_feeds = 2'100;
  }
  options.labels = flags.labels;
  options.min_speedup = flags.min_speedup;
  options.budget = HW_TRY(parse_seconds(flags.budget));
  options.replay = flags.replay;
  options.reduced_range = flags.reduced_range;
  return show(workbench::search(options, terminal_progress()), report, json);
}

void add_search_flags(CLI::App* command, SearchFlags& flags) {
  command->add_option("--goal", flags.goal, "speed, size or balanced: search int8 that pays")
      ->check(CLI::IsMember({"speed", "size", "balanced"}));
  command->add_option("--min-snr", flags.min_snr, "With --goal: accuracy asked for, in dB")
      ->capture_default_str();
  command->add_option("--max-drop", flags.max_drop,
                      "With --goal and --labels: points of accuracy that may be lost");
  command->add_option("--labels", flags.labels, "A file with a class number a line");
  command->add_option("--min-speedup", flags.min_speedup, "With --goal speed: ratio asked for")
      ->capture_default_str();
  command->add_option("--budget", flags.budget, "With --goal: time for the search")
      ->capture_default_str();
  command->add_option("--replay", flags.replay,
                      "With --goal: build what this report chose, without measuring");
  command->add_flag("--reduced-range", flags.reduced_range,
                    "With --goal: weights within ±64, exact on CPUs without VNNI too");
}

void add_model_sensitivity(CLI::App* model, Action& action) {
  auto flags = std::make_shared<RankFlags>();
  CLI::App* command = model->add_subcommand(
      "sensitivity", "Which nodes int8 harms: each by itself, the worst first");
  command->add_option("MODEL", flags->model, "An .onnx file")->required();
  add_data_flags(command, flags->data);
  command->add_option("--report", flags->report, "Write the report as JSON here too");
  command->add_flag("--json", flags->json, "JSON for scripts");
  command->callback([flags, &action] {
    action = [flags] {
      const auto rank = [&]() -> Result<int> {
        workbench::SearchOptions options;
        options.input = flags->model;
        options.data = flags->data.data;
        options.feeds = HW_TRY(feed_options(flags->data));
        return show(workbench::rank_nodes(options, terminal_progress()), flags->report,
                    flags->json);
      };
      const auto status = rank();
      return status ? *status : model_fail(status.error());
    };
  });
}

}  // namespace headwater
