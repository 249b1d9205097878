#include "pipeline/stage_clock.h"

#include <algorithm>
#include <ctime>

#include "io/loop.h"

namespace headwater {
namespace {

constexpr std::array<std::string_view, kCpuStages> kNames = {
    "take",   "decode", "filter", "enrich",  "window", "infer",
    "decide", "store",  "ack",    "deliver", "loop"};

}  // namespace

std::string_view cpu_stage_name(CpuStage stage) {
  return kNames[static_cast<std::size_t>(stage)];
}

CpuStage cpu_stage_of(std::string_view step) {
  if (step == "detect") {
    return CpuStage::kInfer;
  }
  for (const CpuStage stage :
       {CpuStage::kFilter, CpuStage::kEnrich, CpuStage::kWindow, CpuStage::kDecide}) {
    if (step == cpu_stage_name(stage)) {
      return stage;
    }
  }
  return CpuStage::kLoop;
}

StageClock::Moment StageClock::moment() {
  timespec cpu{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
  return {read_ticks(), io::mono_now(),
          Nanos(std::int64_t{cpu.tv_sec} * 1'000'000'000 + cpu.tv_nsec)};
}

void StageClock::begin(const Moment& now) {
  settled_ = now;
  into_ = nullptr;
  since_ = now.ticks;
}

void StageClock::settle(const Moment& now) {
  charge(now.ticks);
  const double ran = static_cast<double>((now.cpu - settled_.cpu).count());
  const double passed = static_cast<double>((now.mono - settled_.mono).count());
  if (now.ticks <= settled_.ticks || passed <= 0) {
    return;
  }
  const double ns_per_tick = passed / static_cast<double>(now.ticks - settled_.ticks);
  settled_ = now;
  const auto each = [&](auto&& call) {
    call(own_);
    for (StageTimes* times : parts_) {
      call(*times);
    }
  };
  double awake = 0;
  each([&](StageTimes& times) {
    for (const std::uint64_t ticks : times.ticks_) {
      awake += static_cast<double>(ticks) * ns_per_tick;
    }
  });
  const double factor = ns_per_tick * (awake > ran ? ran / awake : 1.0);
  each([&](StageTimes& times) {
    for (std::size_t i = 0; i < kCpuStages; ++i) {
      times.settled_[i].add(
          static_cast<std::uint64_t>(static_cast<double>(times.ticks_[i]) * factor));
      times.ticks_[i] = 0;
    }
  });
  own_.settled_[static_cast<std::size_t>(CpuStage::kLoop)].add(
      static_cast<std::uint64_t>(std::max(0.0, ran - awake)));
}

}  // namespace headwater
