// The state entry `store/repaired`: damage before this place of the log is on record. Internal to
// store; the bytes are in docs/formats/spool.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "store/fsck.h"

namespace headwater {

inline constexpr std::string_view kRepairMark = "store/repaired";

struct RepairMark {
  std::uint64_t generation = 0;
  std::uint64_t offset = 0;  // in its file

  bool covers(std::uint64_t at_generation, std::uint64_t at_offset) const {
    return at_generation < generation || (at_generation == generation && at_offset < offset);
  }
};

// Behind everything that the report speaks of.
inline RepairMark mark_behind(const FsckReport& report) {
  RepairMark mark;
  if (!report.segments.empty()) {
    mark = {report.segments.back().generation, report.segments.back().end};
  }
  return mark;
}

inline std::string encode_repair_mark(const RepairMark& mark) {
  std::string blob;
  ByteWriter writer(blob);
  writer.put_varint(mark.generation);
  writer.put_varint(mark.offset);
  return blob;
}

// No mark where the blob makes no sense.
inline RepairMark decode_repair_mark(std::string_view blob) {
  ByteReader reader(blob);
  RepairMark mark;
  mark.generation = reader.get_varint();
  mark.offset = reader.get_varint();
  return reader.ok() ? mark : RepairMark();
}

}  // namespace headwater
