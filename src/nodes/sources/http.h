// http: programs and devices POST readings to the edge; 200 means on disk.
//
// A request's readings are answered together: 200 leaves after the commit of the last of them, with
// what became of each in numbers. A client that gets no 200 sends the request again; readings with
// a declared message_id are then stored once, others may be twice.
//
// Threads: the HTTP server has one of its own, which takes bodies apart; they wait, bounded, for
// the worker that has the source. Answers leave from the worker.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sources/source_set.h"

namespace headwater {

struct HttpTlsOptions {
  config::Path certificate;
  config::Path key;
  config::Path client_ca;
};

template <>
inline constexpr auto config::kSchema<HttpTlsOptions> = config::schema<HttpTlsOptions>(
    "tls", "TLS of an HTTP listener.",
    config::field(&HttpTlsOptions::certificate,
                  {.name = "certificate",
                   .doc = "PEM file: the certificate, then its chain.",
                   .required = true}),
    config::field(&HttpTlsOptions::key,
                  {.name = "key", .doc = "PEM file of the private key.", .required = true}),
    config::field(&HttpTlsOptions::client_ca,
                  {.name = "client_ca",
                   .doc = "PEM file: only clients with a certificate that it signed are served."}));

struct HttpSourceOptions {
  config::Endpoint address{"127.0.0.1", 8088};
  std::string path = "/readings";
  config::Secret token;
  std::optional<HttpTlsOptions> tls;
  config::ByteSize max_body{1U << 20};
  std::uint32_t max_connections = 256;
  std::uint32_t max_requests = 256;
  config::ByteSize max_waiting{32U << 20};
  config::Duration request_timeout = std::chrono::seconds(10);
  config::Duration answer_timeout = std::chrono::seconds(30);
  Acknowledge acknowledge = Acknowledge::kCommitted;
  ReadingOptions reading;
};

template <>
inline constexpr auto config::kSchema<HttpSourceOptions> = config::schema<HttpSourceOptions>(
    "http",
    "HTTP listener: readings are POSTed as JSON (an object or an array of objects), JSON lines or "
    "CSV, by Content-Type; 200 means that all of them are on disk. With several workers the one "
    "that the source's name falls on has it.",
    config::field(&HttpSourceOptions::address,
                  {.name = "address",
                   .doc = "Where it listens. Beyond loopback it needs TLS, and a token or client "
                          "certificates; port 0 takes a free one."}),
    config::field(&HttpSourceOptions::path,
                  {.name = "path",
                   .doc = "Where readings are posted to. What stands behind it in a request's path "
                          "is the topic: `POST /readings/press-1` has the topic `press-1`. Without "
                          "more it is the path itself."}),
    config::field(&HttpSourceOptions::token, {.name = "token",
                                              .doc = "Bearer token that callers must show.",
                                              .example = "${HTTP_TOKEN}"}),
    config::field(&HttpSourceOptions::tls, {.name = "tls", .doc = "TLS; without it plain HTTP."}),
    config::field(&HttpSourceOptions::max_body, {.name = "max_body",
                                                 .doc = "Body of a request at most; more is 413.",
                                                 .min = ByteSize{256},
                                                 .max = ByteSize{256U << 20}}),
    config::field(&HttpSourceOptions::max_connections, {.name = "max_connections",
                                                        .doc = "Open connections at most.",
                                                        .unit = "connections",
                                                        .min = 1}),
    config::field(&HttpSourceOptions::max_requests,
                  {.name = "max_requests",
                   .doc = "Requests that wait for their commit at most; one more is 503.",
                   .unit = "requests",
                   .min = 1,
                   .audience = config::Audience::kTuning}),
    config::field(&HttpSourceOptions::max_waiting,
                  {.name = "max_waiting",
                   .doc = "Bytes of requests that wait to be taken at most; one more is 503.",
                   .min = ByteSize{1U << 16},
                   .audience = config::Audience::kTuning}),
    config::field(&HttpSourceOptions::request_timeout,
                  {.name = "request_timeout",
                   .doc = "Time a client has to send a request.",
                   .min = std::chrono::milliseconds(10),
                   .audience = config::Audience::kTuning}),
    config::field(&HttpSourceOptions::answer_timeout,
                  {.name = "answer_timeout",
                   .doc = "Time until the commit after which a request is answered 503; what was "
                          "taken of it is stored nevertheless.",
                   .min = std::chrono::milliseconds(10),
                   .audience = config::Audience::kTuning}),
    config::field(&HttpSourceOptions::acknowledge, {.name = "acknowledge",
                                                    .doc = kAcknowledgeDoc,
                                                    .audience = config::Audience::kTuning}),
    config::field(&HttpSourceOptions::reading,
                  {.name = "reading", .doc = "How readings are read.", .flatten = true}));

SourceSet make_http_source(const HttpSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
