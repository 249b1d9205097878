// The guarded search behind `headwater model optimize --goal`: tries what int8 can do for a model
// and takes it only where it is measured to pay.
//
// Inputs are parted: those with an even index calibrate and rank nodes, those with an odd one
// judge. A candidate passes when on the judging inputs it is accurate enough, when it is no larger
// than the input file + 1 KiB and when it is fast enough, measured side by side with the original.
// Else the answer is the best float32 graph, or the file as it was, and the report says what int8
// measured. There is a valid answer at any end of the budget.
//
// Deterministic but for latency: the report holds what was chosen, and replay builds the same bytes
// from it without measuring again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/feeds.h"
#include "workbench/measure.h"
#include "workbench/optimize.h"
#include "workbench/progress.h"
#include "workbench/quantize_report.h"

namespace headwater::workbench {

enum class Goal : std::uint8_t { kSpeed, kSize, kBalanced };

struct SearchOptions {
  std::string input{};
  std::string output{};
  std::string data{};
  FeedOptions feeds{};
  Goal goal = Goal::kSpeed;
  double min_snr = 30;               // dB of the worst output over all judging inputs
  std::optional<double> max_drop{};  // points of accuracy, with labels; then min_snr is not asked
  std::string labels{};              // a file: a class number a line, in the order of the inputs
  double min_speedup = 1.02;         // of kSpeed; kSize asks for 0.95, kBalanced for 1
  double budget = 60;                // seconds; what a comparison would exceed is not measured
  std::string replay{};              // a report of an earlier run
  std::size_t max_feeds = 48;
  bool reduced_range = false;
};

// How a candidate is made; all that replay needs.
struct Recipe {
  std::string kind;  // "graph", "weights", "dynamic", "static", "hybrid"
  bool per_channel = true;
  bool store_rest = false;            // weights that stay float32 are int8 in the file
  std::vector<std::string> left_out;  // nodes that stay float32
};

struct Candidate {
  Recipe recipe;
  std::uint64_t bytes = 0;
  double snr = 0;
  double worst_snr = 0;
  std::optional<double> drop{};  // points of accuracy
  std::optional<Ratio> speed{};  // CPU time of the original / of this
  std::string rejected;          // why; "": it passes
};

struct Sensitivity {
  std::string node;
  std::string op;
  double snr = 0;  // of the model with this node alone in int8
};

struct SearchReport {
  Verdict verdict = Verdict::kKept;
  std::string reason;  // "kept fp32: int8 measured 0.71×"; "" when it was improved
  std::optional<Candidate> chosen{};
  std::vector<Candidate> candidates;
  std::vector<Sensitivity> sensitivity;
  std::vector<NodeNote> nodes;
  std::vector<std::string> notes;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
  std::size_t calibrated_on = 0;
  std::size_t judged_on = 0;
  bool verified = true;  // false: made-up inputs
  bool safe_without_vnni = true;
  double seconds = 0;
  std::string data_digest;
  std::string runtime;
  std::string digest_before;
  std::string digest_after;
};

Result<SearchReport> search(const SearchOptions& options, const Progress& progress = {});
// The ranking alone: every product in int8 by itself, the most harmful first. Writes nothing.
Result<SearchReport> rank_nodes(const SearchOptions& options, const Progress& progress = {});

std::string to_json(const SearchReport& report);
std::string to_text(const SearchReport& report);
Result<Recipe> recipe_from_report(const std::string& path);

}  // namespace headwater::workbench
