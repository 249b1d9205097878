#include "store/lane_reader.h"

#include <algorithm>
#include <utility>

#include "store/row_facts.h"

namespace headwater {

namespace format = spool_format;

LaneReader::LaneReader(SegmentSource& source, Lane lane, std::uint64_t from, ReadOptions options)
    : source_(source),
      lane_(lane),
      options_(options),
      expected_(std::max<std::uint64_t>(from, 1)) {}

std::optional<ReadItem> LaneReader::fill_hole(std::uint64_t upto, WallTime at) {
  while (expected_ < upto) {
    std::uint64_t until = upto;
    if (auto kept = source_.kept_in(lane_, expected_, upto - 1)) {
      if (kept->first == expected_) {
        ++expected_;
        if (options_.stream && *options_.stream != kept->second.stream) {
          continue;
        }
        kept_ = std::move(kept->second.row);
        RowDecoder decoder(kept_);
        row_ = {.lane = lane_,
                .stream = kept->second.stream,
                .sequence = kept->first,
                .stored = kept->second.stored,
                .mono = {},
                .boot = {},
                .row = {}};
        if (!decoder.next(&row_.row)) {
          continue;
        }
        return ReadItem::kRow;
      }
      until = kept->first;
    }
    gap_ = {.lane = lane_,
            .reason = GapReason::kCorrupt,
            .first = expected_,
            .last = until - 1,
            .count = until - expected_,
            .from = at,
            .to = at};
    const auto record = source_.gap_in(lane_, gap_.first, gap_.last);
    if (record && record->first <= expected_) {
      gap_ = *record;
      gap_.first = expected_;
      gap_.last = std::min(record->last, until - 1);
      gap_.count = std::min(record->count, gap_.last - gap_.first + 1);
      expected_ = gap_.last + 1;
      return ReadItem::kGap;
    }
    if (record) {
      gap_.last = std::min(gap_.last, record->first - 1);
      gap_.count = gap_.last - gap_.first + 1;
    }
    // Below the oldest segment and without a record: let go after all its consumers had it.
    const std::uint64_t oldest = source_.oldest(lane_);
    if (gap_.first < oldest) {
      expected_ = std::min(gap_.last + 1, oldest);
      continue;
    }
    expected_ = gap_.last + 1;
    source_.report(gap_);
    return ReadItem::kGap;
  }
  return std::nullopt;
}

std::optional<ReadItem> LaneReader::next_in_frame() {
  while (true) {
    while (in_rows_ || has_row_) {
      if (!has_row_) {
        if (!rows_.next(&row_.row)) {
          in_rows_ = false;
          break;
        }
        row_.lane = lane_;
        row_.stream = rows_stream_;
        row_.sequence = rows_next_++;
        row_.stored = scanner_->header().wall;
        row_.mono = scanner_->header().mono;
        row_.boot = boot_;
        has_row_ = true;
      }
      if (row_.sequence < expected_) {
        has_row_ = false;
        continue;
      }
      // Below the floor is no row, though its bytes are there.
      const std::uint64_t upto = std::max(row_.sequence, floor_);
      if (upto > expected_) {
        const ReadRow ahead = row_;
        if (const auto item = fill_hole(upto, ahead.stored)) {
          waiting_ = ahead;
          has_row_ = false;
          return item;
        }
        row_ = ahead;
        continue;
      }
      has_row_ = false;
      ++expected_;
      if (!options_.stream || *options_.stream == row_.stream) {
        return ReadItem::kRow;
      }
    }
    if (skipped_) {
      if (const auto item = fill_hole(skipped_->first, skipped_->from)) {
        return item;
      }
      gap_ = *std::exchange(skipped_, std::nullopt);
      gap_.first = expected_;
      gap_.count = gap_.last - gap_.first + 1;
      expected_ = gap_.last + 1;
      return ReadItem::kGap;
    }
    format::Entry entry;
    if (!entries_.next(&entry)) {
      return std::nullopt;
    }
    if (entry.type == format::EntryType::kOpened) {
      const auto opened = format::decode_opened(entry.content);
      boot_ = opened ? opened->boot_id : boot_;
      continue;
    }
    if (entry.lane != static_cast<std::uint8_t>(lane_)) {
      continue;
    }
    if (entry.type == format::EntryType::kRows) {
      const auto rows = format::decode_rows(entry.content);
      if (rows && rows->first + rows->count > expected_) {
        in_rows_ = true;
        rows_ = RowDecoder(rows->rows);
        rows_stream_ = entry.stream;
        rows_next_ = rows->first;
      }
    } else if (entry.type == format::EntryType::kGap) {
      // Of sequences not seen yet: rows that went no further than this frame. The committed state
      // may not know of them, and need not.
      const auto gap = format::decode_gap(entry);
      if (gap && gap->last >= expected_) {
        skipped_ = gap;
      }
    } else if (entry.type == format::EntryType::kDecisions && options_.decisions &&
               (!options_.stream || *options_.stream == entry.stream) &&
               format::decode_decisions(entry, &decisions_)) {
      return ReadItem::kDecisions;
    }
  }
}

Result<bool> LaneReader::may_pass() const {
  const Segment& segment = *at_.segment;
  const std::size_t lane = index_of(lane_);
  if (!segment.closed.load(std::memory_order_acquire)) {
    return false;
  }
  const ReadFilter* const filter = options_.filter;
  if (filter == nullptr || filter->paused) {
    return !options_.decisions && segment.end_next[lane] == segment.header.next[lane];
  }
  if (!segment.summary) {
    return segment.end_next[lane] == segment.header.next[lane];
  }
  const spool_format::LaneSummary& rows = segment.summary->lanes[lane];
  if (rows.first > rows.last || rows.last < filter->from || rows.first >= filter->to) {
    return true;
  }
  if (filter->device.empty()) {
    return false;
  }
  const std::string devices = HW_TRY(source_.devices_of(segment));
  return !devices.empty() && !DeviceFilter::may_hold(devices, device_key(lane_, filter->device));
}

Result<bool> LaneReader::enter(Result<SegmentSource::Opened> opened) {
  auto next = HW_TRY(std::move(opened));
  if (!next.segment) {
    return false;
  }
  scanner_.reset();
  at_ = std::move(next);
  const Segment& segment = *at_.segment;
  last_generation_ = segment.header.generation;
  boot_ = segment.header.boot_id;
  passing_ = HW_TRY(may_pass());
  scanner_ = std::make_unique<FrameScanner>(*at_.file,
                                            ScanRange{.tag = segment.tag(),
                                                      .first_number = segment.header.first_frame,
                                                      .epoch = segment.header.epoch,
                                                      .end_offset = segment.end.load(),
                                                      .end_number = std::nullopt});
  return true;
}

Result<ReadItem> LaneReader::next() {
  if (waiting_) {
    row_ = *std::exchange(waiting_, std::nullopt);
    has_row_ = true;
  }
  while (true) {
    if (!at_.segment) {
      // Of what is let go at the beginning of the lane no segment has to be read.
      if (const auto item = fill_hole(source_.oldest(lane_), {})) {
        return *item;
      }
      const bool entered = HW_TRY(enter(last_generation_ == 0 ? source_.find(lane_, expected_)
                                                              : source_.after(last_generation_)));
      if (!entered) {
        return ReadItem::kEnd;
      }
    }
    // Before the first row of the segment: what stands there may be many items.
    if (const auto item =
            fill_hole(at_.segment->header.next[index_of(lane_)], at_.segment->header.wall)) {
      return *item;
    }
    if (passing_) {
      expected_ = std::max(expected_, at_.segment->end_next[index_of(lane_)]);
      passing_ = false;
      scanner_.reset();
      at_ = {};
      continue;
    }
    if (const auto item = next_in_frame()) {
      return *item;
    }
    const Segment& segment = *at_.segment;
    const bool closed = segment.closed.load(std::memory_order_acquire);
    scanner_->set_end_offset(segment.end.load(std::memory_order_acquire));
    if (closed) {
      scanner_->set_end_number(segment.end_frame);
    }
    switch (HW_TRY(scanner_->next())) {
      case ScanItem::kFrame:
        floor_ = source_.oldest(lane_);
        entries_ = format::EntryReader(scanner_->body());
        in_rows_ = false;
        continue;
      case ScanItem::kDamage:
        continue;  // shows as a hole in the sequences
      case ScanItem::kEnd:
        break;
    }
    entries_ = format::EntryReader(std::string_view());
    if (!closed) {
      return ReadItem::kEnd;
    }
    if (const auto item = fill_hole(segment.end_next[index_of(lane_)], segment.end_wall)) {
      return *item;
    }
    scanner_.reset();
    at_ = {};
  }
}

}  // namespace headwater
