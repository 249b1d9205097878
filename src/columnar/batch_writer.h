// BatchWriter: lines of a batch in memory, then its bytes.
//
//   BatchWriter writer;
//   writer.begin({.edge = "hall-2", .spool = id, .lane = "readings", .first = 41});
//   writer.add(row); … writer.add(gap);                       // in the order of sequence
//   EncodedBatch batch = HW_TRY(writer.finish(last, now, 3));
//
// Holds the lines (BatchWriter::bytes()) and what zstd needs for its level. begin() starts anew at
// any time and keeps the buffers. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "columnar/batch.h"

namespace headwater {

struct EncodedBatch {
  BatchHeader header;
  std::string bytes;  // the whole batch: header and payload
};

class BatchWriter {
 public:
  // zstd's, from fast to small.
  static constexpr int kMinLevel = 1;
  static constexpr int kMaxLevel = 19;

  BatchWriter();
  ~BatchWriter();
  BatchWriter(const BatchWriter&) = delete;
  BatchWriter& operator=(const BatchWriter&) = delete;

  // Takes edge, spool, lane, first and clock of `header`.
  void begin(const BatchHeader& header);
  // kInternal, and nothing is added, for a row or gap that does not begin where the last one ended.
  Status add(const BatchRow& row);
  Status add(const BatchGap& gap);

  // The next sequence that it wants.
  std::uint64_t next() const { return next_; }
  std::size_t bytes() const { return lines_.size(); }

  // kInternal when what was added does not end at `last`.
  Result<EncodedBatch> finish(std::uint64_t last, WallTime created, int level);

 private:
  struct Codec;
  void append_row(const BatchRow& row);

  std::unique_ptr<Codec> codec_;
  BatchHeader header_;
  std::uint64_t next_ = 1;
  std::string lines_;
};

}  // namespace headwater
