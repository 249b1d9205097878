#include "data/tensor.h"

#include <array>

namespace headwater {

std::string_view element_type_name(ElementType type) {
  constexpr std::array<std::string_view, 6> kNames = {"float32", "float64", "int64",
                                                      "int32",   "bool",    "string"};
  return kNames[static_cast<std::size_t>(type)];
}

std::size_t element_width(ElementType type) {
  constexpr std::array<std::size_t, 6> kWidths = {4, 8, 8, 4, 1, 0};
  return kWidths[static_cast<std::size_t>(type)];
}

std::int64_t element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    count *= extent;
  }
  return count;
}

}  // namespace headwater
