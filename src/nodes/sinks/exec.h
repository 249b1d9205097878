// exec: runs a program for each alert: a siren, a relay, a script.
//
// The command is a list of words, given to the kernel without a shell. The alert's JSON is on
// standard input (a file in memory: a program that does not read it holds nothing up),
// HEADWATER_DEVICE_ID, HEADWATER_ALERT_ID and HEADWATER_EVENT are added to the environment, output
// is dropped. Exit status 0: done. 75 (EX_TEMPFAIL): again later. All else, a signal and the
// timeout: refused for good. At the timeout the program's whole process group is killed.
//
// An action is for now: one whose alert is older than max_age, or was made before this start, is
// counted as expired and not run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sinks/sinks.h"
#include "pipeline/sink.h"

namespace headwater {

struct ExecSinkOptions {
  std::vector<std::string> command;
  config::Duration timeout = std::chrono::seconds(10);
  int max_running = 4;
  config::Duration max_age = std::chrono::seconds(10);
  SendOptions sending;
};

template <>
inline constexpr auto config::kSchema<ExecSinkOptions> = config::schema<ExecSinkOptions>(
    "exec", "Runs a program for each alert, with the alert's JSON on its standard input.",
    config::field(
        &ExecSinkOptions::command,
        {.name = "command",
         .doc = "The program and its arguments; no shell reads them. Exit status 0: done, "
                "75: again later, else refused for good.",
         .example = "[\"./siren.sh\", \"hall-2\"]",
         .min = 1,
         .required = true}),
    config::field(&ExecSinkOptions::timeout,
                  {.name = "timeout",
                   .doc = "Time after which the program and what it started are killed.",
                   .min = std::chrono::milliseconds(1)}),
    config::field(&ExecSinkOptions::max_running, {.name = "max_running",
                                                  .doc = "Programs that run at once; 1 keeps the "
                                                         "order of alerts.",
                                                  .min = 1,
                                                  .max = 256}),
    config::field(
        &ExecSinkOptions::max_age,
        {.name = "max_age",
         .doc = "Age from which an alert is not acted on any more, but counted as expired. "
                "Alerts from before a restart are always too old.",
         .min = std::chrono::milliseconds(1)}),
    config::field(&ExecSinkOptions::sending,
                  {.name = "sending", .doc = "When alerts are sent.", .flatten = true}));

std::unique_ptr<Sink> make_exec_sink(const ExecSinkOptions& options, const config::Node& node,
                                     const SinkContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
