// The tensors of a model: types, sizes, and values whatever the field that holds them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/bytes.h"
#include "workbench/external_files.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

// The bytes that `tensor` must have; none for strings and unknown types.
Result<std::uint64_t> wanted_bytes(const onnx::TensorProto& tensor) {
  const std::uint64_t count = HW_TRY(element_count(tensor));
  const std::size_t width = type_width(tensor.data_type());
  if (width == 0) {
    return Error::invalid("tensor '{}': {} elements cannot be read as bytes", tensor.name(),
                          type_name(tensor.data_type()));
  }
  return count * width;
}

template <class To, class From>
void pack(const From& values, std::string& out) {
  out.resize(static_cast<std::size_t>(values.size()) * sizeof(To));
  char* at = out.data();
  for (const auto value : values) {
    store(at, static_cast<To>(value));
    at += sizeof(To);
  }
}

void pack_typed(const onnx::TensorProto& tensor, std::string& out) {
  using T = onnx::TensorProto;
  switch (tensor.data_type()) {
    case T::FLOAT:
    case T::COMPLEX64:
      return pack<float>(tensor.float_data(), out);
    case T::DOUBLE:
    case T::COMPLEX128:
      return pack<double>(tensor.double_data(), out);
    case T::INT64:
      return pack<std::int64_t>(tensor.int64_data(), out);
    case T::UINT64:
      return pack<std::uint64_t>(tensor.uint64_data(), out);
    case T::UINT32:
      return pack<std::uint32_t>(tensor.uint64_data(), out);
    case T::INT32:
      return pack<std::int32_t>(tensor.int32_data(), out);
    case T::INT16:
    case T::UINT16:
    case T::FLOAT16:
    case T::BFLOAT16:
      return pack<std::uint16_t>(tensor.int32_data(), out);
    default:
      return pack<std::uint8_t>(tensor.int32_data(), out);
  }
}

float from_half(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  std::uint32_t exponent = (half >> 10) & 0x1FU;
  std::uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1F) {
    return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  }
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

template <class To, class From>
std::vector<To> converted(std::string_view bytes) {
  std::vector<To> values(bytes.size() / sizeof(From));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<To>(load<From>(bytes.data() + i * sizeof(From)));
  }
  return values;
}

}  // namespace

std::size_t type_width(int data_type) {
  using T = onnx::TensorProto;
  switch (data_type) {
    case T::FLOAT:
    case T::INT32:
    case T::UINT32:
      return 4;
    case T::DOUBLE:
    case T::INT64:
    case T::UINT64:
    case T::COMPLEX64:
      return 8;
    case T::COMPLEX128:
      return 16;
    case T::INT16:
    case T::UINT16:
    case T::FLOAT16:
    case T::BFLOAT16:
      return 2;
    case T::INT8:
    case T::UINT8:
    case T::BOOL:
      return 1;
    default:
      return 0;
  }
}

std::string type_name(int data_type) {
  constexpr std::array<std::string_view, 24> kNames = {
      "undefined",      "float32",    "uint8",          "int8",       "uint16",   "int16",
      "int32",          "int64",      "string",         "bool",       "float16",  "float64",
      "uint32",         "uint64",     "complex64",      "complex128", "bfloat16", "float8e4m3fn",
      "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4",      "int4",     "float4e2m1"};
  if (data_type >= 0 && static_cast<std::size_t>(data_type) < kNames.size()) {
    return std::string(kNames[static_cast<std::size_t>(data_type)]);
  }
  return fmt::format("type {}", data_type);
}

Result<std::uint64_t> element_count(const onnx::TensorProto& tensor) {
  std::uint64_t count = 1;
  for (const std::int64_t dim : tensor.dims()) {
    std::uint64_t product = 0;
    if (dim < 0) {
      return Error::invalid("tensor '{}': dimension {} is negative", tensor.name(), dim);
    }
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(dim), &product) ||
        product > (std::uint64_t{1} << 58)) {
      return Error::invalid("tensor '{}': its dimensions multiply to more than 2^58",
                            tensor.name());
    }
    count = product;
  }
  return count;
}

bool is_external(const onnx::TensorProto& tensor) {
  return tensor.data_location() == onnx::TensorProto::EXTERNAL;
}

std::uint64_t stored_bytes(const onnx::TensorProto& tensor) {
  if (is_external(tensor)) {
    const auto count = element_count(tensor);
    return count ? *count * type_width(tensor.data_type()) : 0;
  }
  std::uint64_t bytes = tensor.raw_data().size();
  for (const auto& text : tensor.string_data()) {
    bytes += text.size();
  }
  const auto add = [&](auto count, std::uint64_t width) {
    bytes += static_cast<std::uint64_t>(count) * width;
  };
  add(tensor.float_data_size(), 4);
  add(tensor.double_data_size(), 8);
  add(tensor.int64_data_size(), 8);
  add(tensor.uint64_data_size(), 8);
  add(tensor.int32_data_size(), std::max<std::uint64_t>(1, type_width(tensor.data_type())));
  return bytes;
}

