// CsvReader gives the same records when bytes come one by one as when they come at once, and goes
// on at any record's offset; LookupTable::parse survives whatever it is given.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "compute/csv.h"
#include "compute/lookup.h"

namespace {

using namespace headwater;

struct Outcome {
  std::vector<std::vector<std::string>> records;
  std::vector<std::uint64_t> ends;
  std::string error;
};

Outcome read(std::string_view text, std::size_t step, std::uint64_t offset, std::size_t line) {
  CsvReader reader({.max_record_bytes = 4096, .max_fields = 64});
  reader.start_at(offset, line);
  Outcome outcome;
  CsvRow row;
  for (std::size_t fed = 0;;) {
    auto more = reader.next(row);
    if (!more) {
      outcome.error = more.error().text();
      return outcome;
    }
    if (*more) {
      outcome.records.emplace_back(row.fields.begin(), row.fields.end());
      outcome.ends.push_back(reader.offset());
      continue;
    }
    if (fed == text.size()) {
      reader.finish();
      if (auto last = reader.next(row); !last) {
        outcome.error = last.error().text();
      } else if (*last) {
        outcome.records.emplace_back(row.fields.begin(), row.fields.end());
        outcome.ends.push_back(reader.offset());
        continue;
      }
      return outcome;
    }
    const std::size_t size = std::min(step, text.size() - fed);
    reader.feed(text.substr(fed, size));
    fed += size;
  }
}

void require(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "%s\n", what);
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (size > 3000) {
    return 0;
  }
  const Outcome whole = read(text, text.size() + 1, 0, 1);
  const Outcome dribble = read(text, 1, 0, 1);
  require(whole.records == dribble.records, "records differ when bytes come one by one");
  require(whole.ends == dribble.ends, "offsets differ when bytes come one by one");
  require(whole.error == dribble.error, "errors differ when bytes come one by one");
  if (!whole.ends.empty()) {
    const std::size_t at = whole.ends.size() / 2;
    const Outcome rest = read(text.substr(whole.ends[at]), 7, whole.ends[at], 1);
    require(std::equal(rest.records.begin(), rest.records.end(),
                       whole.records.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                       whole.records.end()),
            "records differ behind a restart");
  }
  if (!whole.records.empty()) {
    LookupOptions options;
    options.key = whole.records[0][0];
    auto table = LookupTable::parse(text, options);
    if (table) {
      Batch batch;
      batch.add_row({});
      LookupStats stats;
      table->apply(batch, stats);
    }
  }
  return 0;
}
