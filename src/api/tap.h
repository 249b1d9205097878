// TapHub: shows a few readings or alerts of a running program to who asks, and costs nothing when
// nobody does.
//
//   if (hub.wanted(TapKind::kReadings)) [[unlikely]] {          // one relaxed load per batch
//     hub.publish(TapKind::kReadings, pipeline, json_line);     // any thread
//   }
//
// A tap is a sample for debugging, not a delivery: each listener has a rate (events/s) and a
// bounded queue, what is over is skipped and the number is told in the next event.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "protocol/http/server.h"

namespace headwater::api {

enum class TapKind : std::uint8_t { kReadings, kAlerts };

struct TapOptions {
  std::string pipeline = {};  // "" takes all
  TapKind kind = TapKind::kReadings;
  std::uint64_t limit = 0;  // events, then the stream ends; 0 is no limit
  double rate = 10;         // events/s
};

class TapHub {
 public:
  static constexpr std::size_t kMaxListeners = 16;

  bool wanted(TapKind kind) const {
    return listening_[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed) > 0;
  }
  // One JSON object without a newline.
  void publish(TapKind kind, std::string_view pipeline, std::string_view json_line);

  // Exhausted when kMaxListeners are there already.
  Status add(TapOptions options, http::EventStream stream);
  // Forgets listeners that have gone: publish does it for its kind, the admin routes call it.
  void sweep();

 private:
  struct Listener {
    TapOptions options;
    http::EventStream stream;
    double tokens = 0;
    MonoTime refilled;
    std::uint64_t sent = 0;
    std::uint64_t skipped = 0;
  };
  void sweep_locked();

  std::atomic<std::uint32_t> listening_[2] = {};
  std::mutex mutex_;
  std::vector<Listener> listeners_;
};

}  // namespace headwater::api
