// Arena: bump memory for the bytes of one batch. Nothing is freed alone; clear() keeps the chunks
// for the next batch.
//
// Every allocation is followed by at least kPadding readable bytes of the same chunk, so a parser
// that reads in wide strides (simdjson) may run on it in place. Not thread-safe; views live until
// clear() or the arena's end (moving is allowed).
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace headwater {

class Arena {
 public:
  static constexpr std::size_t kPadding = 64;
  static constexpr std::size_t kChunkBytes = 64 * 1024;

  Arena() = default;
  // The source is left empty and may be used again.
  Arena(Arena&& other) noexcept { swap(other); }
  Arena& operator=(Arena&& other) noexcept {
    Arena taken(std::move(other));
    swap(taken);
    return *this;
  }

  // Uninitialised bytes, unaligned; never null.
  char* allocate(std::size_t bytes);
  std::string_view copy(std::string_view bytes);

  // Takes back what allocate() just gave from `keep` bytes on: for writers that ask for a bound
  // first.
  void shrink_last(char* begin, std::size_t keep);

  // Forgets all allocations. Keeps chunks up to `keep_bytes` in all.
  void clear(std::size_t keep_bytes = 4 * 1024 * 1024);

  // Bytes handed out since clear(), and bytes held.
  std::size_t used() const { return used_; }
  std::size_t held() const { return held_; }

 private:
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;  // usable, without the padding
  };
  char* allocate_slow(std::size_t bytes);
  void swap(Arena& other) noexcept;

  std::vector<Chunk> chunks_;
  std::size_t current_ = 0;  // index of the chunk that is being filled
  char* next_ = nullptr;
  char* end_ = nullptr;
  std::size_t used_ = 0;
  std::size_t held_ = 0;
};

inline char* Arena::allocate(std::size_t bytes) {
  if (static_cast<std::size_t>(end_ - next_) < bytes || next_ == nullptr) {
    return allocate_slow(bytes);
  }
  char* const begin = next_;
  next_ += bytes;
  used_ += bytes;
  return begin;
}

}  // namespace headwater
