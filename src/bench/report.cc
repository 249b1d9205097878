#include "bench/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "pipeline/stage_clock.h"

namespace headwater::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kLoudNeighbours = 0.05;  // share of the CPUs that other processes take
constexpr std::array<double, 4> kQuantiles = {0.5, 0.9, 0.99, 0.999};
constexpr std::array<const char*, 4> kQuantileNames = {"p50", "p90", "p99", "p99_9"};

// Readings in batches by the power of two of their size.
struct BatchBin {
  std::uint64_t upto = 0;  // rows, inclusive
  std::uint64_t batches = 0;
};

std::vector<BatchBin> batch_bins(const telemetry::HistogramSnapshot& sizes) {
  std::vector<BatchBin> bins;
  constexpr std::size_t kPerPower = 16;  // buckets of telemetry::Histogram
  for (std::size_t i = 1; i < sizes.buckets.size(); ++i) {
    if (sizes.buckets[i] == 0) {
      continue;
    }
    const std::uint64_t upto = (std::uint64_t{2} << ((i - 1) / kPerPower)) - 1;
    if (bins.empty() || bins.back().upto != upto) {
      bins.push_back({upto, 0});
    }
    bins.back().batches += sizes.buckets[i];
  }
  return bins;
}

double mean_of(const telemetry::HistogramSnapshot& values) {
  return values.count == 0 ? 0 : values.sum / static_cast<double>(values.count);
}

std::string millis(double seconds) {
  return seconds < 0.1 ? fmt::format("{:.2f} ms", seconds * 1e3)
                       : fmt::format("{:.0f} ms", seconds * 1e3);
}

std::string mode_text(Mode mode) {
  return mode == Mode::kInProcess ? "in_process" : "listener";
}

double busy_of(const Report& report) {
  const Measurement& measured = *report.measured;
  return measured.own_s() / measured.seconds / report.cpus;
}

double others_of(const Report& report) {
  return report.measured->others_s / report.measured->seconds / report.cpus;
}

Json latency_json(const telemetry::HistogramSnapshot& values) {
  Json json = {{"count", values.count}};
  for (std::size_t i = 0; i < kQuantiles.size(); ++i) {
    json[kQuantileNames[i]] = values.quantile(kQuantiles[i]);
  }
  return json;
}

std::string latency_text(const char* what, const telemetry::HistogramSnapshot& values) {
  std::string text = fmt::format("  {:<18}", what);
  for (const double quantile : kQuantiles) {
    text += fmt::format("{:>11}", values.count == 0 ? "-" : millis(values.quantile(quantile)));
  }
  return text + "\n";
}

std::string cpu_text(const Measurement& measured) {
  std::string text =
      fmt::format("\nCPU per reading: {:.2f} us\n ", measured.us_per_reading(measured.own_s()));
  const auto add = [&](std::string_view name, double cpu) {
    const double us = measured.us_per_reading(cpu);
    if (us >= 0.0005) {
      text += fmt::format(" {} {:.3g}", name, us);
    }
  };
  for (std::size_t i = 0; i < kCpuStages; ++i) {
    add(cpu_stage_name(static_cast<CpuStage>(i)), measured.stage_s[i]);
  }
  add("uplink", measured.uplink_s);
  add("other", measured.other_s);
  return text + "\n";
}

std::string batches_text(const Measurement& measured) {
  std::string text =
      fmt::format("readings per batch: {:.1f} on average;", mean_of(measured.batch_rows));
  for (const BatchBin& bin : batch_bins(measured.batch_rows)) {
    text += fmt::format(
        " up to {} {:.3g} %", bin.upto,
        100.0 * static_cast<double>(bin.batches) / static_cast<double>(measured.batch_rows.count));
    text += ',';
  }
  text.back() = '\n';
  return text;
}

