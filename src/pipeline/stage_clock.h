// StageClock: how much CPU time each stage of a worker takes, cheap enough to be always on.
//
//   clock.enter(times, CpuStage::kDecode);   // from here on, until the next enter() or leave()
//
// One read of the CPU's time stamp counter for each change of stage, so per batch and never per
// row. It counts waking time; settle(), about once a second, turns that into CPU time: where the
// stages together were awake for longer than the thread ran, the scheduler had given its turns to
// others, and all stages shrink in proportion. What the thread ran outside of them (waking up,
// timers, events) goes to `loop`.
//
// Thread rule: everything on the worker's thread; StageTimes::cpu() from any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "io/loop.h"
#include "pipeline/counts.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace headwater {

enum class CpuStage : std::uint8_t {
  kTake,     // the source: socket or file, framing
  kDecode,   // bytes to columns, device and time
  kFilter,   // in front of the append and behind it
  kEnrich,   //
  kWindow,   //
  kInfer,    // detect: tensors and the model's call
  kDecide,   //
  kStore,    // records for the spool; what it writes is the flusher's
  kAck,      // telling sources what is durable
  kDeliver,  // alerts to sinks
  kLoop,     // all else of the thread
};
inline constexpr std::size_t kCpuStages = 11;

// "decode", "infer", …
std::string_view cpu_stage_name(CpuStage stage);
// Of a step by the name of its kind: "detect" is kInfer. kLoop for a kind that is not known.
CpuStage cpu_stage_of(std::string_view step);

// A counter that goes up at an even pace, whatever the CPU's frequency; its unit is settle()'s
// business.
inline std::uint64_t read_ticks() {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  std::uint64_t ticks = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return static_cast<std::uint64_t>(io::mono_now().ns);
#endif
}

// What one part (a source, a pipeline) used on one worker.
class StageTimes {
 public:
  // As of the last settle(). Never falls.
  Nanos cpu(CpuStage stage) const {
    return Nanos(static_cast<std::int64_t>(settled_[static_cast<std::size_t>(stage)].get()));
  }

 private:
  friend class StageClock;
  std::array<std::uint64_t, kCpuStages> ticks_{};  // since the last settle()
  std::array<Count, kCpuStages> settled_;          // nanoseconds
};

class StageClock {
 public:
  // One moment, read from three clocks.
  struct Moment {
    std::uint64_t ticks = 0;
    MonoTime mono;
    Nanos cpu{0};  // of the thread
  };
  // Now, of the calling thread.
  static Moment moment();

  // Parts that settle() looks at; they outlive the clock's use.
  void add(StageTimes& times) { parts_.push_back(&times); }

  // On the thread that is to be measured, before it enters anything.
  void begin(const Moment& now);

  void enter(StageTimes& times, CpuStage stage, std::uint64_t now = read_ticks()) {
    charge(now);
    into_ = &times.ticks_[static_cast<std::size_t>(stage)];
  }
  // Nothing is measured until the next enter().
  void leave(std::uint64_t now = read_ticks()) {
    charge(now);
    into_ = nullptr;
  }

  // Turns ticks into CPU time.
  void settle(const Moment& now);

  // What belongs to no part: `loop`, and what the worker enters for itself.
  StageTimes& own() { return own_; }
  const StageTimes& own() const { return own_; }

 private:
  void charge(std::uint64_t now) {
    if (into_ != nullptr) {
      *into_ += now - since_;
    }
    since_ = now;
  }

  std::uint64_t* into_ = nullptr;
  std::uint64_t since_ = 0;
  std::vector<StageTimes*> parts_;
  StageTimes own_;
  Moment settled_;
};

// The clock of a part that may have none: parts work without a worker too.
class StageTimer {
 public:
  void use(StageClock& clock) {
    clock_ = &clock;
    clock.add(times_);
  }
  void enter(CpuStage stage) {
    if (clock_ != nullptr) {
      clock_->enter(times_, stage);
    }
  }
  const StageTimes& times() const { return times_; }

 private:
  StageClock* clock_ = nullptr;
  StageTimes times_;
};

}  // namespace headwater
