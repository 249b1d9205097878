// The target `file` on a disk of the caller's choice: what tests use.
#pragma once

#include <memory>

#include "io/files.h"
#include "uplink/catalogue.h"

namespace headwater {

std::unique_ptr<UplinkTarget> make_file_target(io::Files& files, const FileTargetOptions& options);

}  // namespace headwater
