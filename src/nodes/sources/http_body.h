// The body of a POST taken apart into readings, by its Content-Type. Plain values: no socket, no
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/csv_json.h"

namespace headwater {

enum class BodyFormat : std::uint8_t { kUnknown, kJson, kLines, kCsv };

// application/json; application/x-ndjson, application/jsonl and application/x-jsonlines; text/csv.
// Parameters (charset) are not looked at.
BodyFormat body_format(std::string_view content_type);

// Readings of a request: views by offset into `bytes`.
struct BodyReadings {
  struct Piece {
    std::size_t begin = 0;
    std::size_t size = 0;
    std::size_t note = kNone;  // into `notes`: the piece is no reading, and why
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::string bytes;
  std::vector<Piece> pieces;
  std::vector<std::string> notes;

  std::string_view piece(std::size_t index) const {
    return std::string_view(bytes).substr(pieces[index].begin, pieces[index].size);
  }
};

// JSON is one object or an array of them, lines hold one JSON value each (blank ones are left out),
// CSV is as read_csv_document() reads it. What is inside an element, line or record is not looked
// at: a bad one is told apart when it is decoded.
// Invalid: the body as a whole cannot be read. Exhausted: more than csv.max_records readings.
Result<BodyReadings> read_body(std::string body, BodyFormat format, const CsvDocumentOptions& csv);

}  // namespace headwater