std::vector<std::string> limits_of(const Report& report) {
  std::vector<std::string> limits;
  limits.push_back(fmt::format(
      "Alerts went to counters instead of {} sink{}{}: nothing left this machine, and receivers "
      "that are slow cost more.",
      report.sinks, report.sinks == 1 ? "" : "s", report.has_uplink ? ", uploads likewise" : ""));
  if (report.mode == Mode::kInProcess) {
    limits.push_back(
        fmt::format("Messages came from inside the process: what {} costs is not in it.{}",
                    report.source_kind == "mqtt_listen" ? "the network and MQTT"
                                                        : "the source " + report.source,
                    report.source_kind == "mqtt_listen" ? " --through listener has it." : ""));
  } else {
    limits.push_back(fmt::format(
        "Messages came over loopback from {} connection{} of this process, without a password.",
        report.connections, report.connections == 1 ? "" : "s"));
  }
  if (report.measured && others_of(report) > kLoudNeighbours) {
    limits.push_back(fmt::format(
        "Other processes took {:.0f} % of the CPUs meanwhile: without them the answer is better.",
        others_of(report) * 100));
  }
  if (report.made_up) {
    limits.push_back(
        "The messages were made up from the fields that the config reads: --messages takes yours. "
        "How many alert means nothing.");
  }
  if (report.store_bytes < report.configured_store_bytes) {
    limits.push_back(fmt::format("The store had {} instead of {}: the disk has no more free.",
                                 format_size(report.store_bytes),
                                 format_size(report.configured_store_bytes)));
  }
  return limits;
}

}  // namespace

std::string human_count(double value) {
  if (value < 100) {
    return fmt::format("{:.3g}", value);
  }
  const double unit = std::pow(10, std::max(0.0, std::floor(std::log10(value)) - 2));
  const std::string digits = fmt::format("{:.0f}", std::floor(value / unit) * unit);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) {
      text += ',';
    }
    text += digits[i];
  }
  return text;
}

std::string answer(const Report& report) {
  const std::string within = format_duration(report.objective);
  if (report.search && report.search->held == 0) {
    const Probe& last = report.search->probes.back();
    return fmt::format("This machine does not hold {} readings/s with p99 within {}{}{}.",
                       human_count(last.rate), within, report.measured ? ": " : "",
                       report.measured ? report.measured->why_not : "");
  }
  if (!report.measured) {
    return "Nothing was measured.";
  }
  const Measurement& measured = *report.measured;
  const double rate = static_cast<double>(measured.readings) / measured.seconds;
  if (report.search) {
    return fmt::format("This machine holds {}{} readings/s with p99 within {}.",
                       report.search->at_highest ? "at least " : "", human_count(rate), within);
  }
  if (!measured.holds) {
    return fmt::format("This machine does not hold {}/s with p99 within {}: {}.",
                       human_count(measured.rate), within, measured.why_not);
  }
  return fmt::format("At {}/s this machine is {:.2g} % busy, and p99 is {}, within {}.",
                     human_count(measured.rate), busy_of(report) * 100,
                     millis(measured.decided == 0 ? measured.acknowledged.quantile(0.99)
                                                  : measured.decision.quantile(0.99)),
                     within);
}

std::string report_text(const Report& report) {
  std::string text = fmt::format(
      "{}: source {} ({}), {} worker{}, {:g} CPU{}\n{} {}messages of {} bytes on average, {} "
      "device{}\n",
      report.config, report.source, report.source_kind, report.workers,
      report.workers == 1 ? "" : "s", report.cpus, report.cpus == 1 ? "" : "s", report.messages,
      report.made_up ? "made-up " : "",
      report.messages == 0 ? 0 : report.message_bytes / report.messages, report.devices,
      report.devices == 1 ? "" : "s");
  if (report.measured) {
    const Measurement& measured = *report.measured;
    text +=
        fmt::format("\noffered {}/s for {:.1f} s: {:.0f} readings/s taken, {} decided\n",
                    human_count(measured.rate), measured.seconds,
                    static_cast<double>(measured.readings) / measured.seconds, measured.decided);
    text += fmt::format("  {:<18}{:>11}{:>11}{:>11}{:>11}\n", "from due to", "p50", "p90", "p99",
                        "p99.9");
    text +=
        latency_text(report.mode == Mode::kListener ? "decision *" : "decision", measured.decision);
    text += latency_text("acknowledgement", measured.acknowledged);
    if (report.mode == Mode::kListener) {
      text += "  * from its arrival at the listener\n";
    }
    text += cpu_text(measured);
    text += batches_text(measured);
    text += fmt::format("memory: {} resident, {} at most, with {} of sample\n",
                        format_size(measured.rss_bytes >> 20 << 20),
                        format_size(measured.peak_rss_bytes >> 20 << 20),
                        format_size(report.message_bytes >> 10 << 10));
    text += fmt::format(
        "busy: {:.2g} % of {:g} CPU{}; making the load took {:.2g} % beside it, counted apart\n",
        busy_of(report) * 100, report.cpus, report.cpus == 1 ? "" : "s",
        measured.generator_s / measured.seconds / report.cpus * 100);
    if (measured.uplink_growth > static_cast<std::int64_t>(measured.readings / 50)) {
      text +=
          fmt::format("the uplink fell behind by {} rows in that time\n", measured.uplink_growth);
    }
  }
  if (!report.trouble.empty()) {
    text += fmt::format("trouble: {}\n", report.trouble);
  }
  text += '\n';
  for (const std::string& limit : limits_of(report)) {
    text += "note: " + limit + "\n";
  }
  return text + "\n" + answer(report) + "\n";
}