Result<std::string_view> tensor_bytes(const OnnxModel& model, const onnx::TensorProto& tensor,
                                      std::string& scratch) {
  const std::uint64_t wanted = HW_TRY(wanted_bytes(tensor));
  std::string_view bytes;
  if (is_external(tensor)) {
    if (!model.external) {
      return Error::invalid("tensor '{}': external data of a model in memory", tensor.name());
    }
    bytes = HW_TRY(model.external->find(tensor));
  } else if (tensor.has_raw_data()) {
    bytes = tensor.raw_data();
  } else {
    pack_typed(tensor, scratch);
    bytes = scratch;
  }
  if (bytes.size() != wanted) {
    return Error::invalid("tensor '{}': {} bytes, {} expected of {}", tensor.name(), bytes.size(),
                          wanted, type_name(tensor.data_type()));
  }
  return bytes;
}

template <class T>
Result<std::vector<T>> tensor_values(const OnnxModel& model, const onnx::TensorProto& tensor) {
  using P = onnx::TensorProto;
  std::string scratch;
  const std::string_view bytes = HW_TRY(tensor_bytes(model, tensor, scratch));
  switch (tensor.data_type()) {
    case P::FLOAT:
      return converted<T, float>(bytes);
    case P::DOUBLE:
      return converted<T, double>(bytes);
    case P::INT64:
      return converted<T, std::int64_t>(bytes);
    case P::UINT64:
      return converted<T, std::uint64_t>(bytes);
    case P::INT32:
      return converted<T, std::int32_t>(bytes);
    case P::UINT32:
      return converted<T, std::uint32_t>(bytes);
    case P::INT16:
      return converted<T, std::int16_t>(bytes);
    case P::UINT16:
      return converted<T, std::uint16_t>(bytes);
    case P::INT8:
      return converted<T, std::int8_t>(bytes);
    case P::UINT8:
    case P::BOOL:
      return converted<T, std::uint8_t>(bytes);
    case P::FLOAT16:
    case P::BFLOAT16: {
      std::vector<T> values(bytes.size() / 2);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const auto half = load<std::uint16_t>(bytes.data() + 2 * i);
        const float value = tensor.data_type() == P::FLOAT16
                                ? from_half(half)
                                : std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
        values[i] = static_cast<T>(value);
      }
      return values;
    }
    default:
      return Error::invalid("tensor '{}': {} elements are not numbers", tensor.name(),
                            type_name(tensor.data_type()));
  }
}

template Result<std::vector<float>> tensor_values(const OnnxModel&, const onnx::TensorProto&);
template Result<std::vector<double>> tensor_values(const OnnxModel&, const onnx::TensorProto&);
template Result<std::vector<std::int64_t>> tensor_values(const OnnxModel&,
                                                         const onnx::TensorProto&);

template <class T>
onnx::TensorProto make_tensor(std::string name, std::vector<std::int64_t> dims,
                              const std::vector<T>& values) {
  onnx::TensorProto tensor;
  tensor.set_name(std::move(name));
  tensor.mutable_dims()->Assign(dims.begin(), dims.end());
  tensor.set_data_type(std::is_same_v<T, float>          ? onnx::TensorProto::FLOAT
                       : std::is_same_v<T, double>       ? onnx::TensorProto::DOUBLE
                       : std::is_same_v<T, std::int64_t> ? onnx::TensorProto::INT64
                       : std::is_same_v<T, std::int32_t> ? onnx::TensorProto::INT32
                       : std::is_same_v<T, std::int8_t>  ? onnx::TensorProto::INT8
                                                         : onnx::TensorProto::UINT8);
  tensor.set_raw_data(
      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
  return tensor;
}

template onnx::TensorProto make_tensor(std::string, std::vector<std::int64_t>,
                                       const std::vector<float>&);
template onnx::TensorProto make_tensor(std::string, std::vector<std::int64_t>,
                                       const std::vector<double>&);
template onnx::TensorProto make_tensor(std::string, std::vector<std::int64_t>,
                                       const std::vector<std::int64_t>&);
template onnx::TensorProto make_tensor(std::string, std::vector<std::int64_t>,
                                       const std::vector<std::int32_t>&);
template onnx::TensorProto make_tensor(std::string, std::vector<std::int64_t>,
                                       const std::vector<std::int8_t>&);
template onnx::TensorProto make_tensor(std::string, std::vector<std::int64_t>,
                                       const std::vector<std::uint8_t>&);

}  // namespace headwater::workbench
