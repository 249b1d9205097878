// From columns to tensors and back: the loops. A switch a column, none a value.
#include <cmath>
#include <limits>

#include "model/plan.h"

namespace headwater::model {
namespace {

template <class From>
bool unusable(From value, const FieldUse& use) {
  if constexpr (std::is_floating_point_v<From>) {
    if (std::isnan(value)) {
      return !use.nan_allowed;
    }
    if (use.whole) {
      const double limit = use.narrow ? 2147483648.0 : 9223372036854775808.0;
      return !(value >= -limit && value < limit);
    }
    return false;
  } else {
    return use.narrow &&
           (static_cast<std::int64_t>(value) < std::numeric_limits<std::int32_t>::min() ||
            static_cast<std::int64_t>(value) > std::numeric_limits<std::int32_t>::max());
  }
}

template <class From>
void mark(const Column& source, const FieldUse& use, std::span<std::uint8_t> missing) {
  const auto values = source.values<From>();
  if (source.all_valid()) {
    for (std::size_t row = 0; row < missing.size(); ++row) {
      missing[row] = static_cast<std::uint8_t>(missing[row] | unusable(values[row], use));
    }
    return;
  }
  for (std::size_t row = 0; row < missing.size(); ++row) {
    const bool bad = source.valid(row) ? unusable(values[row], use) : !use.nan_allowed;
    missing[row] = static_cast<std::uint8_t>(missing[row] | bad);
  }
}

template <class From, class To>
To convert(From value) {
  if constexpr (std::is_same_v<To, std::uint8_t>) {
    return value != From{} ? 1 : 0;
  } else {
    return static_cast<To>(value);
  }
}

template <class From, class To>
void copy_column(const Column& source, std::span<const std::uint32_t> rows, To* to,
                 std::size_t stride) {
  const auto values = source.values<From>();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    to[i * stride] = convert<From, To>(values[rows[i]]);
  }
  if constexpr (std::is_floating_point_v<To>) {
    if (!source.all_valid()) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!source.valid(rows[i])) {
          to[i * stride] = std::numeric_limits<To>::quiet_NaN();
        }
      }
    }
  }
}

template <class To>
void copy_numbers(const Column* source, std::span<const std::uint32_t> rows, To* to,
                  std::size_t stride) {
  switch (source != nullptr ? source->type() : Type::kBytes) {
    case Type::kFloat64:
      return copy_column<double, To>(*source, rows, to, stride);
    case Type::kFloat32:
      return copy_column<float, To>(*source, rows, to, stride);
    case Type::kInt64:
      return copy_column<std::int64_t, To>(*source, rows, to, stride);
    case Type::kBool:
      return copy_column<std::uint8_t, To>(*source, rows, to, stride);
    default:
      break;
  }
  // Only fields that may be NaN come here: mark_missing() has sorted out the rest.
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if constexpr (std::is_floating_point_v<To>) {
      to[i * stride] = std::numeric_limits<To>::quiet_NaN();
    } else {
      to[i * stride] = To{};
    }
  }
}

}  // namespace

bool convertible(Type from, ElementType to) {
  switch (from) {
    case Type::kFloat64:
    case Type::kFloat32:
    case Type::kInt64:
    case Type::kBool:
      return to != ElementType::kString;
    case Type::kString:
      return to == ElementType::kString;
    default:
      return false;
  }
}

Type column_type(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return Type::kFloat32;
    case ElementType::kFloat64:
      return Type::kFloat64;
    case ElementType::kInt64:
    case ElementType::kInt32:
      return Type::kInt64;
    case ElementType::kBool:
      return Type::kBool;
    case ElementType::kString:
      return Type::kString;
  }
  return Type::kFloat64;
}

void mark_missing(const Column* source, const FieldUse& use, std::span<std::uint8_t> missing) {
  const Type type = source != nullptr ? source->type() : Type::kBytes;
  const bool fits = source != nullptr &&
                    (!use.number || convertible(type, ElementType::kFloat64)) &&
                    (!use.text || type == Type::kString);
  if (!fits) {
    if (!use.nan_allowed) {
      std::fill(missing.begin(), missing.end(), std::uint8_t{1});
    }
    return;
  }
  switch (type) {
    case Type::kFloat64:
      return mark<double>(*source, use, missing);
    case Type::kFloat32:
      return mark<float>(*source, use, missing);
    case Type::kInt64:
      return mark<std::int64_t>(*source, use, missing);
    case Type::kBool:
      return mark<std::uint8_t>(*source, use, missing);
    default:
      for (std::size_t row = 0; row < missing.size(); ++row) {
        missing[row] = static_cast<std::uint8_t>(missing[row] | !source->valid(row));
      }
  }
}

void gather(const Column* source, std::span<const std::uint32_t> rows, Buffer& to,
            std::size_t stride, std::size_t offset) {
  switch (to.type()) {
    case ElementType::kFloat32:
      return copy_numbers(source, rows, to.as<float>() + offset, stride);
    case ElementType::kFloat64:
      return copy_numbers(source, rows, to.as<double>() + offset, stride);
    case ElementType::kInt64:
      return copy_numbers(source, rows, to.as<std::int64_t>() + offset, stride);
    case ElementType::kInt32:
      return copy_numbers(source, rows, to.as<std::int32_t>() + offset, stride);
    case ElementType::kBool:
      return copy_numbers(source, rows, to.as<std::uint8_t>() + offset, stride);
    case ElementType::kString: {
      const auto values = source->values<std::string_view>();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        to.as<std::string_view>()[i * stride + offset] = values[rows[i]];
      }
    }
  }
}

void scatter(const TensorView& from, std::size_t stride, std::size_t offset,
             std::span<const std::uint32_t> rows, Column& to, Arena& arena,
             std::span<std::uint8_t> not_finite) {
  const auto floats = [&]<class T>(const T* values) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const T value = values[i * stride + offset];
      if (std::isfinite(value)) {
        to.set<T>(rows[i], value);
      } else {
        not_finite[i] = 1;
      }
    }
  };
  const auto whole = [&]<class T, class To>(const T* values, To) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      to.set<To>(rows[i], static_cast<To>(values[i * stride + offset]));
    }
  };
  switch (from.type) {
    case ElementType::kFloat32:
      return floats(static_cast<const float*>(from.data));
    case ElementType::kFloat64:
      return floats(static_cast<const double*>(from.data));
    case ElementType::kInt64:
      return whole(static_cast<const std::int64_t*>(from.data), std::int64_t{});
    case ElementType::kInt32:
      return whole(static_cast<const std::int32_t*>(from.data), std::int64_t{});
    case ElementType::kBool:
      return whole(static_cast<const std::uint8_t*>(from.data), std::uint8_t{});
    case ElementType::kString: {
      const auto* values = static_cast<const std::string_view*>(from.data);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        to.set<std::string_view>(rows[i], arena.copy(values[i * stride + offset]));
      }
    }
  }
}

}  // namespace headwater::model
