#include "workbench/session.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/bytes.h"
#include "base/strings.h"
#include "model/ort.h"
#include "model/runtime.h"
#include "workbench/graph.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

using model::Owned;
using model::Runtime;
using model::take_status;

std::string shape_text(const Port& port) {
  std::string text = "[";
  for (std::size_t i = 0; i < port.shape.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += port.shape[i] >= 0     ? std::to_string(port.shape[i])
            : port.dims[i].empty() ? "?"
                                   : port.dims[i];
  }
  return text + "]";
}

Status describe_port(const OrtApi& api, const OrtTypeInfo* info, Port& port) {
  ONNXType kind{};
  HW_TRY(take_status(api, api.GetOnnxTypeFromTypeInfo(info, &kind)));
  if (kind != ONNX_TYPE_TENSOR) {
    port.type = kind == ONNX_TYPE_SEQUENCE ? 1 : 0;
    port.has_shape = false;
    port.text = kind == ONNX_TYPE_SEQUENCE ? "sequence" : kind == ONNX_TYPE_MAP ? "map" : "other";
    return {};
  }
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  HW_TRY(take_status(api, api.CastTypeInfoToTensorInfo(info, &tensor)));
  ONNXTensorElementDataType type{};
  HW_TRY(take_status(api, api.GetTensorElementType(tensor, &type)));
  port.type = static_cast<int>(type);
  std::size_t rank = 0;
  HW_TRY(take_status(api, api.GetDimensionsCount(tensor, &rank)));
  port.shape.resize(rank);
  HW_TRY(take_status(api, api.GetDimensions(tensor, port.shape.data(), rank)));
  std::vector<const char*> symbols(rank, nullptr);
  HW_TRY(take_status(api, api.GetSymbolicDimensions(tensor, symbols.data(), rank)));
  for (std::size_t i = 0; i < rank; ++i) {
    port.dims.emplace_back(symbols[i] != nullptr ? symbols[i] : "");
    port.shape[i] = std::max<std::int64_t>(port.shape[i], -1);
  }
  port.text = fmt::format("{} {}", type_name(port.type), shape_text(port));
  return {};
}

GraphOptimizationLevel ort_level(GraphLevel level) {
  switch (level) {
    case GraphLevel::kNone:
      return ORT_DISABLE_ALL;
    case GraphLevel::kBasic:
      return ORT_ENABLE_BASIC;
    case GraphLevel::kExtended:
      return ORT_ENABLE_EXTENDED;
    case GraphLevel::kAll:
      return ORT_ENABLE_ALL;
  }
  return ORT_ENABLE_ALL;
}

class OrtSessionOfModel final : public Session {
 public:
  explicit OrtSessionOfModel(const Runtime& runtime)
      : api_(*runtime.api), runtime_(runtime), session_(runtime.api->ReleaseSession) {}

