// What the commands of `headwater model` share: flags for inputs, progress, exit statuses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "workbench/feeds.h"
#include "workbench/optimize.h"
#include "workbench/progress.h"

namespace headwater {

struct DataFlags {
  std::string data;
  std::vector<std::string> inputs;  // NAME=FIELD,FIELD
  bool allow_synthetic = false;
  std::int64_t free_dimension = 1;
};
void add_data_flags(CLI::App* command, DataFlags& flags);
Result<workbench::FeedOptions> feed_options(const DataFlags& flags);

// A bar with the time that is left on standard error, when that is a terminal; else nothing.
workbench::Progress terminal_progress();
// Wipes the bar.
void end_progress();

// Writes a report's JSON to `path`, unless that is empty; prints it, or the text, and behind it
// what the verdict says, on standard error.
struct ShownReport {
  std::string json;
  std::string text;
  std::string said;  // empty: nothing
};
Status show_report(const ShownReport& report, const std::string& path, bool as_json);

// Prints the error; 20 for a bad model or input, 21 for an operator or domain that is not
// supported, else the status of its code (75: no ONNX Runtime).
int model_fail(const Error& error);

void add_model_inspect(CLI::App* model, Action& action);
void add_model_verify(CLI::App* model, Action& action);
void add_model_bench(CLI::App* model, Action& action);
void add_model_optimize(CLI::App* model, Action& action);
void add_model_quantize(CLI::App* model, Action& action);
void add_model_sensitivity(CLI::App* model, Action& action);

// Of `optimize --goal` (model_search.cc).
struct SearchFlags {
  std::string goal;
  double min_snr = 30;
  double max_drop = -1;  // below 0: not asked
  std::string labels;
  double min_speedup = 1.02;
  std::string budget = "60s";
  std::string replay;
  bool reduced_range = false;
};
void add_search_flags(CLI::App* command, SearchFlags& flags);
Result<int> run_search(const SearchFlags& flags, const std::string& model,
                       const std::string& output, const DataFlags& data, const std::string& report,
                       bool json);

}  // namespace headwater
