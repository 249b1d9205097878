#include "io/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace headwater::io {
namespace {

constexpr const char* kUnified =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kSplit =
    "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

// A made-up "/" in a folder that leaves with the test.
class FakeRoot {
 public:
  FakeRoot()
      : folder_(std::filesystem::temp_directory_path() /
                ("hw_cgroup_test_" + std::to_string(getpid()))) {
    write("proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n");
  }
  ~FakeRoot() { std::filesystem::remove_all(folder_); }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  FakeRoot& write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
    return *this;
  }
  FakeRoot& groups(const std::string& cgroup, const std::string& mountinfo) {
    return write("proc/self/cgroup", cgroup).write("proc/self/mountinfo", mountinfo);
  }
  ResourceLimits read() const { return read_resource_limits(folder_.string()); }

 private:
  std::filesystem::path folder_;
};

TEST(Cgroup, HasNoLimitsWhereNothingIsWritten) {
  const ResourceLimits limits = FakeRoot().read();
  EXPECT_FALSE(limits.cpu_quota);
  EXPECT_FALSE(limits.memory_bytes);
  EXPECT_EQ(limits.affinity, 8);
  EXPECT_EQ(limits.usable_cpus(), 8);
}

TEST(Cgroup, ReadsTheLimitsOfVersionTwo) {
  FakeRoot root;
  root.groups("0::/edge.service\n", kUnified)
      .write("sys/fs/cgroup/edge.service/cpu.max", "250000 100000\n")
      .write("sys/fs/cgroup/edge.service/memory.max", "536870912\n");
  const ResourceLimits limits = root.read();
  EXPECT_EQ(limits.cpu_quota, 2.5);
  EXPECT_EQ(limits.memory_bytes, 536870912U);
  EXPECT_EQ(limits.usable_cpus(), 2);
}

TEST(Cgroup, TakesTheSmallestLimitFromTheGroupUpward) {
  FakeRoot root;
  root.groups("0::/a/b/c\n", kUnified)
      .write("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n")
      .write("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n")
      .write("sys/fs/cgroup/a/cpu.max", "75000 50000\n")
      .write("sys/fs/cgroup/a/b/c/memory.max", "max\n")
      .write("sys/fs/cgroup/a/memory.max", "1000\n")
      .write("sys/fs/cgroup/a/b/memory.max", "2000\n");
  const ResourceLimits limits = root.read();
  EXPECT_EQ(limits.cpu_quota, 1.5);
  EXPECT_EQ(limits.memory_bytes, 1000U);
}

TEST(Cgroup, ReadsItsOwnNamespaceWhereTheGroupIsTheRoot) {
  FakeRoot root;
  root.groups("0::/\n", kUnified).write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(root.read().cpu_quota, 0.5);
  EXPECT_EQ(root.read().usable_cpus(), 1);
}

TEST(Cgroup, ReadsTheQuotaOfVersionOne) {
  FakeRoot root;
  root.groups("5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n", kSplit)
      .write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "300000\n")
      .write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n")
      .write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n")
      .write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n")
      .write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n")
      .write("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "1048576\n");
  const ResourceLimits limits = root.read();
  EXPECT_EQ(limits.cpu_quota, 3.0);
  EXPECT_EQ(limits.memory_bytes, 1048576U);
}

TEST(Cgroup, FindsTheGroupInsideAMountThatShowsOnlyAPartOfTheHierarchy) {
  // A version 1 container: the path in /proc/self/cgroup is the host's, the mount shows its end.
  FakeRoot root;
  root.groups("4:cpu,cpuacct:/docker/abc/inner\n",
              "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n")
      .write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n")
      .write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
      .write("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "150000\n")
      .write("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(root.read().cpu_quota, 1.5);
  root.groups("4:cpu,cpuacct:/docker/abcdef\n",
              "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n");
  EXPECT_EQ(root.read().cpu_quota, 2.0);
}

TEST(Cgroup, CountsTheCpusThatTheSchedulerMayUse) {
  FakeRoot root;
  root.write("proc/self/status", "Cpus_allowed_list:\t1,4-6,9\n");
  EXPECT_EQ(root.read().affinity, 5);
  root.groups("0::/\n", kUnified).write("sys/fs/cgroup/cpu.max", "900000 100000\n");
  EXPECT_EQ(root.read().usable_cpus(), 5);
}

TEST(Cgroup, TakesNonsenseForNoLimit) {
  FakeRoot root;
  root.groups("0::/\nnonsense\n:::\n", std::string("bad line\n") + kUnified)
      .write("sys/fs/cgroup/cpu.max", "12x 0\n")
      .write("sys/fs/cgroup/memory.max", "-5\n")
      .write("proc/self/status", "Cpus_allowed_list:\tx-,3-1\n");
  const ResourceLimits limits = root.read();
  EXPECT_FALSE(limits.cpu_quota);
  EXPECT_FALSE(limits.memory_bytes);
  EXPECT_EQ(limits.usable_cpus(), 1);
}

TEST(Cgroup, ReadsThisMachine) {
  const ResourceLimits limits = read_resource_limits();
  EXPECT_GE(limits.usable_cpus(), 1);
  EXPECT_LE(limits.usable_cpus(), static_cast<int>(sysconf(_SC_NPROCESSORS_CONF)));
}

}  // namespace
}  // namespace headwater::io
