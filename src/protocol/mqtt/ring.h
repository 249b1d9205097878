// Ring: a queue in one block that doubles when full and never shrinks by itself.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace headwater::mqtt {

template <class T>
class Ring {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  // From the oldest on.
  T& operator[](std::size_t at) { return block_[(head_ + at) & (capacity_ - 1)]; }
  T& front() { return block_[head_]; }
  T& back() { return (*this)[size_ - 1]; }

  void push(T value) {
    if (size_ == capacity_) {
      grow();
    }
    block_[(head_ + size_) & (capacity_ - 1)] = value;
    ++size_;
  }
  void pop() {
    head_ = (head_ + 1) & (capacity_ - 1);
    --size_;
  }
  // Gives the block back too.
  void reset() {
    block_.reset();
    capacity_ = head_ = size_ = 0;
  }

 private:
  void grow() {
    const std::size_t capacity = capacity_ == 0 ? 8 : capacity_ * 2;
    std::unique_ptr<T[]> block(new T[capacity]);
    for (std::size_t i = 0; i < size_; ++i) {
      block[i] = (*this)[i];
    }
    block_ = std::move(block);
    capacity_ = capacity;
    head_ = 0;
  }

  std::unique_ptr<T[]> block_;
  std::size_t capacity_ = 0;  // a power of two
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace headwater::mqtt
