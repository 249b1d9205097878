// CsvReader: streaming CSV (RFC 4180), fed with chunks as they are read.
//
//   CsvReader reader({});
//   reader.feed(chunk);                       // as often as bytes come; finish() at the end
//   while (HW_TRY(reader.next(row))) use(row.fields);
//
// Records end with LF, CRLF or the end of the file; blank lines are skipped; a UTF-8 byte order
// mark is dropped. Fields in quotes may hold delimiters, line ends and doubled quotes. A quote
// inside an unquoted field is an ordinary character; bytes between a closing quote and the next
// delimiter are an error. Fields are bytes: UTF-8 is the caller's matter.
// Memory: one record plus what was fed and not yet read. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headwater {

struct CsvOptions {
  char delimiter = ',';
  std::size_t max_record_bytes = 1024 * 1024;
  std::size_t max_fields = 4096;
};

struct CsvRow {
  std::vector<std::string_view> fields;  // valid until the next call of the reader
  std::string_view raw;                  // the record's bytes without its line end; likewise
  std::size_t line = 0;                  // where the record starts, from 1
  std::uint64_t offset = 0;              // of its first byte in the stream
};

class CsvReader {
 public:
  explicit CsvReader(CsvOptions options) : options_(options) {}

  void feed(std::string_view bytes);
  void finish() { finished_ = true; }

  // true: a record is in `row`. false: more bytes are needed, or, after finish(), there are none.
  // Invalid ("line 7: …") for a malformed or oversize record; the reader then stays at the error
  // until skip_line().
  Result<bool> next(CsvRow& row);

  // Behind an error: leaves out the line that the bad record begins with. Gives its bytes without
  // the line's end, max_record_bytes of them at most, valid until the next call.
  std::string_view skip_line();

  // Offset behind the last record given: where to go on reading after a restart.
  std::uint64_t offset() const { return base_ + at_; }
  std::size_t line() const { return line_; }  // of the next record
  // Starts in the middle of a stream, at a record's start: before the first feed().
  void start_at(std::uint64_t offset, std::size_t line);

 private:
  enum class Scan : std::uint8_t { kRecord, kMore, kBlank };
  Result<Scan> scan_record(CsvRow& row);
  bool line_is_whole(std::size_t from) const;
  void skip_rest();

  CsvOptions options_;
  std::string buffer_;
  std::size_t at_ = 0;      // in buffer_: start of the next record
  std::uint64_t base_ = 0;  // offset of buffer_[0] in the stream
  std::size_t line_ = 1;    // of the next record
  bool finished_ = false;
  bool skipping_ = false;  // what comes up to the next line feed is left out
  std::string raw_;        // of a record whose fields are unescaped in its place
  std::vector<std::pair<std::size_t, std::size_t>> spans_;  // of the record's fields in buffer_
};

}  // namespace headwater
