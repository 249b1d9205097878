// Small models built by hand, for this library's tests.
#pragma once

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "workbench/graph.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench::test {

// A folder that goes with the test.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hw_wb_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

inline onnx::ValueInfoProto value(const std::string& name, std::vector<std::int64_t> dims,
                                  int type = onnx::TensorProto::FLOAT) {
  onnx::ValueInfoProto info;
  info.set_name(name);
  auto* tensor = info.mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(type);
  tensor->mutable_shape();
  for (const std::int64_t dim : dims) {
    auto* made = tensor->mutable_shape()->add_dim();
    if (dim >= 0) {
      made->set_dim_value(dim);
    } else {
      made->set_dim_param("N");
    }
  }
  return info;
}

inline onnx::NodeProto& add_node(onnx::GraphProto& graph, const std::string& op,
                                 std::initializer_list<const char*> inputs,
                                 std::initializer_list<const char*> outputs,
                                 const std::string& name = "") {
  auto& node = *graph.add_node();
  node.set_op_type(op);
  node.set_name(name);
  for (const char* input : inputs) {
    node.add_input(input);
  }
  for (const char* output : outputs) {
    node.add_output(output);
  }
  return node;
}

inline void set_int(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
  auto& made = *node.add_attribute();
  made.set_name(name);
  made.set_type(onnx::AttributeProto::INT);
  made.set_i(value);
}
inline void set_float(onnx::NodeProto& node, const std::string& name, float value) {
  auto& made = *node.add_attribute();
  made.set_name(name);
  made.set_type(onnx::AttributeProto::FLOAT);
  made.set_f(value);
}
inline void set_text(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  auto& made = *node.add_attribute();
  made.set_name(name);
  made.set_type(onnx::AttributeProto::STRING);
  made.set_s(value);
}
inline void set_ints(onnx::NodeProto& node, const std::string& name,
                     std::vector<std::int64_t> values) {
  auto& made = *node.add_attribute();
  made.set_name(name);
  made.set_type(onnx::AttributeProto::INTS);
  made.mutable_ints()->Assign(values.begin(), values.end());
}
inline void set_floats(onnx::NodeProto& node, const std::string& name, std::vector<float> values) {
  auto& made = *node.add_attribute();
  made.set_name(name);
  made.set_type(onnx::AttributeProto::FLOATS);
  made.mutable_floats()->Assign(values.begin(), values.end());
}

inline OnnxModel empty_model(std::int64_t version) {
  OnnxModel model;
  model.proto.set_ir_version(version < 9 ? 3 : 6);
  model.proto.mutable_graph()->set_name("test");
  set_opset(model.proto, version);
  return model;
}

// x [N, 3] → MatMul w [3, 2] → Add b → Relu → y [N, 2].
inline OnnxModel dense_model(std::int64_t version = 13) {
  OnnxModel model = empty_model(version);
  model.proto.set_ir_version(6);
  auto& graph = *model.proto.mutable_graph();
  *graph.add_input() = value("x", {-1, 3});
  *graph.add_output() = value("y", {-1, 2});
  *graph.add_initializer() = make_tensor<float>("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  *graph.add_initializer() = make_tensor<float>("b", {2}, {-20, 0.5F});
  add_node(graph, "MatMul", {"x", "w"}, {"xw"}, "dense");
  add_node(graph, "Add", {"xw", "b"}, {"sum"});
  add_node(graph, "Relu", {"sum"}, {"y"});
  return model;
}

}  // namespace headwater::workbench::test
