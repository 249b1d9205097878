// GapList: what was let go, as ranges that do not overlap, merged where they touch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "store/records.h"

namespace headwater {

class GapList {
 public:
  // Adds the parts of `gap` that no record covers yet; gives them back. A part's count is its span,
  // unless the gap's own count says less.
  std::vector<Gap> add(const Gap& gap);
  // The parts of [first, last] that no record covers.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> uncovered(Lane lane, std::uint64_t first,
                                                                 std::uint64_t last) const;
  // The first record of the lane that reaches into [first, last]; null: none.
  const Gap* find(Lane lane, std::uint64_t first, std::uint64_t last) const;
  // Rows of all records of a lane with this reason.
  std::uint64_t rows(Lane lane, GapReason reason) const;

  std::vector<Gap> all() const;
  std::size_t size() const { return gaps_.size(); }
  void clear() { gaps_.clear(); }

 private:
  using Key = std::pair<Lane, std::uint64_t>;  // lane, last
  void insert(Gap gap);
  void shrink();

  std::map<Key, Gap> gaps_;
};

}  // namespace headwater
