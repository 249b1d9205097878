#include "pipeline/stage_clock.h"

#include <gtest/gtest.h>

namespace headwater {
namespace {

using std::chrono::milliseconds;

// Three clocks that stand still until told; a tick is half a nanosecond.
class StageClockTest : public testing::Test {
 protected:
  StageClockTest() {
    clock.add(times);
    clock.begin(now);
  }
  void pass(Nanos time, Nanos cpu) {
    now.ticks += static_cast<std::uint64_t>(time.count()) * 2;
    now.mono = now.mono + time;
    now.cpu += cpu;
  }
  void enter(CpuStage stage) { clock.enter(times, stage, now.ticks); }
  void leave() { clock.leave(now.ticks); }
  void settle() { clock.settle(now); }

  StageClock::Moment now{1'000'000, MonoTime{5'000'000'000}, milliseconds(7)};
  StageClock clock;
  StageTimes times;
};

TEST_F(StageClockTest, ChargesEachStageWithTheTimeUntilTheNext) {
  enter(CpuStage::kDecode);
  pass(milliseconds(3), milliseconds(3));
  enter(CpuStage::kInfer);
  pass(milliseconds(5), milliseconds(5));
  enter(CpuStage::kDecode);
  pass(milliseconds(1), milliseconds(1));
  leave();
  settle();
  EXPECT_EQ(times.cpu(CpuStage::kDecode), milliseconds(4));
  EXPECT_EQ(times.cpu(CpuStage::kInfer), milliseconds(5));
  EXPECT_EQ(times.cpu(CpuStage::kTake), Nanos{0});
  EXPECT_EQ(clock.own().cpu(CpuStage::kLoop), Nanos{0});
}

TEST_F(StageClockTest, SleepIsNobodysAndWhatTheThreadRanBesideItIsTheLoops) {
  enter(CpuStage::kTake);
  pass(milliseconds(2), milliseconds(2));
  leave();
  pass(milliseconds(90), milliseconds(1));  // asleep, and waking up
  settle();
  EXPECT_EQ(times.cpu(CpuStage::kTake), milliseconds(2));
  EXPECT_EQ(clock.own().cpu(CpuStage::kLoop), milliseconds(1));
}

// While others have the CPU, time passes and the thread does not run.
TEST_F(StageClockTest, StagesShrinkInProportionWhereTheSchedulerGaveTheCpuAway) {
  enter(CpuStage::kDecode);
  pass(milliseconds(30), milliseconds(10));
  enter(CpuStage::kStore);
  pass(milliseconds(10), milliseconds(10));
  leave();
  settle();
  EXPECT_EQ(times.cpu(CpuStage::kDecode), milliseconds(15));
  EXPECT_EQ(times.cpu(CpuStage::kStore), milliseconds(5));
  EXPECT_EQ(clock.own().cpu(CpuStage::kLoop), Nanos{0});
}

TEST_F(StageClockTest, ASettlingInTheMiddleOfAStageLosesNothing) {
  enter(CpuStage::kDecode);
  pass(milliseconds(3), milliseconds(3));
  settle();
  EXPECT_EQ(times.cpu(CpuStage::kDecode), milliseconds(3));
  pass(milliseconds(4), milliseconds(4));
  leave();
  settle();
  EXPECT_EQ(times.cpu(CpuStage::kDecode), milliseconds(7));
}

TEST_F(StageClockTest, TwiceAtTheSameMomentIsOnce) {
  enter(CpuStage::kDecode);
  pass(milliseconds(3), milliseconds(3));
  settle();
  settle();
  EXPECT_EQ(times.cpu(CpuStage::kDecode), milliseconds(3));
}

TEST(StageClock, KnowsTheStageOfAStep) {
  EXPECT_EQ(cpu_stage_of("detect"), CpuStage::kInfer);
  EXPECT_EQ(cpu_stage_of("window"), CpuStage::kWindow);
  EXPECT_EQ(cpu_stage_of("decide"), CpuStage::kDecide);
  EXPECT_EQ(cpu_stage_of("something"), CpuStage::kLoop);
  EXPECT_EQ(cpu_stage_name(CpuStage::kInfer), "infer");
}

// On the real clocks: a thread that computes for a while has that much CPU time in its stage.
TEST(StageClock, AgreesWithTheThreadsCpuTime) {
  StageClock clock;
  StageTimes times;
  clock.add(times);
  const StageClock::Moment begun = StageClock::moment();
  clock.begin(begun);
  clock.enter(times, CpuStage::kInfer);
  StageClock::Moment now = begun;
  while (now.cpu - begun.cpu < milliseconds(50)) {
    now = StageClock::moment();
  }
  clock.leave(now.ticks);
  clock.settle(now);
  const double ran = static_cast<double>((now.cpu - begun.cpu).count());
  const auto in_stage = static_cast<double>(times.cpu(CpuStage::kInfer).count());
  const auto in_loop = static_cast<double>(clock.own().cpu(CpuStage::kLoop).count());
  EXPECT_NEAR(in_stage / ran, 1.0, 0.02);
  EXPECT_NEAR((in_stage + in_loop) / ran, 1.0, 0.001);
}

}  // namespace
}  // namespace headwater
