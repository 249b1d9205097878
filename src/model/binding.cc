#include "model/binding.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/strings.h"
#include "model/call.h"
#include "model/plan.h"

namespace headwater::model {
namespace {

// Fields i to i + 3 of the input, if they have no nulls and are of the type that goes fast.
bool four_at(Binding::Plan& plan, InputPlan& input, std::size_t i,
             std::span<const std::uint32_t> rows, std::size_t first) {
  std::array<const Column*, 4> four{};
  for (std::size_t j = 0; j < four.size(); ++j) {
    const std::size_t field = input.fields[i + j];
    if (plan.whole[field] == 0) {
      return false;
    }
    four[j] = plan.sources[field];
  }
  return gather_four(four, rows, input.buffer, input.width, first * input.width + i);
}

// Rows of the call into the non-window tensors: a column at a time, of so few rows that their part
// of a wide tensor stays in the cache that is nearest. False: among the fields that were left to
// this look (Plan::unmarked) is a NaN.
bool gather_call(Binding::Plan& plan) {
  constexpr std::size_t kTileElements = 4096;
  bool usable = true;
  for (InputPlan& input : plan.inputs) {
    if (input.history) {
      continue;
    }
    const bool look = std::any_of(input.fields.begin(), input.fields.end(),
                                  [&](std::size_t field) { return plan.unmarked[field] != 0; });
    const std::size_t tile = std::max<std::size_t>(16, kTileElements / input.width);
    for (std::size_t row = 0; row < plan.call.size(); row += tile) {
      const auto rows = plan.call.subspan(row, std::min(tile, plan.call.size() - row));
      for (std::size_t i = 0; i < input.fields.size(); ++i) {
        const std::size_t field = input.fields[i];
        if (i + 4 <= input.fields.size() && four_at(plan, input, i, rows, row)) {
          i += 3;
          continue;
        }
        gather(plan.sources[field], plan.whole[field] != 0, rows, input.buffer, input.width,
               row * input.width + i);
      }
      usable =
          usable && !(look && has_nan(input.buffer, row * input.width, rows.size() * input.width));
    }
  }
  return usable;
}

// Batches of one source have their columns in the same places, most of the time.
const Column* find_at(const Batch& batch, std::string_view name, std::size_t& place) {
  if (place < batch.schema().size() && batch.schema()[place].name == name) {
    return &batch.column(place);
  }
  const auto found = batch.schema().find(name);
  place = found.value_or(place);
  return found ? &batch.column(*found) : nullptr;
}

// The rows that are not marked, which the others are counted as.
std::span<const std::uint32_t> without_missing(Binding::Plan& plan,
                                               std::span<const std::uint32_t> rows,
                                               ScoreCounts& counts) {
  plan.kept.clear();
  for (const std::uint32_t row : rows) {
    if (plan.missing[row] == 0) {
      plan.kept.push_back(row);
    }
  }
  counts.missing += rows.size() - plan.kept.size();
  plan.ready.swap(plan.kept);  // `rows` may lie in the old one
  return plan.ready;
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
  const bool windows = has_state();
  bool any_missing = false;
  for (std::size_t i = 0; i < plan.fields.size(); ++i) {
    const Column* source = find_at(batch, plan.fields[i], plan.places[i]);
    plan.sources[i] = source;
    plan.whole[i] = source != nullptr && source->all_valid() ? 1 : 0;
    // A NaN in such a column shows in the tensor: rows are looked at one by one only then.
    plan.unmarked[i] =
        !windows && plan.whole[i] != 0 && plan.uses[i].shows_nan &&
                (source->type() == Type::kFloat64 || source->type() == Type::kFloat32)
            ? 1
            : 0;
    if (plan.unmarked[i] == 0) {
      any_missing |= mark_missing(source, plan.uses[i], plan.missing);
    }
  }
  std::span<const std::uint32_t> ready = batch.selection();
  if (any_missing) {
    ready = without_missing(plan, ready, to);
  }
  while (!ready.empty()) {
    if (windows) {
      plan.full.clear();
      std::size_t next = 0;
      for (; next < ready.size() && plan.full.size() < plan.rows_per_call; ++next) {
        if (push_windows(plan, batch, ready[next], plan.full.size())) {
          plan.full.push_back(ready[next]);
        } else {
          ++to.warming;
        }
      }
      plan.call = plan.full;
      ready = ready.subspan(next);
    } else {
      plan.call = ready.first(std::min(ready.size(), plan.rows_per_call));
      ready = ready.subspan(plan.call.size());
    }
    if (!plan.call.empty()) {
      if (!gather_call(plan)) {
        // Once a batch at most: from here on all that cannot be used is marked.
        for (std::size_t i = 0; i < plan.fields.size(); ++i) {
          if (std::exchange(plan.unmarked[i], std::uint8_t{0}) != 0) {
            mark_missing(plan.sources[i], plan.uses[i], plan.missing);
          }
        }
        ready = without_missing(plan, {plan.call.data(), plan.call.size() + ready.size()}, to);
        continue;
      }
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
