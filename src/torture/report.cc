// What a campaign tells, in two forms.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "torture/campaign.h"

namespace headwater::torture {
namespace {

bool has_cell(FaultKind kind, std::size_t boundary) {
  for (const Cell& cell : simulated_cells()) {
    if (cell.kind == kind && cell.boundary &&
        static_cast<std::size_t>(*cell.boundary) == boundary) {
      return true;
    }
  }
  return false;
}

bool has_cells(FaultKind kind) {
  for (std::size_t i = 0; i < kBoundaries; ++i) {
    if (has_cell(kind, i)) {
      return true;
    }
  }
  return false;
}

double seconds(Nanos took) {
  return static_cast<double>(took.count()) * 1e-9;
}

std::string coverage_text(const Report& report) {
  std::string text = "\ncoverage: simulated faults by the operation of the store they hit\n";
  text += fmt::format("  {:<14}", "");
  for (const std::string_view name : kBoundaryNames) {
    text += fmt::format(" {:>14}", name);
  }
  text += '\n';
  std::string empty;
  for (const FaultFacts& facts : all_faults()) {
    if (!has_cells(facts.kind)) {
      continue;
    }
    text += fmt::format("  {:<14}", facts.name);
    for (std::size_t i = 0; i < kBoundaries; ++i) {
      const std::uint64_t count = report.coverage[static_cast<std::size_t>(facts.kind)][i];
      text += has_cell(facts.kind, i) ? fmt::format(" {:>14}", count) : fmt::format(" {:>14}", "-");
      if (has_cell(facts.kind, i) && count == 0) {
        empty +=
            fmt::format("{}{} at {}", empty.empty() ? "" : ", ", facts.name, kBoundaryNames[i]);
      }
    }
    text += '\n';
  }
  text += empty.empty() ? "  no empty cell\n" : fmt::format("  never hit: {}\n", empty);
  return text;
}

}  // namespace

std::string report_text(const Report& report) {
  std::string text;
  const auto line = [&](std::string_view name, std::uint64_t count, std::string_view note = "") {
    text += fmt::format("{:<22}{:>14}{}{}\n", name, count, note.empty() ? "" : "  ", note);
  };
  line("trials", report.trials);
  line("void", report.voided, "fault did not strike; not counted");
  line("rows acknowledged", report.acknowledged);
  line("  with the receiver", report.delivered);
  line("  still in the store", report.pending);
  line("  in gap records", report.gaps, "let go on purpose, or damaged");
  line("lost", report.lost);
  line("duplicated", report.duplicated);
  line("reordered", report.reordered);
  line("altered", report.altered);
  line("gaps without a cause", report.unexplained);
  line("decided otherwise", report.decided_otherwise,
       "scores or alerts, against a run without faults");
  line("not compared", report.not_compared,
       "trials where rows a restart needs were damaged or let go");
  line("starts of the edge", report.restarts);
  line("bytes", report.bytes);
  text += fmt::format("{:<22}{:>12.1f} s\n", "time", seconds(report.took));
  text += fmt::format("{:<22}{:>14}\n", "first seed", report.seed);
  for (const bool real : {false, true}) {
    text += real ? "\nreal faults, on a real process\n"
                 : "\nsimulated faults, on a disk in memory that forgets what was not synced\n";
    for (const FaultFacts& facts : all_faults()) {
      const std::uint64_t count = report.faults[static_cast<std::size_t>(facts.kind)];
      const auto skipped = report.skipped.find(std::string(facts.name));
      if (facts.real == real && skipped != report.skipped.end()) {
        text += fmt::format("  {:<20}{:>14}  skipped: {}\n", facts.name, count, skipped->second);
      } else if (facts.real == real && count > 0) {
        text += fmt::format("  {:<20}{:>14}\n", facts.name, count);
      }
    }
  }
  const bool simulated =
      std::any_of(all_faults().begin(), all_faults().end(), [&](const FaultFacts& facts) {
        return !facts.real && report.faults[static_cast<std::size_t>(facts.kind)] > 0;
      });
  text += simulated ? coverage_text(report) : "";
  for (const Report::Failure& failure : report.failures) {
    text += fmt::format(
        "\nFAILED: {}{}{}; again with\n  headwater torture --trials 1 --seed {} "
        "--faults {}\n",
        name_of(failure.kind), failure.where.empty() ? "" : " at ", failure.where, failure.seed,
        name_of(failure.kind));
    for (const std::string& finding : failure.findings) {
      text += "  " + finding + "\n";
    }
  }
  text += report.good() ? fmt::format("\nnothing acknowledged was lost, doubled or reordered\n")
                        : fmt::format("\n{} trials failed\n", report.failed);
  return text;
}

std::string report_json(const Report& report) {
  nlohmann::ordered_json json = {{"trials", report.trials},
                                 {"void", report.voided},
                                 {"failed", report.failed},
                                 {"acked", report.acknowledged},
                                 {"delivered", report.delivered},
                                 {"pending", report.pending},
                                 {"gaps", report.gaps},
                                 {"lost", report.lost},
                                 {"duplicated", report.duplicated},
                                 {"reordered", report.reordered},
                                 {"altered", report.altered},
                                 {"unexplained_gaps", report.unexplained},
                                 {"decided_otherwise", report.decided_otherwise},
                                 {"not_compared", report.not_compared},
                                 {"starts", report.restarts},
                                 {"bytes", report.bytes},
                                 {"seconds", seconds(report.took)},
                                 {"seed", report.seed}};
  for (const bool real : {false, true}) {
    nlohmann::ordered_json counts = nlohmann::ordered_json::object();
    for (const FaultFacts& facts : all_faults()) {
      if (facts.real == real) {
        counts[std::string(facts.name)] = report.faults[static_cast<std::size_t>(facts.kind)];
      }
    }
    json[real ? "real" : "simulated"] = std::move(counts);
  }
  nlohmann::ordered_json coverage = nlohmann::ordered_json::object();
  for (const FaultFacts& facts : all_faults()) {
    for (std::size_t i = 0; i < kBoundaries; ++i) {
      if (has_cell(facts.kind, i)) {
        coverage[std::string(facts.name)][std::string(kBoundaryNames[i])] =
            report.coverage[static_cast<std::size_t>(facts.kind)][i];
      }
    }
  }
  json["coverage"] = std::move(coverage);
  json["skipped"] = report.skipped;
  nlohmann::ordered_json failures = nlohmann::ordered_json::array();
  for (const Report::Failure& failure : report.failures) {
    failures.push_back({{"seed", failure.seed},
                        {"fault", name_of(failure.kind)},
                        {"boundary", failure.where},
                        {"findings", failure.findings}});
  }
  json["failures"] = std::move(failures);
  return json.dump();
}

}  // namespace headwater::torture
