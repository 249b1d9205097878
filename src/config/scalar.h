// One scalar of the file into one member: numbers, text, durations, sizes, enums. Private to the
// parser.
#pragma once

#include <string>
#include <string_view>

#include "config/diagnostics.h"
#include "config/node.h"
#include "config/schema.h"

namespace headwater::config {

// "a whole number", "a duration such as 30s": after "expected".
std::string_view wanted_text(const Type& type);

// "LABEL: expected WANTED, got …".
void wrong_kind(const Node& node, const std::string& label, std::string_view wanted,
                Diagnostics& diagnostics);

// `node` is a scalar and `type` no container. After an error `out` is unchanged.
void parse_scalar(const Node& node, const Type& type, const FieldMeta& meta, void* out,
                  const std::string& label, Diagnostics& diagnostics);

}  // namespace headwater::config
