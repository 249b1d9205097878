// The server's counts as metrics, with the label `listener`.
#pragma once

#include <vector>

#include "protocol/http/server.h"
#include "telemetry/metrics.h"

namespace headwater::http {

// Server and registry outlive the callbacks.
[[nodiscard]] std::vector<telemetry::Registry::Callback> register_server_metrics(
    telemetry::Registry& registry, const Server& server);

}  // namespace headwater::http
