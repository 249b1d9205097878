#include "io/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace headwater::io {
namespace {

std::int64_t read_clock(clockid_t clock) {
  timespec at{};
  clock_gettime(clock, &at);
  return std::int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

std::atomic<std::int64_t> wall_shift{0};

constexpr std::size_t kFewTimers = 64;  // below it cancelled timers are left to their time

// What epoll hands back: the descriptor and the generation of its watch.
std::uint64_t tag(int fd, std::uint32_t generation) {
  return std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
}

}  // namespace

MonoTime mono_now() {
  return {read_clock(CLOCK_MONOTONIC)};
}
WallTime wall_now() {
  return {read_clock(CLOCK_REALTIME) + wall_shift.load(std::memory_order_relaxed)};
}
void shift_wall_clock(Nanos by) {
  wall_shift.store(by.count(), std::memory_order_relaxed);
}

Result<std::unique_ptr<Loop>> Loop::create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) {
    return Error::from_errno(errno, "create an event loop");
  }
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const int error = errno;
    close(epoll_fd);
    return Error::from_errno(error, "create an event loop");
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag(wake_fd, 0);
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
    const int error = errno;
    close(wake_fd);
    close(epoll_fd);
    return Error::from_errno(error, "create an event loop");
  }
  return std::unique_ptr<Loop>(new Loop(epoll_fd, wake_fd));
}

Loop::Loop(int epoll_fd, int wake_fd) : epoll_fd_(epoll_fd), wake_fd_(wake_fd), now_(mono_now()) {}

Loop::~Loop() {
  close(wake_fd_);
  close(epoll_fd_);
}

Status Loop::watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> ready) {
  const std::uint32_t generation = next_generation_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag(fd, generation);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    return Error::from_errno(errno, "watch a descriptor");
  }
  watches_[fd] = std::make_shared<Watch>(Watch{events, generation, std::move(ready)});
  return {};
}

Status Loop::rewatch(int fd, std::uint32_t events) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) {
    return Error::internal("rewatch of a descriptor that is not watched");
  }
  if (found->second->events == events) {
    return {};
  }
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag(fd, found->second->generation);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) {
    return Error::from_errno(errno, "rewatch a descriptor");
  }
  found->second->events = events;
  return {};
}

void Loop::unwatch(int fd) {
  if (watches_.erase(fd) > 0) {
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  }
}

TimerId Loop::after(Nanos delay, std::function<void()> call) {
  const TimerId id = next_timer_++;
  timers_.emplace(id, std::move(call));
  heap_.push_back({mono_now() + delay, id});
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>{});
  return id;
}

void Loop::cancel(TimerId id) {
  if (timers_.erase(id) > 0 && heap_.size() > kFewTimers && heap_.size() > 2 * timers_.size()) {
    drop_cancelled();
  }
}

void Loop::drop_cancelled() {
  std::erase_if(heap_, [&](const Timer& timer) { return !timers_.contains(timer.id); });
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>{});
}

void Loop::post(std::function<void()> call) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = posts_.empty();
    posts_.push_back(std::move(call));
  }
  if (first) {
    const std::uint64_t one = 1;
    (void)!write(wake_fd_, &one, sizeof one);
  }
}

void Loop::stop() {
  stopping_ = true;
  const std::uint64_t one = 1;
  (void)!write(wake_fd_, &one, sizeof one);
}

void Loop::run() {
  while (!stopping_) {
    run_once(std::chrono::hours(1));
  }
}

void Loop::run_once(Nanos timeout) {
  Nanos wait = timeout;
  while (!heap_.empty() && !timers_.contains(heap_.front().id)) {  // cancelled
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
    heap_.pop_back();
  }
  if (!heap_.empty()) {
    wait = std::clamp(heap_.front().at - mono_now(), Nanos{0}, wait);
  }
  if (again_ || stopping_) {
    wait = Nanos{0};
  }
  // Rounded up: a timer must not fire early and spin through the last millisecond.
  const auto wait_ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  std::array<epoll_event, 128> events;
  const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()),
                               static_cast<int>(std::min<std::int64_t>(wait_ms, 3'600'000)));
  now_ = mono_now();
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const auto fd = static_cast<int>(event.data.u64 & 0xffffffffU);
    if (fd == wake_fd_) {
      std::uint64_t drained = 0;
      (void)!read(wake_fd_, &drained, sizeof drained);
      continue;
    }
    const auto found = watches_.find(fd);
    // A callback of this round may have closed the descriptor, and another taken its number.
    if (found != watches_.end() && found->second->generation == event.data.u64 >> 32) {
      const std::shared_ptr<Watch> watch = found->second;  // the callback may unwatch itself
      watch->ready(event.events);
    }
  }
  run_timers();
  run_posts();
  again_ = round_end_ && round_end_();
}

void Loop::run_timers() {
  while (!heap_.empty() && heap_.front().at <= now_) {
    const TimerId id = heap_.front().id;
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
    heap_.pop_back();
    const auto found = timers_.find(id);
    if (found != timers_.end()) {
      const std::function<void()> call = std::move(found->second);
      timers_.erase(found);
      call();
    }
  }
}

void Loop::run_posts() {
  std::vector<std::function<void()>> posts;
  {
    const std::lock_guard lock(mutex_);
    posts.swap(posts_);
  }
  for (const std::function<void()>& call : posts) {
    call();
  }
}

}  // namespace headwater::io
