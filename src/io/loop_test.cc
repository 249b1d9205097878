#include "io/loop.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <thread>

namespace headwater::io {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

std::unique_ptr<Loop> made() {
  auto loop = Loop::create();
  EXPECT_TRUE(loop.ok());
  return *std::move(loop);
}

// Rounds until `done` or ten seconds have passed; says which.
template <class Done>
bool run_until(Loop& loop, Done done) {
  const MonoTime deadline = mono_now() + seconds(10);
  while (!done() && mono_now() < deadline) {
    loop.run_once(milliseconds(50));
  }
  return done();
}

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    close(read_end);
    close(write_end);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void fill() const { EXPECT_EQ(write(write_end, "x", 1), 1); }
  void drain() const {
    char byte = 0;
    EXPECT_EQ(read(read_end, &byte, 1), 1);
  }

  int read_end = -1;
  int write_end = -1;
};

TEST(Loop, CallsAWatchWhileItsDescriptorIsReady) {
  auto loop = made();
  const Pipe pipe;
  int calls = 0;
  ASSERT_TRUE(loop->watch(pipe.read_end, EPOLLIN,
                          [&](std::uint32_t events) {
                            EXPECT_EQ(events, static_cast<std::uint32_t>(EPOLLIN));
                            ++calls;
                          })
                  .ok());
  loop->run_once(Nanos(0));
  EXPECT_EQ(calls, 0);
  pipe.fill();
  loop->run_once(seconds(10));
  loop->run_once(seconds(10));
  EXPECT_EQ(calls, 2) << "level-triggered";
  pipe.drain();
  loop->run_once(Nanos(0));
  EXPECT_EQ(calls, 2);
}

TEST(Loop, RewatchChangesTheEvents) {
  auto loop = made();
  const Pipe pipe;
  int calls = 0;
  ASSERT_TRUE(loop->watch(pipe.write_end, 0, [&](std::uint32_t) { ++calls; }).ok());
  loop->run_once(Nanos(0));
  EXPECT_EQ(calls, 0);
  ASSERT_TRUE(loop->rewatch(pipe.write_end, EPOLLOUT).ok());
  loop->run_once(seconds(10));
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(loop->rewatch(pipe.write_end, 0).ok());
  loop->run_once(Nanos(0));
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(loop->rewatch(pipe.read_end, EPOLLIN).ok());
}

TEST(Loop, RefusesASecondWatchAndABadDescriptor) {
  auto loop = made();
  const Pipe pipe;
  ASSERT_TRUE(loop->watch(pipe.read_end, EPOLLIN, [](std::uint32_t) {}).ok());
  EXPECT_FALSE(loop->watch(pipe.read_end, EPOLLIN, [](std::uint32_t) {}).ok());
  EXPECT_FALSE(loop->watch(-1, EPOLLIN, [](std::uint32_t) {}).ok());
}

TEST(Loop, AWatchMayRemoveItselfAndOthers) {
  auto loop = made();
  const Pipe a;
  const Pipe b;
  int calls = 0;
  const auto both = [&](std::uint32_t) {
    ++calls;
    loop->unwatch(a.read_end);
    loop->unwatch(b.read_end);
  };
  ASSERT_TRUE(loop->watch(a.read_end, EPOLLIN, both).ok());
  ASSERT_TRUE(loop->watch(b.read_end, EPOLLIN, both).ok());
  a.fill();
  b.fill();
  loop->run_once(seconds(10));
  loop->run_once(Nanos(0));
  EXPECT_EQ(calls, 1);
}

TEST(Loop, AReusedDescriptorDoesNotGetTheEventOfTheOldOne) {
  auto loop = made();
  Pipe a;
  Pipe b;
  int stale = 0;
  Pipe quiet;  // nothing is ever written to it
  // Whichever end is called first closes the other and puts a quiet pipe in its place.
  const auto replace = [&](Pipe& self, Pipe& other) {
    loop->unwatch(self.read_end);
    loop->unwatch(other.read_end);
    ASSERT_EQ(dup2(quiet.read_end, other.read_end), other.read_end);
    ASSERT_TRUE(loop->watch(other.read_end, EPOLLIN, [&](std::uint32_t) { ++stale; }).ok());
  };
  ASSERT_TRUE(loop->watch(a.read_end, EPOLLIN, [&](std::uint32_t) { replace(a, b); }).ok());
  ASSERT_TRUE(loop->watch(b.read_end, EPOLLIN, [&](std::uint32_t) { replace(b, a); }).ok());
  a.fill();
  b.fill();
  loop->run_once(seconds(10));
  loop->run_once(Nanos(0));
  EXPECT_EQ(stale, 0);
}

