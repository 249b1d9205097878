// Options of the uplink: those that every target has, and those of `file` and `http`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/schema.h"

namespace headwater {

enum class UplinkOrder : std::uint8_t { kLiveFirst, kStrict };

template <>
inline constexpr auto config::kEnumNames<UplinkOrder> = config::enum_names<UplinkOrder>(
    {{"live_first", UplinkOrder::kLiveFirst}, {"strict", UplinkOrder::kStrict}});

struct UplinkOptions {
  std::vector<std::string> lanes = {"alerts", "readings", "dead_letter"};
  config::Duration every = std::chrono::seconds(60);
  std::size_t max_rows = 10'000;
  config::ByteSize max_bytes{std::uint64_t{4} << 20};
  std::string budget;
  UplinkOrder order = UplinkOrder::kLiveFirst;
  int compression_level = 3;
  config::Duration score_wait = std::chrono::seconds(30);
  config::Duration max_backoff = std::chrono::seconds(60);
  config::Duration park_every = std::chrono::minutes(5);
  Status validate() const;
};

// Bytes per second of "256KiB/s"; 0 for "".
Result<std::uint64_t> parse_budget(std::string_view text);

template <>
inline constexpr auto config::kSchema<UplinkOptions> = config::schema<UplinkOptions>(
    "uplink", "Options that every target has.",
    config::field(&UplinkOptions::lanes,
                  {.name = "lanes",
                   .doc = "Lanes that are sent: alerts, readings, samples, dead_letter, debug.",
                   .example = "[alerts]",
                   .min = 1}),
    config::field(
        &UplinkOptions::every,
        {.name = "every",
         .doc = "A batch is closed this long after its first row was stored, full or not. "
                "Alerts do not wait.",
         .min = std::chrono::milliseconds(0)}),
    config::field(&UplinkOptions::max_rows, {.name = "max_rows",
                                             .doc = "Rows of a batch at most.",
                                             .unit = "rows",
                                             .min = 1,
                                             .max = 1'000'000}),
    config::field(&UplinkOptions::max_bytes,
                  {.name = "max_bytes",
                   .doc = "Size of a batch before compression at most; one row may be larger.",
                   .min = config::ByteSize{1U << 10},
                   .max = config::ByteSize{32U << 20}}),
    config::field(&UplinkOptions::budget,
                  {.name = "budget",
                   .doc = "Bytes per second that all lanes but alerts may take; no limit if not "
                          "given. Alerts are exempt.",
                   .example = "256KiB/s"}),
    config::field(
        &UplinkOptions::order,
        {.name = "order",
         .doc = "What goes first where rows have stayed behind. `live_first`: rows that come in go "
                "on time, and the backlog behind them in what they leave of the budget. `strict`: "
                "the oldest. Alerts go before either."}),
    config::field(&UplinkOptions::compression_level, {.name = "compression_level",
                                                      .doc = "zstd's, from fast (1) to small (19).",
                                                      .min = 1,
                                                      .max = 19,
                                                      .audience = config::Audience::kTuning}),
    config::field(&UplinkOptions::score_wait,
                  {.name = "score_wait",
                   .doc = "How long a reading waits for its score; then it goes without.",
                   .min = std::chrono::milliseconds(0),
                   .audience = config::Audience::kTuning}),
    config::field(&UplinkOptions::max_backoff,
                  {.name = "max_backoff",
                   .doc = "Longest wait between attempts; it begins at half a second and doubles.",
                   .min = std::chrono::milliseconds(1),
                   .audience = config::Audience::kTuning}),
    config::field(&UplinkOptions::park_every,
                  {.name = "park_every",
                   .doc = "Wait between attempts while a receiver refuses in a way that a person "
                          "has to mend.",
                   .min = std::chrono::milliseconds(1),
                   .audience = config::Audience::kTuning}));

struct FileTargetOptions {
  config::Path dir;
  std::optional<std::size_t> max_files;
  UplinkOptions uplink;
};

template <>
inline constexpr auto config::kSchema<FileTargetOptions> = config::schema<FileTargetOptions>(
    "file", "Writes each batch as a file of a folder, for another program to take away.",
    config::field(&FileTargetOptions::dir, {.name = "dir",
                                            .doc = "The folder; made when it does not exist.",
                                            .example = "./outbox",
                                            .required = true}),
    config::field(&FileTargetOptions::max_files,
                  {.name = "max_files",
                   .doc = "While so many batches lie in the folder no more are written: they wait "
                          "in the store. No limit if not given.",
                   .unit = "files",
                   .min = 1}),
    config::field(&FileTargetOptions::uplink,
                  {.name = "uplink", .doc = "What every target has.", .flatten = true}));

struct HttpTargetOptions {
  std::string url;
  config::Secret token;
  config::Map<config::Secret> headers;
  config::Path ca;
  config::Path certificate;
  config::Path key;
  bool verify = true;
  bool insecure = false;
  config::Duration timeout = std::chrono::minutes(15);
  config::Duration stall = std::chrono::seconds(60);
  config::Duration max_retry_after = std::chrono::minutes(15);
  UplinkOptions uplink;
};

template <>
inline constexpr auto config::kSchema<HttpTargetOptions> = config::schema<HttpTargetOptions>(
    "http", "Posts each batch to a URL until the receiver answers 2xx.",
    config::field(&HttpTargetOptions::url,
                  {.name = "url",
                   .doc = "https://…; http:// to this machine only, or with `insecure`.",
                   .example = "\"https://ingest.example/v1/batches\"",
                   .required = true}),
    config::field(&HttpTargetOptions::token, {.name = "token",
                                              .doc = "Sent as Authorization: Bearer.",
                                              .example = "${UPLINK_TOKEN}"}),
    config::field(&HttpTargetOptions::headers,
                  {.name = "headers",
                   .doc = "More headers by name; their values are treated as secrets.",
                   .example = "{X-Site: hall-2}"}),
    config::field(&HttpTargetOptions::ca,
                  {.name = "ca",
                   .doc = "PEM file of trusted authorities; the system's if not given."}),
    config::field(&HttpTargetOptions::certificate,
                  {.name = "certificate", .doc = "PEM file of this edge's certificate."}),
    config::field(&HttpTargetOptions::key, {.name = "key", .doc = "PEM file of its private key."}),
    config::field(&HttpTargetOptions::verify,
                  {.name = "verify", .doc = "Checks the receiver's certificate and host name."}),
    config::field(&HttpTargetOptions::insecure,
                  {.name = "insecure",
                   .doc = "Lets http:// leave this machine: token and readings can be read on the "
                          "way."}),
    config::field(&HttpTargetOptions::timeout,
                  {.name = "timeout",
                   .doc = "Longest time of one request: a slow link needs it.",
                   .min = std::chrono::milliseconds(1)}),
    config::field(
        &HttpTargetOptions::stall,
        {.name = "stall",
         .doc = "A request on which no byte moves for so long is given up and sent again at "
                "once, on a new connection.",
         .min = std::chrono::milliseconds(100)}),
    config::field(&HttpTargetOptions::max_retry_after,
                  {.name = "max_retry_after",
                   .doc = "Longest wait that a Retry-After of the receiver is granted.",
                   .min = std::chrono::milliseconds(0),
                   .audience = config::Audience::kTuning}),
    config::field(&HttpTargetOptions::uplink,
                  {.name = "uplink", .doc = "What every target has.", .flatten = true}));

}  // namespace headwater
