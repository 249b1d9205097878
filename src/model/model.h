// Model: one ONNX file, loaded and ready to run.
//
//   auto model = HW_TRY(model::Model::load({.path = "models/anomaly.onnx"}));
//   for (const model::PortInfo& port : model->inputs()) ...     // "input" float32 [N, 3]
//   HW_TRY(model->run(inputs, outputs));     // one TensorView per port, in the model's order
//
// Nodes do not call run(): they go through Binding (model/binding.h), which turns columns into
// tensors and back.
//
// ONNX Runtime is a shared library that is opened by the first load() of the process
// (model/runtime.h says where it is looked for); a program that never loads a model never pays for
// it. All sessions share one environment, which has no threads of its own.
//
// Thread rule: run() is for one thread at a time per Model. another() gives a second Model over the
// same session and weights for a second thread; those may run at the same time. Everything const is
// safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/tensor.h"

namespace headwater::model {

struct Session;  // model/session.h, for the .cc files of this library
struct Calls;

// One input or output of a model.
struct PortInfo {
  std::string name;
  ElementType type = ElementType::kFloat32;  // meaningful if `supported`
  std::vector<std::int64_t> shape;           // -1: decided by the call
  std::vector<std::string> dims;  // symbolic names, as long as `shape`; "" where there is none
  // scikit-learn's ZipMap: sequence(map(int64 or string → float)). run() gives it as float32
  // [rows, classes] and Model::classes() names the columns.
  bool is_sequence_of_maps = false;
  // False for what run() cannot carry: float16, uint8, optional, sparse, sequences of tensors.
  bool supported = true;
  bool has_shape = true;  // false: the file says nothing about the rank

  // "float32 [N, 3]", "float16 [1, 3, 224, 224]", "sequence(map(int64, float32))".
  std::string text;
};

struct ModelOptions {
  std::string path{};
  // Threads inside one call. 0: 1 for a file under 1 MiB (a second thread costs more than it
  // gives), else the CPUs of this process, 4 at most. Always bounded by the cgroup's CPU limit.
  int threads = 0;
  // "cpu"; "cuda" (an error where there is none); "auto": cuda if the library and the device are
  // there and the model is bigger than 16 MiB, else cpu.
  std::string provider = "auto";
};

class Model {
 public:
  // kNotFound: no such file. kCorrupt: empty, cut off or not an ONNX file. kInvalid: a model that
  // this runtime cannot run (unknown operator or domain, bad graph). kUnavailable: ONNX Runtime
  // itself is missing or too old; the text says where it was looked for and the remedy. Never ends
  // the process, whatever the bytes are.
  static Result<std::unique_ptr<Model>> load(ModelOptions options);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // The same session for another thread. Cheap: shares weights, has its own call buffers.
  std::unique_ptr<Model> another() const;

  std::span<const PortInfo> inputs() const;
  std::span<const PortInfo> outputs() const;

  const std::string& path() const;
  // SHA-256 of the file, 64 lower-case hex digits; what alerts carry.
  const std::string& digest() const;
  std::uint64_t file_bytes() const;
  // Metadata "headwater.name", else the file's name without ".onnx". (The graph's own name is what
  // an exporter left there: "main_graph".)
  const std::string& name() const;
  // Metadata "headwater.version", else the file's model_version if it is not 0, else "".
  const std::string& version() const;
  const std::map<std::string, std::string>& metadata() const;
  // "cpu" or "cuda", and the threads that the session uses.
  const std::string& provider() const;
  int threads() const;

  // One inference. `in` has a view per input, `out` per output, in the model's order. Shapes are
  // complete (no -1). Element buffers: float, double, std::int64_t, std::int32_t, bool as
  // std::uint8_t, strings as std::string_view. An output view with `data` set is written in place
  // and must have the exact type and shape that the model gives; one without `data` gets type,
  // shape and data filled in, valid until the next run() or the Model's end. Strings and maps must
  // be left without `data`. kInvalid if the model refuses the input; the model stays usable.
  Status run(std::span<const TensorView> in, std::span<TensorView> out);
  // Only the outputs `which` (indices, ascending); out[i] belongs to output which[i].
  Status run(std::span<const TensorView> in, std::span<const std::size_t> which,
             std::span<TensorView> out);

  // After a run: the classes of a sequence-of-maps output, ascending; empty for other outputs.
  std::span<const std::string> classes(std::size_t output) const;

 private:
  explicit Model(std::shared_ptr<const Session> session);

  std::shared_ptr<const Session> session_;
  std::unique_ptr<Calls> calls_;
};

}  // namespace headwater::model
