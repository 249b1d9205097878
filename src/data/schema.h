// Types of columns and the names and types of a batch's fields.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace headwater {

enum class Type : std::uint8_t {
  kFloat64,
  kFloat32,
  kInt64,
  kBool,       // one byte a value, 0 or 1
  kTimestamp,  // int64 nanoseconds since 1970-01-01T00:00:00Z
  kString,     // std::string_view into the batch's arena, UTF-8
  kBytes,      // std::string_view into the batch's arena
  kFrame,      // an image; reserved
};

// "float64", "float32", "int64", "bool", "timestamp", "string", "bytes", "frame".
std::string_view type_name(Type type);
std::optional<Type> type_from_name(std::string_view name);
// Bytes of one value in a column's buffer.
std::size_t type_width(Type type);

struct Field {
  std::string name;  // nested JSON objects flatten to dotted names: "motor.temperature"
  Type type = Type::kFloat64;
  std::string unit;  // "bar", "°C"; may be empty

  friend bool operator==(const Field&, const Field&) = default;
};

// Ordered, names unique. Small: look-ups are linear for up to 16 fields and hashed by nobody; a
// stage resolves its names once per batch or less.
class Schema {
 public:
  Schema() = default;
  explicit Schema(std::vector<Field> fields) : fields_(std::move(fields)) {}

  std::size_t size() const { return fields_.size(); }
  const Field& operator[](std::size_t index) const { return fields_[index]; }
  const std::vector<Field>& fields() const { return fields_; }
  std::optional<std::size_t> find(std::string_view name) const;
  // Adds or replaces; returns the field's index.
  std::size_t set(Field field);
  // Those behind it move up.
  void erase(std::size_t index);

  friend bool operator==(const Schema&, const Schema&) = default;

 private:
  std::vector<Field> fields_;
};

}  // namespace headwater
