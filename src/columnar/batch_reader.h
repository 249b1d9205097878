// BatchReader: a batch from bytes that anyone may have sent. Strict: whatever is not as
// docs/formats/batch.md says is an error that names the line, and the whole batch is refused.
//
//   BatchReader reader(limits);
//   const BatchHeader header = HW_TRY(BatchReader::read_header(bytes, limits));  // cheap
//   HW_TRY(reader.open(bytes));                              // checksum, sizes, decompression
//   for (;;) {
//     switch (HW_TRY(reader.next())) { case kRow: reader.row(); … case kEnd: … }
//   }
//
// Bounded: open() allocates at most limits.payload, and only after the header, the frame and the
// checksum agree; a line costs a few times its length. All errors are kInvalid, or kExhausted
// where a limit is passed. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "columnar/batch.h"

namespace headwater {

struct BatchLimits {
  std::size_t header = 64 * 1024;
  std::size_t payload = std::size_t{64} << 20;  // before compression
  std::size_t line = std::size_t{32} << 20;
};

enum class BatchItem : std::uint8_t { kRow, kGap, kEnd };

class BatchReader {
 public:
  explicit BatchReader(BatchLimits limits = {});
  ~BatchReader();
  BatchReader(const BatchReader&) = delete;
  BatchReader& operator=(const BatchReader&) = delete;

  // The header alone; `bytes` may be the beginning of a batch. Says nothing about the payload.
  static Result<BatchHeader> read_header(std::string_view bytes, const BatchLimits& limits = {});

  // Checks the whole batch but its lines. `bytes` need not outlive the call.
  Status open(std::string_view bytes);
  const BatchHeader& header() const;
  // kEnd only when the lines covered first..last and were as many as the header says.
  Result<BatchItem> next();
  // Of the last next(), valid until the following one.
  const BatchRow& row() const;
  const BatchGap& gap() const;
  // The line of the last next(), without LF.
  std::string_view line() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace headwater
