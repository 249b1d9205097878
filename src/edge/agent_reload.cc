// Taking over a changed config while rows flow.
#include <algorithm>
#include <map>

#include "config/describe.h"
#include "edge/agent.h"
#include "edge/parts.h"
#include "pipeline/worker.h"

namespace headwater {
namespace {

// Everything that one worker changes over to.
struct Changeover {
  std::vector<std::pair<Scoring*, Scoring::Steps>> steps;
  std::vector<std::pair<Intake*, std::vector<std::unique_ptr<Stage>>>> filters;
};

const PlacedSource* source_of(const Agent::Parts& parts, const Intake* intake) {
  const auto has = [&](const PlacedSource& source) {
    return std::find(source.intakes.begin(), source.intakes.end(), intake) != source.intakes.end();
  };
  const auto found = std::find_if(parts.sources.begin(), parts.sources.end(), has);
  return found == parts.sources.end() ? nullptr : &*found;
}

// What the new steps of a pipeline, on all workers, show of themselves.
struct Shown {
  std::vector<std::shared_ptr<DetectCounts>> detects;
  std::vector<std::weak_ptr<Trouble>> troubles;
};
using ShownByPipeline = std::map<std::string, Shown, std::less<>>;

Result<Changeover> prepare(const Agent::Parts& parts, const Plan& plan, const Worker& worker,
                           ShownByPipeline& shown) {
  Changeover made;
  config::Diagnostics diagnostics;
  for (const std::unique_ptr<Scoring>& scoring : worker.scorings()) {
    const PipelineConfig& config = *plan.config().pipelines.find(scoring->pipeline());
    PlannedSteps planned = plan.make_steps(config, scoring->pipeline(), diagnostics);
    HW_TRY(diagnostics.status());
    const StageContext& context = planned.context;
    Shown& of_pipeline = shown[scoring->pipeline()];
    of_pipeline.detects.insert(of_pipeline.detects.end(), context.detects.begin(),
                               context.detects.end());
    of_pipeline.troubles.insert(of_pipeline.troubles.end(), context.troubles.begin(),
                                context.troubles.end());
    made.steps.emplace_back(scoring.get(), scoring_steps(config, plan.revision(), planned));
  }
  for (const std::unique_ptr<Intake>& intake : worker.intakes()) {
    const PlacedSource* source = source_of(parts, intake.get());
    if (source == nullptr) {
      continue;
    }
    const PipelineConfig& config = *plan.config().pipelines.find(source->pipeline);
    made.filters.emplace_back(intake.get(),
                              plan.make_filters(config, source->pipeline, diagnostics));
    HW_TRY(diagnostics.status());
  }
  return made;
}

// Models whose file has another content behind the same path.
void find_new_content(const Plan& running, const Plan& fresh,
                      std::vector<ReloadedOption>& options) {
  for (const model::Registry::Entry& entry : fresh.models().list()) {
    const auto before = running.models().find(entry.name);
    if (before && (*before)->path() == entry.model->path() &&
        (*before)->digest() != entry.model->digest()) {
      options.push_back({fmt::format("models.{}.path", entry.name), (*before)->digest(),
                         entry.model->digest(), true});
    }
  }
}

}  // namespace

Result<std::vector<ReloadedOption>> Agent::reload(std::unique_ptr<Plan> fresh) {
  const config::Diff diff = config::diff(parts_->plan->config(), fresh->config());
  std::vector<ReloadedOption> options;
  for (const config::Change& change : diff.changes) {
    options.push_back({change.path, change.before, change.after, change.live});
  }
  find_new_content(*parts_->plan, *fresh, options);
  const auto applied = [](const ReloadedOption& option) { return option.applied; };
  if (std::none_of(options.begin(), options.end(), applied)) {
    return options;
  }
  if (!diff.all_live()) {
    config::Diagnostics diagnostics;
    auto partial = std::make_unique<Plan>(*parts_->plan, *fresh, diagnostics);
    HW_TRY(diagnostics.status().with("what can change without a restart does not fit the rest"));
    fresh = std::move(partial);
  }
  // Whatever can fail does so here, before anything changes.
  std::vector<Changeover> changeovers;
  ShownByPipeline shown;
  for (const std::unique_ptr<Worker>& worker : parts_->workers) {
    changeovers.push_back(HW_TRY(prepare(*parts_, *fresh, *worker, shown)));
  }
  for (std::size_t i = 0; i < changeovers.size(); ++i) {
    parts_->workers[i]->change([&changeover = changeovers[i]] {
      for (auto& [scoring, steps] : changeover.steps) {
        steps = scoring->replace(std::move(steps));
      }
      for (auto& [intake, filters] : changeover.filters) {
        intake->replace_filters(std::move(filters));
      }
    });
  }
  const std::lock_guard lock(parts_->changing);
  std::swap(parts_->plan, fresh);  // the old one goes behind the lock
  for (PlacedPipeline& pipeline : parts_->pipelines) {
    Shown& now = shown[pipeline.name];
    pipeline.detects.insert(pipeline.detects.end(), now.detects.begin(), now.detects.end());
    pipeline.detects_now = std::move(now.detects);
    pipeline.troubles = std::move(now.troubles);
  }
  return options;
}

}  // namespace headwater