  Status start(const SessionOptions& options, const std::string& path, std::string_view bytes,
               const std::string& folder) {
    Owned<OrtSessionOptions> ort(api_.ReleaseSessionOptions);
    HW_TRY(take_status(api_, api_.CreateSessionOptions(ort.out())));
    HW_TRY(take_status(api_, api_.SetIntraOpNumThreads(ort.get(), options.threads)));
    HW_TRY(take_status(api_, api_.SetInterOpNumThreads(ort.get(), 1)));
    HW_TRY(take_status(api_, api_.SetSessionExecutionMode(ort.get(), ORT_SEQUENTIAL)));
    HW_TRY(take_status(api_,
                       api_.SetSessionGraphOptimizationLevel(ort.get(), ort_level(options.level))));
    std::map<std::string, std::string> config = options.config;
    config.emplace("session.intra_op.allow_spinning", "0");
    config.emplace("session.inter_op.allow_spinning", "0");
    if (path.empty()) {
      config.emplace("session.model_external_initializers_file_folder_path", folder);
    }
    for (const auto& [key, value] : config) {
      HW_TRY(take_status(api_, api_.AddSessionConfigEntry(ort.get(), key.c_str(), value.c_str())));
    }
    if (!options.save_to.empty()) {
      HW_TRY(take_status(api_, api_.SetOptimizedModelFilePath(ort.get(), options.save_to.c_str())));
    }
    if (path.empty()) {
      HW_TRY(take_status(api_, api_.CreateSessionFromArray(runtime_.env, bytes.data(), bytes.size(),
                                                           ort.get(), session_.out())));
    } else {
      HW_TRY(take_status(
          api_, api_.CreateSession(runtime_.env, path.c_str(), ort.get(), session_.out())));
    }
    HW_TRY(take_status(api_, api_.GetAllocatorWithDefaultOptions(&allocator_)));
    memory_ = Owned<OrtMemoryInfo>(api_.ReleaseMemoryInfo);
    HW_TRY(take_status(
        api_, api_.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, memory_.out())));
    HW_TRY(read_ports(true));
    return read_ports(false);
  }

  std::span<const Port> inputs() const override { return inputs_; }
  std::span<const Port> outputs() const override { return outputs_; }

  Result<std::vector<Tensor>> run(const Feed& feed, std::span<const std::size_t> which) override {
    Arguments arguments;
    HW_TRY(fill(feed, arguments));
    std::vector<std::size_t> wanted(which.begin(), which.end());
    if (wanted.empty()) {
      wanted.resize(outputs_.size());
      std::iota(wanted.begin(), wanted.end(), std::size_t{0});
    }
    std::vector<OrtValue*> made(wanted.size(), nullptr);
    HW_TRY(call(arguments, wanted, made));
    std::vector<Owned<OrtValue>> owned;
    for (OrtValue* value : made) {
      Owned<OrtValue> holder(api_.ReleaseValue);
      *holder.out() = value;
      owned.push_back(std::move(holder));
    }
    std::vector<Tensor> tensors;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      auto tensor = read_value(owned[i].get());
      if (!tensor) {
        return std::move(tensor).error().with("output '{}'", outputs_[wanted[i]].name);
      }
      tensors.push_back(std::move(*tensor));
    }
    return tensors;
  }

  Status bind(const Feed& feed) override {
    bound_feed_ = feed;
    bound_ = Arguments{};
    all_.resize(outputs_.size());
    std::iota(all_.begin(), all_.end(), std::size_t{0});
    return fill(bound_feed_, bound_);
  }

  Status run_bound() override {
    made_.assign(outputs_.size(), nullptr);
    HW_TRY(call(bound_, all_, made_));
    for (OrtValue* value : made_) {
      if (value != nullptr) {
        api_.ReleaseValue(value);
      }
    }
    return {};
  }

 private:
  struct Arguments {
    std::vector<const char*> names;
    std::vector<Owned<OrtValue>> values;
  };

  Status read_ports(bool inputs) {
    std::size_t count = 0;
    HW_TRY(take_status(api_, inputs ? api_.SessionGetInputCount(session_.get(), &count)
                                    : api_.SessionGetOutputCount(session_.get(), &count)));
    for (std::size_t i = 0; i < count; ++i) {
      Port port;
      char* name = nullptr;
      HW_TRY(take_status(api_,
                         inputs ? api_.SessionGetInputName(session_.get(), i, allocator_, &name)
                                : api_.SessionGetOutputName(session_.get(), i, allocator_, &name)));
      port.name = name;
      allocator_->Free(allocator_, name);
      Owned<OrtTypeInfo> type(api_.ReleaseTypeInfo);
      HW_TRY(take_status(api_, inputs
                                   ? api_.SessionGetInputTypeInfo(session_.get(), i, type.out())
                                   : api_.SessionGetOutputTypeInfo(session_.get(), i, type.out())));
      HW_TRY(describe_port(api_, type.get(), port));
      (inputs ? inputs_ : outputs_).push_back(std::move(port));
    }
    return {};
  }

  // The values borrow the feed's bytes.
  Status fill(const Feed& feed, Arguments& to) {
    for (const Port& port : inputs_) {
      const auto found = feed.find(port.name);
      if (found == feed.end()) {
        return Error::invalid("the inputs have no '{}' ({}); they have {}", port.name, port.text,
                              names_of(feed));
      }
      auto value = make_value(found->second);
      if (!value) {
        return std::move(value).error().with("input '{}'", port.name);
      }
      to.names.push_back(port.name.c_str());
      to.values.push_back(std::move(*value));
    }
    return {};
  }

  static std::string names_of(const Feed& feed) {
    std::string text;
    for (const auto& [name, tensor] : feed) {
      text += (text.empty() ? "'" : ", '") + name + "'";
    }
    return text.empty() ? "none" : text;
  }

  Result<Owned<OrtValue>> make_value(const Tensor& tensor) {
    std::uint64_t count = 1;
    for (const std::int64_t dim : tensor.shape) {
      if (dim < 0 || __builtin_mul_overflow(count, static_cast<std::uint64_t>(dim), &count)) {
        return Error::invalid("a shape with a dimension of {}", dim);
      }
    }
    Owned<OrtValue> value(api_.ReleaseValue);
    const auto type = static_cast<ONNXTensorElementDataType>(tensor.type);
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) {
      if (tensor.strings.size() != count) {
        return Error::invalid("{} strings for {} elements", tensor.strings.size(), count);
      }
      HW_TRY(
          take_status(api_, api_.CreateTensorAsOrtValue(allocator_, tensor.shape.data(),
                                                        tensor.shape.size(), type, value.out())));
      std::vector<const char*> texts;
      for (const std::string& text : tensor.strings) {
        texts.push_back(text.c_str());
      }
      HW_TRY(take_status(api_, api_.FillStringTensor(value.get(), texts.data(), texts.size())));
      return value;
    }
    if (tensor.bytes.size() != count * type_width(tensor.type)) {
      return Error::invalid("{} bytes for {} elements of {}", tensor.bytes.size(), count,
                            type_name(tensor.type));
    }
    HW_TRY(take_status(
        api_, api_.CreateTensorWithDataAsOrtValue(
                  memory_.get(), const_cast<char*>(tensor.bytes.data()), tensor.bytes.size(),
                  tensor.shape.data(), tensor.shape.size(), type, value.out())));
    return value;
  }

  Status call(const Arguments& in, std::span<const std::size_t> wanted,
              std::vector<OrtValue*>& made) {
    in_.clear();
    out_names_.clear();
    for (const auto& value : in.values) {
      in_.push_back(value.get());
    }
    for (const std::size_t i : wanted) {
      out_names_.push_back(outputs_[i].name.c_str());
    }
    return take_status(api_,
                       api_.Run(session_.get(), nullptr, in.names.data(), in_.data(), in_.size(),
                                out_names_.data(), out_names_.size(), made.data()));
  }

  Result<Tensor> read_value(const OrtValue* value) {
    if (value == nullptr) {
      return Error::invalid("the model gave nothing");
    }
    ONNXType kind{};
    HW_TRY(take_status(api_, api_.GetValueType(value, &kind)));
    if (kind == ONNX_TYPE_SEQUENCE) {
      return read_sequence(value);
    }
    if (kind != ONNX_TYPE_TENSOR) {
      return Error::invalid("its kind is not a tensor");
    }
    return read_tensor(value);
  }

  Result<Tensor> read_tensor(const OrtValue* value) {
    Tensor tensor;
    Owned<OrtTensorTypeAndShapeInfo> info(api_.ReleaseTensorTypeAndShapeInfo);
    HW_TRY(take_status(api_, api_.GetTensorTypeAndShape(value, info.out())));
    ONNXTensorElementDataType type{};
    HW_TRY(take_status(api_, api_.GetTensorElementType(info.get(), &type)));
    tensor.type = static_cast<int>(type);
    std::size_t rank = 0;
    std::size_t count = 0;
    HW_TRY(take_status(api_, api_.GetDimensionsCount(info.get(), &rank)));
    tensor.shape.resize(rank);
    HW_TRY(take_status(api_, api_.GetDimensions(info.get(), tensor.shape.data(), rank)));
    HW_TRY(take_status(api_, api_.GetTensorShapeElementCount(info.get(), &count)));
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) {
      std::size_t length = 0;
      HW_TRY(take_status(api_, api_.GetStringTensorDataLength(value, &length)));
      std::string text(length, '\0');
      std::vector<std::size_t> offsets(count + 1, length);
      HW_TRY(take_status(
          api_, api_.GetStringTensorContent(value, text.data(), length, offsets.data(), count)));
      for (std::size_t i = 0; i < count; ++i) {
        tensor.strings.push_back(text.substr(offsets[i], offsets[i + 1] - offsets[i]));
      }
      return tensor;
    }
    const std::size_t width = type_width(tensor.type);
    if (width == 0) {
      return Error::invalid("elements of {} cannot be read", type_name(tensor.type));
    }
    void* data = nullptr;
    HW_TRY(take_status(api_, api_.GetTensorMutableData(const_cast<OrtValue*>(value), &data)));
    if (count > 0) {
      tensor.bytes.assign(static_cast<const char*>(data), count * width);
    }
    return tensor;
  }

  // sequence(map(key, float)): a row per map. ONNX Runtime keeps a map's keys sorted.
  Result<Tensor> read_sequence(const OrtValue* value) {
    std::size_t rows = 0;
    HW_TRY(take_status(api_, api_.GetValueCount(value, &rows)));
    Tensor table;
    std::int64_t columns = -1;
    for (std::size_t row = 0; row < rows; ++row) {
      Owned<OrtValue> map(api_.ReleaseValue);
      HW_TRY(take_status(api_, api_.GetValue(value, static_cast<int>(row), allocator_, map.out())));
      ONNXType kind{};
      HW_TRY(take_status(api_, api_.GetValueType(map.get(), &kind)));
      if (kind != ONNX_TYPE_MAP) {
        return Error::invalid("a sequence of tensors is not supported");
      }
      Owned<OrtValue> values(api_.ReleaseValue);
      HW_TRY(take_status(api_, api_.GetValue(map.get(), 1, allocator_, values.out())));
      const Tensor cells = HW_TRY(read_tensor(values.get()));
      const auto count = static_cast<std::int64_t>(cells.bytes.size() / sizeof(float));
      if (cells.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || (columns >= 0 && columns != count)) {
        return Error::invalid("a sequence of maps that are not all alike is not supported");
      }
      columns = count;
      table.bytes += cells.bytes;
    }
    table.shape = {static_cast<std::int64_t>(rows), std::max<std::int64_t>(columns, 0)};
    return table;
  }

  const OrtApi& api_;
  const Runtime& runtime_;
  Owned<OrtSession> session_;
  Owned<OrtMemoryInfo> memory_;
  OrtAllocator* allocator_ = nullptr;  // not owned
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  Feed bound_feed_;
  Arguments bound_;
  std::vector<std::size_t> all_;
  // Scratch of call() and run_bound().
  std::vector<const OrtValue*> in_;
  std::vector<const char*> out_names_;
  std::vector<OrtValue*> made_;
};

}  // namespace

