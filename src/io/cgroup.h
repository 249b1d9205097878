// What the machine lets this process use: CPU quota, memory limit, allowed CPUs.
//
// A container's limits are in control groups, not in the number of CPUs that /proc/cpuinfo shows; a
// thread pool sized by the latter is throttled. Both hierarchies are read: v2 (cpu.max, memory.max)
// and v1 (cpu.cfs_quota_us, memory.limit_in_bytes), from the process's own group upward to the
// mount point, and the smallest limit wins, because every ancestor's limit holds.
//
// Anything missing or unreadable means "no limit", never an error. Thread-safe; reads a dozen small
// files, so ask at start, not per reading.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace headwater::io {

struct ResourceLimits {
  std::optional<double> cpu_quota;            // CPUs' worth of time: 0.5, 2; none: no quota
  std::optional<std::uint64_t> memory_bytes;  // none: no limit
  int affinity = 1;                           // CPUs that the scheduler may use for this process

  // Threads that can run at once without being throttled: the affinity, or the quota rounded down
  // if that is less; at least 1.
  int usable_cpus() const;
};

// `root` stands for "/": tests give a folder that holds proc/self/{cgroup,mountinfo,status} and the
// group files under the mount points that mountinfo names.
ResourceLimits read_resource_limits(std::string_view root = "/");

}  // namespace headwater::io
