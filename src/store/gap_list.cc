#include "store/gap_list.h"

#include <algorithm>

namespace headwater {
namespace {

// Beyond this the two nearest records of a lane become one: damage all over must not grow every
// checkpoint for ever.
constexpr std::size_t kMostGaps = 1024;

bool dense(const Gap& gap) {
  return gap.count == gap.last - gap.first + 1;
}

}  // namespace

std::vector<std::pair<std::uint64_t, std::uint64_t>> GapList::uncovered(Lane lane,
                                                                        std::uint64_t first,
                                                                        std::uint64_t last) const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> parts;
  std::uint64_t at = first;
  for (auto it = gaps_.lower_bound({lane, first});
       it != gaps_.end() && it->first.first == lane && it->second.first <= last; ++it) {
    if (it->second.first > at) {
      parts.emplace_back(at, it->second.first - 1);
    }
    at = std::max(at, it->second.last + 1);
  }
  if (at <= last) {
    parts.emplace_back(at, last);
  }
  return parts;
}

std::vector<Gap> GapList::add(const Gap& gap) {
  std::vector<Gap> added;
  if (gap.first == 0 || gap.first > gap.last) {
    return added;
  }
  make_place(gap);
  if (gap.count == 0) {
    return added;
  }
  for (const auto& [first, last] : uncovered(gap.lane, gap.first, gap.last)) {
    Gap part = gap;
    part.first = first;
    part.last = last;
    part.count = std::min(gap.count, last - first + 1);
    insert(part);
    added.push_back(part);
  }
  shrink();
  return added;
}

void GapList::make_place(const Gap& gap) {
  std::vector<Gap> trimmed;
  for (auto it = gaps_.lower_bound({gap.lane, gap.first});
       it != gaps_.end() && it->first.first == gap.lane && it->second.first <= gap.last;) {
    const Gap old = it->second;
    const bool within = old.first >= gap.first && old.last <= gap.last;
    if (dense(old) || !(dense(gap) || (within && old.reason == gap.reason))) {
      ++it;
      continue;
    }
    it = gaps_.erase(it);
    const std::uint64_t before = gap.first > old.first ? gap.first - old.first : 0;
    const std::uint64_t behind = old.last > gap.last ? old.last - gap.last : 0;
    // How much of it lies in each part only a record for that range can say; until then: not all.
    std::uint64_t left = old.count;
    for (const auto& [first, span] :
         {std::pair(old.first, before), std::pair(gap.last + 1, behind)}) {
      if (span > 0) {
        trimmed.push_back(old);
        trimmed.back().first = first;
        trimmed.back().last = first + span - 1;
        trimmed.back().count = std::min(left, span - 1);
        left -= trimmed.back().count;
      }
    }
  }
  for (const Gap& part : trimmed) {
    if (part.count == 0) {
      continue;
    }
    gaps_.insert_or_assign(Key{part.lane, part.last}, part);
  }
}

void GapList::skip(const Gap& gap, std::uint64_t segment) {
  auto after = gaps_.upper_bound({gap.lane, gap.first});
  if (after != gaps_.begin()) {
    const auto before = std::prev(after);
    const Gap& last = before->second;
    if (last.lane == gap.lane && last.reason == gap.reason && last.first >= segment &&
        last.last < gap.first) {
      Gap wide = last;
      wide.last = gap.last;
      wide.count += gap.count;
      wide.to = std::max(wide.to, gap.to);
      gaps_.erase(before);
      gaps_.insert_or_assign(Key{wide.lane, wide.last}, wide);
      return;
    }
  }
  gaps_.insert_or_assign(Key{gap.lane, gap.last}, gap);
  shrink();
}

const Gap* GapList::find_solid(Lane lane, std::uint64_t first, std::uint64_t last) const {
  for (auto it = gaps_.lower_bound({lane, first});
       it != gaps_.end() && it->first.first == lane && it->second.first <= last; ++it) {
    if (dense(it->second) || it->second.reason != GapReason::kShed) {
      return &it->second;
    }
  }
  return nullptr;
}

bool GapList::explained(Lane lane, std::uint64_t first, std::uint64_t last) const {
  while (first <= last) {
    const Gap* const gap = find_solid(lane, first, last);
    if (gap == nullptr || gap->first > first) {
      return false;
    }
    first = gap->last + 1;
  }
  return true;
}

const Gap* GapList::find(Lane lane, std::uint64_t first, std::uint64_t last) const {
  const auto it = gaps_.lower_bound({lane, first});
  return it != gaps_.end() && it->first.first == lane && it->second.first <= last ? &it->second
                                                                                  : nullptr;
}

std::uint64_t GapList::rows(Lane lane, GapReason reason) const {
  std::uint64_t sum = 0;
  for (const auto& [key, gap] : gaps_) {
    if (gap.lane == lane && gap.reason == reason) {
      sum += gap.count;
    }
  }
  return sum;
}

std::vector<Gap> GapList::all() const {
  std::vector<Gap> out;
  for (const auto& [key, gap] : gaps_) {
    out.push_back(gap);
  }
  return out;
}

void GapList::insert(Gap gap) {
  const auto merge = [&](const Gap& other) {
    gap.first = std::min(gap.first, other.first);
    gap.last = std::max(gap.last, other.last);
    gap.count += other.count;
    gap.from = std::min(gap.from, other.from);
    gap.to = std::max(gap.to, other.to);
  };
  const auto same = [&](const Gap& other) {
    return other.lane == gap.lane && other.reason == gap.reason && dense(other) && dense(gap);
  };
  auto after = gaps_.lower_bound({gap.lane, gap.first});
  if (after != gaps_.end() && same(after->second) && after->second.first == gap.last + 1) {
    merge(after->second);
    after = gaps_.erase(after);
  }
  if (after != gaps_.begin()) {
    const auto before = std::prev(after);
    if (same(before->second) && before->second.last + 1 == gap.first) {
      merge(before->second);
      gaps_.erase(before);
    }
  }
  gaps_.insert_or_assign(Key{gap.lane, gap.last}, gap);
}

void GapList::shrink() {
  while (gaps_.size() > kMostGaps) {
    auto best = gaps_.end();
    std::uint64_t least = ~std::uint64_t{0};
    for (auto it = gaps_.begin(); std::next(it) != gaps_.end(); ++it) {
      const Gap& a = it->second;
      const Gap& b = std::next(it)->second;
      if (a.lane == b.lane && b.first - a.last < least) {
        least = b.first - a.last;
        best = it;
      }
    }
    if (best == gaps_.end()) {
      return;
    }
    Gap wide = best->second;
    const Gap& next = std::next(best)->second;
    wide.last = next.last;
    wide.count += next.count;
    wide.from = std::min(wide.from, next.from);
    wide.to = std::max(wide.to, next.to);
    gaps_.erase(std::next(best));
    gaps_.erase(best);
    gaps_.insert_or_assign(Key{wide.lane, wide.last}, wide);
  }
}

}  // namespace headwater