TEST(Loop, TimersFireInOrderAndNotEarly) {
  auto loop = made();
  std::vector<int> fired;
  const MonoTime begin = mono_now();
  loop->after(milliseconds(20), [&] {
    EXPECT_GE(mono_now() - begin, milliseconds(20));
    fired.push_back(3);
  });
  loop->after(milliseconds(1), [&] { fired.push_back(1); });
  loop->after(milliseconds(10), [&] { fired.push_back(2); });
  EXPECT_TRUE(run_until(*loop, [&] { return fired.size() == 3; }));
  EXPECT_THAT(fired, ElementsAre(1, 2, 3));
}

TEST(Loop, CancelledTimersDoNotFire) {
  auto loop = made();
  bool fired = false;
  bool done = false;
  const TimerId first = loop->after(milliseconds(1), [&] { fired = true; });
  TimerId second = 0;
  loop->after(milliseconds(2), [&] { loop->cancel(second); });
  second = loop->after(milliseconds(2), [&] { fired = true; });
  const TimerId last = loop->after(milliseconds(5), [&] { done = true; });
  loop->cancel(first);
  EXPECT_TRUE(run_until(*loop, [&] { return done; }));
  EXPECT_FALSE(fired);
  loop->cancel(last);  // one that has fired
}

TEST(Loop, ManyCancelledTimersLeaveTheOthersInOrder) {
  auto loop = made();
  std::vector<int> fired;
  // All are due later than a slow machine needs to set them, 10 ms apart, the last one first.
  const MonoTime start = mono_now();
  for (int i = 0; i < 5; ++i) {
    loop->after(start + milliseconds(500 - 10 * i) - mono_now(),
                [&fired, i] { fired.push_back(i); });
    for (int j = 0; j < 2'000; ++j) {
      loop->cancel(loop->after(hours(1), [] { FAIL(); }));
    }
  }
  EXPECT_TRUE(run_until(*loop, [&] { return fired.size() == 5; }));
  EXPECT_THAT(fired, ElementsAre(4, 3, 2, 1, 0));
}

TEST(Loop, ATimerMayStartTheNext) {
  auto loop = made();
  int count = 0;
  std::function<void()> again = [&] {
    if (++count < 5) {
      loop->after(Nanos(0), again);
    }
  };
  loop->after(Nanos(0), again);
  EXPECT_TRUE(run_until(*loop, [&] { return count == 5; }));
}

TEST(Loop, PostsFromOtherThreadsAllRunOnTheLoopsThread) {
  auto loop = made();
  constexpr int kThreads = 4;
  constexpr int kPosts = 500;
  const std::thread::id self = std::this_thread::get_id();
  int ran = 0;  // only the loop's thread touches it
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < kPosts; ++j) {
        loop->post([&] {
          EXPECT_EQ(std::this_thread::get_id(), self);
          ++ran;
        });
      }
    });
  }
  EXPECT_TRUE(run_until(*loop, [&] { return ran == kThreads * kPosts; }));
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(Loop, APostMayPost) {
  auto loop = made();
  bool inner = false;
  loop->post([&] { loop->post([&] { inner = true; }); });
  EXPECT_TRUE(run_until(*loop, [&] { return inner; }));
}

TEST(Loop, RoundEndIsCalledAgainWithoutSleepingWhileItSaysSo) {
  auto loop = made();
  int rounds = 0;
  loop->at_round_end([&] { return ++rounds < 3; });
  loop->run_once(Nanos(0));
  const MonoTime begin = mono_now();
  loop->run_once(hours(1));
  loop->run_once(hours(1));
  EXPECT_EQ(rounds, 3);
  EXPECT_LT(mono_now() - begin, seconds(10));
}

TEST(Loop, StopFromAnotherThreadEndsRun) {
  auto loop = made();
  std::thread stopper([&] { loop->stop(); });
  loop->run();
  stopper.join();
  loop->run();  // stays stopped
}

}  // namespace
}  // namespace headwater::io
