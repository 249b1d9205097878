#include "io/cgroup.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"

namespace headwater::io {
namespace {

// v1 writes its largest page-aligned number for "no limit".
constexpr std::uint64_t kNoLimitV1 = std::uint64_t{1} << 60;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
  text = trim(text);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> parts = split(line, ' ');
  std::erase_if(parts, [](std::string_view part) { return part.empty(); });
  return parts;
}

bool lists(std::string_view comma_separated, std::string_view name) {
  const auto parts = split(comma_separated, ',');
  return std::find(parts.begin(), parts.end(), name) != parts.end();
}

// Where a hierarchy is mounted: `root` is the part of the hierarchy that shows at `point`.
struct Mount {
  std::string root;
  std::string point;
};

struct Hierarchy {
  std::optional<Mount> mount;
  std::optional<std::string> group;  // path in /proc/self/cgroup
};

struct Hierarchies {
  Hierarchy unified;
  Hierarchy cpu;     // v1
  Hierarchy memory;  // v1
};

// "36 25 0:31 /docker/abc /sys/fs/cgroup/cpu ro,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
void read_mounts(std::string_view mountinfo, Hierarchies& all) {
  for (const std::string_view line : split(mountinfo, '\n')) {
    const auto parts = words(line);
    const auto dash = std::find(parts.begin(), parts.end(), "-");
    if (parts.size() < 6 || parts.end() - dash < 4) {
      continue;
    }
    const Mount mount{.root = std::string(parts[3]), .point = std::string(parts[4])};
    const std::string_view kind = dash[1];
    const std::string_view options = dash[3];
    if (kind == "cgroup2") {
      all.unified.mount = mount;
    } else if (kind == "cgroup" && lists(options, "cpu")) {
      all.cpu.mount = mount;
    } else if (kind == "cgroup" && lists(options, "memory")) {
      all.memory.mount = mount;
    }
  }
}

// "0::/system.slice/edge.service", "4:cpu,cpuacct:/docker/abc"
void read_groups(std::string_view cgroup, Hierarchies& all) {
  for (const std::string_view line : split(cgroup, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) {
      continue;
    }
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string path(line.substr(second + 1));
    if (line.starts_with("0::")) {
      all.unified.group = path;
    } else if (lists(controllers, "cpu")) {
      all.cpu.group = path;
    } else if (lists(controllers, "memory")) {
      all.memory.group = path;
    }
  }
}

// Folders of the process's group and its ancestors, the group first, the mount point last.
std::vector<std::string> folders(const std::string& root, const Hierarchy& hierarchy) {
  if (!hierarchy.mount || !hierarchy.group) {
    return {};
  }
  const Mount& mount = *hierarchy.mount;
  std::string inside = *hierarchy.group;
  if (mount.root != "/") {
    // A container without its own cgroup namespace: its group is the mount's root, or below it.
    const bool below = inside.starts_with(mount.root) &&
                       (inside.size() == mount.root.size() || inside[mount.root.size()] == '/');
    inside = below ? inside.substr(mount.root.size()) : std::string();
  }
  if (inside.find("..") != std::string::npos) {
    inside.clear();  // outside of the namespace: only the mount point is visible
  }
  while (!inside.empty() && inside.back() == '/') {
    inside.pop_back();
  }
  std::vector<std::string> found;
  while (!inside.empty()) {
    found.push_back(root + mount.point + inside);
    inside.resize(inside.rfind('/') == std::string::npos ? 0 : inside.rfind('/'));
  }
  found.push_back(root + mount.point);
  return found;
}

template <class T>
void take_smaller(std::optional<T>& smallest, std::optional<T> limit) {
  if (limit && (!smallest || *limit < *smallest)) {
    smallest = limit;
  }
}

// "150000 100000" or "max 100000"
std::optional<double> cpu_max(const std::string& folder) {
  const std::string text = read_text(folder + "/cpu.max");
  const auto parts = words(trim(text));
  if (parts.empty()) {
    return std::nullopt;
  }
  const auto quota = parse_number<std::int64_t>(parts[0]);
  const auto period = parts.size() > 1 ? parse_number<std::int64_t>(parts[1]) : 100'000;
  if (!quota || !period || *quota <= 0 || *period <= 0) {
    return std::nullopt;
  }
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<double> cfs_quota(const std::string& folder) {
  const auto quota = parse_number<std::int64_t>(read_text(folder + "/cpu.cfs_quota_us"));
  const auto period = parse_number<std::int64_t>(read_text(folder + "/cpu.cfs_period_us"));
  if (!quota || !period || *quota <= 0 || *period <= 0) {
    return std::nullopt;  // -1: no quota
  }
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::uint64_t> memory_limit(const std::string& path) {
  const auto bytes = parse_number<std::uint64_t>(read_text(path));
  return bytes && *bytes < kNoLimitV1 ? bytes : std::nullopt;
}

// "Cpus_allowed_list:	0-3,8"
int allowed_cpus(std::string_view status) {
  constexpr std::string_view kKey = "Cpus_allowed_list:";
  int count = 0;
  for (const std::string_view line : split(status, '\n')) {
    if (!line.starts_with(kKey)) {
      continue;
    }
    for (const std::string_view range : split(trim(line.substr(kKey.size())), ',')) {
      const std::size_t dash = range.find('-');
      const auto first = parse_number<int>(range.substr(0, dash));
      const auto last =
          dash == std::string_view::npos ? first : parse_number<int>(range.substr(dash + 1));
      if (first && last && *last >= *first) {
        count += *last - *first + 1;
      }
    }
  }
  return std::max(1, count);
}

}  // namespace

int ResourceLimits::usable_cpus() const {
  if (!cpu_quota || *cpu_quota >= affinity) {
    return std::max(1, affinity);
  }
  return std::max(1, static_cast<int>(std::floor(*cpu_quota)));
}

ResourceLimits read_resource_limits(std::string_view root) {
  std::string base(root);
  while (!base.empty() && base.back() == '/') {
    base.pop_back();
  }
  Hierarchies all;
  read_mounts(read_text(base + "/proc/self/mountinfo"), all);
  read_groups(read_text(base + "/proc/self/cgroup"), all);

  ResourceLimits limits;
  for (const std::string& folder : folders(base, all.unified)) {
    take_smaller(limits.cpu_quota, cpu_max(folder));
    take_smaller(limits.memory_bytes, memory_limit(folder + "/memory.max"));
  }
  for (const std::string& folder : folders(base, all.cpu)) {
    take_smaller(limits.cpu_quota, cfs_quota(folder));
  }
  for (const std::string& folder : folders(base, all.memory)) {
    take_smaller(limits.memory_bytes, memory_limit(folder + "/memory.limit_in_bytes"));
  }
  limits.affinity = allowed_cpus(read_text(base + "/proc/self/status"));
  return limits;
}

}  // namespace headwater::io
