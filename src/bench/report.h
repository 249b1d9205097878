// What a benchmark found, as text for people and as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bench/search.h"
#include "bench/trial.h"

namespace headwater::bench {

struct Report {
  std::string config;
  Mode mode = Mode::kInProcess;
  std::string source;
  std::string source_kind;
  std::size_t messages = 0;  // of the sample
  std::uint64_t message_bytes = 0;
  std::size_t devices = 0;
  std::size_t connections = 0;  // of a listener's load
  bool made_up = false;
  Nanos objective{0};
  double cpus = 1;  // that this process may use
  std::size_t workers = 1;
  std::size_t sinks = 0;
  bool has_uplink = false;
  std::uint64_t store_bytes = 0;  // max_bytes of the store in the trial
  std::uint64_t configured_store_bytes = 0;
  std::optional<SearchResult> search;
  std::optional<Measurement> measured;  // at the rate that was asked for, or that was found
  LoadCounts totals;
  std::string trouble;
};

// The closing sentence: "This machine holds 412,000 readings/s with p99 within 20 ms."
std::string answer(const Report& report);
std::string report_text(const Report& report);
std::string report_json(const Report& report);

// "412,000", "3.5": about three digits are meant.
std::string human_count(double value);

}  // namespace headwater::bench
