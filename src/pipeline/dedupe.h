// DedupeSet: the last N declared message ids, so that a device that repeats a message after a lost
// acknowledgement does not store it twice.
//
// Bounded: the oldest id leaves when a new one comes to a full set, so a repeat is recognised for
// as long as fewer than N other messages came between. Rebuilt at start from the newest stored
// rows. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace headwater {

class DedupeSet {
 public:
  static constexpr std::size_t kDefaultCapacity = 1 << 16;

  explicit DedupeSet(std::size_t capacity = kDefaultCapacity);

  // True if `id` was not there; it is now. The all-zero id is a valid one.
  bool insert(const Id128& id);
  bool contains(const Id128& id) const;
  // As if it had never come: the message was not stored. Nothing where it is not known.
  void forget(const Id128& id);
  // The same; where it was the last one inserted its place is free again, so that ids that are
  // taken back, the newest first, push no others out.
  void take_back(const Id128& id);
  std::size_t size() const { return count_; }
  std::size_t capacity() const { return capacity_; }

 private:
  static constexpr std::uint32_t kEmpty = 0xffffffffU;

  std::size_t slot_of(const Id128& id) const;

  std::size_t capacity_;
  std::vector<Id128> ring_;           // ids in order of arrival; empty until the first insert
  std::vector<std::uint32_t> table_;  // open addressing, linear probing: index into ring_
  std::size_t next_ = 0;
  std::size_t count_ = 0;
};

}  // namespace headwater
