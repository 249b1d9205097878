// BatchPool: batches of one worker, so that arenas and columns are reused instead of allocated. Not
// thread-safe.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "data/batch.h"

namespace headwater {

class BatchPool {
 public:
  Batch take() {
    if (free_.empty()) {
      return {};
    }
    Batch batch = std::move(free_.back());
    free_.pop_back();
    return batch;
  }
  void give(Batch batch) {
    if (free_.size() < kKeep) {
      batch.clear();
      free_.push_back(std::move(batch));
    }
  }

 private:
  static constexpr std::size_t kKeep = 4;
  std::vector<Batch> free_;
};

}  // namespace headwater
