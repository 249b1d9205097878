// The folder that the uplink's target `file` writes to, read as a receiver reads it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "columnar/batch.h"

namespace headwater::torture {

// Every row of every batch of a lane, batches in the order of their names. kInvalid for a batch
// that a receiver would refuse. A folder that is not there holds none.
Status read_outbox(const std::string& dir, std::string_view lane,
                   const std::function<void(const BatchRow&)>& use);

}  // namespace headwater::torture
