// What the tests of sinks share.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include "io/loop.h"
#include "pipeline/sink.h"

namespace headwater {

// A batch of alerts of the device "press-7".
inline std::shared_ptr<Batch> alerts(std::initializer_list<std::string_view> payloads) {
  auto batch = std::make_shared<Batch>();
  for (const std::string_view payload : payloads) {
    Row row;
    row.payload = batch->arena().copy(payload);
    row.device = "press-7";
    row.topic = "hall 2/press-7";
    batch->add_row(row);
  }
  return batch;
}

// A sink on a loop of its own.
class SinkRun {
 public:
  explicit SinkRun(std::unique_ptr<Sink> sink) : sink_(std::move(sink)) {
    EXPECT_TRUE(sink_->start(*loop_).ok());
  }
  Sink& sink() { return *sink_; }
  io::Loop& loop() { return *loop_; }

  // Runs the loop until `ready`.
  void until(const std::function<bool()>& ready) {
    const MonoTime end = io::mono_now() + std::chrono::seconds(20);
    while (!ready()) {
      ASSERT_TRUE(io::mono_now() < end) << "too slow; the sink is " << sink_->state();
      loop_->run_once(std::chrono::milliseconds(10));
    }
  }
  // The next outcomes.
  std::vector<Outcome> outcomes(std::size_t count) {
    std::vector<Outcome> got;
    until([&] {
      std::array<Outcome, 16> some;
      const std::size_t polled = sink_->poll(some);
      got.insert(got.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(polled));
      return got.size() >= count;
    });
    return got;
  }
  Verdict verdict() {
    const std::vector<Outcome> got = outcomes(1);
    return got.empty() ? Verdict::kExpired : got.front().verdict;
  }
  void destroy() { sink_.reset(); }

 private:
  std::unique_ptr<io::Loop> loop_ = io::Loop::create().value();
  std::unique_ptr<Sink> sink_;
};

}  // namespace headwater
