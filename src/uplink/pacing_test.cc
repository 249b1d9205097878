#include "uplink/pacing.h"

#include <gtest/gtest.h>

namespace headwater {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Backoff, WaitsAnythingUpToABoundThatDoublesToItsMost) {
  Nanos longest{};
  for (std::uint64_t seed = 1; seed < 50; ++seed) {
    Backoff backoff({milliseconds(500), seconds(60)}, seed);
    for (int failure = 0; failure < 40; ++failure) {
      const Nanos bound =
          std::min<Nanos>(milliseconds(500) * (1LL << std::min(failure, 20)), seconds(60));
      const Nanos wait = backoff.next();
      EXPECT_GE(wait, Nanos{0});
      EXPECT_LE(wait, bound);
      longest = std::max(longest, wait);
    }
  }
  EXPECT_GT(longest, seconds(55));
}

TEST(Backoff, BeginsAnewAfterASuccess) {
  Backoff backoff({milliseconds(500), seconds(60)}, 3);
  for (int i = 0; i < 10; ++i) {
    (void)backoff.next();
  }
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(500));
}

TEST(Pacer, LetsEverythingThroughWithoutALimit) {
  Pacer pacer(0);
  pacer.take({1}, 1'000'000'000);
  EXPECT_EQ(pacer.wait({1}), Nanos{0});
}

TEST(Pacer, KeepsTheRateOverTime) {
  Pacer pacer(1000);
  MonoTime now{seconds(100).count() * 1'000'000'000LL / 100};
  const MonoTime begin = now;
  std::uint64_t sent = 0;
  while (now - begin < seconds(100)) {
    const Nanos wait = pacer.wait(now);
    if (wait > Nanos{0}) {
      now = now + wait;
      continue;
    }
    pacer.take(now, 2500);
    sent += 2500;
  }
  // What was saved at the beginning, and one batch that is not paid at the end.
  EXPECT_GE(sent, 100'000U);
  EXPECT_LE(sent, 100'000U + 500U + 2500U);
}

TEST(Pacer, SavesNoMoreThanHalfASecondsWorthWhileIdle) {
  Pacer pacer(1000);
  EXPECT_EQ(pacer.wait({1}), Nanos{0});
  const MonoTime later{seconds(3600).count() * 1'000'000'000LL};
  pacer.take(later, 3000);
  EXPECT_NEAR(static_cast<double>(pacer.wait(later).count()), 2.5e9, 1e6);
}

// Half of the limit in live batches of 100 bytes, the rest of it for batches of 3,000.
TEST(Pacer, LiveRowsGoOnTimeAndAllTogetherKeepToTheRate) {
  Pacer pacer(1000);
  const MonoTime begin{1'000'000'000};
  std::uint64_t live = 0;
  std::uint64_t backlog = 0;
  for (Nanos at{0}; at < seconds(100); at += milliseconds(10)) {
    const MonoTime now = begin + at;
    if (at % milliseconds(200) == Nanos{0}) {
      EXPECT_EQ(pacer.wait(now, Pacer::Class::kLive), Nanos{0});
      pacer.take(now, 100, Pacer::Class::kLive);
      live += 100;
    }
    if (pacer.wait(now) == Nanos{0}) {
      pacer.take(now, 3000);
      backlog += 3000;
    }
  }
  EXPECT_EQ(live, 50'000U);
  EXPECT_NEAR(static_cast<double>(live + backlog), 100'000.0, 3'500.0);
}

TEST(Pacer, LiveRowsKeepToTheRateToo) {
  Pacer pacer(1000);
  const MonoTime now{1'000'000'000};
  pacer.take(now, 2500, Pacer::Class::kLive);
  EXPECT_NEAR(static_cast<double>(pacer.wait(now, Pacer::Class::kLive).count()), 2e9, 1e6);
  EXPECT_NEAR(static_cast<double>(pacer.wait(now).count()), 2e9, 1e6);
}

}  // namespace
}  // namespace headwater
