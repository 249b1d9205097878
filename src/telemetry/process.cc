#include "telemetry/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "telemetry/log.h"

namespace headwater::telemetry {
namespace {

// A small file of /proc, cut at the buffer's end; "" if it cannot be read.
std::string_view read_proc(const char* path, std::array<char, 2048>& buffer) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return {};
  }
  const auto size = ::read(fd, buffer.data(), buffer.size() - 1);
  ::close(fd);
  if (size <= 0) {
    return {};
  }
  buffer[static_cast<std::size_t>(size)] = '\0';
  return {buffer.data(), static_cast<std::size_t>(size)};
}

// Field `index` of /proc/self/stat, counted as proc(5) does from 1; the name in parentheses is the
// second and may hold anything, so counting starts behind its last ')'.
double stat_field(int index) {
  std::array<char, 2048> buffer;
  const auto text = read_proc("/proc/self/stat", buffer);
  auto at = text.rfind(')');
  for (int field = 2; field < index && at != std::string_view::npos; ++field) {
    at = text.find(' ', at + 1);
  }
  return at == std::string_view::npos ? 0 : ::strtod(text.data() + at + 1, nullptr);
}

double cpu_seconds() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) {
    return 0;
  }
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

double open_files() {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) {
    return 0;
  }
  int count = 0;
  while (const dirent* entry = ::readdir(directory)) {
    count += entry->d_name[0] != '.' ? 1 : 0;
  }
  ::closedir(directory);
  return count - 1;  // the one that lists
}

// Since the epoch: /proc/stat's boot time plus the process's start in clock ticks since boot.
double start_seconds() {
  std::array<char, 2048> buffer;
  const int fd = ::open("/proc/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return 0;
  }
  double boot = 0;
  std::string text;
  for (ssize_t size = 0; (size = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(size));
  }
  ::close(fd);
  if (const auto at = text.find("\nbtime "); at != std::string::npos) {
    boot = ::strtod(text.c_str() + at + 7, nullptr);
  }
  return boot + stat_field(22) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

std::uint64_t resident_bytes() {
  std::array<char, 2048> buffer;
  const auto text = read_proc("/proc/self/statm", buffer);
  const auto space = text.find(' ');
  if (space == std::string_view::npos) {
    return 0;
  }
  return ::strtoull(text.data() + space + 1, nullptr, 10) *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::vector<Registry::Callback> register_process_metrics(Registry& registry) {
  std::vector<Registry::Callback> out;
  out.push_back(registry.counter_from("process_cpu_seconds_total",
                                      "User and system CPU time of the process.", {}, cpu_seconds));
  out.push_back(registry.gauge_from("process_resident_memory_bytes",
                                    "Memory of the process in RAM (VmRSS).", {},
                                    [] { return static_cast<double>(resident_bytes()); }));
  out.push_back(registry.gauge_from("process_open_fds", "Open file descriptors.", {}, open_files));
  out.push_back(registry.gauge_from("process_threads", "Threads of the process.", {},
                                    [] { return stat_field(20); }));
  out.push_back(registry.gauge_from("process_start_time_seconds",
                                    "When the process started, since 1970 UTC.", {},
                                    [started = start_seconds()] { return started; }));
  for (const auto& [level, name] :
       {std::pair{log::Level::kDebug, "debug"}, std::pair{log::Level::kInfo, "info"},
        std::pair{log::Level::kWarn, "warn"}, std::pair{log::Level::kError, "error"}}) {
    out.push_back(registry.counter_from(
        "headwater_log_lines_total", "Log lines written.", {{"level", name}},
        [severity = level] { return static_cast<double>(log::lines(severity)); }));
  }
  out.push_back(registry.counter_from("headwater_log_suppressed_lines_total",
                                      "Warnings and errors held back by the limit per call site.",
                                      {}, [] { return static_cast<double>(log::suppressed()); }));
  return out;
}

}  // namespace headwater::telemetry