Result<std::unique_ptr<Session>> Session::open(const std::string& path,
                                               const SessionOptions& options) {
  const Runtime* const runtime = HW_TRY(model::runtime());
  auto session = std::make_unique<OrtSessionOfModel>(*runtime);
  if (Status started = session->start(options, path, {}, {}); !started) {
    return std::move(started).error().with("ONNX Runtime {} refuses '{}'", runtime->info.version,
                                           path);
  }
  return std::unique_ptr<Session>(std::move(session));
}

Result<std::unique_ptr<Session>> Session::open(const OnnxModel& model,
                                               const SessionOptions& options) {
  const Runtime* const runtime = HW_TRY(model::runtime());
  const std::string bytes = HW_TRY(serialize(model));
  auto session = std::make_unique<OrtSessionOfModel>(*runtime);
  if (Status started = session->start(options, {}, bytes, model.folder); !started) {
    return std::move(started).error().with("ONNX Runtime {} refuses the model",
                                           runtime->info.version);
  }
  return std::unique_ptr<Session>(std::move(session));
}

Status check_file(const std::string& path) {
  if (path.ends_with(".ort")) {
    return {};
  }
  OnnxModel model = HW_TRY(load_model(path));
  HW_TRY(sort_nodes(model.proto).with("model '{}'", path));
  return check_model(model.proto).with("model '{}'", path);
}

