// Answers of a sink that is done with a row as soon as it has written it.
#pragma once

#include <algorithm>
#include <deque>
#include <span>

#include "pipeline/sink.h"

namespace headwater {

class Answers {
 public:
  void add(Token token, std::uint32_t row, Verdict verdict) {
    outcomes_.push_back({token, row, verdict});
  }
  std::size_t poll(std::span<Outcome> into) {
    const std::size_t count = std::min(into.size(), outcomes_.size());
    std::copy_n(outcomes_.begin(), count, into.begin());
    outcomes_.erase(outcomes_.begin(), outcomes_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

 private:
  std::deque<Outcome> outcomes_;
};

}  // namespace headwater
