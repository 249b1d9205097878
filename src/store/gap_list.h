// GapList: what was let go, as ranges that do not overlap, merged where they touch.
//
// A record is dense when its count is its span. Others have rows between what they count: many
// small gaps of one segment (rows skipped at admission), or those that a bound on memory made one.
// A reader goes by the holes that it finds, so its counts are exact in both.
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
  //
  // Where a dense gap lies over a record that is not, it takes its place: nothing is left between.
  // Nor is there anything twice: one that is not dense takes the place of such records within it.
  // One that counts nothing only clears its range of them.
  std::vector<Gap> add(const Gap& gap);
  // Rows skipped at admission; the segment at hand begins with the sequence `segment`. Those of one
  // segment are one record.
  void skip(const Gap& gap, std::uint64_t segment);
  // The parts of [first, last] that no record covers.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> uncovered(Lane lane, std::uint64_t first,
                                                                 std::uint64_t last) const;
  // Whether a record of find_solid() covers all of [first, last].
  bool explained(Lane lane, std::uint64_t first, std::uint64_t last) const;
  // The first record of the lane that reaches into [first, last]; null: none.
  const Gap* find(Lane lane, std::uint64_t first, std::uint64_t last) const;
  // The same without records of skipped rows that have rows between: of a range whose rows are
  // still there they explain nothing, since each skip lies in its own frame.
  const Gap* find_solid(Lane lane, std::uint64_t first, std::uint64_t last) const;
  // Rows of all records of a lane with this reason.
  std::uint64_t rows(Lane lane, GapReason reason) const;

  std::vector<Gap> all() const;
  std::size_t size() const { return gaps_.size(); }
  void clear() { gaps_.clear(); }

 private:
  using Key = std::pair<Lane, std::uint64_t>;  // lane, last
  void insert(Gap gap);
  void make_place(const Gap& gap);
  void shrink();

  std::map<Key, Gap> gaps_;
};

}  // namespace headwater
