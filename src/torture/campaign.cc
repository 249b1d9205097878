#include "torture/campaign.h"

#include <algorithm>

#include "io/loop.h"
#include "torture/real_trial.h"

namespace headwater::torture {
namespace {

constexpr std::size_t kMostFailures = 10;
// Trials that do not count, in a row: then the fault cannot be brought about here.
constexpr std::uint64_t kMostVoid = 200;

}  // namespace

void Report::add(const Trial& trial) {
  const Verdict& verdict = trial.verdict;
  if (!verdict.good()) {
    ++failed;
    if (failures.size() < kMostFailures) {
      failures.push_back({.seed = trial.seed,
                          .kind = trial.kind,
                          .where = trial.boundary ? std::string(name_of(*trial.boundary)) : "",
                          .findings = verdict.findings});
    }
  }
  acknowledged += verdict.acknowledged;
  delivered += verdict.delivered;
  pending += verdict.pending;
  gaps += verdict.gaps;
  lost += verdict.lost;
  duplicated += verdict.duplicated;
  reordered += verdict.reordered;
  altered += verdict.altered;
  unexplained += verdict.unexplained;
  decided_otherwise += verdict.decided_otherwise;
  restarts += trial.restarts;
  bytes += trial.bytes;
  if (!trial.fired) {
    ++voided;
    return;
  }
  ++trials;
  not_compared += trial.compared ? 0 : 1;
  const auto kind = static_cast<std::size_t>(trial.kind);
  faults[kind] += trial.strikes;
  if (trial.boundary) {
    ++coverage[kind][static_cast<std::size_t>(*trial.boundary)];
  }
}

Result<Report> run_campaign(const CampaignOptions& options,
                            const std::function<bool(const Report&)>& progress) {
  const auto wanted = [&](FaultKind kind) {
    return std::find(options.faults.begin(), options.faults.end(), kind) != options.faults.end();
  };
  const std::unique_ptr<Blueprint> blueprint = HW_TRY(Blueprint::make());
  const MonoTime began = io::mono_now();
  Report report;
  report.seed = options.seed;
  std::uint64_t seed = options.seed;
  std::uint64_t void_in_a_row = 0;
  const auto more = [&] {
    report.took = io::mono_now() - began;
    return options.limit > Nanos{0} ? report.took < options.limit : report.trials < options.trials;
  };
  std::vector<FaultKind> real;
  bool simulated = false;
  for (const FaultKind kind : options.faults) {
    if (!facts_of(kind).real) {
      simulated = true;
    } else if (std::string why = missing_for(kind, options.dir); why.empty()) {
      real.push_back(kind);
    } else {
      report.skipped.emplace(name_of(kind), std::move(why));
    }
  }
  if (!simulated && real.empty()) {
    return Error::unavailable("none of these faults can be brought about here: {}",
                              report.skipped.begin()->second);
  }
  Nanos in_real{};
  while (more() && void_in_a_row < kMostVoid) {
    const std::uint64_t counted = report.trials;
    // Real trials take longer: they get two fifths of the time.
    const bool is_real = !real.empty() && (!simulated || in_real * 5 <= report.took * 2);
    if (is_real) {
      RealOptions trial;
      trial.trial = {.seed = seed, .load = options.load};
      trial.kind = real[seed % real.size()];
      trial.dir = fmt::format("{}/{}-{}", options.dir, name_of(trial.kind), seed);
      trial.program = options.program;
      const MonoTime from = io::mono_now();
      report.add(HW_TRY(run_real(*blueprint, trial)));
      in_real += io::mono_now() - from;
      ++seed;
    } else {
      while (!wanted(cell_of(seed).kind)) {
        ++seed;
      }
      report.add(run_simulated(*blueprint, {.seed = seed++, .load = options.load}));
    }
    void_in_a_row = report.trials == counted ? void_in_a_row + 1 : 0;
    if (!progress(report)) {
      break;
    }
  }
  report.took = io::mono_now() - began;
  return report;
}

}  // namespace headwater::torture
