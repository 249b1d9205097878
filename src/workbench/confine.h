// Runs work in a child process under a CPU and a memory limit, as a pod would.
//
// The limits are control groups of version 1 (cpu.cfs_quota_us, memory.limit_in_bytes), made for
// the child and removed behind it. That takes the rights to write below /sys/fs/cgroup; without
// them the error says so, and nothing is measured under a limit that does not hold. Call it before
// the process has other threads or has opened ONNX Runtime.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace headwater::workbench {

struct Limits {
  double cpus = 0;                 // 0: none
  std::uint64_t memory_bytes = 0;  // 0: none

  bool any() const { return cpus > 0 || memory_bytes > 0; }
};

// "500m" and "0.5" are half a CPU, "2" two.
Result<double> parse_cpus(std::string_view text);
// "512Mi", "512MiB", "1Gi".
Result<std::uint64_t> parse_memory(std::string_view text);

// What `work` returned in the child (its exit status, 0 to 255). kUnavailable: the limits cannot be
// set here. kExhausted: the child was killed for memory.
Result<int> run_confined(const Limits& limits, const std::function<int()>& work);

// What `work` wrote, from a child process whose memory is its own: for peak memory of one model.
Result<std::string> text_of_child(const std::function<std::string()>& work);
// VmHWM of this process in bytes; 0 where it is not to be had.
std::uint64_t peak_memory();

}  // namespace headwater::workbench
