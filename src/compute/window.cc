#include "compute/window.h"

#include <utility>

#include "compute/window_kinds.h"

namespace headwater {
namespace {

Status check_names(const WindowOptions& options) {
  for (std::size_t i = 0; i < options.aggregates.size(); ++i) {
    const AggregateSpec& spec = options.aggregates[i];
    if (spec.field.empty() && spec.kind != AggregateKind::kCount) {
      return Error::invalid("{} needs a field", aggregate_name(spec.kind));
    }
    if (!(spec.p >= 0 && spec.p <= 1)) {
      return Error::invalid("a quantile is from 0 to 1, not {}", spec.p);
    }
    if (options.every.count() > 0 && !options.start_column.empty() &&
        (spec.column == options.start_column || spec.field == options.start_column ||
         options.by == options.start_column)) {
      return Error::invalid(
          "'{}' is the column of the window's start: give it another name with "
          "start_column",
          options.start_column);
    }
    for (std::size_t j = 0; j < options.aggregates.size(); ++j) {
      if (j < i && options.aggregates[j].column == spec.column) {
        return Error::invalid("two aggregates are called '{}'", spec.column);
      }
      // The result would take the place of a column that the window reads.
      if (options.aggregates[j].field == spec.column || options.by == spec.column) {
        return Error::invalid("an aggregate cannot have the name of the column '{}'", spec.column);
      }
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Window>> Window::create(WindowOptions options) {
  if (options.aggregates.empty()) {
    return Error::invalid("a window needs at least one aggregate");
  }
  const int lengths = (options.last.count() != 0 ? 1 : 0) + (options.rows != 0 ? 1 : 0) +
                      (options.every.count() != 0 ? 1 : 0);
  if (lengths != 1 || options.last.count() < 0 || options.every.count() < 0) {
    return Error::invalid(
        "a window slides over a time (last) or a count of rows (rows), or tumbles (every): give "
        "one of them");
  }
  if (options.allowed_lateness.count() < 0 || options.max_age.count() < 0) {
    return Error::invalid("allowed_lateness or max_age is negative");
  }
  if (options.max_keys == 0 || options.max_rows == 0 || options.rows > options.max_rows) {
    return Error::invalid("max_keys and max_rows are at least 1, and rows at most max_rows ({})",
                          options.max_rows);
  }
  const Nanos length = options.last + options.every + options.allowed_lateness;
  if (options.max_age.count() != 0 && options.max_age < length) {
    return Error::invalid("max_age is shorter than the window with its allowed_lateness ({})",
                          format_duration(length));
  }
  HW_TRY(check_names(options));
  return options.every.count() > 0 ? make_tumbling_window(std::move(options))
                                   : make_sliding_window(std::move(options));
}

}  // namespace headwater
