// Reconstruction error: how far an autoencoder's output is from its input. For the .cc files of
// Binding.
//
// Over the n elements of one row, computed in float64: mse = Σ(o - i)² / n, mae = Σ|o - i| / n,
// max_error = max |o - i|. Written as an output of the config: "mse(OUTPUT, INPUT)".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "data/column.h"
#include "data/tensor.h"

namespace headwater::model {

enum class ErrorMeasure : std::uint8_t { kMse, kMae, kMaxError };

struct Reconstruction {
  ErrorMeasure measure = ErrorMeasure::kMse;
  std::string output;
  std::string input;
};

// "mse(decoded, input)"; nothing if `text` is not of this form. Spaces do not count.
std::optional<Reconstruction> parse_reconstruction(std::string_view text);

// Writes the error of row i, `width` elements from i × width on in both, to row rows[i] of a
// float64 column. One that is not finite becomes null and sets flags[i]. Both are of the type
// float32 or float64, which may differ.
void scatter_error(ErrorMeasure measure, const TensorView& output, ElementType input_type,
                   const void* input, std::size_t width, std::span<const std::uint32_t> rows,
                   Column& to, std::span<std::uint8_t> not_finite);

}  // namespace headwater::model
