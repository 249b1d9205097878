// command: publishes each alert to clients of one of our listeners, for devices that act: a siren,
// a relay, a machine that stops.
//
// The message goes to the clients that are connected to the listener and have subscribed to the
// topic; a client may subscribe to its own command topics only (`commands` of mqtt_listen). QoS 0:
// delivered when it is written to a client's connection. QoS 1: when a client has acknowledged it.
//
// An action is for now: one that no client has taken within max_age of its alert, or whose alert
// was made before this start, is counted as expired and not sent. A client that was sent it in time
// has kAnswerTime more to acknowledge it.
#pragma once

#include <memory>
#include <string>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sinks/sinks.h"
#include "pipeline/sink.h"

namespace headwater {

struct CommandSinkOptions {
  static constexpr Nanos kAnswerTime = std::chrono::seconds(5);

  std::string listener;
  std::string topic;
  int qos = 1;
  config::Duration max_age = std::chrono::seconds(10);
  SendOptions sending{Send::kEarly};
};

template <>
inline constexpr auto config::kSchema<CommandSinkOptions> = config::schema<CommandSinkOptions>(
    "command", "Publishes each alert to subscribed clients of a listener of this edge.",
    config::field(&CommandSinkOptions::listener,
                  {.name = "listener",
                   .doc = "Name of a source of the type mqtt_listen.",
                   .example = "direct",
                   .required = true}),
    config::field(
        &CommandSinkOptions::topic,
        {.name = "topic",
         .doc = "Topic; ${device_id}, ${topic} and ${edge_id} are filled in. It must lie within "
                "the `commands` of the listener for the client that is meant.",
         .example = "\"commands/${device_id}/alarm\"",
         .required = true}),
    config::field(&CommandSinkOptions::qos,
                  {.name = "qos",
                   .doc = "1: until the client acknowledges it. 0: sent once.",
                   .min = 0,
                   .max = 1}),
    config::field(
        &CommandSinkOptions::max_age,
        {.name = "max_age",
         .doc = "Age from which an alert is not sent any more, but counted as expired. Alerts "
                "from before a restart are always too old.",
         .min = std::chrono::milliseconds(1)}),
    config::field(&CommandSinkOptions::sending,
                  {.name = "sending", .doc = "When alerts are sent.", .flatten = true}));

std::unique_ptr<Sink> make_command_sink(const CommandSinkOptions& options, const config::Node& node,
                                        const SinkContext& context,
                                        config::Diagnostics& diagnostics);

}  // namespace headwater
