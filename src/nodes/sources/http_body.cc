#include "nodes/sources/http_body.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "compute/json_array.h"

namespace headwater {
namespace {

Status read_json(BodyReadings& readings, std::size_t max) {
  std::vector<std::string_view> elements;
  HW_TRY(split_json_document(readings.bytes, max, elements));
  readings.pieces.reserve(elements.size());
  for (const std::string_view element : elements) {
    readings.pieces.push_back(
        {static_cast<std::size_t>(element.data() - readings.bytes.data()), element.size()});
  }
  return {};
}

Status read_lines(BodyReadings& readings, std::size_t max) {
  const std::string_view text = readings.bytes;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = trim(text.substr(at, end - at));
    if (!line.empty()) {
      if (readings.pieces.size() == max) {
        return Error::exhausted("more than {} lines in one request (max_elements)", max);
      }
      readings.pieces.push_back({static_cast<std::size_t>(line.data() - text.data()), line.size()});
    }
    at = end + 1;
  }
  return {};
}

Status read_csv(BodyReadings& readings, const CsvDocumentOptions& csv) {
  const std::string text = std::exchange(readings.bytes, {});
  return read_csv_document(text, csv, [&](std::string_view piece, std::string_view reason) {
    BodyReadings::Piece& added = readings.pieces.emplace_back();
    added.begin = readings.bytes.size();
    added.size = piece.size();
    readings.bytes += piece;
    if (!reason.empty()) {
      added.note = readings.notes.size();
      readings.notes.emplace_back(reason);
    }
  });
}

}  // namespace

BodyFormat body_format(std::string_view content_type) {
  std::string type(trim(content_type.substr(0, content_type.find(';'))));
  std::transform(type.begin(), type.end(), type.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (type == "application/json") {
    return BodyFormat::kJson;
  }
  if (type == "application/x-ndjson" || type == "application/jsonl" ||
      type == "application/x-jsonlines") {
    return BodyFormat::kLines;
  }
  return type == "text/csv" ? BodyFormat::kCsv : BodyFormat::kUnknown;
}

Result<BodyReadings> read_body(std::string body, BodyFormat format, const CsvDocumentOptions& csv) {
  BodyReadings readings;
  readings.bytes = std::move(body);
  switch (format) {
    case BodyFormat::kJson:
      HW_TRY(read_json(readings, csv.max_records));
      return readings;
    case BodyFormat::kLines:
      HW_TRY(read_lines(readings, csv.max_records));
      return readings;
    case BodyFormat::kCsv:
      HW_TRY(read_csv(readings, csv));
      return readings;
    case BodyFormat::kUnknown:
      break;
  }
  return Error::invalid("no content type that is read");
}

}  // namespace headwater
