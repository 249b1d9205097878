// TapHub: shows a few readings or alerts of a running program to who asks, and costs nothing when
// nobody does.
//
//   if (hub.wanted(TapKind::kReadings)) [[unlikely]] {      // one relaxed load per batch
//     for (row : batch) {
//       if (hub.takes(TapKind::kReadings, pipeline)) {      // someone's rate has room: build it
//         hub.publish(TapKind::kReadings, pipeline, json_of(row));
//       }
//     }
//   }
//
// A tap is a sample for debugging, not a delivery: each listener has a rate (events/s); what is
// over is skipped, and told as an event `skipped` with the number before the next one shown. A
// listener too slow for its own rate is dropped by the server's bound. Each shown line is an event
// named `reading` or `alert` with the JSON as its data; `end` is the last when a limit is reached.
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
  // One JSON object without a newline. Any thread; a lock and, per listener that takes it, one
  // copy. Before building the line of a row, `takes` says whether anyone would see it.
  void publish(TapKind kind, std::string_view pipeline, std::string_view json_line);
  // Whether a listener of this pipeline has room in its rate now. What is turned down here counts
  // as skipped, so call it once per row, then publish.
  bool takes(TapKind kind, std::string_view pipeline);

  // Whether another listener has a place; the stream is opened only then.
  bool has_room();
  // Closes the stream when kMaxListeners are there already.
  void add(TapOptions options, http::EventStream stream);
  // Forgets listeners that have gone; takes() and publish() do it too.
  void sweep();

 private:
  struct Listener {
    TapOptions options;
    http::EventStream stream;
    double tokens =
        0;  // events that may be shown now; refilled with the time, at most one second's
    MonoTime refilled;
    std::uint64_t shown = 0;
    std::uint64_t skipped = 0;  // since the last one shown
  };
  static bool wants(Listener& listener, TapKind kind, std::string_view pipeline);
  void sweep_locked();

  std::atomic<std::uint32_t> listening_[2] = {};  // by TapKind
  std::mutex mutex_;
  std::vector<Listener> listeners_;
};

}  // namespace headwater::api
