// The bench of `headwater model bench`: each model alone, then side by side with the first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/feeds.h"
#include "workbench/measure.h"
#include "workbench/progress.h"

namespace headwater::workbench {

struct BenchOptions {
  std::vector<std::string> models;
  std::string data;  // "" with feeds.allow_synthetic
  FeedOptions feeds;
  std::vector<int> threads{1};
  std::vector<int> batches{1};
  double seconds = 2;
  std::vector<std::string> config;  // KEY=VALUE of ONNX Runtime's session
  std::string limits;               // what the process is confined to, in words
};

struct BenchRow {
  std::string model;
  int threads = 1;
  int batch = 1;
  Latency latency;
  double rows_per_second = 0;
};

struct BenchModel {
  std::string path;
  std::uint64_t file_bytes = 0;
  double load_ms = 0;               // in a process of its own
  std::uint64_t peak_bytes = 0;     // of that process, after three calls
  std::uint64_t runtime_bytes = 0;  // of it, before the model was loaded (ONNX Runtime is open)
};

struct BenchPair {
  std::string model;  // against the first
  int threads = 1;
  int batch = 1;
  SideBySide result;
};

struct BenchReport {
  std::string runtime;
  std::string cpu;
  std::string limits;
  bool synthetic = false;
  std::vector<BenchModel> models;
  std::vector<BenchRow> rows;
  std::vector<BenchPair> pairs;
};

// Forks for load time and memory: call it before the process has opened ONNX Runtime. kInvalid: a
// batch above 1 for a model whose first axis is fixed.
Result<BenchReport> bench(const BenchOptions& options, const Progress& progress = {});

// `count` feeds as one, along the first axis of every input.
Result<Feed> stack(const std::vector<Feed>& feeds);

std::string to_json(const BenchReport& report);
std::string to_text(const BenchReport& report);
std::string to_svg(const BenchReport& report);

}  // namespace headwater::workbench
