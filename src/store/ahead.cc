#include "store/ahead.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"

namespace headwater {

std::string ahead_key(std::string_view consumer, Lane lane) {
  return fmt::format("store/ahead/{}/{}", lane_name(lane), consumer);
}

std::string encode_ahead(std::span<const SequenceRange> ranges) {
  std::string blob;
  ByteWriter out(blob);
  for (const SequenceRange& range : ranges) {
    out.put_varint(range.first);
    out.put_varint(range.last);
  }
  return blob;
}

std::vector<SequenceRange> decode_ahead(std::string_view blob) {
  std::vector<SequenceRange> ranges;
  ByteReader in(blob);
  while (in.left() > 0) {
    SequenceRange range;
    range.first = in.get_varint();
    range.last = in.get_varint();
    const std::uint64_t behind = ranges.empty() ? 0 : ranges.back().last;
    if (!in.ok() || range.first <= behind || range.last < range.first) {
      return {};
    }
    ranges.push_back(range);
  }
  return ranges;
}

std::vector<SequenceRange> parts_not_had(std::uint64_t first, std::uint64_t last,
                                         std::uint64_t cursor,
                                         std::span<const SequenceRange> ahead) {
  std::vector<SequenceRange> parts;
  std::uint64_t at = std::max(first, cursor + 1);
  for (const SequenceRange& had : ahead) {
    if (at > last || had.first > last) {
      break;
    }
    if (had.first > at) {
      parts.push_back({at, had.first - 1});
    }
    at = std::max(at, had.last + 1);
  }
  if (at <= last) {
    parts.push_back({at, last});
  }
  return parts;
}

void merge_ranges(std::vector<SequenceRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const SequenceRange& a, const SequenceRange& b) { return a.first < b.first; });
  std::vector<SequenceRange> merged;
  for (const SequenceRange& range : ranges) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  ranges = std::move(merged);
}

}  // namespace headwater
