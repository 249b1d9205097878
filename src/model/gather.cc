// From columns to tensors and back: the loops. A switch a column, none a value.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
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

// In vectors of 16 bytes, which every machine that we run on has: written out because a compiler
// may not reorder what it does not know to be free of effects.
template <class T>
struct Vector {
  static constexpr std::size_t kLanes = 16 / sizeof(T);
  using Type __attribute__((vector_size(16))) = T;
};

template <class From>
bool any_nan(std::span<const From> values) {
  using V = typename Vector<From>::Type;
  constexpr std::size_t kLanes = Vector<From>::kLanes;
  std::size_t i = 0;
  auto found = V{} != V{};  // all false
  for (; i + 2 * kLanes <= values.size(); i += 2 * kLanes) {
    V a;
    V b;
    std::memcpy(&a, values.data() + i, sizeof a);
    std::memcpy(&b, values.data() + i + kLanes, sizeof b);
    found |= (a != a) | (b != b);
  }
  bool any = false;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    any |= found[lane] != 0;
  }
  for (; i < values.size(); ++i) {
    any |= std::isnan(values[i]);
  }
  return any;
}

template <class From>
bool mark(const Column& source, const FieldUse& use, std::span<std::uint8_t> missing) {
  const auto values = source.values<From>();
  const bool whole_column = source.all_valid();
  if constexpr (std::is_floating_point_v<From>) {
    if (!use.whole && (use.nan_allowed || (whole_column && !any_nan<From>(values)))) {
      return false;
    }
  } else if (!use.narrow && (use.nan_allowed || whole_column)) {
    return false;
  }
  bool any = false;
  for (std::size_t row = 0; row < missing.size(); ++row) {
    const bool bad =
        whole_column || source.valid(row) ? unusable(values[row], use) : !use.nan_allowed;
    missing[row] = static_cast<std::uint8_t>(missing[row] | bad);
    any |= bad;
  }
  return any;
}

template <class From, class To>
To convert(From value) {
  if constexpr (std::is_same_v<To, std::uint8_t>) {
    return value != From{} ? 1 : 0;
  } else {
    return static_cast<To>(value);
  }
}

bool contiguous(std::span<const std::uint32_t> rows) {
  return !rows.empty() && rows.back() - rows.front() == rows.size() - 1;  // they ascend
}

template <class From, class To>
void copy_column(const Column& source, bool whole, std::span<const std::uint32_t> rows, To* to,
                 std::size_t stride) {
  const auto values = source.values<From>();
  if (contiguous(rows)) {
    const From* const from = values.data() + rows.front();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      to[i * stride] = convert<From, To>(from[i]);
    }
  } else {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      to[i * stride] = convert<From, To>(values[rows[i]]);
    }
  }
  if constexpr (std::is_floating_point_v<To>) {
    if (!whole) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!source.valid(rows[i])) {
          to[i * stride] = std::numeric_limits<To>::quiet_NaN();
        }
      }
    }
  }
}

template <class To>
void copy_numbers(const Column* source, bool whole, std::span<const std::uint32_t> rows, To* to,
                  std::size_t stride) {
  switch (source != nullptr ? source->type() : Type::kBytes) {
    case Type::kFloat64:
      return copy_column<double, To>(*source, whole, rows, to, stride);
    case Type::kFloat32:
      return copy_column<float, To>(*source, whole, rows, to, stride);
    case Type::kInt64:
      return copy_column<std::int64_t, To>(*source, whole, rows, to, stride);
    case Type::kBool:
      return copy_column<std::uint8_t, To>(*source, whole, rows, to, stride);
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

// Sign and mantissa apart, infinities and NaN are those of the greatest exponent.
template <class T>
bool all_finite(const T* values, std::size_t count) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits kExponent = std::bit_cast<Bits>(std::numeric_limits<T>::infinity());
  Bits found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Bits exponent = std::bit_cast<Bits>(values[i]) & kExponent;
    found |= static_cast<Bits>(exponent == kExponent);
  }
  return found == 0;
}

