// Metrics of this process under the names Prometheus users know: CPU seconds, resident memory, open
// files, start time, threads. Read from /proc at each scrape; nothing is kept or polled.
#pragma once

#include <cstdint>
#include <vector>

#include "telemetry/metrics.h"

namespace headwater::telemetry {

// And the log's own: headwater_log_lines_total{level}, headwater_log_suppressed_lines_total.
// Keep the result as long as the registry is scraped.
[[nodiscard]] std::vector<Registry::Callback> register_process_metrics(Registry& registry);

// VmRSS in bytes; 0 where /proc is not mounted.
std::uint64_t resident_bytes();

}  // namespace headwater::telemetry
