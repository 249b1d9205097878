// mqtt: subscribes to a broker (3.1.1 or 5) and acknowledges a message when it is on disk.
//
// With QoS 2 a message is stored once, also over a crash of the edge: the packet ids between PUBREC
// and PUBCOMP are stored with the rows, as state "received" of the source:
//   string  client id and address of the broker, whose session the ids belong to
//   varint  count of packet ids
//   u16     … each of them, ascending
//
// The broker keeps what is not acknowledged for the session, so what it delivered is not lost here;
// what it holds in its own memory is its own promise. For no loss from the device on, let devices
// publish to mqtt_listen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sinks/sinks.h"
#include "nodes/sources/source_set.h"

namespace headwater {

enum class MqttVersion : std::uint8_t { k311, k5 };

template <>
inline constexpr auto config::kEnumNames<MqttVersion> =
    config::enum_names<MqttVersion>({{"3.1.1", MqttVersion::k311}, {"5", MqttVersion::k5}});

struct MqttSourceOptions {
  std::string url;
  std::vector<std::string> topics;
  int qos = 1;
  MqttVersion version = MqttVersion::k5;
  std::string client_id;
  std::optional<std::string> username;
  config::Secret password;
  ClientTlsOptions tls;
  bool clean_start = false;
  config::Duration session_expiry = std::chrono::hours(24 * 7);
  config::Duration keep_alive = std::chrono::seconds(30);
  std::uint16_t receive_maximum = 65'535;
  config::Duration max_backoff = std::chrono::seconds(30);
  Acknowledge acknowledge = Acknowledge::kCommitted;
  ReadingOptions reading;
};

template <>
inline constexpr auto config::kSchema<MqttSourceOptions> = config::schema<MqttSourceOptions>(
    "mqtt",
    "Subscribes to an MQTT broker (3.1.1 or 5). A message is acknowledged when it is on disk; with "
    "several workers the one that the source's name falls on has the connection.",
    config::field(&MqttSourceOptions::url, {.name = "url",
                                            .doc = "mqtt://HOST:PORT, or mqtts:// for TLS.",
                                            .example = "mqtt://localhost:1883",
                                            .required = true}),
    config::field(
        &MqttSourceOptions::topics,
        {.name = "topics",
         .doc = "Topic filters to subscribe to; $share/GROUP/FILTER shares them with other "
                "members of the group (mosquitto 2.0 forgets those at a restart, until the edge "
                "is back: what comes in between is lost).",
         .example = "[\"sensors/+/readings\"]",
         .min = 1,
         .required = true}),
    config::field(
        &MqttSourceOptions::qos,
        {.name = "qos",
         .doc = "Asked for. With 1 the broker sends again what was not acknowledged, with 2 "
                "each message is stored once.",
         .min = 0,
         .max = 2}),
    config::field(&MqttSourceOptions::version, {.name = "version", .doc = "Protocol version."}),
    config::field(
        &MqttSourceOptions::client_id,
        {.name = "client_id",
         .doc = "The session's name at the broker; edge id and source name if not given."}),
    config::field(&MqttSourceOptions::username, {.name = "username", .doc = "User name."}),
    config::field(&MqttSourceOptions::password,
                  {.name = "password", .doc = "Password.", .example = "${MQTT_PASSWORD}"}),
    config::field(&MqttSourceOptions::tls, {.name = "tls", .doc = "TLS."}),
    config::field(&MqttSourceOptions::clean_start,
                  {.name = "clean_start",
                   .doc = "Forgets the session at start: what the broker held for it is lost."}),
    config::field(
        &MqttSourceOptions::session_expiry,
        {.name = "session_expiry",
         .doc = "How long the broker keeps the session while the edge is away (version 5)."}),
    config::field(&MqttSourceOptions::keep_alive,
                  {.name = "keep_alive",
                   .doc = "Time without traffic after which the connection is probed.",
                   .min = std::chrono::seconds(1)}),
    config::field(&MqttSourceOptions::receive_maximum,
                  {.name = "receive_maximum",
                   .doc = "Unacknowledged messages the broker may have under way (version 5).",
                   .unit = "messages",
                   .min = 1,
                   .audience = config::Audience::kTuning}),
    config::field(
        &MqttSourceOptions::max_backoff,
        {.name = "max_backoff",
         .doc = "Longest wait between two attempts to connect; each wait is a random part "
                "of a doubling time.",
         .audience = config::Audience::kTuning}),
    config::field(&MqttSourceOptions::acknowledge, {.name = "acknowledge",
                                                    .doc = kAcknowledgeDoc,
                                                    .audience = config::Audience::kTuning}),
    config::field(&MqttSourceOptions::reading,
                  {.name = "reading", .doc = "How messages become readings.", .flatten = true}));

SourceSet make_mqtt_source(const MqttSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
