// Model::run: tensors of the caller in, tensors of the caller or of ONNX Runtime out.
#include <algorithm>
#include <cstring>
#include <utility>

#include "model/model.h"
#include "model/ort.h"
#include "model/session.h"

namespace headwater::model {
namespace {

bool same_shape(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

Status wrap_numbers(const Session& session, const TensorView& view, Wrapper& wrapper) {
  if (wrapper.value && wrapper.data == view.data && same_shape(wrapper.shape, view.shape)) {
    return {};
  }
  const auto bytes = static_cast<std::size_t>(element_count(view.shape)) * element_width(view.type);
  wrapper.data = view.data;
  wrapper.shape.assign(view.shape.begin(), view.shape.end());
  return take_status(*session.api,
                     session.api->CreateTensorWithDataAsOrtValue(
                         session.cpu.get(), view.data, bytes, wrapper.shape.data(),
                         wrapper.shape.size(), onnx_type(view.type), wrapper.value.out()));
}

// Strings are copied into a tensor of ONNX Runtime's own, which is kept while the shape stays.
Status wrap_strings(const Session& session, const TensorView& view, Wrapper& wrapper) {
  const OrtApi& api = *session.api;
  if (!wrapper.value || !same_shape(wrapper.shape, view.shape)) {
    wrapper.shape.assign(view.shape.begin(), view.shape.end());
    HW_TRY(take_status(api, api.CreateTensorAsOrtValue(
                                session.allocator, wrapper.shape.data(), wrapper.shape.size(),
                                ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, wrapper.value.out())));
  }
  const auto* strings = static_cast<const std::string_view*>(view.data);
  const auto count = static_cast<std::size_t>(element_count(view.shape));
  for (std::size_t i = 0; i < count; ++i) {
    char* to = nullptr;
    HW_TRY(take_status(api, api.GetResizedStringTensorElementBuffer(wrapper.value.get(), i,
                                                                    strings[i].size(), &to)));
    if (!strings[i].empty()) {
      std::memcpy(to, strings[i].data(), strings[i].size());
    }
  }
  return {};
}

Status check_view(const PortInfo& port, const TensorView& view, std::string_view what) {
  if (!port.supported) {
    return Error::invalid("{} '{}' is {}, which is not supported", what, port.name, port.text);
  }
  if (view.type != port.type) {
    return Error::invalid("{} '{}' is {}, not {}", what, port.name, port.text,
                          element_type_name(view.type));
  }
  if (std::any_of(view.shape.begin(), view.shape.end(), [](std::int64_t n) { return n < 0; })) {
    return Error::invalid("{} '{}' is given an open shape", what, port.name);
  }
  return {};
}

Status read_strings(const Session& session, Kept& kept, std::size_t count) {
  const OrtApi& api = *session.api;
  std::size_t bytes = 0;
  HW_TRY(take_status(api, api.GetStringTensorDataLength(kept.value.get(), &bytes)));
  kept.text.resize(bytes);
  kept.offsets.resize(count);
  HW_TRY(take_status(api, api.GetStringTensorContent(kept.value.get(), kept.text.data(), bytes,
                                                     kept.offsets.data(), count)));
  kept.strings.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t end = i + 1 < count ? kept.offsets[i + 1] : bytes;
    kept.strings.emplace_back(kept.text.data() + kept.offsets[i], end - kept.offsets[i]);
  }
  return {};
}

Status read_tensor(const Session& session, Kept& kept, TensorView& view) {
  const OrtApi& api = *session.api;
  Owned<OrtTensorTypeAndShapeInfo> info(api.ReleaseTensorTypeAndShapeInfo);
  HW_TRY(take_status(api, api.GetTensorTypeAndShape(kept.value.get(), info.out())));
  std::size_t rank = 0;
  HW_TRY(take_status(api, api.GetDimensionsCount(info.get(), &rank)));
  kept.shape.resize(rank);
  HW_TRY(take_status(api, api.GetDimensions(info.get(), kept.shape.data(), rank)));
  if (view.type == ElementType::kString) {
    HW_TRY(read_strings(session, kept, static_cast<std::size_t>(element_count(kept.shape))));
    view.data = kept.strings.data();
  } else {
    HW_TRY(take_status(api, api.GetTensorMutableData(kept.value.get(), &view.data)));
  }
  view.shape = kept.shape;
  return {};
}

// The keys of one map as text, ascending as ONNX Runtime keeps them.
Result<std::vector<std::string>> read_keys(const Session& session, const OrtValue* keys,
                                           std::size_t count) {
  const OrtApi& api = *session.api;
  Owned<OrtTensorTypeAndShapeInfo> info(api.ReleaseTensorTypeAndShapeInfo);
  HW_TRY(take_status(api, api.GetTensorTypeAndShape(keys, info.out())));
  ONNXTensorElementDataType type{};
  HW_TRY(take_status(api, api.GetTensorElementType(info.get(), &type)));
  std::vector<std::string> names;
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) {
    void* data = nullptr;
    HW_TRY(take_status(api, api.GetTensorMutableData(const_cast<OrtValue*>(keys), &data)));
    for (const std::int64_t key : std::span(static_cast<const std::int64_t*>(data), count)) {
      names.push_back(std::to_string(key));
    }
    return names;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t length = 0;
    HW_TRY(take_status(api, api.GetStringTensorElementLength(keys, i, &length)));
    std::string& name = names.emplace_back(length, '\0');
    HW_TRY(take_status(api, api.GetStringTensorElement(keys, length, i, name.data())));
  }
  return names;
}

// sequence(map(class → float)), one map a row, to a table [rows, classes].
Status read_maps(const Session& session, Kept& kept, TensorView& view) {
  const OrtApi& api = *session.api;
  std::size_t rows = 0;
  HW_TRY(take_status(api, api.GetValueCount(kept.value.get(), &rows)));
  kept.table.clear();
  kept.classes.clear();
  for (std::size_t row = 0; row < rows; ++row) {
    Owned<OrtValue> map(api.ReleaseValue);
    Owned<OrtValue> keys(api.ReleaseValue);
    Owned<OrtValue> values(api.ReleaseValue);
    HW_TRY(take_status(
        api, api.GetValue(kept.value.get(), static_cast<int>(row), session.allocator, map.out())));
    HW_TRY(take_status(api, api.GetValue(map.get(), 0, session.allocator, keys.out())));
    HW_TRY(take_status(api, api.GetValue(map.get(), 1, session.allocator, values.out())));
    Owned<OrtTensorTypeAndShapeInfo> info(api.ReleaseTensorTypeAndShapeInfo);
    HW_TRY(take_status(api, api.GetTensorTypeAndShape(values.get(), info.out())));
    std::size_t count = 0;
    HW_TRY(take_status(api, api.GetTensorShapeElementCount(info.get(), &count)));
    // All maps of one ZipMap node have the same keys; only their number can be seen cheaply.
    if (row == 0) {
      kept.classes = HW_TRY(read_keys(session, keys.get(), count));
    } else if (count != kept.classes.size()) {
      return Error::invalid("row {} has {} classes, the first has {}", row, count,
                            kept.classes.size());
    }
    void* data = nullptr;
    HW_TRY(take_status(api, api.GetTensorMutableData(values.get(), &data)));
    const auto* floats = static_cast<const float*>(data);
    kept.table.insert(kept.table.end(), floats, floats + count);
  }
  kept.shape = {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(kept.classes.size())};
  view.shape = kept.shape;
  view.data = kept.table.data();
  return {};
}

}  // namespace

