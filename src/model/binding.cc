#include "model/binding.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/strings.h"
#include "model/call.h"
#include "model/plan.h"

namespace headwater::model {
namespace {

// Rows of the call into the non-window tensors, one column at a time.
void gather_call(Binding::Plan& plan) {
  for (InputPlan& input : plan.inputs) {
    if (input.history) {
      continue;
    }
    for (std::size_t i = 0; i < input.fields.size(); ++i) {
      gather(plan.sources[input.fields[i]], plan.call, input.buffer, input.width, i);
    }
  }
}

// The row's values into its device's windows; true if all are full and lie in slot `slot`.
bool push_windows(Binding::Plan& plan, const Batch& batch, std::uint32_t row, std::size_t slot) {
  bool full = true;
  for (InputPlan& input : plan.inputs) {
    if (!input.history) {
      continue;
    }
    for (std::size_t i = 0; i < input.fields.size(); ++i) {
      const Column* source = plan.sources[input.fields[i]];
      plan.values[i] = source != nullptr ? source->as_double(row) : std::nan("");
    }
    const std::span window(plan.window.data(), input.width);
    if (!input.history->push(batch.row(row).device, {plan.values.data(), input.fields.size()},
                             window)) {
      full = false;
      continue;
    }
    store_doubles(window, input.buffer, slot * input.width);
  }
  return full;
}

// Scores call rows [first, first + count), in halves if the model refuses them.
void run_rows(Binding::Plan& plan, std::size_t first, std::size_t count, Arena& arena,
              ScoreCounts& counts) {
  const auto began = std::chrono::steady_clock::now();
  Status ran = run_call(plan, first, count);
  ++counts.calls;
  if (ran) {
    if (plan.on_call) {
      plan.on_call(plan.fixed_rows.value_or(count), std::chrono::steady_clock::now() - began);
    }
    counts.not_finite += scatter_call(plan, first, count, arena);
    counts.scored += count;
    return;
  }
  if (count == 1) {
    plan.last_failure = ran.error().text();
    ++counts.failed;
    return;
  }
  const std::size_t half = count / 2;
  run_rows(plan, first, half, arena, counts);
  run_rows(plan, first + half, count - half, arena, counts);
}

}  // namespace

Binding::Binding(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
Binding::~Binding() = default;

Result<std::unique_ptr<Binding>> Binding::create(std::unique_ptr<Model> model,
                                                 BindingOptions options) {
  auto plan = std::make_unique<Plan>();
  plan->model = std::move(model);
  plan->options = std::move(options);
  if (Status resolved = resolve(*plan); !resolved) {
    return std::move(resolved).error().with("model '{}'", plan->model->path());
  }
  return std::unique_ptr<Binding>(new Binding(std::move(plan)));
}

const Model& Binding::model() const {
  return *plan_->model;
}
std::span<const std::string> Binding::fields() const {
  return plan_->fields;
}
std::span<const Field> Binding::columns() const {
  return plan_->columns;
}
const CostCurve& Binding::cost() const {
  return plan_->cost;
}
std::size_t Binding::rows_per_call() const {
  return plan_->rows_per_call;
}
const std::string& Binding::last_failure() const {
  return plan_->last_failure;
}

Status Binding::check(const Schema& schema) const {
  for (const InputPlan& input : plan_->inputs) {
    const PortInfo& port = plan_->model->inputs()[input.port];
    for (const std::size_t index : input.fields) {
      const std::string& name = plan_->fields[index];
      const auto found = schema.find(name);
      if (!found) {
        std::vector<std::string_view> names;
        for (const Field& field : schema.fields()) {
          names.emplace_back(field.name);
        }
        const std::string_view near = nearest_name(name, names);
        return Error::invalid("input '{}' takes the field '{}', which is not there{}", port.name,
                              name, near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
      }
      const Type type = schema[*found].type;
      if (!convertible(type, input.type)) {
        return Error::invalid("input '{}' is {}; the field '{}' is {}, which does not convert",
                              port.name, port.text, name, type_name(type));
      }
    }
  }
  return {};
}

Status Binding::score(Batch& batch, ScoreCounts* counts) {
  Plan& plan = *plan_;
  ScoreCounts ignored;
  ScoreCounts& to = counts != nullptr ? *counts : ignored;
  // Adding columns may move the others, so pointers are taken afterwards.
  for (const Field& column : plan.columns) {
    batch.add_column(column.name, column.type);
  }
  for (std::size_t i = 0; i < plan.columns.size(); ++i) {
    plan.targets[i] = batch.find(plan.columns[i].name);
    if (plan.targets[i] == nullptr) {
      return Error::internal("column '{}' vanished", plan.columns[i].name);
    }
  }
  plan.missing.assign(batch.rows(), 0);
  for (std::size_t i = 0; i < plan.fields.size(); ++i) {
    plan.sources[i] = batch.find(plan.fields[i]);
    mark_missing(plan.sources[i], plan.uses[i], plan.missing);
  }
  plan.ready.clear();
  for (const std::uint32_t row : batch.selection()) {
    if (plan.missing[row] == 0) {
      plan.ready.push_back(row);
    }
  }
  to.missing += batch.selected() - plan.ready.size();

  const bool windows = has_state();
  for (std::size_t next = 0; next < plan.ready.size();) {
    plan.call.clear();
    while (next < plan.ready.size() && plan.call.size() < plan.rows_per_call) {
      const std::uint32_t row = plan.ready[next++];
      if (windows && !push_windows(plan, batch, row, plan.call.size())) {
        ++to.warming;
        continue;
      }
      plan.call.push_back(row);
    }
    if (!plan.call.empty()) {
      gather_call(plan);
      run_rows(plan, 0, plan.call.size(), batch.arena(), to);
    }
  }
  return {};
}

void Binding::on_call(std::function<void(std::size_t rows, Nanos took)> call) {
  plan_->on_call = std::move(call);
}

bool Binding::has_state() const {
  return std::any_of(plan_->inputs.begin(), plan_->inputs.end(),
                     [](const InputPlan& input) { return input.history != nullptr; });
}

void Binding::save(ByteWriter& out) const {
  for (const InputPlan& input : plan_->inputs) {
    if (input.history) {
      input.history->save(out);
    }
  }
}

Status Binding::restore(ByteReader& in) {
  for (InputPlan& input : plan_->inputs) {
    if (input.history) {
      HW_TRY(
          input.history->restore(in).with("input '{}'", plan_->model->inputs()[input.port].name));
    }
  }
  return {};
}

}  // namespace headwater::model
