// The kinds of target there are. Adding one is one line in catalogue.cc.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "config/diagnostics.h"
#include "config/node.h"
#include "config/schema.h"
#include "uplink/options.h"
#include "uplink/target.h"

namespace headwater {

struct MadeUplink {
  std::unique_ptr<UplinkTarget> target;  // null after an error
  UplinkOptions options;
  std::string where;  // for people: the folder, the URL
};

struct TargetKind {
  std::string_view kind;
  const config::SchemaView& (*schema)();
  // `node` holds the options (without `type`). Opens nothing.
  MadeUplink (*make)(const config::Node& node, config::Diagnostics& diagnostics);
};

std::span<const TargetKind> target_kinds();
// Null, and an error with the nearest name, for a kind there is not. `at` is where it is written.
const TargetKind* find_target_kind(std::string_view kind, const config::Place& at,
                                   config::Diagnostics& diagnostics);

// file_target.cc, http_target.cc. Null after an error.
std::unique_ptr<UplinkTarget> make_file_target(const FileTargetOptions& options,
                                               const config::Node& node,
                                               config::Diagnostics& diagnostics);
std::unique_ptr<UplinkTarget> make_http_target(const HttpTargetOptions& options,
                                               const config::Node& node,
                                               config::Diagnostics& diagnostics);

}  // namespace headwater
