#include "nodes/detect/detect.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "model/binding.h"
#include "nodes/expression.h"
#include "pipeline/cost_learner.h"
#include "pipeline/state_blob.h"

namespace headwater {
namespace {

constexpr std::string_view kStateKey = "history";

class Detect final : public Stage {
 public:
  Detect(std::unique_ptr<model::Binding> binding, std::shared_ptr<DetectCounts> counts)
      : binding_(std::move(binding)),
        counts_(std::move(counts)),
        cost_({binding_->cost().fixed_ns, binding_->cost().per_row_ns}) {
    tell_cost();
    binding_->on_call([this](std::size_t rows, Nanos took) { cost_.add(rows, took); });
  }

  Status process(Batch batch, Outputs& out) override {
    model::ScoreCounts counts;
    const Status scored = binding_->score(batch, &counts);
    constexpr auto kRelaxed = std::memory_order_relaxed;
    counts_->calls.fetch_add(counts.calls, kRelaxed);
    counts_->scored.fetch_add(counts.scored, kRelaxed);
    counts_->missing.fetch_add(counts.missing, kRelaxed);
    counts_->warming.fetch_add(counts.warming, kRelaxed);
    counts_->failed.fetch_add(counts.failed, kRelaxed);
    if (counts.calls != 0) {
      tell_cost();
    }
    HW_TRY(out.emit(std::move(batch)));
    if (counts.failed != 0) {
      return Error::invalid("the model refused {} rows: {}", counts.failed,
                            binding_->last_failure());
    }
    return scored;
  }

  void save(StateWriter& state) override {
    if (binding_->has_state()) {
      save_blob(state, kStateKey, *binding_);
    }
  }
  Status restore(const StateReader& state) override {
    return binding_->has_state() ? restore_blob(state, kStateKey, *binding_) : Status{};
  }

 private:
  void tell_cost() {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    counts_->call_fixed_s.store(cost_.curve().fixed_ns * 1e-9, kRelaxed);
    counts_->call_row_s.store(cost_.curve().row_ns * 1e-9, kRelaxed);
    counts_->call_tail_s.store(cost_.tail_ns() * 1e-9, kRelaxed);
  }

  std::unique_ptr<model::Binding> binding_;
  std::shared_ptr<DetectCounts> counts_;
  CostLearner cost_;
};

}  // namespace

std::unique_ptr<Stage> make_detect(const DetectOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  const config::Node& name = option_node(node, "model");
  if (std::find(context.models.begin(), context.models.end(), options.model) ==
      context.models.end()) {
    const std::string_view nearest = nearest_name(options.model, context.models);
    diagnostics.error(
        name, fmt::format(
                  "no model '{}' under models:{}", options.model,
                  nearest.empty() ? std::string() : fmt::format(", did you mean '{}'?", nearest)));
    return nullptr;
  }
  auto binding = context.bind(options.model, options.max_rows);
  if (!binding) {
    // A model that is under models: and not there could not be loaded, which was reported.
    if (binding.error().code() != Code::kNotFound || diagnostics.ok()) {
      diagnostics.error(name, binding.error().text());
    }
    return nullptr;
  }
  // A field of unknown type is learned from messages, as a number most likely; a known one must
  // fit.
  Schema inputs;
  for (const std::string& field : (*binding)->fields()) {
    const auto known = context.known.find(field);
    inputs.set(known ? context.known[*known] : Field{field, Type::kFloat64, {}});
  }
  if (const Status fits = (*binding)->check(inputs); !fits) {
    diagnostics.error(name, fits.error().text());
    return nullptr;
  }
  auto counts = std::make_shared<DetectCounts>();
  counts->model = options.model;
  counts->max_rows = (*binding)->rows_per_call();
  context.objective = context.objective == Nanos{0}
                          ? options.objective.p99
                          : std::min(context.objective, Nanos(options.objective.p99));
  // Rows beyond max_rows are further calls: their fixed part is one of each row.
  context.start_cost.fixed_ns += (*binding)->cost().fixed_ns;
  context.start_cost.row_ns +=
      (*binding)->cost().per_row_ns +
      (*binding)->cost().fixed_ns / static_cast<double>((*binding)->rows_per_call());
  context.detects.push_back(counts);
  context.model_name = options.model;
  context.model_digest = (*binding)->model().digest();
  context.features.assign((*binding)->fields().begin(), (*binding)->fields().end());
  bool has_score = false;
  for (const Field& column : (*binding)->columns()) {
    context.known.set(column);
    has_score |= column.name == "score";
  }
  if (!has_score && !(*binding)->columns().empty()) {
    context.score_column = (*binding)->columns().front().name;
  }
  return std::make_unique<Detect>(std::move(*binding), std::move(counts));
}

}  // namespace headwater
