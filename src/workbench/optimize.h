// Graph optimization without changing numbers: clean-up, a later opset, ONNX Runtime's own levels.
//
// Each step is verified against the original on the inputs; a step that fails is left out and the
// report says so. Nothing is written unless the last check passes. A result that is larger than the
// input by more than 1 KiB is not handed out. Where nothing could be gained (kKept), the output is
// the input, byte for byte.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/compare.h"
#include "workbench/feeds.h"
#include "workbench/progress.h"
#include "workbench/session.h"

namespace headwater::workbench {

// How `headwater model` ends (docs/guide/optimize.md).
enum class Verdict : std::uint8_t {
  kImproved = 0,
  kKept = 10,
  kInvalidInput = 20,
  kUnsupported = 21,
  kVerifyFailed = 30,
  kBudget = 40,
};

struct GraphOptions {
  std::string input;
  std::string output;
  std::string data;  // "" with feeds.allow_synthetic
  FeedOptions feeds;
  GraphLevel level = GraphLevel::kBasic;
  bool upgrade = true;  // to opset 13
  bool ort_format = false;
  // dB of the worst sample that a converted opset must reach; ONNX Runtime's levels, which fuse and
  // reorder sums, 80 at most.
  double min_snr = 100;
  bool allow_larger = false;  // than the input + 1 KiB
  std::size_t max_feeds = 32;
};

struct GraphReport {
  Verdict verdict = Verdict::kImproved;
  std::string reason;              // why there is no new model; "" when there is
  std::vector<std::string> steps;  // what was done, in order, in words
  std::vector<std::string> notes;  // what was left out and why, warnings
  std::int64_t opset_before = 0;
  std::int64_t opset_after = 0;
  int nodes_before = 0;
  int nodes_after = 0;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
  bool verified = false;  // false: on made-up inputs only
  std::string data;
  Comparison comparison;
  std::string runtime;
  std::string cpu;  // "" for a portable result
  std::string digest_before;
  std::string digest_after;
};

// Errors are those of files and of a runtime that is missing; a model that is refused comes as a
// report with its verdict.
Result<GraphReport> optimize_graph(const GraphOptions& options, const Progress& progress = {});

std::string to_json(const GraphReport& report);
std::string to_text(const GraphReport& report);

// The verdict that an error of loading or opening a model stands for: kUnsupported when ONNX
// Runtime does not know an operator or a domain.
Verdict verdict_of(const Error& error);

}  // namespace headwater::workbench
