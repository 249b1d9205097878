// The reference: every option of the config file, from the schemas.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace headwater {

// For the terminal: one section or kind by name, or all of it for "". kNotFound with the nearest
// name.
Result<std::string> reference_text(std::string_view name);

// JSON Schema (draft 2020-12) of the whole file: sources and sinks by their `type`, steps by their
// kind.
std::string config_json_schema();

// config.md, sources.md, steps.md, sinks.md and config.schema.json.
Status write_reference(const std::string& dir);

}  // namespace headwater
