// FrameScanner: the frames of one segment file, in order, each checked. Memory: one frame.
//
// The rules for where a segment ends, what is a torn tail and what is damage are in
// docs/formats/spool.md, "Where the log ends".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/files.h"
#include "store/body_codec.h"
#include "store/format.h"

namespace headwater {

struct ScanRange {
  std::uint32_t tag = 0;
  std::uint64_t first_number = 1;  // of the first frame
  std::uint32_t epoch = 0;         // no frame has a lower one
  std::uint64_t end_offset = 0;    // bytes behind are not looked at
  // The first frame number of the next segment: frames from it on are void. Unset: this is the
  // newest segment.
  std::optional<std::uint64_t> end_number;
};

enum class ScanItem : std::uint8_t { kFrame, kDamage, kEnd };

class FrameScanner {
 public:
  // `file` must outlive it.
  FrameScanner(const io::File& file, const ScanRange& range);

  // kFrame: header() and body() are of a good frame. kDamage: frames were lost; the next call goes
  // on behind them. kEnd: no more for now. Errors: the disk's, and kInvalid for a frame that a
  // later version wrote.
  Result<ScanItem> next();

  // For a segment that grows: up to where it is committed now.
  void set_end_offset(std::uint64_t end) { range_.end_offset = end; }
  void set_end_number(std::uint64_t number) { range_.end_number = number; }

  // Of the last frame; the body is valid until the next call.
  const spool_format::FrameHeader& header() const { return header_; }
  std::string_view body() const { return body_; }
  std::uint64_t frame_offset() const { return frame_offset_; }

  // Where the next frame is expected, and its number.
  std::uint64_t offset() const { return offset_; }
  std::uint64_t expected() const { return expected_; }
  // Of the last kDamage: bytes [damage_from, damage_to) and how many frames.
  std::uint64_t damage_from() const { return damage_from_; }
  std::uint64_t damage_to() const { return damage_to_; }
  std::uint64_t damage_frames() const { return damage_frames_; }

  // After kEnd in the newest segment: what lies behind the end and is no part of the log.
  std::uint64_t torn_bytes() const { return torn_bytes_; }
  // The highest epoch that any frame of this segment has, void ones included.
  std::uint32_t highest_epoch() const { return highest_epoch_; }
  // The highest frame that a good frame says was synced.
  std::uint64_t highest_committed() const { return highest_committed_; }

 private:
  // Makes [offset, offset + count) readable; a shorter view at the end of the file.
  Result<std::string_view> bytes(std::uint64_t offset, std::size_t count);
  // All that is in memory from `offset` on: a frame header at least, unless the file ends.
  Result<std::string_view> buffered_from(std::uint64_t offset);
  // A frame of this segment at `offset` with a whole body and a number of at least `least`.
  Result<bool> frame_at(std::uint64_t offset, std::uint64_t least,
                        spool_format::FrameHeader* header);
  // The body as it was before compression; nothing when it makes no sense.
  Result<std::optional<std::string_view>> expand(const spool_format::FrameHeader& header,
                                                 std::string_view stored);
  Result<ScanItem> look_behind(std::uint64_t from);

  const io::File& file_;
  ScanRange range_;
  std::uint64_t offset_ = spool_format::kPageBytes;
  std::uint64_t expected_;
  std::uint32_t epoch_;
  spool_format::FrameHeader header_;
  std::string_view body_;
  std::uint64_t frame_offset_ = 0;
  std::uint64_t damage_from_ = 0;
  std::uint64_t damage_to_ = 0;
  std::uint64_t damage_frames_ = 0;
  std::uint64_t torn_bytes_ = 0;
  std::uint32_t highest_epoch_ = 0;
  std::uint64_t highest_committed_ = 0;

  BodyExpander expander_;
  std::uint64_t file_bytes_ = 0;  // 0: not asked yet
  std::string buffer_;
  std::uint64_t buffer_at_ = 0;
  std::size_t buffer_used_ = 0;
};

}  // namespace headwater
