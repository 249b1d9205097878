// TensorView: what a model reads and writes. Borrowed memory, row-major, no strides.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace headwater {

enum class ElementType : std::uint8_t { kFloat32, kFloat64, kInt64, kInt32, kBool, kString };

std::string_view element_type_name(ElementType type);
// 0 for strings.
std::size_t element_width(ElementType type);

struct TensorView {
  ElementType type = ElementType::kFloat32;
  std::span<const std::int64_t> shape;
  void* data = nullptr;  // product(shape) elements
};

std::int64_t element_count(std::span<const std::int64_t> shape);

}  // namespace headwater
