// The bytes of segments and frames, as docs/formats/spool.md says them. Pure: no disk, no threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "store/lane.h"
#include "store/records.h"

namespace headwater::spool_format {

inline constexpr std::uint32_t kVersion = 1;  // of segments
// Of frames. 2: a row may say that its identity follows the one before.
inline constexpr std::uint8_t kFrameVersion = 2;
inline constexpr std::uint8_t kOldestFrameVersion = 1;
inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kFrameHeaderBytes = 64;
inline constexpr std::size_t kEntryHeaderBytes = 8;
inline constexpr std::uint16_t kFlagCompressed = 1U << 0;
inline constexpr std::uint16_t kFlagCheckpoint = 1U << 1;

using Sequences = std::array<std::uint64_t, kLanes>;

// What a segment holds of a lane: bytes of its rows, and the span of their event times (first is
// above last where it holds none).
struct LaneSummary {
  std::uint64_t bytes = 0;
  WallTime first{std::numeric_limits<std::int64_t>::max()};
  WallTime last{std::numeric_limits<std::int64_t>::min()};
};
// Lies in the header page of the segment behind, with a DeviceFilter.
struct SegmentSummary {
  std::uint64_t generation = 0;  // of the segment that it speaks of; 0: unknown
  std::array<LaneSummary, kLanes> lanes;
};

struct SegmentHeader {
  Id128 spool_id;
  std::uint64_t generation = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t first_frame = 0;
  std::uint32_t epoch = 0;
  Id128 boot_id;
  WallTime wall;
  MonoTime mono;
  Sequences next{};
  std::uint64_t uptime = 0;  // of the spool, ns, at the beginning; 0: unknown
  SegmentSummary before;     // of the segment before it
};

// kPageBytes. `devices` are the bytes of the DeviceFilter of the segment before.
std::string encode(const SegmentHeader& header, std::string_view devices = {});
// The bytes of the DeviceFilter in a whole header page.
std::string_view device_filter_of(std::string_view page);
// kCorrupt: no header, or damaged. kInvalid: of a version or with flags that we do not know.
Result<SegmentHeader> decode_segment_header(std::string_view page);

struct FrameHeader {
  std::uint16_t flags = 0;
  std::uint32_t body_bytes = 0;
  std::uint32_t body_crc = 0;
  std::uint64_t number = 0;
  std::uint64_t committed = 0;
  std::uint32_t tag = 0;
  std::uint32_t epoch = 0;
  WallTime wall;
  MonoTime mono;
  std::uint32_t plain_bytes = 0;  // of the body before compression; set when compressed() alone

  bool compressed() const { return (flags & kFlagCompressed) != 0; }
  bool checkpoint() const { return (flags & kFlagCheckpoint) != 0; }
  std::size_t frame_bytes() const;  // header, body and padding
};

void encode(const FrameHeader& header, char* to);  // kFrameHeaderBytes
// Nothing when the bytes are no whole frame header (magic, CRC).
std::optional<FrameHeader> decode_frame_header(std::string_view bytes);
// kInvalid when a later version wrote it; asked of frames that are otherwise good.
Status check_known(std::string_view header_bytes);

std::uint32_t segment_tag(Id128 spool_id, std::uint64_t generation);
constexpr std::size_t padded(std::size_t bytes) {
  return (bytes + 7) & ~std::size_t{7};
}
inline std::size_t FrameHeader::frame_bytes() const {
  return padded(kFrameHeaderBytes + body_bytes);
}

// File names in the folder.
std::string segment_name(std::uint64_t generation);
std::string spare_name(std::uint64_t number);
std::optional<std::uint64_t> parse_segment_name(std::string_view name);
std::optional<std::uint64_t> parse_spare_name(std::string_view name);

// ---- entries of a frame's body ----

enum class EntryType : std::uint8_t {
  kRows = 1,
  kDecisions = 2,
  kCursor = 3,
  kState = 4,
  kGap = 5,
  kNext = 6,
  kOpened = 7,
  kKept = 8,
  kReleased = 9,
  kFloor = 10,
  kClock = 11,
};

struct Entry {
  EntryType type{};
  std::uint8_t lane = 0;
  std::uint16_t stream = 0;
  std::string_view content;
};

// Walks the entries of a body. Unknown types come too: skip what you do not know.
class EntryReader {
 public:
  explicit EntryReader(std::string_view body) : rest_(body) {}
  bool next(Entry* entry);
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// Begins an entry in `out`; end_entry() fills in its length.
std::size_t begin_entry(std::string& out, EntryType type, std::uint8_t lane, std::uint16_t stream);
void end_entry(std::string& out, std::size_t begun);

struct RowsEntry {
  std::uint64_t first = 0;
  std::uint32_t count = 0;
  std::string_view rows;  // for RowDecoder
};
inline constexpr std::size_t kRowsHeadBytes = 12;
std::optional<RowsEntry> decode_rows(std::string_view content);

struct CursorEntry {
  std::uint64_t upto = 0;
  std::string_view consumer;
};
void put_cursor(std::string& out, std::string_view consumer, std::uint8_t lane,
                std::uint16_t stream, std::uint64_t upto);
std::optional<CursorEntry> decode_cursor(std::string_view content);

struct StateEntry {
  std::string_view key;
  std::string_view blob;
};
void put_state(std::string& out, std::string_view key, std::string_view blob);
std::optional<StateEntry> decode_state(std::string_view content);

void put_gap(std::string& out, const Gap& gap);
std::optional<Gap> decode_gap(const Entry& entry);

void put_next(std::string& out, const Sequences& next);
std::optional<Sequences> decode_next(std::string_view content);

struct OpenedEntry {
  std::uint32_t epoch = 0;
  Id128 boot_id;
  WallTime wall;
  MonoTime mono;
  std::string_view program;
};
void put_opened(std::string& out, const OpenedEntry& opened);
std::optional<OpenedEntry> decode_opened(std::string_view content);

struct KeptEntry {
  std::uint64_t sequence = 0;
  WallTime stored;
  std::string_view row;  // for RowDecoder
};
void put_kept(std::string& out, std::uint8_t lane, std::uint16_t stream, const KeptEntry& kept);
std::optional<KeptEntry> decode_kept(std::string_view content);

void put_floor(std::string& out, std::uint8_t lane, std::uint64_t floor);
std::optional<std::uint64_t> decode_floor(std::string_view content);

void put_released(std::string& out, std::uint64_t generation);
std::optional<std::uint64_t> decode_released(std::string_view content);

// Appends a decisions entry. Returns the offset in `out` of its first sequence (8 bytes), where
// Transaction turns an index into a sequence.
std::size_t put_decisions(std::string& out, const Decisions& decisions);
// Owns the lists that a Decisions view points into.
struct DecodedDecisions {
  Decisions view;
  std::vector<std::uint64_t> sequences;
  std::vector<double> scores;
  std::vector<std::uint8_t> alerted;
};
bool decode_decisions(const Entry& entry, DecodedDecisions* out);

}  // namespace headwater::spool_format
