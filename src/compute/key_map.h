// KeyMap: state per key (device), bounded, with the order of last use. Internal to compute.
//
// Entries live in slots that never move while they are in; take() returns the slot and makes it the
// newest. Iterating from oldest() by next() is the order in which saved state is written, so that a
// restored map forgets keys in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace headwater {

template <class T>
class KeyMap {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  struct Slot {
    std::string key;
    T value;
    std::uint32_t older = kNone;
    std::uint32_t newer = kNone;
  };

  std::size_t size() const { return index_.size(); }
  Slot& slot(std::uint32_t at) { return slots_[at]; }
  const Slot& slot(std::uint32_t at) const { return slots_[at]; }
  std::uint32_t oldest() const { return oldest_; }
  std::uint32_t next(std::uint32_t at) const { return slots_[at].newer; }

  std::uint32_t find(std::string_view key) const {
    const auto found = index_.find(key);
    return found == index_.end() ? kNone : found->second;
  }

  void touch(std::uint32_t at) {
    if (newest_ == at) {
      return;
    }
    unlink(at);
    link(at);
  }

  // The key must not be in.
  std::uint32_t insert(std::string_view key, T value) {
    std::uint32_t at = 0;
    if (free_.empty()) {
      at = static_cast<std::uint32_t>(slots_.size());
      slots_.push_back({std::string(key), std::move(value)});
    } else {
      at = free_.back();
      free_.pop_back();
      slots_[at] = {std::string(key), std::move(value)};
    }
    index_.emplace(slots_[at].key, at);
    link(at);
    return at;
  }

  void erase(std::uint32_t at) {
    index_.erase(index_.find(std::string_view(slots_[at].key)));
    unlink(at);
    slots_[at] = {};
    free_.push_back(at);
  }

 private:
  struct Hash {
    std::size_t operator()(std::string_view key) const {
      return static_cast<std::size_t>(hash64(key));
    }
  };

  void link(std::uint32_t at) {
    slots_[at].older = newest_;
    slots_[at].newer = kNone;
    (newest_ == kNone ? oldest_ : slots_[newest_].newer) = at;
    newest_ = at;
  }
  void unlink(std::uint32_t at) {
    const Slot& slot = slots_[at];
    (slot.older == kNone ? oldest_ : slots_[slot.older].newer) = slot.newer;
    (slot.newer == kNone ? newest_ : slots_[slot.newer].older) = slot.older;
  }

  std::deque<Slot> slots_;
  // Views of the slots' keys, which stay where they are.
  std::unordered_map<std::string_view, std::uint32_t, Hash> index_;
  std::vector<std::uint32_t> free_;
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
};

}  // namespace headwater
