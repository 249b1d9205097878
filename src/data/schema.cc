#include "data/schema.h"

#include <array>

namespace headwater {
namespace {

constexpr std::array<std::string_view, 8> kNames = {"float64",   "float32", "int64", "bool",
                                                    "timestamp", "string",  "bytes", "frame"};

}  // namespace

std::string_view type_name(Type type) {
  return kNames[static_cast<std::size_t>(type)];
}

std::optional<Type> type_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) {
      return static_cast<Type>(i);
    }
  }
  return std::nullopt;
}

std::size_t type_width(Type type) {
  switch (type) {
    case Type::kFloat64:
    case Type::kInt64:
    case Type::kTimestamp:
      return 8;
    case Type::kFloat32:
      return 4;
    case Type::kBool:
      return 1;
    case Type::kString:
    case Type::kBytes:
    case Type::kFrame:
      return sizeof(std::string_view);
  }
  return 0;
}

std::optional<std::size_t> Schema::find(std::string_view name) const {
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].name == name) {
      return i;
    }
  }
  return std::nullopt;
}

std::size_t Schema::set(Field field) {
  if (const auto found = find(field.name)) {
    fields_[*found] = std::move(field);
    return *found;
  }
  fields_.push_back(std::move(field));
  return fields_.size() - 1;
}

void Schema::erase(std::size_t index) {
  fields_.erase(fields_.begin() + static_cast<std::ptrdiff_t>(index));
}

}  // namespace headwater
