#include "edge/describe_plan.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "base/time.h"

namespace headwater {
namespace {

constexpr double kSecondsPerDay = 86'400;

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

std::string describe_writes(const StoreConfig& store, const ExpectedLoad& load) {
  const WriteForecast writes = forecast_writes(store, load);
  const double full_after =
      static_cast<double>(store.max_bytes.bytes) / writes.log / kSecondsPerDay;
  return fmt::format(
      "writes about {} a day at {:g} readings/s of {:g} bytes, {:.3g} ms a commit: {} by the "
      "store, "
      "{} by ext4's journal\n"
      "  {} a day until the store has reached {}: for {:.2g} days\n",
      human_bytes(writes.total() * kSecondsPerDay), load.readings_per_second, load.reading_bytes,
      writes.commit_seconds * 1e3, human_bytes(writes.store * kSecondsPerDay),
      human_bytes(writes.journal * kSecondsPerDay),
      human_bytes(writes.new_total() * kSecondsPerDay), format_size(store.max_bytes.bytes),
      full_after);
}

}  // namespace

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
  text += describe_writes(config.store, load);
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
  const WriteForecast writes = forecast_writes(plan.config().store, load);
  json["bytes_written_per_day"] = writes.total() * kSecondsPerDay;
  json["writes"] = {{"commit_time_s", writes.commit_seconds},
                    {"commits_per_second", writes.commits},
                    {"bytes_per_day", writes.total() * kSecondsPerDay},
                    {"new_store_bytes_per_day", writes.new_total() * kSecondsPerDay},
                    {"store_bytes_per_day", writes.store * kSecondsPerDay}};
  return json.dump();
}

}  // namespace headwater
