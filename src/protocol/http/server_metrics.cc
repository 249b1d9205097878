#include "protocol/http/server_metrics.h"

namespace headwater::http {

std::vector<telemetry::Registry::Callback> register_server_metrics(telemetry::Registry& registry,
                                                                   const Server& server) {
  const telemetry::Labels labels{{"listener", server.name()}};
  std::vector<telemetry::Registry::Callback> out;
  const auto read = [&server](std::uint64_t ServerCounts::*member) {
    return [&server, member] { return static_cast<double>(server.counts().*member); };
  };
  out.push_back(registry.gauge_from("headwater_http_open_connections", "Connections open now.",
                                    labels, read(&ServerCounts::connections)));
  out.push_back(registry.gauge_from("headwater_http_open_streams", "Event streams open now.",
                                    labels, read(&ServerCounts::streams)));
  out.push_back(registry.counter_from("headwater_http_connections_total",
                                      "Connections accepted, refused ones included.", labels,
                                      read(&ServerCounts::accepted)));
  out.push_back(registry.counter_from("headwater_http_refused_connections_total",
                                      "Connections refused because too many were open.", labels,
                                      read(&ServerCounts::refused)));
  out.push_back(registry.counter_from("headwater_http_requests_total",
                                      "Requests that were complete and well formed.", labels,
                                      read(&ServerCounts::requests)));
  out.push_back(
      registry.counter_from("headwater_http_bad_requests_total",
                            "Requests answered 400, 408, 413, 417 or 431 by the server itself.",
                            labels, read(&ServerCounts::bad_requests)));
  out.push_back(registry.counter_from("headwater_http_timeouts_total",
                                      "Requests, answers and writes that took too long.", labels,
                                      read(&ServerCounts::timeouts)));
  out.push_back(registry.counter_from("headwater_http_dropped_streams_total",
                                      "Event streams ended because the client was too slow.",
                                      labels, read(&ServerCounts::dropped_streams)));
  return out;
}

}  // namespace headwater::http
