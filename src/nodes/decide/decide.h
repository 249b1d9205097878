// decide: turns scores into alerts.
//
// With `alert_when` alone every row for which it is true is an alert. With clear_when, on_delay,
// off_delay or cooldown it is an alarm as in OPC UA Part 9 and ISA-18.2: one message when an
// episode is raised, one when it is cleared.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/context.h"
#include "pipeline/stage.h"

namespace headwater {

enum class AlertSeverity : std::uint8_t { kLow, kMedium, kHigh, kCritical };

template <>
inline constexpr auto config::kEnumNames<AlertSeverity> =
    config::enum_names<AlertSeverity>({{"low", AlertSeverity::kLow},
                                       {"medium", AlertSeverity::kMedium},
                                       {"high", AlertSeverity::kHigh},
                                       {"critical", AlertSeverity::kCritical}});

struct DecideOptions {
  std::string alert_when = "score > 0.8";
  std::optional<std::string> clear_when;
  std::optional<std::string> on_delay;
  std::optional<std::string> off_delay;
  std::optional<config::Duration> cooldown;
  bool hold_last = false;
  AlertSeverity severity = AlertSeverity::kHigh;
  std::string rule = "anomaly";
  std::size_t max_active = 1'000;
  std::size_t max_keys = 10'000;
};

template <>
inline constexpr auto config::kSchema<DecideOptions> = config::schema<DecideOptions>(
    "decide", "Raises alerts from scores.",
    config::field(&DecideOptions::alert_when,
                  {.name = "alert_when",
                   .doc = "Expression of type bool: true is alert-worthy.",
                   .shorthand = true}),
    config::field(&DecideOptions::clear_when,
                  {.name = "clear_when",
                   .doc = "Expression of type bool that ends an episode; without it a row that is "
                          "not alert-worthy does.",
                   .example = "\"score < 0.6\""}),
    config::field(
        &DecideOptions::on_delay,
        {.name = "on_delay",
         .doc = "How long, or in how many of the last rows, `alert_when` must hold before "
                "an episode is raised.",
         .example = "\"3 of 5\""}),
    config::field(
        &DecideOptions::off_delay,
        {.name = "off_delay",
         .doc = "How long, or in how many of the last rows, the clear condition must hold "
                "before the episode is cleared.",
         .example = "20s"}),
    config::field(&DecideOptions::cooldown,
                  {.name = "cooldown",
                   .doc = "Time after a clear in which no new episode is raised.",
                   .example = "5m"}),
    config::field(
        &DecideOptions::hold_last,
        {.name = "hold_last",
         .doc = "For devices that report on change only: the last condition holds between "
                "rows."}),
    config::field(&DecideOptions::severity,
                  {.name = "severity", .doc = "AlertSeverity the alert carries."}),
    config::field(&DecideOptions::rule,
                  {.name = "rule", .doc = "Name of the rule; part of the alert's id."}),
    config::field(&DecideOptions::max_active,
                  {.name = "max_active",
                   .doc = "Episodes active at once; one more clears the oldest.",
                   .unit = "episodes",
                   .min = 1,
                   .audience = config::Audience::kTuning}),
    config::field(&DecideOptions::max_keys, {.name = "max_keys",
                                             .doc = "Devices whose condition is remembered.",
                                             .unit = "devices",
                                             .min = 1,
                                             .audience = config::Audience::kTuning}));

std::unique_ptr<Stage> make_decide(const DecideOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
