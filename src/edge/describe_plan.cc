#include "edge/describe_plan.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "base/time.h"

namespace headwater {
namespace {

constexpr double kRowBytes = 24;
constexpr double kDecisionBytes = 9;
constexpr double kBlockBytes = 4096;
// Headers of two frames, the heads of their entries, cursor and next sequences, padding.
constexpr double kCommitBytes = 300;
constexpr double kMostWindow = 0.020;
constexpr double kSecondsPerDay = 86'400;
// With commit_delay auto: a commit and its wait on a disk of ordinary speed.
constexpr double kAutoWindow = 0.002;

std::string steps_of(const PipelineConfig& pipeline) {
  std::string text;
  for (const config::Node& step : pipeline.steps) {
    if (const config::Node::Entry* entry = step.only_entry()) {
      text += " > " + entry->name;
    }
  }
  return text;
}

std::string human_bytes(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g} {}", bytes, kUnits[unit]);
}

}  // namespace

double bytes_per_day(const Plan& plan, const ExpectedLoad& load) {
  const Result<Nanos> delay = parse_duration(plan.config().store.commit_delay);
  const double window =
      std::max(delay ? static_cast<double>(delay->count()) * 1e-9 : kAutoWindow, 0.0005);
  const double payload =
      load.readings_per_second * (load.reading_bytes + kRowBytes + kDecisionBytes);
  // A commit writes the block again that the last one ended in.
  const double each = kBlockBytes + kCommitBytes;
  double commits = std::min(load.readings_per_second, 1 / window);
  if (!delay && plan.config().store.write_budget) {
    const double budget =
        static_cast<double>(plan.config().store.write_budget->bytes) / kSecondsPerDay;
    const double most = std::max((budget - payload) / each, 1 / kMostWindow);
    commits = std::min(commits, most);
  }
  return (payload + commits * each) * kSecondsPerDay;
}

std::string describe_plan(const Plan& plan, const ExpectedLoad& load) {
  std::string text;
  const EdgeConfig& config = plan.config();
  for (const auto& [name, pipeline] : config.pipelines) {
    text += fmt::format("pipeline {}: {} > decode{} > store\n", name,
                        fmt::join(pipeline.from, ", "), steps_of(pipeline));
    text += fmt::format(
        "  alerts to {}\n",
        pipeline.alerts.empty() ? "nobody" : fmt::format("{}", fmt::join(pipeline.alerts, ", ")));
  }
  for (const model::Registry::Entry& entry : plan.models().list()) {
    text +=
        fmt::format("model {}: {} ({}, digest {})\n", entry.name, entry.model->path(),
                    format_size(entry.model->file_bytes()), entry.model->digest().substr(0, 12));
    for (const model::PortInfo& port : entry.model->inputs()) {
      text += fmt::format("  input  {}: {}\n", port.name, port.text);
    }
    for (const model::PortInfo& port : entry.model->outputs()) {
      text += fmt::format("  output {}: {}\n", port.name, port.text);
    }
  }
  if (plan.has_uplink()) {
    config::Diagnostics diagnostics;
    const MadeUplink made = plan.make_uplink(diagnostics);
    text += fmt::format("uplink: {} to {} every {}{}\n", fmt::join(made.options.lanes, ", "),
                        made.where, format_duration(made.options.every),
                        made.options.budget.empty() ? "" : ", at most " + made.options.budget);
  }
  const std::string loss = plan.loss_window();
  text += loss.empty() ? "loss window: none; what a source was told \"got it\" about is on disk\n"
                       : fmt::format("LOSS WINDOW: {}\n", loss);
  text += fmt::format(
      "writes about {} a day at {:g} readings/s of {:g} bytes; the store holds {} "
      "of it\n",
      human_bytes(bytes_per_day(plan, load)), load.readings_per_second, load.reading_bytes,
      format_size(config.store.max_bytes.bytes));
  return text;
}

std::string describe_plan_json(const Plan& plan, const ExpectedLoad& load) {
  nlohmann::ordered_json json;
  json["edge_id"] = plan.config().edge.id;
  json["revision"] = fmt::format("{:016x}", plan.revision());
  json["pipelines"] = nlohmann::ordered_json::array();
  for (const auto& [name, pipeline] : plan.config().pipelines) {
    nlohmann::ordered_json steps = nlohmann::ordered_json::array();
    for (const config::Node& step : pipeline.steps) {
      if (const config::Node::Entry* entry = step.only_entry()) {
        steps.push_back(entry->name);
      }
    }
    json["pipelines"].push_back({{"name", name},
                                 {"from", pipeline.from},
                                 {"steps", std::move(steps)},
                                 {"alerts", pipeline.alerts}});
  }
  json["models"] = nlohmann::ordered_json::array();
  for (const model::Registry::Entry& entry : plan.models().list()) {
    json["models"].push_back({{"name", entry.name},
                              {"path", entry.model->path()},
                              {"digest", entry.model->digest()},
                              {"bytes", entry.model->file_bytes()}});
  }
  if (plan.has_uplink()) {
    config::Diagnostics diagnostics;
    const MadeUplink made = plan.make_uplink(diagnostics);
    json["uplink"] = {{"to", made.where}, {"lanes", made.options.lanes}};
  }
  json["loss_window"] = plan.loss_window();
  json["bytes_written_per_day"] = bytes_per_day(plan, load);
  return json.dump();
}

}  // namespace headwater
