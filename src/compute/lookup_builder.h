// LookupBuilder: records of text become a LookupTable. Internal to compute: CSV and SQLite feed it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compute/lookup.h"

namespace headwater {

class LookupBuilder {
 public:
  // `places` leads from the name to the number of a record in error texts: ":" gives
  // "assets.csv:7".
  LookupBuilder(LookupOptions options, std::string_view places);
  ~LookupBuilder();

  // Once, first. Invalid without the key or a column of `take`; `place` as for add().
  Status header(std::vector<std::string> names, std::size_t place);
  // Types that the source declares, for columns that the options do not declare.
  void declare(const Schema& types);
  // One record, as many fields as the header has; an empty one is null. Invalid for a key that is
  // empty or twice, exhausted beyond max_rows.
  Status add(const std::vector<std::string_view>& fields, std::size_t place);
  Result<LookupTable> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace headwater
