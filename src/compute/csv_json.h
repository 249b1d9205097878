// CSV records as JSON objects: what becomes of a CSV line when it is taken as a reading.
//
//   auto objects = HW_TRY(CsvObjects::create(header.fields, declared));
//   HW_TRY(objects.append(row, text));       // {"device_id":"m1","temperature":21.5,"note":null}
//
// A cell, without white space around it: a JSON number stays the number it is, digit by digit; true
// and false (also True, False) are bools; an empty cell, NaN and nan are null; all else, and a
// number beyond float64, is a string. Cells of columns that are declared `string` are strings
// whatever they look like, so that "007", "12" and "A12" stay one type.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/csv.h"
#include "data/schema.h"

namespace headwater {

// A number as RFC 8259 section 6 writes it.
bool is_json_number(std::string_view text);
// One cell, as said above; `as_text`: a string, or null where it is empty.
void append_csv_value(std::string& out, std::string_view cell, bool as_text = false);

class CsvObjects {
 public:
  static constexpr std::size_t kMaxNameBytes = 512;  // as of a field in JSON

  // Invalid: no column, one without a name, two of one name, a name that is no UTF-8 or too long.
  static Result<CsvObjects> create(std::span<const std::string_view> columns,
                                   const Schema& declared);

  // Appends the object. Invalid, and `out` is as it was: another number of fields than of columns,
  // bytes that are no UTF-8. The text begins with "line N: ".
  Status append(const CsvRow& row, std::string& out) const;

  std::size_t size() const { return columns_.size(); }

 private:
  struct Column {
    std::string key;  // "\"name\":"
    bool as_text = false;
  };
  std::vector<Column> columns_;
};

struct CsvDocumentOptions {
  CsvOptions csv{};
  std::vector<std::string> columns{};  // none: the first record names them
  Schema declared{};
  std::size_t max_records = 10'000;
  std::size_t max_bytes = 16U << 20;  // of the objects: each repeats the names of all fields
};

// All records of a CSV text in order: `take(object, "")`, or `take(line, reason)` for what is no
// record, after which the next line is tried. Invalid: the header cannot be read. Exhausted, after
// some calls: more than max_records or max_bytes.
Status read_csv_document(
    std::string_view text, const CsvDocumentOptions& options,
    const std::function<void(std::string_view text, std::string_view reason)>& take);

}  // namespace headwater
