// One trial of a simulated fault: everything in it, the fault and where it strikes included,
// follows from the seed.
#pragma once

#include <cstdint>
#include <optional>

#include "torture/blueprint.h"
#include "torture/faults.h"
#include "torture/ledger.h"

namespace headwater::torture {

struct TrialOptions {
  std::uint64_t seed = 1;
  std::size_t load = 1000;  // rows that must be acknowledged for the trial to count
};

struct Trial {
  std::uint64_t seed = 0;
  FaultKind kind = FaultKind::kPowerCut;
  std::optional<Boundary> boundary;
  bool fired = false;
  bool compared = false;      // decisions, with those of a run without faults
  std::uint64_t strikes = 1;  // of the fault, in this trial
  std::uint64_t restarts = 0;
  std::uint64_t bytes = 0;       // of messages taken
  std::uint64_t operations = 0;  // of the store on the disk
  Verdict verdict;
  Nanos took{};
};

Cell cell_of(std::uint64_t seed);
Trial run_simulated(const Blueprint& blueprint, const TrialOptions& options);

}  // namespace headwater::torture
