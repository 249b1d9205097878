// OnnxModel: an ONNX file in memory, read from hostile bytes and written in one step.
//
//   OnnxModel model = HW_TRY(load_model("model.onnx"));
//   model.proto.mutable_graph()->…
//   HW_TRY(save_model(model, "out.onnx"));       // all of it, or nothing
//
// The message classes are protoc's for third_party/onnx/onnx-ml.proto (ONNX 1.12), lite and static:
// they share nothing with the protobuf inside ONNX Runtime. Fields of later releases are kept as
// unknown fields and written back.
//
// Weights in files of their own (TensorProto.data_location EXTERNAL) stay there: tensor_bytes()
// maps them, so a model of many gigabytes costs address space, not memory.
//
// Thread rule: reading one model from several threads is fine; changing it is for one thread.
// Includes the protobuf headers: for this library's files only (tools/check_layers.py).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "workbench/onnx_pb.h"

namespace headwater::workbench {

// A message of protobuf has 2 GiB at most, and so has an .onnx file without external data.
inline constexpr std::uint64_t kMaxModelBytes = (std::uint64_t{1} << 31) - 1;

struct LoadLimits {
  std::uint64_t max_bytes = kMaxModelBytes;  // of the .onnx file
};

class ExternalFiles;  // the mapped files, by location

struct OnnxModel {
  onnx::ModelProto proto;
  std::string path;          // as given to load_model(); "" for a model made in memory
  std::string folder = ".";  // external locations are relative to it
  std::uint64_t file_bytes = 0;
  std::string digest;  // SHA-256 of the .onnx file, 64 lower-case hex digits; "" for one in memory
  std::shared_ptr<ExternalFiles> external;
};

// kNotFound: no such file. kCorrupt: empty, cut off, not ONNX, or nested deeper than protobuf's 100
// messages. kExhausted: larger than a limit. kInvalid: a model without a graph, a directory, or
// external data that is missing, too short, of another
// tensor than a graph's (sparse, in a function), or outside the model's folder ("../", absolute
// paths, links that lead out). Texts carry the path.
Result<OnnxModel> load_model(const std::string& path, const LoadLimits& limits = {});
// The same for bytes; external data is looked for in `folder`.
Result<OnnxModel> parse_model(std::string_view bytes, const std::string& folder = ".",
                              const LoadLimits& limits = {});

struct SaveOptions {
  // Above this sum of tensor bytes the weights go to PATH.DIGEST.data beside the model, DIGEST
  // being 16 hex digits of the file's SHA-256; below it, external weights are taken in.
  std::uint64_t inline_bytes = std::uint64_t{1} << 30;
};
// Writes PATH (and PATH.DIGEST.data where needed) under another name and renames, PATH last: after
// an error, and after a kill, the old model is there, whole. Then data files of earlier saves of
// PATH go, by their name; a kill before that leaves one without a reader. Equal models give equal
// bytes.
Status save_model(const OnnxModel& model, const std::string& path, const SaveOptions& options = {});
// The file of a loaded model, byte for byte; one with external data is saved anew, so that the copy
// does not lean on files of the original.
Status copy_model(const OnnxModel& original, const std::string& output);
// As above for any bytes: what save_model() and the reports use.
Status write_file(const std::string& path, std::string_view bytes);

// The .onnx bytes without external data taken in. kExhausted above 2 GiB.
Result<std::string> serialize(const OnnxModel& model);

// --- tensors ---

// Bytes of an element; 0 for strings and unknown types. Types are onnx::TensorProto::DataType.
std::size_t type_width(int data_type);
// "float32", "int64", "bfloat16", "string", …; "type 99" for one that this release does not know.
std::string type_name(int data_type);
// Product of dims; kInvalid for a negative dim or a product above 2^62.
Result<std::uint64_t> element_count(const onnx::TensorProto& tensor);
// What the tensor takes in the file or beside it.
std::uint64_t stored_bytes(const onnx::TensorProto& tensor);
bool is_external(const onnx::TensorProto& tensor);
// Whether any tensor of the model is external, in whatever graph, and the bytes of all that are.
bool has_external(const OnnxModel& model);
std::uint64_t external_bytes(const OnnxModel& model);

// The elements as little-endian bytes, whatever the file stored them as. A view into the tensor or
// the mapped file where that is possible, otherwise `scratch` is filled. kInvalid when the bytes do
// not fit type and dims ("tensor 'w': 12 bytes, 16 expected of float32 [2, 2]"); strings too.
Result<std::string_view> tensor_bytes(const OnnxModel& model, const onnx::TensorProto& tensor,
                                      std::string& scratch);
// Elements of float32, float64, float16, bfloat16 or any integer type as T. For small tensors.
template <class T>
Result<std::vector<T>> tensor_values(const OnnxModel& model, const onnx::TensorProto& tensor);
// A tensor with raw_data, dims and name. T: float, double, std::int64_t, std::int32_t, std::int8_t,
// std::uint8_t.
template <class T>
onnx::TensorProto make_tensor(std::string name, std::vector<std::int64_t> dims,
                              const std::vector<T>& values);

}  // namespace headwater::workbench