Status Model::run(std::span<const TensorView> in, std::span<TensorView> out) {
  return run(in, calls_->all, out);
}

Status Model::run(std::span<const TensorView> in, std::span<const std::size_t> which,
                  std::span<TensorView> out) {
  const Session& session = *session_;
  Calls& calls = *calls_;
  if (in.size() != session.inputs.size()) {
    return Error::invalid("the model has {} inputs, {} were given", session.inputs.size(),
                          in.size());
  }
  if (out.size() != which.size()) {
    return Error::invalid("{} outputs were asked for with {} views", which.size(), out.size());
  }
  calls.in.clear();
  for (std::size_t i = 0; i < in.size(); ++i) {
    HW_TRY(check_view(session.inputs[i], in[i], "input"));
    Wrapper& wrapper = calls.inputs[i];
    HW_TRY(in[i].type == ElementType::kString ? wrap_strings(session, in[i], wrapper)
                                              : wrap_numbers(session, in[i], wrapper));
    calls.in.push_back(wrapper.value.get());
  }
  calls.out.clear();
  calls.out_names.clear();
  for (std::size_t i = 0; i < which.size(); ++i) {
    if (which[i] >= session.outputs.size()) {
      return Error::invalid("there is no output {}", which[i]);
    }
    const PortInfo& port = session.outputs[which[i]];
    calls.out_names.push_back(port.name.c_str());
    calls.kept[which[i]].value.reset();
    if (out[i].data == nullptr) {
      if (!port.supported) {
        return Error::invalid("output '{}' is {}, which is not supported", port.name, port.text);
      }
      calls.out.push_back(nullptr);
      continue;
    }
    HW_TRY(check_view(port, out[i], "output"));
    if (port.is_sequence_of_maps || port.type == ElementType::kString) {
      return Error::invalid("output '{}' is {}; it cannot be written in place", port.name,
                            port.text);
    }
    Wrapper& wrapper = calls.outputs[which[i]];
    HW_TRY(wrap_numbers(session, out[i], wrapper));
    calls.out.push_back(wrapper.value.get());
  }

  Status ran = take_status(
      *session.api, session.api->Run(session.session.get(), nullptr, session.input_names.data(),
                                     calls.in.data(), calls.in.size(), calls.out_names.data(),
                                     calls.out_names.size(), calls.out.data()));
  for (std::size_t i = 0; i < which.size(); ++i) {
    if (out[i].data == nullptr && calls.out[i] != nullptr) {
      *calls.kept[which[i]].value.out() = calls.out[i];  // also after a failure: released next time
    }
  }
  HW_TRY(std::move(ran));
  for (std::size_t i = 0; i < which.size(); ++i) {
    if (out[i].data != nullptr) {
      continue;
    }
    const PortInfo& port = session.outputs[which[i]];
    Kept& kept = calls.kept[which[i]];
    if (!kept.value) {
      return Error::invalid("output '{}' has no value", port.name);
    }
    out[i].type = port.type;
    HW_TRY(port.is_sequence_of_maps ? read_maps(session, kept, out[i])
                                    : read_tensor(session, kept, out[i]));
  }
  return {};
}

std::span<const std::string> Model::classes(std::size_t output) const {
  return calls_->kept[output].classes;
}

}  // namespace headwater::model
