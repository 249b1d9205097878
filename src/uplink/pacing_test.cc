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
  // One second's worth at the beginning, and one batch that is not paid at the end.
  EXPECT_GE(sent, 100'000U);
  EXPECT_LE(sent, 100'000U + 1000U + 2500U);
}

TEST(Pacer, SavesNoMoreThanASecondsWorthWhileIdle) {
  Pacer pacer(1000);
  EXPECT_EQ(pacer.wait({1}), Nanos{0});
  const MonoTime later{seconds(3600).count() * 1'000'000'000LL};
  pacer.take(later, 3000);
  EXPECT_NEAR(static_cast<double>(pacer.wait(later).count()), 2e9, 1e6);
}

}  // namespace
}  // namespace headwater
