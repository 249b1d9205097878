// One reading as a JSON line for /api/v1/tap.
#pragma once

#include <string>

#include "data/batch.h"

namespace headwater {

// {"device_id", "timestamp", "topic", "score", "payload"}: the payload as it is (it was decoded, so
// it is JSON).
std::string tap_json(const Row& row, std::size_t index, const Column* score);

}  // namespace headwater
