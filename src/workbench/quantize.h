// Quantizes one file the way it is told, checks that the result loads, and compares it with the
// original where inputs are given. What to quantize is the caller's choice here; search.h chooses
// by measurement.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/compare.h"
#include "workbench/feeds.h"
#include "workbench/optimize.h"
#include "workbench/progress.h"
#include "workbench/quantize_report.h"

namespace headwater::workbench {

struct OnnxModel;

enum class QuantizeKind : std::uint8_t { kDynamic, kStatic, kWeights };

struct QuantizeOptions {
  QuantizeKind kind = QuantizeKind::kDynamic;
  std::string input{};
  std::string output{};
  std::string data{};  // of kStatic: inputs to calibrate with; else only to compare with. "": none
  FeedOptions feeds{};
  RangeMethod ranges = RangeMethod::kMse;
  bool per_channel = true;
  bool reduced_range = false;
  std::set<std::string> exclude{};  // names of nodes
  std::size_t max_feeds = 32;       // read at most
  bool check = true;                // open the result in ONNX Runtime before it is written
};

struct QuantizeReport {
  Verdict verdict = Verdict::kImproved;
  std::string reason;  // why the file was kept or nothing was written; "" when it was quantized
  std::vector<NodeNote> nodes;
  std::vector<std::string> notes;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
  std::optional<Comparison> comparison;
  bool safe_without_vnni = true;  // no product of int8 weights can saturate 16 bits
  std::string runtime;            // "": not opened
  std::string digest_before;
  std::string digest_after;
};

// Verdict kKept: no node could be quantized, or the result would be larger; the output is then the
// input, byte for byte. Errors are those of files and of a runtime that is missing.
Result<QuantizeReport> quantize_file(const QuantizeOptions& options, const Progress& progress = {});

std::string to_json(const QuantizeReport& report);
std::string to_text(const QuantizeReport& report);

}  // namespace headwater::workbench
