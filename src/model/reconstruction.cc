#include "model/reconstruction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/strings.h"

namespace headwater::model {
namespace {

constexpr std::array<std::pair<std::string_view, ErrorMeasure>, 3> kMeasures = {
    {{"mse", ErrorMeasure::kMse},
     {"mae", ErrorMeasure::kMae},
     {"max_error", ErrorMeasure::kMaxError}}};

template <class Out, class In>
double error_of(ErrorMeasure measure, const Out* output, const In* input, std::size_t width) {
  double sum = 0;
  double most = 0;
  for (std::size_t i = 0; i < width; ++i) {
    const double apart = std::fabs(static_cast<double>(output[i]) - static_cast<double>(input[i]));
    sum += measure == ErrorMeasure::kMse ? apart * apart : apart;
    most = apart > most || std::isnan(apart) ? apart : most;
  }
  if (measure == ErrorMeasure::kMaxError) {
    return std::isnan(sum) ? sum : most;
  }
  return sum / static_cast<double>(width);
}

}  // namespace

std::optional<Reconstruction> parse_reconstruction(std::string_view text) {
  text = trim(text);
  const std::size_t open = text.find('(');
  const std::size_t comma = text.find(',');
  if (open == std::string_view::npos || comma == std::string_view::npos || comma < open ||
      text.back() != ')') {
    return std::nullopt;
  }
  const std::string_view name = trim(text.substr(0, open));
  for (const auto& [known, measure] : kMeasures) {
    if (name == known) {
      return Reconstruction{measure, std::string(trim(text.substr(open + 1, comma - open - 1))),
                            std::string(trim(text.substr(comma + 1, text.size() - comma - 2)))};
    }
  }
  return std::nullopt;
}

void scatter_error(ErrorMeasure measure, const TensorView& output, ElementType input_type,
                   const void* input, std::size_t width, std::span<const std::uint32_t> rows,
                   Column& to, std::span<std::uint8_t> not_finite) {
  const auto write = [&]<class Out, class In>(const Out* out, const In* in) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double error = error_of(measure, out + i * width, in + i * width, width);
      if (std::isfinite(error)) {
        to.set(rows[i], error);
      } else {
        not_finite[i] = 1;
      }
    }
  };
  const auto with_input = [&]<class Out>(const Out* out) {
    input_type == ElementType::kFloat32 ? write(out, static_cast<const float*>(input))
                                        : write(out, static_cast<const double*>(input));
  };
  output.type == ElementType::kFloat32 ? with_input(static_cast<const float*>(output.data))
                                       : with_input(static_cast<const double*>(output.data));
}

}  // namespace headwater::model
