#include "telemetry/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include "telemetry/log.h"

namespace headwater::telemetry {
namespace {

double value_of(const std::string& text, const std::string& name) {
  const auto at = text.find("\n" + name + " ");
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + name.size() + 2, nullptr);
}

TEST(ProcessMetrics, CountTheLogsLines) {
  Registry registry;
  const auto callbacks = register_process_metrics(registry);
  const auto count = [&] {
    return value_of(registry.prometheus_text(), "headwater_log_lines_total{level=\"error\"}");
  };
  const auto before = count();
  log::configure({.sink = [](std::string_view) {}});
  log::error("x");
  log::configure({});
  EXPECT_EQ(count(), before + 1);
}

TEST(ProcessMetrics, TellMemoryFilesThreadsAndStart) {
  Registry registry;
  const auto callbacks = register_process_metrics(registry);
  const auto text = registry.prometheus_text();
  EXPECT_GT(value_of(text, "process_resident_memory_bytes"), 1e6);
  EXPECT_GT(value_of(text, "process_open_fds"), 2);
  EXPECT_GE(value_of(text, "process_threads"), 1);
  EXPECT_GE(value_of(text, "process_cpu_seconds_total"), 0);
  const auto now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch());
  EXPECT_NEAR(value_of(text, "process_start_time_seconds"), now.count(), 300);
}

}  // namespace
}  // namespace headwater::telemetry
