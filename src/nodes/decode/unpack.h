// Unpacker: makes one row of each reading that a message holds: an element of a JSON array, a
// record of a CSV text.
//
// Rows of a message keep their order and place, its partition and position: the message is
// acknowledged when all of them are durable. A row's payload is the element's own bytes, or the
// object that a CSV record becomes (compute/csv_json.h), and that is what is stored: a replay reads
// rows that are apart already. Where the message has an identity, that of a row is derived from it
// and the row's index in the message.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compute/csv_json.h"
#include "data/batch.h"

namespace headwater {

struct UnpackOptions {
  std::optional<CsvDocumentOptions> csv{};  // nothing: JSON
  std::size_t max_elements = 10'000;        // of a message; one with more stays whole, undecoded
};

class Unpacker {
 public:
  explicit Unpacker(UnpackOptions options) : options_(std::move(options)) {}

  // Rows that are kRowUndecoded already, and those that are no readings, are left alone.
  void unpack(Batch& batch);

 private:
  void array(Batch& batch, const Row& row);
  void document(Batch& batch, const Row& row);
  // The message as one row that is no reading, and why.
  void refuse(Batch& batch, Row row, std::string_view reason);
  void add(Row row, std::size_t index, std::string_view payload);

  UnpackOptions options_;
  std::vector<Row> rows_;                   // reused, as the next one
  std::vector<std::string_view> elements_;  // of the array at hand
};

}  // namespace headwater
