// Session: a model in ONNX Runtime as the workbench runs it: any element type, named feeds, chosen
// threads and graph level. The edge runs models through model/model.h instead.
//
//   auto session = HW_TRY(Session::open(model, {.threads = 1}));
//   std::vector<Tensor> outputs = HW_TRY(session->run(feed));       // in the order of outputs()
//
// For timing, bind() the inputs once and call run_bound(): nothing but ONNX Runtime's own call and
// the release of its outputs is inside.
//
// Spinning is always off: under a CPU limit spinning threads are several times slower, and they
// disturb a measurement of two models. One session, one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/tensor_value.h"

namespace headwater::workbench {

struct OnnxModel;

// Offline levels of ONNX Runtime. kBasic is portable; kExtended and kAll may write nodes that only
// this provider or this CPU can run.
enum class GraphLevel : std::uint8_t { kNone, kBasic, kExtended, kAll };

struct SessionOptions {
  int threads = 1;
  GraphLevel level = GraphLevel::kAll;
  // Session config entries, such as {"session.disable_quant_qdq", "1"}.
  std::map<std::string, std::string> config{};
  // Where ONNX Runtime writes the graph it made of the model; "": nowhere.
  std::string save_to{};
};

struct Port {
  std::string name;
  int type = 0;  // element type; of a ZipMap's sequence: float32. 0: not a tensor
  std::vector<std::int64_t> shape;  // -1: decided by the call; empty with has_shape false: unknown
  std::vector<std::string> dims;    // symbolic names, "" where there is none
  bool has_shape = true;
  std::string text;  // "float32 [N, 3]"
};

class Session {
 public:
  // kInvalid: ONNX Runtime refuses the model, in its words. kUnavailable: no ONNX Runtime.
  static Result<std::unique_ptr<Session>> open(const std::string& path, const SessionOptions&);
  // From memory; external data is found in the model's folder.
  static Result<std::unique_ptr<Session>> open(const OnnxModel& model, const SessionOptions&);
  virtual ~Session() = default;

  virtual std::span<const Port> inputs() const = 0;
  virtual std::span<const Port> outputs() const = 0;

  // All outputs, or those at `which`. Inputs that have an initializer may be left out. A sequence
  // of maps (ZipMap) comes as float32 [rows, keys], keys ascending. kInvalid: an input is missing,
  // unknown or refused.
  virtual Result<std::vector<Tensor>> run(const Feed& feed,
                                          std::span<const std::size_t> which = {}) = 0;

  // Keeps a copy of the feed for run_bound().
  virtual Status bind(const Feed& feed) = 0;
  virtual Status run_bound() = 0;
};

// Reads an .onnx file and checks that its graph hangs together, as load_model() and check_model()
// do, before ONNX Runtime gets to see it; a file in ORT format passes.
Status check_file(const std::string& path);

// Version of ONNX Runtime ("1.29.0"), opened if it is not yet.
Result<std::string> runtime_version();

// Types and shapes of the values that the main graph's nodes make, found by running the model with
// added outputs: works where shape inference stops. `names` empty: all of them. Values that did not
// come as tensors are left out. Runs in pieces of `at_once` values to bound memory.
struct ValueFacts {
  int type = 0;
  std::vector<std::int64_t> shape;
};
Result<std::map<std::string, ValueFacts>> probe_values(const OnnxModel& model, const Feed& feed,
                                                       std::vector<std::string> names = {},
                                                       std::size_t at_once = 128);

}  // namespace headwater::workbench
