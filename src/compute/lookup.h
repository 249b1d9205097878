// LookupTable: a CSV file or a table of a SQLite database that rows are enriched from.
//
//   auto table = HW_TRY(LookupTable::parse(text, {.name = "assets.csv", .key = "device_id",
//                                                 .take = {"site", "rated_pressure"}}));
//   LookupStats stats;
//   table.apply(batch, stats);          // adds "site" and "rated_pressure" by the key column
//
// CSV: the first record is the header. Types: as declared, else float64 if all values are JSON
// numbers (so "007" stays a string), bool if all are true or false, else string. An empty value is
// null.
// SQLite: a table or view, read in one statement, so in one state of the database, and read-only.
// Types: as declared in `types`; else int64 for a column declared as INT…, bool for BOOL…, else by
// the values as above. A blob is an error.
// Immutable once made: may be shared between threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/arena.h"
#include "data/batch.h"
#include "data/column.h"
#include "data/schema.h"

namespace headwater {

struct LookupOptions {
  std::string name = "lookup";      // for error texts: the file's name
  std::string key{};                // header name of the key column; keys are unique
  std::vector<std::string> take{};  // header names; empty: all but the key
  Schema types{};                   // declared types of some columns: any but bytes and frame
  char delimiter = ',';
  std::size_t max_rows = 100'000;
  // Of the file's text, or of all values that are read from a database.
  std::size_t max_bytes = 64 * 1024 * 1024;
  // Column of the batch to look up; empty: `key`. "device" and "device_id" mean Row::device when
  // the batch has no such column.
  std::string batch_key{};
};

struct LookupStats {
  std::uint64_t found = 0;
  std::uint64_t missing = 0;  // key null or not in the table: nulls
};

class LookupTable {
 public:
  // Errors (invalid) read "assets.csv:7: …" with the line.
  static Result<LookupTable> parse(std::string_view text, LookupOptions options);
  // Opens libsqlite3.so.0 on first use (dlopen): unavailable if it is not installed, and while the
  // database is locked; not_found for a file that is not there; else invalid, with the row
  // ("assets.db: row 7: …", counted from 1) where there is one.
  static Result<LookupTable> read_sqlite(const std::string& file, const std::string& table,
                                         LookupOptions options);
  LookupTable(LookupTable&&) noexcept;
  LookupTable& operator=(LookupTable&&) noexcept;
  ~LookupTable();

  std::size_t rows() const;
  // The taken columns.
  const Schema& schema() const;
  const Column& column(std::size_t index) const;
  std::optional<std::uint32_t> find(std::string_view key) const;

  // Adds the taken columns to the batch for its selected rows. Numeric keys are compared in their
  // shortest notation ("42", "0.5"). Strings are copied into the batch's arena.
  void apply(Batch& batch, LookupStats& stats) const;

 private:
  friend class LookupBuilder;  // compute/lookup_builder.h
  struct Table;
  explicit LookupTable(std::unique_ptr<Table> table);
  std::unique_ptr<Table> table_;
};

}  // namespace headwater
