// What all sinks share, and options and makers of stdout, file and mqtt.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/listeners.h"
#include "pipeline/sink.h"

namespace headwater {

struct SinkContext {
  std::string name;
  std::string edge_id;
  std::shared_ptr<const Listeners> listeners{};  // null: there are none
  std::vector<std::string> listener_names{};     // sources of the kind mqtt_listen, for the check
};

// When alerts go to a sink: after their commit (and again until they are taken), or at once (may
// repeat after a crash).
enum class Send : std::uint8_t { kDurable, kEarly };

template <>
inline constexpr auto config::kEnumNames<Send> =
    config::enum_names<Send>({{"durable", Send::kDurable}, {"early", Send::kEarly}});

struct SendOptions {
  Send send = Send::kDurable;
};

template <>
inline constexpr auto config::kSchema<SendOptions> = config::schema<SendOptions>(
    "send", "Options that every sink has.",
    config::field(&SendOptions::send,
                  {.name = "send",
                   .doc = "`durable`: after the commit, until the receiver has it. `early`: at "
                          "once; after a crash it may come again, or, if the crash came between, "
                          "only once more."}));

enum class LineFormat : std::uint8_t { kText, kJson };

template <>
inline constexpr auto config::kEnumNames<LineFormat> =
    config::enum_names<LineFormat>({{"text", LineFormat::kText}, {"json", LineFormat::kJson}});

struct StdoutOptions {
  LineFormat format = LineFormat::kText;
  SendOptions sending;
};

template <>
inline constexpr auto config::kSchema<StdoutOptions> = config::schema<StdoutOptions>(
    "stdout", "Prints each alert as a line on standard output.",
    config::field(&StdoutOptions::format,
                  {.name = "format", .doc = "A line for people, or the JSON."}),
    config::field(&StdoutOptions::sending,
                  {.name = "sending", .doc = "When alerts are sent.", .flatten = true}));

struct FileSinkOptions {
  config::Path path;
  std::optional<config::ByteSize> max_bytes;
  int keep = 5;
  SendOptions sending;
};

template <>
inline constexpr auto config::kSchema<FileSinkOptions> = config::schema<FileSinkOptions>(
    "file", "Appends each alert as a JSON line to a file, synced before it counts as delivered.",
    config::field(&FileSinkOptions::path, {.name = "path",
                                           .doc = "The file; made when it does not exist.",
                                           .example = "alerts.jsonl",
                                           .required = true}),
    config::field(&FileSinkOptions::max_bytes,
                  {.name = "max_bytes",
                   .doc = "Size from which the file is renamed to PATH.1, and PATH.1 to PATH.2, "
                          "before the next line; not limited if not given.",
                   .example = "64MiB",
                   .min = config::ByteSize{1}}),
    config::field(&FileSinkOptions::keep, {.name = "keep",
                                           .doc = "Renamed files that are kept, with max_bytes.",
                                           .unit = "files",
                                           .min = 1,
                                           .max = 1000}),
    config::field(&FileSinkOptions::sending,
                  {.name = "sending", .doc = "When alerts are sent.", .flatten = true}));

struct ClientTlsOptions {
  config::Path ca;
  config::Path certificate;
  config::Path key;
  bool verify = true;
};

template <>
inline constexpr auto config::kSchema<ClientTlsOptions> = config::schema<ClientTlsOptions>(
    "tls", "TLS towards a broker or server (used with mqtts:// and https://).",
    config::field(&ClientTlsOptions::ca,
                  {.name = "ca",
                   .doc = "PEM file of trusted authorities; the system's if not given."}),
    config::field(&ClientTlsOptions::certificate,
                  {.name = "certificate", .doc = "PEM file of the client's certificate."}),
    config::field(&ClientTlsOptions::key, {.name = "key", .doc = "PEM file of its private key."}),
    config::field(&ClientTlsOptions::verify,
                  {.name = "verify", .doc = "Checks the receiver's certificate and host name."}));

// False after an error, which is in the diagnostics: a file of `tls` cannot be read or is none.
bool check_client_tls(const ClientTlsOptions& options, const config::Node& node,
                      config::Diagnostics& diagnostics);

struct MqttSinkOptions {
  std::string url;
  std::string topic;
  int qos = 1;
  bool retain = false;
  std::string client_id;
  std::optional<std::string> username;
  config::Secret password;
  ClientTlsOptions tls;
  SendOptions sending;
};

template <>
inline constexpr auto config::kSchema<MqttSinkOptions> = config::schema<MqttSinkOptions>(
    "mqtt", "Publishes each alert to an MQTT broker (3.1.1 or 5).",
    config::field(&MqttSinkOptions::url, {.name = "url",
                                          .doc = "mqtt://HOST:PORT, or mqtts:// for TLS.",
                                          .example = "mqtt://localhost:1883",
                                          .required = true}),
    config::field(&MqttSinkOptions::topic,
                  {.name = "topic",
                   .doc = "Topic; ${device_id}, ${topic} and ${edge_id} are filled in.",
                   .example = "\"alerts/${device_id}\"",
                   .required = true}),
    config::field(&MqttSinkOptions::qos,
                  {.name = "qos",
                   .doc = "1: until the broker acknowledges it. 0: sent once.",
                   .min = 0,
                   .max = 1}),
    config::field(&MqttSinkOptions::retain,
                  {.name = "retain", .doc = "Asks the broker to keep the last one per topic."}),
    config::field(&MqttSinkOptions::client_id,
                  {.name = "client_id",
                   .doc = "Client id; edge id, sink name and `sink`, joined by -, if not given."}),
    config::field(&MqttSinkOptions::username, {.name = "username", .doc = "User name."}),
    config::field(&MqttSinkOptions::password,
                  {.name = "password", .doc = "Password.", .example = "${MQTT_PASSWORD}"}),
    config::field(&MqttSinkOptions::tls, {.name = "tls", .doc = "TLS."}),
    config::field(&MqttSinkOptions::sending,
                  {.name = "sending", .doc = "When alerts are sent.", .flatten = true}));

// Null after an error, which is in the diagnostics. Nothing is opened before Sink::start().
std::unique_ptr<Sink> make_stdout_sink(const StdoutOptions& options, const config::Node& node,
                                       const SinkContext& context,
                                       config::Diagnostics& diagnostics);
std::unique_ptr<Sink> make_file_sink(const FileSinkOptions& options, const config::Node& node,
                                     const SinkContext& context, config::Diagnostics& diagnostics);
std::unique_ptr<Sink> make_mqtt_sink(const MqttSinkOptions& options, const config::Node& node,
                                     const SinkContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
