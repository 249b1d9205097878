// What a consumer has had of a lane beyond its cursor: live rows that it got in front of a backlog.
// The state `store/ahead/LANE/CONSUMER` (docs/formats/spool.md), written by the consumer in the
// transaction that moves its cursor:
//
//   transaction.state(ahead_key("uplink", lane), encode_ahead(ranges));
//
// Rows in these ranges count as delivered: they are let go without a gap record.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/lane.h"

namespace headwater {

struct SequenceRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;  // inclusive
  friend bool operator==(const SequenceRange&, const SequenceRange&) = default;
};

std::string ahead_key(std::string_view consumer, Lane lane);
// The ranges ascend and do not touch. None: the empty blob, which deletes the state.
std::string encode_ahead(std::span<const SequenceRange> ranges);
// No ranges where the blob makes no sense.
std::vector<SequenceRange> decode_ahead(std::string_view blob);

// The parts of first..last that lie neither up to `cursor` nor in `ahead`.
std::vector<SequenceRange> parts_not_had(std::uint64_t first, std::uint64_t last,
                                         std::uint64_t cursor,
                                         std::span<const SequenceRange> ahead);
// Sorts, and makes one of those that touch or overlap.
void merge_ranges(std::vector<SequenceRange>& ranges);

}  // namespace headwater