Result<std::string> runtime_version() {
  return HW_TRY(model::runtime())->info.version;
}

Result<std::map<std::string, ValueFacts>> probe_values(const OnnxModel& model, const Feed& feed,
                                                       std::vector<std::string> names,
                                                       std::size_t at_once) {
  if (names.empty()) {
    for (const auto& node : model.proto.graph().node()) {
      for (const auto& name : node.output()) {
        if (!name.empty()) {
          names.push_back(name);
        }
      }
    }
  }
  std::map<std::string, ValueFacts> facts;
  OnnxModel tapped = model;
  for (std::size_t at = 0; at < names.size(); at += at_once) {
    const std::size_t end = std::min(names.size(), at + at_once);
    auto* outputs = tapped.proto.mutable_graph()->mutable_output();
    outputs->Clear();
    for (std::size_t i = at; i < end; ++i) {
      outputs->Add()->set_name(names[i]);
    }
    auto session = HW_TRY(Session::open(tapped, {.level = GraphLevel::kNone}));
    std::vector<std::size_t> tensors;
    for (std::size_t i = 0; i < session->outputs().size(); ++i) {
      if (session->outputs()[i].text != "sequence" && session->outputs()[i].type != 0) {
        tensors.push_back(i);
      }
    }
    if (tensors.empty()) {
      continue;
    }
    std::vector<Tensor> values = HW_TRY(session->run(feed, tensors));
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      facts[session->outputs()[tensors[i]].name] = {values[i].type, std::move(values[i].shape)};
    }
  }
  return facts;
}

}  // namespace headwater::workbench
