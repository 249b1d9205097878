// The JSON of an offline alert: a device has gone without good-bye.
//
//   {"id": "…32 hex…", "event": "offline", "device_id": "press-7", "client_id": "gateway-2",
//    "timestamp": "2026-01-02T03:04:05Z", "severity": "high", "rule": "offline", "pipeline":
//    "main", "edge_id": "press-hall-2", "topic": "status/press-7", "will": {"state": "gone"}}
//
// `will` is the payload of the client's will: as it is where it is JSON, a text where it is UTF-8,
// null where it is empty. Other bytes are in `will_base64` instead.
#pragma once

#include <string>
#include <string_view>

#include "data/batch.h"

namespace headwater {

std::string offline_json(std::string_view edge_id, std::string_view pipeline, const Row& row,
                         std::string_view alert_id);

}  // namespace headwater
