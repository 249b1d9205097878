#include "workbench/confine.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>

#include "base/strings.h"

namespace headwater::workbench {
namespace {

constexpr int kPeriodMicroseconds = 100'000;

Status write_text(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    return Error::from_errno(errno, path);
  }
  const ssize_t written = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  return written == static_cast<ssize_t>(text.size()) ? Status{} : Error::from_errno(error, path);
}

// One group of one controller, removed at the end.
class Group {
 public:
  static Result<std::unique_ptr<Group>> make(const std::string& controller) {
    auto group = std::unique_ptr<Group>(new Group);
    group->path_ = fmt::format("/sys/fs/cgroup/{}/headwater-bench-{}", controller, getpid());
    if (mkdir(group->path_.c_str(), 0755) != 0) {
      const int error = errno;
      group->path_.clear();
      return Error::unavailable(
          "limits need control groups of version 1 and the rights to make one: {}: {}",
          fmt::format("/sys/fs/cgroup/{}", controller), Error::from_errno(error, "mkdir").text());
    }
    return group;
  }
  ~Group() {
    if (!path_.empty()) {
      // The kernel frees a group a moment after its last process; what stays is empty and harmless.
      rmdir(path_.c_str());
    }
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  Status set(const std::string& file, const std::string& text) const {
    return write_text(path_ + "/" + file, text);
  }

 private:
  Group() = default;
  std::string path_;
};

Result<int> wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return Error::from_errno(errno, "wait for the child process");
    }
  }
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGKILL) {
      return Error::exhausted("the process was killed: it needs more memory than it may have");
    }
    return Error::internal("the child process ended by signal {}", WTERMSIG(status));
  }
  return WEXITSTATUS(status);
}

}  // namespace

Result<double> parse_cpus(std::string_view text) {
  const bool milli = text.ends_with('m');
  const std::string_view number = milli ? text.substr(0, text.size() - 1) : text;
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (number.empty() || error != std::errc() || end != number.data() + number.size() ||
      !(value > 0) || value > 1e6) {
    return Error::invalid("'{}' is not a CPU limit; write 500m, 0.5 or 2", text);
  }
  value = milli ? value / 1000 : value;
  if (value < 0.01) {
    return Error::invalid("a CPU limit below 10m cannot be set");
  }
  return value;
}

Result<std::uint64_t> parse_memory(std::string_view text) {
  std::string with_unit(text);
  if (with_unit.ends_with("i")) {
    with_unit += "B";
  }
  return parse_size(with_unit);
}

Result<int> run_confined(const Limits& limits, const std::function<int()>& work) {
  std::unique_ptr<Group> cpu;
  std::unique_ptr<Group> memory;
  if (limits.cpus > 0) {
    cpu = HW_TRY(Group::make("cpu"));
    HW_TRY(cpu->set("cpu.cfs_period_us", std::to_string(kPeriodMicroseconds)));
    HW_TRY(cpu->set("cpu.cfs_quota_us",
                    std::to_string(std::lround(limits.cpus * kPeriodMicroseconds))));
  }
  if (limits.memory_bytes > 0) {
    memory = HW_TRY(Group::make("memory"));
    HW_TRY(memory->set("memory.limit_in_bytes", std::to_string(limits.memory_bytes)));
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    return Error::from_errno(errno, "fork");
  }
  if (child == 0) {
    for (const Group* group : {cpu.get(), memory.get()}) {
      if (group != nullptr) {
        if (const Status joined = group->set("cgroup.procs", "0"); !joined) {
          std::fprintf(stderr, "headwater: join the group of limits: %s\n",
                       joined.error().text().c_str());
          _exit(exit_status(Code::kUnavailable));
        }
      }
    }
    const int status = work();
    std::fflush(nullptr);
    _exit(status);
  }
  auto ended = wait_for(child);
  if (!ended && ended.error().code() == Code::kExhausted && limits.memory_bytes > 0) {
    return Error::exhausted("killed: it needs more than the memory limit of {}",
                            format_size(limits.memory_bytes));
  }
  return ended;
}

Result<std::string> text_of_child(const std::function<std::string()>& work) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Error::from_errno(errno, "pipe");
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    return Error::from_errno(error, "fork");
  }
  if (child == 0) {
    const std::string text = work();
    std::size_t at = 0;
    while (at < text.size()) {
      const ssize_t sent = write(ends[1], text.data() + at, text.size() - at);
      if (sent <= 0) {
        _exit(1);
      }
      at += static_cast<std::size_t>(sent);
    }
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(ends[0], buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR)) {
    text.append(buffer, got > 0 ? static_cast<std::size_t>(got) : 0);
  }
  close(ends[0]);
  const int status = HW_TRY(wait_for(child));
  if (status != 0) {
    return Error::internal("the child process ended with {}", status);
  }
  return text;
}

std::uint64_t peak_memory() {
  std::ifstream in("/proc/self/status");
  std::string line;
  while (std::getline(in, line)) {
    if (line.starts_with("VmHWM:")) {
      std::uint64_t kib = 0;
      const std::string_view number = trim(std::string_view(line).substr(6));
      std::from_chars(number.data(), number.data() + number.size(), kib);
      return kib * 1024;
    }
  }
  return 0;
}

}  // namespace headwater::workbench
