// Loop: the event loop of one thread (epoll, one timerfd-free timer heap, one eventfd for calls
// from other threads).
//
// Thread rule: everything but post() and stop() is for the loop's own thread. Callbacks run on it,
// one at a time, and must not block. A callback may remove any watch or timer, its own included.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace headwater::io {

using TimerId = std::uint64_t;

class Loop {
 public:
  static Result<std::unique_ptr<Loop>> create();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Calls `ready(events)` with EPOLLIN/EPOLLOUT/EPOLLHUP/EPOLLERR bits while any of `events` holds
  // (level-triggered). The descriptor stays the caller's: unwatch() before closing it.
  Status watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> ready);
  Status rewatch(int fd, std::uint32_t events);
  void unwatch(int fd);

  // One call after `delay`. Returns an id for cancel(); cancelling a timer that has fired is
  // allowed.
  TimerId after(Nanos delay, std::function<void()> call);
  void cancel(TimerId id);

  // From any thread: runs `call` on the loop's thread. Calls posted after the loop's end are
  // dropped.
  void post(std::function<void()> call);

  // Runs at the end of every round (after the events, timers and posts of one wake-up): the place
  // where a worker takes what has arrived. Returns true to be called again without sleeping.
  void at_round_end(std::function<bool()> call) { round_end_ = std::move(call); }

  // Until stop(). run_once waits at most `timeout` and handles one round.
  void run();
  void run_once(Nanos timeout);
  // From any thread.
  void stop();

  // The monotonic time at the start of this round: cheap, good to a millisecond or so.
  MonoTime now() const { return now_; }

 private:
  struct Watch {
    std::uint32_t events = 0;
    std::uint32_t generation = 0;  // tells a watch from an earlier one of the same descriptor
    std::function<void(std::uint32_t)> ready;
  };
  struct Timer {
    MonoTime at;
    TimerId id = 0;
    bool operator>(const Timer& other) const {
      return at != other.at ? at > other.at : id > other.id;
    }
  };

  Loop(int epoll_fd, int wake_fd);
  void run_timers();
  void drop_cancelled();
  void run_posts();

  int epoll_fd_;
  int wake_fd_;
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::uint32_t next_generation_ = 1;
  std::vector<Timer> heap_;  // min-heap by time; at most half of it are cancelled timers
  std::unordered_map<TimerId, std::function<void()>> timers_;
  TimerId next_timer_ = 1;
  std::function<bool()> round_end_;
  bool again_ = false;
  MonoTime now_;

  std::mutex mutex_;  // guards posts_
  std::vector<std::function<void()>> posts_;
  std::atomic<bool> stopping_{false};
};

// CLOCK_MONOTONIC now.
MonoTime mono_now();
// CLOCK_REALTIME now, and the shift.
WallTime wall_now();
// Any thread: from now on the wall clock of this process is off by so much. For tests and torture:
// setting the real clock needs rights, and hits others.
void shift_wall_clock(Nanos by);

}  // namespace headwater::io
