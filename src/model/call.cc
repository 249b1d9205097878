#include "model/call.h"

#include <algorithm>
#include <cstring>

namespace headwater::model {
namespace {

template <class T>
void store_as(std::span<const double> values, T* to) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    to[i] = static_cast<T>(values[i]);
  }
}

// The call's rows at the start of `padded`, its last row repeated to the end: a copy of a real row
// cannot trip the model as zeros might.
void pad(InputPlan& input, std::size_t first, std::size_t count, std::size_t rows) {
  const std::size_t row_bytes = input.width * input.buffer.width();
  auto* to = static_cast<char*>(input.padded.at(0));
  std::memcpy(to, input.buffer.at(first * input.width), count * row_bytes);
  for (std::size_t row = count; row < rows; ++row) {
    std::memcpy(to + row * row_bytes, to + (count - 1) * row_bytes, row_bytes);
  }
}

}  // namespace

void store_doubles(std::span<const double> values, Buffer& to, std::size_t offset) {
  switch (to.type()) {
    case ElementType::kFloat32:
      return store_as(values, to.as<float>() + offset);
    case ElementType::kFloat64:
      return store_as(values, to.as<double>() + offset);
    case ElementType::kInt64:
      return store_as(values, to.as<std::int64_t>() + offset);
    case ElementType::kInt32:
      return store_as(values, to.as<std::int32_t>() + offset);
    case ElementType::kBool:
      for (std::size_t i = 0; i < values.size(); ++i) {
        to.as<std::uint8_t>()[offset + i] = values[i] != 0 ? 1 : 0;
      }
      return;
    case ElementType::kString:
      return;  // refused by resolve()
  }
}

Status run_call(Binding::Plan& plan, std::size_t first, std::size_t count) {
  const std::size_t rows = plan.fixed_rows.value_or(count);
  for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
    InputPlan& input = plan.inputs[i];
    if (input.has_rows) {
      input.shape[0] = static_cast<std::int64_t>(rows);
    }
    const bool short_of_rows = count < rows;
    if (short_of_rows) {
      pad(input, first, count, rows);
    }
    plan.in[i] = TensorView{
        .type = input.type,
        .shape = input.shape,
        .data = short_of_rows ? input.padded.at(0) : input.buffer.at(first * input.width)};
  }
  for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
    OutputPlan& output = plan.outputs[i];
    plan.out[i] = TensorView{};
    plan.out[i].type = output.type;
    if (output.in_place) {
      output.shape[0] = static_cast<std::int64_t>(rows);
      plan.out[i].shape = output.shape;
      plan.out[i].data = output.buffer.at(0);
    }
  }
  HW_TRY(plan.model->run(plan.in, plan.which, plan.out));
  for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
    const auto elements = static_cast<std::size_t>(element_count(plan.out[i].shape));
    if (elements != rows * plan.outputs[i].width) {
      return Error::invalid("output '{}' has {} values for {} rows",
                            plan.model->outputs()[plan.which[i]].name, elements, rows);
    }
  }
  return {};
}

std::size_t scatter_call(Binding::Plan& plan, std::size_t first, std::size_t count, Arena& arena) {
  plan.not_finite.assign(count, 0);
  const std::span rows = plan.call.subspan(first, count);
  for (std::size_t i = 0; i < plan.column_plans.size(); ++i) {
    const ColumnPlan& column = plan.column_plans[i];
    if (column.error) {
      InputPlan& input = plan.inputs[column.error->input];
      scatter_error(column.error->measure, plan.out[column.output], input.type,
                    input.buffer.at(first * input.width), input.width, rows, *plan.targets[i],
                    plan.not_finite);
      continue;
    }
    scatter(plan.out[column.output], plan.outputs[column.output].width, column.element, rows,
            *plan.targets[i], arena, plan.not_finite);
  }
  return static_cast<std::size_t>(
      std::count(plan.not_finite.begin(), plan.not_finite.end(), std::uint8_t{1}));
}

}  // namespace headwater::model
