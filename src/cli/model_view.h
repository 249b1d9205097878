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

// Prints the error; 20 for a bad model or input, 21 for an operator or domain that is not
// supported, else the status of its code (75: no ONNX Runtime).
int model_fail(const Error& error);

void add_model_inspect(CLI::App* model, Action& action);
void add_model_verify(CLI::App* model, Action& action);
void add_model_bench(CLI::App* model, Action& action);
void add_model_optimize(CLI::App* model, Action& action);
void add_model_quantize(CLI::App* model, Action& action);

}  // namespace headwater
