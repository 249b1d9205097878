#include "compute/aggregate.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "base/strings.h"

namespace headwater {
namespace {

constexpr std::array<std::string_view, 17> kNames = {
    "count",   "sum",   "mean",  "min",   "max",   "std",      "rms",      "slope",
    "last",    "first", "delta", "range", "crest", "skewness", "kurtosis", "zero_crossings",
    "quantile"};
constexpr std::string_view kMedian = "median";

// The number p of a quantile, as its text is written.
Result<double> parse_share(std::string_view text, std::string_view p) {
  double share = 0;
  const auto [end, error] = std::from_chars(p.data(), p.data() + p.size(), share);
  if (error != std::errc{} || end != p.data() + p.size() || !(share >= 0 && share <= 1)) {
    return Error::invalid("'{}': '{}' is no number from 0 to 1", text, p);
  }
  return share;
}

}  // namespace

std::string_view aggregate_name(AggregateKind kind) {
  return kNames[static_cast<std::size_t>(kind)];
}

Type aggregate_type(AggregateKind kind) {
  return kind == AggregateKind::kCount || kind == AggregateKind::kZeroCrossings ? Type::kInt64
                                                                                : Type::kFloat64;
}

Result<AggregateSpec> parse_aggregate(std::string_view column, std::string_view text) {
  text = trim(text);
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos || text.back() != ')') {
    return Error::invalid("'{}' is no aggregate: write it like \"mean(temperature)\"", text);
  }
  const std::string_view name = trim(text.substr(0, open));
  std::string_view field = trim(text.substr(open + 1, text.size() - open - 2));
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end() && name != kMedian) {
    std::vector<std::string_view> known(kNames.begin(), kNames.end());
    known.push_back(kMedian);
    const std::string_view near = nearest_name(name, known);
    return Error::invalid("unknown aggregate '{}'{}; there are {}", name,
                          near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
                          fmt::join(known, ", "));
  }
  const auto kind = found == kNames.end() ? AggregateKind::kQuantile
                                          : static_cast<AggregateKind>(found - kNames.begin());
  AggregateSpec spec{std::string(column), kind, {}, 0.5};
  if (name == kNames[static_cast<std::size_t>(AggregateKind::kQuantile)]) {
    const std::size_t comma = field.rfind(',');
    if (comma == std::string_view::npos) {
      return Error::invalid("'{}' needs a field and a share: quantile(FIELD, 0.95)", text);
    }
    spec.p = HW_TRY(parse_share(text, trim(field.substr(comma + 1))));
    field = trim(field.substr(0, comma));
  }
  if (field.empty() && kind != AggregateKind::kCount) {
    return Error::invalid("'{}' needs a field: {}(FIELD)", text, name);
  }
  if (field.find_first_of("(),\"' ") != std::string_view::npos) {
    return Error::invalid(
        "'{}': '{}' is no name of a field; compute expressions in an enrich step before", text,
        field);
  }
  spec.field = std::string(field);
  return spec;
}

}  // namespace headwater
