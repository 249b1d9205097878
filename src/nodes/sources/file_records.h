// The records of a file that is read in chunks: lines of JSON, or CSV.
//
//   records->start_at(offset, line);          // a record's start; 0 is the file's
//   records->feed(chunk);                     // finish() where no more comes
//   while (HW_TRY(records->next(record))) use(record);
//
// Memory: a record and what was fed and not yet read. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "compute/csv_json.h"

namespace headwater {

struct FileRecord {
  std::string_view text;    // a line, or the object that a CSV record becomes
  std::string_view note{};  // of what is no record: why; `text` is then its bytes
  std::uint64_t begin = 0;  // offset of its first byte
};

class FileRecords {
 public:
  virtual ~FileRecords() = default;

  // Before the first feed().
  virtual void start_at(std::uint64_t offset, std::size_t line) = 0;
  virtual void feed(std::string_view bytes) = 0;
  // The file has no more: what is there is the last record, with or without a line end.
  virtual void finish() = 0;
  // False: more bytes are needed. Views are valid until the next call. Invalid, again and again:
  // the file has no header that can be read.
  virtual Result<bool> next(FileRecord& record) = 0;

  // Behind the last record given.
  virtual std::uint64_t offset() const = 0;
  virtual std::size_t line() const = 0;  // from 1
};

// Lines; blank ones are left out, of a longer one than `max_line` the first bytes are given.
std::unique_ptr<FileRecords> make_line_records(std::size_t max_line);

// CSV. Without `csv.columns` the first record at offset 0 is the header; of a start elsewhere it is
// given by `header`, the bytes that the file begins with.
std::unique_ptr<FileRecords> make_csv_records(const CsvDocumentOptions& csv,
                                              std::string_view header);

// Whether the header of a file that begins with `head` can be read; an empty file has none yet.
// `whole`: head is all of the file.
Status check_csv_header(const CsvDocumentOptions& csv, std::string_view head, bool whole);

}  // namespace headwater
