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

using Detects = std::map<std::string, std::vector<std::shared_ptr<DetectCounts>>, std::less<>>;

Result<Changeover> prepare(const Agent::Parts& parts, const Plan& plan, const Worker& worker,
                           Detects& detects) {
  Changeover made;
  config::Diagnostics diagnostics;
  for (const std::unique_ptr<Scoring>& scoring : worker.scorings()) {
    const PipelineConfig& config = *plan.config().pipelines.find(scoring->pipeline());
    PlannedSteps planned = plan.make_steps(config, scoring->pipeline(), diagnostics);
    HW_TRY(diagnostics.status());
    std::vector<std::shared_ptr<DetectCounts>>& counts = detects[scoring->pipeline()];
    counts.insert(counts.end(), planned.context.detects.begin(), planned.context.detects.end());
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
  Detects detects;
  for (const std::unique_ptr<Worker>& worker : parts_->workers) {
    changeovers.push_back(HW_TRY(prepare(*parts_, *fresh, *worker, detects)));
  }
  for (std::size_t i = 0; i < changeovers.size(); ++i) {
    parts_->workers[i]->change([&changeover = changeovers[i]] {
      for (auto& [scoring, steps] : changeover.steps) {
        scoring->replace(std::move(steps));
      }
      for (auto& [intake, filters] : changeover.filters) {
        intake->replace_filters(std::move(filters));
      }
    });
  }
  const std::lock_guard lock(parts_->changing);
  parts_->plan = std::move(fresh);
  for (PlacedPipeline& pipeline : parts_->pipelines) {
    const auto& counts = detects[pipeline.name];
    pipeline.detects.insert(pipeline.detects.end(), counts.begin(), counts.end());
  }
  return options;
}

}  // namespace headwater
