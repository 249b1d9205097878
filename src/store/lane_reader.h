// LaneReader: the SpoolReader over a SegmentSource.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "store/frame_scanner.h"
#include "store/row_codec.h"
#include "store/segment.h"
#include "store/spool_reader.h"

namespace headwater {

class LaneReader final : public SpoolReader {
 public:
  // `source` must outlive it.
  LaneReader(SegmentSource& source, Lane lane, std::uint64_t from, ReadOptions options);

  Result<ReadItem> next() override;
  const ReadRow& row() const override { return row_; }
  const Gap& gap() const override { return gap_; }
  const Decisions& decisions() const override { return decisions_.view; }

 private:
  // What stands in the sequences [expected_, upto): a kept row (in row_) or a gap; nothing when
  // none is left.
  std::optional<ReadItem> fill_hole(std::uint64_t upto, WallTime at);
  // The next item of the frame at hand; nothing at its end.
  std::optional<ReadItem> next_in_frame();
  // Nothing in the closed segment at hand is for the caller.
  Result<bool> may_pass() const;
  Result<bool> enter(Result<SegmentSource::Opened> opened);

  SegmentSource& source_;
  const Lane lane_;
  const ReadOptions options_;
  std::uint64_t expected_;

  SegmentSource::Opened at_;
  std::uint64_t last_generation_ = 0;
  Id128 boot_;  // of the frame at hand
  std::unique_ptr<FrameScanner> scanner_;
  bool passing_ = false;     // the segment at hand is passed by
  std::uint64_t floor_ = 0;  // sequences below are let go; as of the last frame
  spool_format::EntryReader entries_{std::string_view()};
  bool in_rows_ = false;
  RowDecoder rows_{std::string_view()};
  std::uint16_t rows_stream_ = 0;
  std::uint64_t rows_next_ = 0;
  bool has_row_ = false;            // row_ is decoded but not given yet
  std::optional<Gap> skipped_;      // rows that the frame at hand let go, not given yet
  std::optional<ReadRow> waiting_;  // the row of the frame that comes after what fills the hole
  std::string kept_;                // bytes of the kept row given

  ReadRow row_;
  Gap gap_;
  spool_format::DecodedDecisions decisions_;
};

}  // namespace headwater
