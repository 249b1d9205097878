// One trial of a real fault: the real process on the real disk, devices over MQTT through a proxy,
// a receiver of alerts over HTTP. Which moments the fault strikes at follows from the seed; what
// the kernel and the network make of them does not.
#pragma once

#include <optional>
#include <string>

#include "torture/simulated_trial.h"

namespace headwater::torture {

struct RealOptions {
  TrialOptions trial;
  FaultKind kind = FaultKind::kKill;
  std::string dir;      // made, and removed again when nothing was found
  std::string program;  // headwater
};

// Why this fault cannot be brought about here: no rights, no broker. Empty: it can.
std::string missing_for(FaultKind kind, const std::string& dir);

Result<Trial> run_real(const Blueprint& blueprint, const RealOptions& options);

}  // namespace headwater::torture
