// Campaign: trials one after the other until their number or the time is reached, and what came of
// them.
//
// A trial counts only if its fault struck and enough rows were acknowledged; others are void and
// made up for by more.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "torture/faults.h"
#include "torture/simulated_trial.h"

namespace headwater::torture {

struct CampaignOptions {
  std::uint64_t seed = 1;  // of the first trial; the next ones count up
  std::uint64_t trials = 1000;
  Nanos limit{};  // 0: no limit of time; otherwise `trials` does not matter
  std::size_t load = 1000;
  std::vector<FaultKind> faults;
  std::string dir;      // of real trials
  std::string program;  // what a real trial runs: this program
};

struct Report {
  std::uint64_t trials = 0;  // that count
  std::uint64_t voided = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t delivered = 0;
  std::uint64_t pending = 0;
  std::uint64_t gaps = 0;
  std::uint64_t lost = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t reordered = 0;
  std::uint64_t altered = 0;
  std::uint64_t unexplained = 0;
  std::uint64_t decided_otherwise = 0;
  std::uint64_t not_compared = 0;  // trials whose decisions could not be: see Trial::compared
  std::uint64_t restarts = 0;
  std::uint64_t bytes = 0;
  std::array<std::uint64_t, kFaultKinds> faults{};  // that struck, by kind
  // Of simulated faults: by kind, then by boundary.
  std::array<std::array<std::uint64_t, kBoundaries>, kFaultKinds> coverage{};
  std::map<std::string, std::string> skipped;  // fault → why
  std::uint64_t seed = 0;
  Nanos took{};

  struct Failure {
    std::uint64_t seed = 0;
    FaultKind kind = FaultKind::kPowerCut;
    std::string where;
    std::vector<std::string> findings;
  };
  std::vector<Failure> failures;  // the first few
  std::uint64_t failed = 0;       // trials with a finding

  // lost, duplicated and reordered are 0, and nothing else was found.
  bool good() const { return failed == 0; }
  void add(const Trial& trial);
};

// `progress` is called after each trial; false ends the campaign there.
Result<Report> run_campaign(const CampaignOptions& options,
                            const std::function<bool(const Report&)>& progress);

// As a table for people; as one JSON object in one line.
std::string report_text(const Report& report);
std::string report_json(const Report& report);

}  // namespace headwater::torture
