// EdgeProcess: `headwater run` as a process of its own, to be killed and started again. Also other
// programs, such as a broker.
//
// One thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace headwater::torture {

class Process {
 public:
  // Its output goes to the end of `log`.
  static Result<Process> start(const std::vector<std::string>& command, const std::string& log);
  Process() = default;
  Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Process& operator=(Process&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(ended_, other.ended_);
    return *this;
  }
  // kill -9 to what still runs.
  ~Process();

  bool running();  // false also once it has ended
  // How it ended by itself, as running() saw it: "by signal 6", "with 1".
  const std::string& ended() const { return ended_; }
  void signal(int number) const;
  // SIGKILL, and gone when this returns.
  void kill();
  // SIGTERM; its exit status, or kUnavailable when it does not end in time.
  Result<int> stop(Nanos patience);

 private:
  explicit Process(pid_t pid) : pid_(pid) {}
  pid_t pid_ = 0;
  std::string ended_;
};

}  // namespace headwater::torture
