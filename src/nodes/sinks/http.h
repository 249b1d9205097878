// http: posts the JSON of each alert to a URL.
//
// 2xx: delivered. 408, 429, 5xx, no answer, half an answer: again, after a wait that doubles with
// each failure, or as long as the receiver asks (Retry-After). While it waits nothing newer is
// sent, so the order holds with max_open 1. Any other status, 3xx among them (redirects are not
// followed): refused for good. Each request carries the alert's id as Idempotency-Key: an alert
// whose answer was lost comes again under the same key.
#pragma once

#include <memory>
#include <string>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sinks/sinks.h"
#include "pipeline/sink.h"

namespace headwater {

struct HttpSinkOptions {
  std::string url;
  config::Map<config::Secret> headers;
  config::Secret token;
  config::Duration timeout = std::chrono::seconds(10);
  int max_open = 1;
  config::Duration max_backoff = std::chrono::seconds(30);
  config::Duration max_retry_after = std::chrono::minutes(5);
  ClientTlsOptions tls;
  SendOptions sending;
};

template <>
inline constexpr auto config::kSchema<HttpSinkOptions> = config::schema<HttpSinkOptions>(
    "http", "Posts each alert as JSON to a URL.",
    config::field(
        &HttpSinkOptions::url,
        {.name = "url",
         .doc = "http:// or https://; ${device_id}, ${topic} and ${edge_id} are filled in "
                "behind the host, encoded as a URL wants it.",
         .example = "\"https://alerts.example/v1/${device_id}\"",
         .required = true}),
    config::field(&HttpSinkOptions::headers,
                  {.name = "headers",
                   .doc = "More headers by name; their values are treated as secrets.",
                   .example = "{X-Site: hall-2}"}),
    config::field(&HttpSinkOptions::token, {.name = "token",
                                            .doc = "Sent as Authorization: Bearer.",
                                            .example = "${ALERTS_TOKEN}"}),
    config::field(&HttpSinkOptions::timeout, {.name = "timeout",
                                              .doc = "Longest time of one request.",
                                              .min = std::chrono::milliseconds(1)}),
    config::field(&HttpSinkOptions::max_open, {.name = "max_open",
                                               .doc = "Requests open at once; 1 keeps the order of "
                                                      "alerts.",
                                               .min = 1,
                                               .max = 64}),
    config::field(&HttpSinkOptions::max_backoff,
                  {.name = "max_backoff",
                   .doc = "Longest wait between attempts; it begins at half a second and doubles.",
                   .min = std::chrono::milliseconds(1)}),
    config::field(&HttpSinkOptions::max_retry_after,
                  {.name = "max_retry_after",
                   .doc = "Longest wait that a Retry-After of the receiver is granted.",
                   .min = std::chrono::milliseconds(0),
                   .audience = config::Audience::kTuning}),
    config::field(&HttpSinkOptions::tls, {.name = "tls", .doc = "TLS, with https://."}),
    config::field(&HttpSinkOptions::sending,
                  {.name = "sending", .doc = "When alerts are sent.", .flatten = true}));

std::unique_ptr<Sink> make_http_sink(const HttpSinkOptions& options, const config::Node& node,
                                     const SinkContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
