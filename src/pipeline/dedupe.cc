#include "pipeline/dedupe.h"

#include <bit>

#include "base/planted.h"
#include "base/result.h"

namespace headwater {

DedupeSet::DedupeSet(std::size_t capacity) : capacity_(capacity) {
  HW_CHECK(capacity > 0 && capacity < (std::size_t{1} << 31), "the ring index is 32 bits");
}

std::size_t DedupeSet::slot_of(const Id128& id) const {
  const std::size_t mask = table_.size() - 1;
  std::size_t slot = std::hash<Id128>{}(id)&mask;
  while (table_[slot] != kEmpty && ring_[table_[slot]] != id) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

bool DedupeSet::contains(const Id128& id) const {
  return count_ != 0 && table_[slot_of(id)] != kEmpty;
}

void DedupeSet::forget(const Id128& id) {
  if (table_.empty()) {
    return;
  }
  const std::size_t mask = table_.size() - 1;
  std::size_t hole = slot_of(id);
  if (table_[hole] == kEmpty) {
    return;
  }
  // Backward shift (Knuth, TAOCP vol. 3, 6.4 algorithm R): no tombstones.
  for (std::size_t slot = (hole + 1) & mask; table_[slot] != kEmpty; slot = (slot + 1) & mask) {
    const std::size_t home = std::hash<Id128>{}(ring_[table_[slot]]) & mask;
    if (((slot - home) & mask) >= ((slot - hole) & mask)) {
      table_[hole] = table_[slot];
      hole = slot;
    }
  }
  table_[hole] = kEmpty;
}

void DedupeSet::take_back(const Id128& id) {
  if (!contains(id)) {
    return;
  }
  const std::uint32_t place = table_[slot_of(id)];
  forget(id);
  if (place == (next_ + capacity_ - 1) % capacity_) {
    next_ = place;
    count_ -= count_ < capacity_ ? 1 : 0;
  }
}

bool DedupeSet::insert(const Id128& id) {
  if (planted(Bug::kForgottenIds)) {
    return true;
  }
  if (planted(Bug::kHighWaterDedupe) && count_ != 0) {
    if (id <= ring_[0]) {
      return false;
    }
    forget(ring_[0]);
    count_ = next_ = 0;
  }
  if (table_.empty()) {
    ring_.resize(capacity_);
    table_.assign(std::bit_ceil(capacity_ * 2), kEmpty);
  }
  if (table_[slot_of(id)] != kEmpty) {
    return false;
  }
  if (count_ == capacity_) {
    // Unless it was forgotten and has come again since: then the later place counts.
    if (const Id128& oldest = ring_[next_]; table_[slot_of(oldest)] == next_) {
      forget(oldest);
    }
  } else {
    ++count_;
  }
  ring_[next_] = id;
  table_[slot_of(id)] = static_cast<std::uint32_t>(next_);
  next_ = (next_ + 1) % capacity_;
  return true;
}

}  // namespace headwater
