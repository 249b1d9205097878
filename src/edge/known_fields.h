// The fields of each source with their types: those that `schema:` declares, and those that an edge
// with this config learned from messages and keeps in its spool.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "data/schema.h"
#include "edge/plan.h"

namespace headwater {

struct KnownField {
  std::string name;
  Type type = Type::kFloat64;
  bool declared = false;
};

struct SourceFields {
  std::string source;
  std::vector<KnownField> fields;  // declared ones first, then in the order they were met
};

// Of sources that feed a pipeline, in the order of the config. Reads the spool below data_dir
// without changing it, also while an edge runs. Not found: there is none. Types that cannot be read
// are left out, as an edge would learn them anew.
Result<std::vector<SourceFields>> known_fields(const Plan& plan);

}  // namespace headwater
