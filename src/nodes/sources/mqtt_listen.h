// mqtt_listen: devices publish straight to the edge, over MQTT 3.1.1 or 5; PUBACK means on disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sources/source_set.h"

namespace headwater {

enum class AnonymousAccess : std::uint8_t { kLoopback, kYes, kNo };
enum class DeniedAction : std::uint8_t { kDisconnect, kDrop };
enum class WillAction : std::uint8_t { kAlert, kIgnore };

template <>
inline constexpr auto config::kEnumNames<AnonymousAccess> =
    config::enum_names<AnonymousAccess>({{"loopback", AnonymousAccess::kLoopback},
                                         {"yes", AnonymousAccess::kYes},
                                         {"no", AnonymousAccess::kNo}});
template <>
inline constexpr auto config::kEnumNames<DeniedAction> = config::enum_names<DeniedAction>(
    {{"disconnect", DeniedAction::kDisconnect}, {"drop", DeniedAction::kDrop}});

template <>
inline constexpr auto config::kEnumNames<WillAction> = config::enum_names<WillAction>(
    {{"alert", WillAction::kAlert}, {"ignore", WillAction::kIgnore}});

struct ListenTlsOptions {
  config::Path certificate;
  config::Path key;
  config::Path client_ca;
  bool require_client_certificate = false;
};

template <>
inline constexpr auto config::kSchema<ListenTlsOptions> = config::schema<ListenTlsOptions>(
    "tls", "TLS of a listener.",
    config::field(&ListenTlsOptions::certificate,
                  {.name = "certificate",
                   .doc = "PEM file: the certificate, then its chain.",
                   .required = true}),
    config::field(&ListenTlsOptions::key,
                  {.name = "key", .doc = "PEM file of the private key.", .required = true}),
    config::field(&ListenTlsOptions::client_ca,
                  {.name = "client_ca",
                   .doc = "PEM file: client certificates signed by it are accepted; their common "
                          "name is the user name."}),
    config::field(&ListenTlsOptions::require_client_certificate,
                  {.name = "require_client_certificate",
                   .doc = "Refuses clients without a certificate."}));

struct MqttListenOptions {
  config::Endpoint address{"127.0.0.1", 1884};
  std::vector<std::string> topics{"#"};
  std::vector<std::string> write_own;
  std::string commands = "commands/${client_id}/#";
  WillAction wills = WillAction::kAlert;
  AnonymousAccess anonymous = AnonymousAccess::kLoopback;
  config::Path password_file;
  DeniedAction on_denied = DeniedAction::kDisconnect;
  std::optional<ListenTlsOptions> tls;
  config::ByteSize max_packet{1U << 20};
  std::uint32_t max_connections = 10'000;
  std::uint16_t receive_maximum = 1000;
  config::Duration connect_timeout = std::chrono::seconds(10);
  config::Duration max_session_expiry = std::chrono::hours(24 * 7);
  double messages_per_second = 0;
  double bytes_per_second = 0;
  Acknowledge acknowledge = Acknowledge::kCommitted;
  ReadingOptions reading;
};

template <>
inline constexpr auto config::kSchema<MqttListenOptions> = config::schema<MqttListenOptions>(
    "mqtt_listen",
    "MQTT listener of the edge (3.1.1 and 5): devices publish straight to it, and PUBACK means "
    "that "
    "the reading is on disk.",
    config::field(&MqttListenOptions::address,
                  {.name = "address",
                   .doc = "Where it listens. Loopback unless told; port 0 takes a free one."}),
    config::field(&MqttListenOptions::topics,
                  {.name = "topics",
                   .doc = "Topic filters that may be published to; others are refused.",
                   .example = "[\"sensors/+/readings\"]",
                   .min = 1}),
    config::field(&MqttListenOptions::write_own,
                  {.name = "write_own",
                   .doc = "Topics a client may write, by its own name: %c is the client id, %u the "
                          "user name. Without it any client may write any of `topics`.",
                   .example = "[\"sensors/%c/readings\"]"}),
    config::field(&MqttListenOptions::commands,
                  {.name = "commands",
                   .doc = "What a client may subscribe to, to get the messages of `command` sinks: "
                          "${client_id} is its client id, ${username} its verified user name. "
                          "Empty: nothing."}),
    config::field(&MqttListenOptions::wills,
                  {.name = "wills",
                   .doc = "What the will of a client becomes that vanishes without DISCONNECT: an "
                          "alert of the event `offline`, or nothing."}),
    config::field(&MqttListenOptions::anonymous,
                  {.name = "anonymous",
                   .doc = "Clients without a user name: only from this machine and without a "
                          "password file (loopback), always, or never."}),
    config::field(&MqttListenOptions::password_file,
                  {.name = "password_file",
                   .doc = "Users and salted hashes, as mosquitto_passwd writes them."}),
    config::field(&MqttListenOptions::on_denied,
                  {.name = "on_denied",
                   .doc = "What a 3.1.1 client gets for a topic it may not write: a closed "
                          "connection, or an acknowledgement for a message that is dropped and "
                          "counted as refused."}),
    config::field(&MqttListenOptions::tls, {.name = "tls", .doc = "TLS; without it plain TCP."}),
    config::field(&MqttListenOptions::max_packet, {.name = "max_packet",
                                                   .doc = "Largest packet a client may send.",
                                                   .min = ByteSize{256},
                                                   .max = ByteSize{268'435'455}}),
    config::field(&MqttListenOptions::max_connections, {.name = "max_connections",
                                                        .doc = "Open connections at most.",
                                                        .unit = "connections",
                                                        .min = 1}),
    config::field(&MqttListenOptions::receive_maximum,
                  {.name = "receive_maximum",
                   .doc = "Messages a client may have unacknowledged.",
                   .unit = "messages",
                   .min = 1}),
    config::field(&MqttListenOptions::connect_timeout,
                  {.name = "connect_timeout",
                   .doc = "Time a connection has for its CONNECT.",
                   .audience = config::Audience::kTuning}),
    config::field(&MqttListenOptions::max_session_expiry,
                  {.name = "max_session_expiry",
                   .doc = "How long the session of a client that left is kept at most.",
                   .audience = config::Audience::kTuning}),
    config::field(
        &MqttListenOptions::messages_per_second,
        {.name = "messages_per_second",
         .doc = "Quota of a client; what is over it waits, nothing is dropped. 0 is none.",
         .unit = "messages/s",
         .min = 0}),
    config::field(&MqttListenOptions::bytes_per_second,
                  {.name = "bytes_per_second",
                   .doc = "Quota of a client in bytes. 0 is none.",
                   .unit = "bytes/s",
                   .min = 0}),
    config::field(&MqttListenOptions::acknowledge, {.name = "acknowledge",
                                                    .doc = kAcknowledgeDoc,
                                                    .audience = config::Audience::kTuning}),
    config::field(&MqttListenOptions::reading,
                  {.name = "reading", .doc = "How messages become readings.", .flatten = true}));

SourceSet make_mqtt_listen(const MqttListenOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
