// Upload batches as plain structs: consecutive sequences of one lane of one spool, as the uplink
// sends and the hub takes them. docs/formats/batch.md has the bytes and what a receiver does.
//
// Nothing here knows the store: lanes, gaps and decisions are texts and numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"

namespace headwater {

inline constexpr int kBatchFormat = 1;
inline constexpr std::string_view kBatchMediaType = "application/vnd.headwater.batch; version=1";
inline constexpr std::string_view kBatchSchema = "rows/1";
inline constexpr std::string_view kBatchPayloadType = "application/x-ndjson";

// The wall clock of the edge was set: rows from `sequence` on were stored by the new time.
struct BatchClock {
  std::uint64_t sequence = 0;
  Id128 boot;
  MonoTime mono;    // of that boot
  WallTime before;  // what the wall clock would have said
  WallTime after;   // what it said
  friend bool operator==(const BatchClock&, const BatchClock&) = default;
};

struct BatchHeader {
  std::string edge;
  Id128 spool;
  std::string lane;
  std::uint64_t first = 0;  // covers first..last, both inclusive
  std::uint64_t last = 0;
  std::uint64_t rows = 0;
  std::uint64_t gaps = 0;
  WallTime created;
  std::uint64_t bytes = 0;  // of the payload before compression
  std::string checksum;     // "sha256:…" of the payload as compressed
  // Moments in first..last, in the order of sequence; mostly none.
  std::vector<BatchClock> clock;
};

// Views: valid as long as what they were taken from.
struct BatchRow {
  std::uint64_t sequence = 0;
  std::string_view device;
  std::string_view topic;
  std::string_view sender;
  WallTime time;
  WallTime received;
  Id128 identity;  // zero: none
  bool time_missing = false;
  bool late = false;
  bool offline = false;  // a will: its client vanished; the payload is the will's
  std::string_view note;
  // Of a decided row; the others have their default.
  bool decided = false;
  bool alerted = false;
  double score = std::numeric_limits<double>::quiet_NaN();  // NaN: none
  std::string_view pipeline;
  std::string_view model;  // as it stands in the line: 16 hex digits
  // The original bytes.
  std::string_view payload;
};

struct BatchGap {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t rows = 0;
  std::string_view reason;
  WallTime from;
  WallTime to;
};

// Letters, digits, '.' and '-' stay, every other byte is %XX: an edge id in a file name or a
// header field.
std::string batch_safe_name(std::string_view text);
// "EDGE_SPOOL_LANE_FIRST-LAST.jsonl.zst"
std::string batch_file_name(const BatchHeader& header);

}  // namespace headwater
