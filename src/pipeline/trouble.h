// Trouble: what is wrong with a part of a pipeline right now, in words: for the log and for status.
//
// One writer, the worker that owns the part; any thread may read. A text is logged when it is new.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "telemetry/log.h"

namespace headwater {

class Trouble {
 public:
  // Who has it: "source", "main/direct". `part` is a literal.
  Trouble(std::string_view part, std::string name) : part_(part), name_(std::move(name)) {}

  void set(std::string_view text) {
    {
      const std::lock_guard lock(mutex_);
      if (text_ == text) {
        return;
      }
      text_ = text;
    }
    any_.store(true, std::memory_order_relaxed);
    log::warn("trouble", {{"part", part_}, {"name", name_}, {"error", text}});
  }
  void clear() {
    if (any_.exchange(false, std::memory_order_relaxed)) {
      const std::lock_guard lock(mutex_);
      text_.clear();
    }
  }
  // Empty: none.
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  const std::string_view part_;
  const std::string name_;
  std::atomic<bool> any_{false};
  mutable std::mutex mutex_;  // guards text_
  std::string text_;
};

}  // namespace headwater
