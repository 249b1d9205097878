#include "compute/aggregate.h"

#include <array>
#include <utility>

#include "base/strings.h"

namespace headwater {
namespace {

constexpr std::array<std::string_view, 11> kNames = {
    "count", "sum", "mean", "min", "max", "std", "rms", "slope", "last", "first", "delta"};

}  // namespace

std::string_view aggregate_name(AggregateKind kind) {
  return kNames[static_cast<std::size_t>(kind)];
}

Type aggregate_type(AggregateKind kind) {
  return kind == AggregateKind::kCount ? Type::kInt64 : Type::kFloat64;
}

Result<AggregateSpec> parse_aggregate(std::string_view column, std::string_view text) {
  text = trim(text);
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos || text.back() != ')') {
    return Error::invalid("'{}' is no aggregate: write it like \"mean(temperature)\"", text);
  }
  const std::string_view name = trim(text.substr(0, open));
  const std::string_view field = trim(text.substr(open + 1, text.size() - open - 2));
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != name) {
      continue;
    }
    const auto kind = static_cast<AggregateKind>(i);
    if (field.empty() && kind != AggregateKind::kCount) {
      return Error::invalid("'{}' needs a field: {}(FIELD)", text, name);
    }
    if (field.find_first_of("(),\"' ") != std::string_view::npos) {
      return Error::invalid(
          "'{}': '{}' is no name of a field; compute expressions in an enrich step before", text,
          field);
    }
    return AggregateSpec{std::string(column), kind, std::string(field)};
  }
  const std::string_view near = nearest_name(name, kNames);
  return Error::invalid("unknown aggregate '{}'{}; there are {}", name,
                        near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
                        fmt::join(kNames, ", "));
}

}  // namespace headwater