void set_valid(Column& column, std::size_t first, std::size_t count) {
  const std::span<std::uint64_t> words = column.validity();
  const std::size_t end = first + count;
  for (std::size_t word = first / 64; word * 64 < end; ++word) {
    std::uint64_t bits = ~std::uint64_t{0};
    if (word == first / 64) {
      bits &= ~std::uint64_t{0} << (first % 64);
    }
    if (end < (word + 1) * 64) {
      bits &= (std::uint64_t{1} << (end % 64)) - 1;
    }
    words[word] |= bits;
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

bool has_nan(Buffer& buffer, std::size_t first, std::size_t count) {
  switch (buffer.type()) {
    case ElementType::kFloat32:
      return any_nan<float>({buffer.as<float>() + first, count});
    case ElementType::kFloat64:
      return any_nan<double>({buffer.as<double>() + first, count});
    default:
      return false;
  }
}

bool mark_missing(const Column* source, const FieldUse& use, std::span<std::uint8_t> missing) {
  const Type type = source != nullptr ? source->type() : Type::kBytes;
  const bool fits = source != nullptr &&
                    (!use.number || convertible(type, ElementType::kFloat64)) &&
                    (!use.text || type == Type::kString);
  if (!fits) {
    if (!use.nan_allowed) {
      std::fill(missing.begin(), missing.end(), std::uint8_t{1});
    }
    return !use.nan_allowed;
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
      return !source->all_valid();
  }
}

void gather(const Column* source, bool whole, std::span<const std::uint32_t> rows, Buffer& to,
            std::size_t stride, std::size_t offset) {
  switch (to.type()) {
    case ElementType::kFloat32:
      return copy_numbers(source, whole, rows, to.as<float>() + offset, stride);
    case ElementType::kFloat64:
      return copy_numbers(source, whole, rows, to.as<double>() + offset, stride);
    case ElementType::kInt64:
      return copy_numbers(source, whole, rows, to.as<std::int64_t>() + offset, stride);
    case ElementType::kInt32:
      return copy_numbers(source, whole, rows, to.as<std::int32_t>() + offset, stride);
    case ElementType::kBool:
      return copy_numbers(source, whole, rows, to.as<std::uint8_t>() + offset, stride);
    case ElementType::kString: {
      const auto values = source->values<std::string_view>();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        to.as<std::string_view>()[i * stride + offset] = values[rows[i]];
      }
    }
  }
}

bool gather_four(std::span<const Column* const, 4> sources, std::span<const std::uint32_t> rows,
                 Buffer& to, std::size_t stride, std::size_t offset) {
  const auto plain = [](const Column* one) {
    return one != nullptr && one->type() == Type::kFloat64;
  };
  if (to.type() != ElementType::kFloat32 || !contiguous(rows) ||
      !std::all_of(sources.begin(), sources.end(), plain)) {
    return false;
  }
  const double* const a = sources[0]->values<double>().data() + rows.front();
  const double* const b = sources[1]->values<double>().data() + rows.front();
  const double* const c = sources[2]->values<double>().data() + rows.front();
  const double* const d = sources[3]->values<double>().data() + rows.front();
  float* const target = to.as<float>() + offset;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Vector<float>::Type four = {static_cast<float>(a[i]), static_cast<float>(b[i]),
                                      static_cast<float>(c[i]), static_cast<float>(d[i])};
    std::memcpy(target + i * stride, &four, sizeof four);
  }
  return true;
}

void scatter(const TensorView& from, std::size_t stride, std::size_t offset,
             std::span<const std::uint32_t> rows, Column& to, Arena& arena,
             std::span<std::uint8_t> not_finite) {
  const auto floats = [&]<class T>(const T* values) {
    if (stride == 1 && contiguous(rows) && all_finite(values, rows.size())) {
      std::memcpy(to.values<T>().data() + rows.front(), values, rows.size() * sizeof(T));
      set_valid(to, rows.front(), rows.size());
      return;
    }
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
