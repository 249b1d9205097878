#include "data/arena.h"

#include <algorithm>
#include <cstring>

#include "base/result.h"

namespace headwater {

char* Arena::allocate_slow(std::size_t bytes) {
  const std::size_t first = next_ == nullptr ? 0 : current_ + 1;
  for (std::size_t i = first; i < chunks_.size(); ++i) {
    if (chunks_[i].size >= bytes) {
      std::swap(chunks_[first], chunks_[i]);
      current_ = first;
      next_ = chunks_[first].bytes.get();
      end_ = next_ + chunks_[first].size;
      return allocate(bytes);
    }
  }
  Chunk chunk;
  chunk.size = std::max(kChunkBytes, bytes);
  chunk.bytes.reset(new char[chunk.size + kPadding]);
  std::memset(chunk.bytes.get() + chunk.size, 0, kPadding);
  held_ += chunk.size + kPadding;
  next_ = chunk.bytes.get();
  end_ = next_ + chunk.size;
  current_ = first;
  chunks_.insert(chunks_.begin() + static_cast<std::ptrdiff_t>(first), std::move(chunk));
  return allocate(bytes);
}

std::string_view Arena::copy(std::string_view bytes) {
  char* const to = allocate(bytes.size());
  if (!bytes.empty()) {  // an empty view may point nowhere
    std::memcpy(to, bytes.data(), bytes.size());
  }
  return {to, bytes.size()};
}

void Arena::swap(Arena& other) noexcept {
  std::swap(chunks_, other.chunks_);
  std::swap(current_, other.current_);
  std::swap(next_, other.next_);
  std::swap(end_, other.end_);
  std::swap(used_, other.used_);
  std::swap(held_, other.held_);
}

void Arena::shrink_last(char* begin, std::size_t keep) {
  HW_DCHECK(begin + keep <= next_, "shrink_last keeps at most what the last allocate gave");
  used_ -= static_cast<std::size_t>(next_ - (begin + keep));
  next_ = begin + keep;
}

void Arena::clear(std::size_t keep_bytes) {
  std::size_t held = 0;
  std::size_t keep = 0;
  while (keep < chunks_.size() && held + chunks_[keep].size + kPadding <= keep_bytes) {
    held += chunks_[keep].size + kPadding;
    ++keep;
  }
  chunks_.resize(keep);
  held_ = held;
  used_ = 0;
  current_ = 0;
  next_ = nullptr;
  end_ = nullptr;
}

}  // namespace headwater
