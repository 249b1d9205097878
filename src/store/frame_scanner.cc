#include "store/frame_scanner.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/planted.h"

namespace headwater {

namespace format = spool_format;

namespace {

// One read from the disk; a frame that is larger is read whole.
constexpr std::size_t kReadBytes = 256 * 1024;

}  // namespace

FrameScanner::FrameScanner(const io::File& file, const ScanRange& range)
    : file_(file), range_(range), expected_(range.first_number), epoch_(range.epoch) {}

Result<std::string_view> FrameScanner::bytes(std::uint64_t offset, std::size_t count) {
  if (offset >= range_.end_offset) {
    return std::string_view();
  }
  count = static_cast<std::size_t>(std::min<std::uint64_t>(count, range_.end_offset - offset));
  if (offset < buffer_at_ || offset + count > buffer_at_ + buffer_used_) {
    const auto want = static_cast<std::size_t>(
        std::min<std::uint64_t>(std::max(count, kReadBytes), range_.end_offset - offset));
    if (buffer_.size() < want) {
      buffer_.resize(want);
    }
    buffer_used_ = 0;
    buffer_used_ = HW_TRY(file_.pread(offset, buffer_.data(), want));
    buffer_at_ = offset;
  }
  const auto from = static_cast<std::size_t>(offset - buffer_at_);
  return std::string_view(buffer_).substr(0, buffer_used_).substr(from, count);
}

Result<std::string_view> FrameScanner::buffered_from(std::uint64_t offset) {
  const std::string_view least = HW_TRY(bytes(offset, format::kFrameHeaderBytes));
  if (least.size() < format::kFrameHeaderBytes) {
    return least;
  }
  const auto from = static_cast<std::size_t>(offset - buffer_at_);
  const auto upto = static_cast<std::size_t>(
      std::min<std::uint64_t>(buffer_used_, range_.end_offset - buffer_at_));
  return std::string_view(buffer_).substr(from, upto - from);
}

Result<bool> FrameScanner::frame_at(std::uint64_t offset, std::uint64_t least,
                                    format::FrameHeader* header) {
  const std::string_view head = HW_TRY(bytes(offset, format::kFrameHeaderBytes));
  const auto found = format::decode_frame_header(head);
  const bool stale = planted(Bug::kStaleBlock);
  if (!found || (found->tag != range_.tag && !stale)) {
    return false;
  }
  highest_epoch_ = std::max(highest_epoch_, found->epoch);
  if ((found->number < least && !stale) || (found->epoch < epoch_ && !stale) ||
      (range_.end_number && found->number >= *range_.end_number)) {
    return false;
  }
  const std::size_t whole = format::kFrameHeaderBytes + found->body_bytes;
  const std::string_view frame = HW_TRY(bytes(offset, whole));
  if (frame.size() < whole) {
    return false;
  }
  const std::string_view body = frame.substr(format::kFrameHeaderBytes);
  if (crc32c(body) != found->body_crc && !planted(Bug::kNoCrc)) {
    return false;
  }
  HW_TRY(format::check_known(frame));
  if (found->compressed()) {
    const auto plain = HW_TRY(expand(*found, body));
    if (!plain) {
      return false;
    }
    body_ = *plain;
  } else {
    body_ = body;
  }
  *header = *found;
  return true;
}

Result<std::optional<std::string_view>> FrameScanner::expand(const format::FrameHeader& header,
                                                             std::string_view stored) {
  if (file_bytes_ == 0) {
    file_bytes_ = HW_TRY(file_.size());
  }
  // A body that is larger than its segment was never written.
  if (header.plain_bytes > file_bytes_) {
    return std::optional<std::string_view>();
  }
  return expander_.expand(stored, header.plain_bytes);
}

Result<ScanItem> FrameScanner::next() {
  if (range_.end_number && expected_ >= *range_.end_number) {
    return ScanItem::kEnd;
  }
  format::FrameHeader header;
  if (!HW_TRY(frame_at(offset_, expected_, &header)) ||
      (header.number != expected_ && !planted(Bug::kStaleBlock))) {
    if (offset_ + format::kFrameHeaderBytes > range_.end_offset) {
      if (range_.end_number && *range_.end_number > expected_) {
        damage_from_ = damage_to_ = offset_;
        damage_frames_ = *range_.end_number - expected_;
        expected_ = *range_.end_number;
        return ScanItem::kDamage;
      }
      return ScanItem::kEnd;
    }
    return look_behind(offset_);
  }
  header_ = header;
  frame_offset_ = offset_;
  offset_ += header.frame_bytes();
  expected_ = header.number + 1;
  epoch_ = header.epoch;
  highest_committed_ = std::max(highest_committed_, header.committed);
  return ScanItem::kFrame;
}

// The expected frame is not at `from`. Looks for good frames behind: the first is where reading may
// go on; that it may is known once one of them says that the expected frame was committed, or when
// the next segment's first number says so.
Result<ScanItem> FrameScanner::look_behind(std::uint64_t from) {
  const std::uint64_t missing = expected_;
  bool committed = range_.end_number.has_value() || planted(Bug::kTornIsCommitted);
  std::uint64_t resume_at = 0;
  std::uint64_t resume_number = 0;
  std::uint64_t last_end = from;
  std::uint64_t at = from;
  while (at + format::kFrameHeaderBytes <= range_.end_offset && !(committed && resume_at != 0)) {
    // Headers begin at multiples of 8: find the next magic without decoding in between.
    const std::string_view window = HW_TRY(buffered_from(at));
    std::size_t skip = 0;
    while (skip + 4 <= window.size() && std::memcmp(window.data() + skip, "HWFR", 4) != 0) {
      skip += 8;
    }
    if (skip + 4 > window.size()) {
      if (window.size() < format::kFrameHeaderBytes) {
        break;
      }
      at += window.size() & ~std::size_t{7};
      continue;
    }
    at += skip;
    format::FrameHeader header;
    if (!HW_TRY(frame_at(at, at == from ? missing : missing + 1, &header))) {
      // Ours but torn: it counts as bytes of the tail.
      const auto torn = format::decode_frame_header(HW_TRY(bytes(at, format::kFrameHeaderBytes)));
      if (torn && torn->tag == range_.tag && torn->number >= missing) {
        last_end = std::max(last_end, std::min(at + torn->frame_bytes(), range_.end_offset));
      }
      at += 8;
      continue;
    }
    if (resume_at == 0) {
      resume_at = at;
      resume_number = header.number;
    }
    committed = committed || header.committed >= missing;
    at += header.frame_bytes();
    last_end = at;
  }
  if (committed && (resume_at != 0 || range_.end_number)) {
    damage_from_ = from;
    damage_to_ = resume_at != 0 ? resume_at : range_.end_offset;
    damage_frames_ = (resume_at != 0 ? resume_number : *range_.end_number) - missing;
    offset_ = damage_to_;
    expected_ = missing + damage_frames_;
    return ScanItem::kDamage;
  }
  torn_bytes_ = last_end - from;
  return ScanItem::kEnd;
}

}  // namespace headwater
