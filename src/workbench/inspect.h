// What is in a model file, what it costs, and what to look out for.
//
// Reads the file, checks that its graph hangs together, and, where ONNX Runtime takes the model,
// runs it once with made-up inputs (free dimensions: 1 or as asked) to learn shapes: from those
// come FLOPs and the memory of intermediate values. A model that does not run is still inspected,
// with the reason.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace headwater::workbench {

struct InspectOptions {
  bool run = true;
  std::int64_t free_dimension = 1;
};

struct OperatorUse {
  std::string domain;  // "" is ONNX's own
  std::string op;
  int nodes = 0;
  std::uint64_t flops = 0;  // 2 per multiply-add; 0: unknown or none
  std::string int8;  // "compute": runs in int8 on the CPU inside a QDQ group; "moves": passes int8
                     // through; "float": int8 around it costs time; "dynamic": weights only,
                     // activations at run time
};

struct Problem {
  std::string kind;  // "custom_domain", "unnamed_nodes", … stable, for scripts
  std::string text;
};

struct Inspection {
  std::string path;
  std::string digest;
  std::uint64_t file_bytes = 0;
  std::uint64_t external_bytes = 0;
  std::int64_t ir_version = 0;
  std::string producer;
  std::vector<std::pair<std::string, std::int64_t>> opsets;
  // "name: float32 [N, 3]"
  std::vector<std::pair<std::string, std::string>> inputs;
  std::vector<std::pair<std::string, std::string>> outputs;
  std::vector<OperatorUse> operators;  // most nodes first
  int nodes = 0;                       // with subgraphs
  int subgraphs = 0;
  std::uint64_t parameters = 0;  // elements of initializers and tensors in Constant nodes
  std::uint64_t parameter_bytes = 0;
  std::map<std::string, std::uint64_t> parameter_types;  // "float32" → elements
  // From the run; 0 where it did not happen.
  bool runs = false;
  std::string run_error;  // ONNX Runtime's words
  std::string runtime;    // version
  std::uint64_t flops = 0;
  std::uint64_t peak_activation_bytes = 0;  // live values at the worst node, in file order
  std::string cpu;                          // int8 features of this CPU: "avx512_vnni", …
  bool fast_int8 = false;                   // u8×s8 dot products in one instruction, no saturation
  std::vector<Problem> problems;
};

// kInvalid and the other codes of load_model(); a graph that does not hang together is kInvalid.
Result<Inspection> inspect(const std::string& path, const InspectOptions& options = {});

std::string to_json(const Inspection& inspection);
std::string to_text(const Inspection& inspection);

// The main graph as a picture: a box per node, from inputs down to outputs.
Result<std::string> graph_dot(const std::string& path);
Result<std::string> graph_svg(const std::string& path);

// "avx512_vnni", "avx_vnni", "avx2", "arm dotprod", …, and whether int8 is fast and exact there.
std::string cpu_int8(bool& fast);
// The column int8 of OperatorUse.
std::string int8_on_cpu(const std::string& domain, const std::string& op);

}  // namespace headwater::workbench
