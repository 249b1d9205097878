// What of a pipeline outlives a restart: the cursors, the state of the stages, and a change of
// steps.
#include <algorithm>
#include <utility>

#include "base/planted.h"
#include "io/loop.h"
#include "pipeline/scoring.h"
#include "pipeline/state.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

// Rows of all pipelines behind the saved state, before an idle one moves it on.
constexpr std::uint64_t kMostUnsaved = 500'000;

// "2.decide." of "2.decide.9f…".
std::string_view kind_of(std::string_view stage_key) {
  return stage_key.substr(0, stage_key.rfind('.') + 1);
}

}  // namespace

std::string Scoring::state_prefix(std::size_t stage) const {
  return state_prefix() + parts_.steps.stage_keys[stage] + "/";
}

Status Scoring::restore() {
  const Spool& spool = *parts_.spool;
  decided_ = spool.cursor(cursor_name(), Lane::kReadings, kAllStreams).value_or(0);
  through_ = spool.cursor(checkpoint_name(), Lane::kReadings, kAllStreams).value_or(0);
  saved_through_ = through_;
  for (std::size_t i = 0; i < parts_.steps.stages.size(); ++i) {
    if (Status restored = restore_stage(i); !restored) {
      counts_.failed.add(1);
      state_trouble_.set(fmt::format("step '{}' begins anew, its state is unusable: {}",
                                     parts_.steps.stage_keys[i], restored.error().text()));
    }
  }
  find_stale_state();
  keep_rows(true);
  counts_.objective_ns.set(static_cast<std::uint64_t>(parts_.steps.objective.count()));
  judge_objective();
  last_appended_ = spool.stats().lanes[index_of(Lane::kReadings)].next_sequence - 1;
  first_own_ = last_appended_ + 1;
  const std::uint64_t from = std::min(decided_, through_) + 1;
  if (from <= last_appended_ && !planted(Bug::kNoReplay)) {
    behind_from_ = from;
  }
  return {};
}

// What a restart must replay is needed, whoever has received it.
void Scoring::keep_rows(bool keep) {
  parts_.spool->hold_for(cursor_name(), Lane::kReadings, keep);
  parts_.spool->hold_for(checkpoint_name(), Lane::kReadings, keep);
}

void Scoring::hold() {
  if (holds_++ == 0) {
    keep_rows(false);  // the rest of a batch that fills the store needs the place of its first part
  }
}

void Scoring::release() {
  if (--holds_ == 0) {
    keep_rows(true);
  }
}

Status Scoring::restore_stage(std::size_t stage) {
  const Spool& spool = *parts_.spool;
  Stage& restored = *parts_.steps.stages[stage];
  const SpoolState own(spool, state_prefix(stage));
  if (!own.all().empty()) {
    return restored.restore(own);
  }
  // The state of the same step with other options: what fits goes on, an open alarm above all.
  const std::string_view own_kind = kind_of(parts_.steps.stage_keys[stage]);
  if (own_kind.empty()) {
    return {};
  }
  std::string earlier;
  const std::string kind = state_prefix() + std::string(own_kind);
  spool.for_each_state(kind, [&](std::string_view key, std::string_view) {
    earlier = key.substr(0, key.find('/', kind.size()) + 1);
  });
  if (!earlier.empty() && !restored.restore(SpoolState(spool, earlier))) {
    log::info("a step with new options begins anew",
              {{"pipeline", parts_.name}, {"step", parts_.steps.stage_keys[stage]}});
  }
  return {};
}

// Stored state that no stage of ours will write over.
void Scoring::find_stale_state() {
  stale_state_.clear();
  parts_.spool->for_each_state(state_prefix(), [this](std::string_view key, std::string_view) {
    const std::string_view own = key.substr(state_prefix().size());
    const auto is_of = [&](const std::string& stage) { return own.starts_with(stage + "/"); };
    if (std::none_of(parts_.steps.stage_keys.begin(), parts_.steps.stage_keys.end(), is_of)) {
      stale_state_.emplace_back(key);
    }
  });
}

Scoring::Steps Scoring::replace(Steps steps) {
  HW_CHECK(steps.stages.size() == steps.stage_keys.size(), "one key per stage");
  for (std::size_t i = 0; i < steps.stages.size(); ++i) {
    for (std::size_t j = 0; j < parts_.steps.stages.size(); ++j) {
      const std::string_view kind = kind_of(steps.stage_keys[i]);
      if (kind.empty() || kind != kind_of(parts_.steps.stage_keys[j])) {
        continue;
      }
      MapState state;
      parts_.steps.stages[j]->save(state);
      if (!steps.stages[i]->restore(state)) {
        log::info("a step with new options begins anew",
                  {{"pipeline", parts_.name}, {"step", steps.stage_keys[i]}});
      }
    }
  }
  std::swap(parts_.steps, steps);
  name_stages();
  pace_ = Pace(parts_.steps.objective, parts_.steps.start_cost);
  if (parts_.steps.objective <= Nanos{0}) {
    undurable_.clear();  // nobody asks any more whether they were in time
  }
  counts_.objective_ns.set(static_cast<std::uint64_t>(parts_.steps.objective.count()));
  judge_objective();
  find_stale_state();
  save_state();
  return steps;
}

// The state alone: where it is too large for the store, decisions go on, and a restart replays from
// the last state that was not.
void Scoring::save_state() {
  if (blocked()) {
    checkpoint_due_ = true;
    return;
  }
  checkpoint_due_ = false;
  last_checkpoint_ = io::mono_now();
  run_bytes_ = 0;
  if (waiting_.empty() && !behind() && holds_ == 0) {
    // Every row of ours that is in the spool has been through; what follows up to here is others'.
    const std::uint64_t stored =
        parts_.spool->stats().lanes[index_of(Lane::kReadings)].next_sequence - 1;
    through_ = std::max(through_, stored);
    decided_ = std::max(decided_, stored);
  }
  Transaction state;
  for (std::size_t i = 0; i < parts_.steps.stages.size(); ++i) {
    TransactionState writer(state, state_prefix(i));
    parts_.steps.stages[i]->save(writer);
  }
  for (const std::string& key : stale_state_) {
    state.state(key, {});
  }
  const bool behind_its_state = planted(Bug::kStateAheadOfCursor) && through_ > 0;
  state.cursor(checkpoint_name(), Lane::kReadings, kAllStreams,
               through_ - (behind_its_state ? 1 : 0));
  state.cursor(cursor_name(), Lane::kReadings, kAllStreams, decided_);
  const Result<Submitted> submitted = parts_.spool->submit(state);
  if (!submitted) {
    state_trouble_.set(submitted.error().text());
    return;
  }
  state_trouble_.clear();
  last_ticket_ = submitted->ticket;
  saved_through_ = through_;
  stale_state_.clear();
}

void Scoring::checkpoint() {
  save_state();
}

// The store keeps what is behind our cursors. While no row of ours comes, those of other pipelines
// must not stay for our sake.
void Scoring::pass_rows_of_others() {
  const std::uint64_t stored =
      parts_.spool->stats().lanes[index_of(Lane::kReadings)].next_sequence - 1;
  if (stored > saved_through_ && holds_ == 0 &&
      (stored - saved_through_ > kMostUnsaved ||
       io::mono_now() - last_checkpoint_ >= parts_.steps.checkpoint_every)) {
    save_state();
  }
}

}  // namespace headwater