std::string report_json(const Report& report) {
  Json json = {{"config", report.config},
               {"mode", mode_text(report.mode)},
               {"source", report.source},
               {"source_type", report.source_kind},
               {"workers", report.workers},
               {"cpus", report.cpus},
               {"sample",
                {{"messages", report.messages},
                 {"bytes", report.message_bytes},
                 {"devices", report.devices},
                 {"made_up", report.made_up}}},
               {"objective_p99_s", static_cast<double>(report.objective.count()) * 1e-9}};
  if (report.mode == Mode::kListener) {
    json["connections"] = report.connections;
  }
  if (report.search) {
    Json probes = Json::array();
    for (const Probe& probe : report.search->probes) {
      probes.push_back(
          {{"rate", probe.rate}, {"holds", probe.holds}, {"confirmation", probe.confirmation}});
    }
    json["search"] = {{"held_rate", report.search->held},
                      {"nothing_broke", report.search->at_highest},
                      {"probes", std::move(probes)}};
  }
  if (report.measured) {
    const Measurement& measured = *report.measured;
    Json stages = Json::object();
    for (std::size_t i = 0; i < kCpuStages; ++i) {
      stages[std::string(cpu_stage_name(static_cast<CpuStage>(i)))] =
          measured.us_per_reading(measured.stage_s[i]);
    }
    stages["uplink"] = measured.us_per_reading(measured.uplink_s);
    stages["other"] = measured.us_per_reading(measured.other_s);
    Json bins = Json::array();
    for (const BatchBin& bin : batch_bins(measured.batch_rows)) {
      bins.push_back({{"upto", bin.upto}, {"batches", bin.batches}});
    }
    json["measured"] = {
        {"rate", measured.rate},
        {"seconds", measured.seconds},
        {"holds", measured.holds},
        {"why_not", measured.why_not},
        {"sent", measured.load.sent},
        {"acknowledged", measured.load.acknowledged},
        {"readings", measured.readings},
        {"readings_per_s", static_cast<double>(measured.readings) / measured.seconds},
        {"decided", measured.decided},
        {"scored", measured.scored},
        {"alerts", measured.alerts},
        {"lost", measured.lost},
        {"backlog_growth", measured.backlog_growth},
        {"uplink_growth", measured.uplink_growth},
        {"latency_s",
         {{"decision", latency_json(measured.decision)},
          {"acknowledgement", latency_json(measured.acknowledged)}}},
        {"cpu_us_per_reading", measured.us_per_reading(measured.own_s())},
        {"stage_us_per_reading", std::move(stages)},
        {"busy", busy_of(report)},
        {"others_busy", others_of(report)},
        {"commit_p99_s", measured.commit_p99_s},
        {"process_cpu_s", measured.process_s},
        {"generator_cpu_s", measured.generator_s},
        {"model_calls", measured.model_calls},
        {"batch_rows", {{"mean", mean_of(measured.batch_rows)}, {"bins", std::move(bins)}}},
        {"rss_bytes", measured.rss_bytes},
        {"peak_rss_bytes", measured.peak_rss_bytes}};
  }
  json["totals"] = {{"sent", report.totals.sent}, {"acknowledged", report.totals.acknowledged}};
  json["trouble"] = report.trouble;
  json["notes"] = limits_of(report);
  json["answer"] = answer(report);
  return json.dump(2);
}

}  // namespace headwater::bench
