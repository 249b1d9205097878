// Tensor: an input or output of a model in memory that owns its elements. Plain types only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace headwater::workbench {

struct Tensor {
  int type = 1;  // onnx::TensorProto::DataType: 1 float32, 7 int64, 8 string, …
  std::vector<std::int64_t> shape;
  std::string bytes;                 // little-endian elements, row-major; empty for strings
  std::vector<std::string> strings;  // of type string
};

// Inputs of one call, by name.
using Feed = std::map<std::string, Tensor>;

}  // namespace headwater::workbench
