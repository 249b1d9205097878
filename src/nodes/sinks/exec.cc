#include "nodes/sinks/exec.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <utility>

#include "io/socket.h"
#include "nodes/sinks/alert_name.h"
#include "nodes/sinks/answers.h"
#include "telemetry/log.h"

extern char** environ;

namespace headwater {
namespace {

constexpr std::size_t kMaxQueued = 1024;
constexpr int kTryAgainStatus = 75;  // EX_TEMPFAIL of sysexits.h

// The one of glibc 2.36 has no C++ linkage.
int pidfd_open(pid_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0U));
}

// What the program gets on standard input: never a pipe that somebody has to keep filling.
Result<io::Fd> memory_file(std::string_view bytes) {
  io::Fd file(memfd_create("alert", MFD_CLOEXEC));
  if (!file) {
    return Error::from_errno(errno, "make the program's input");
  }
  while (!bytes.empty()) {
    const ssize_t wrote = write(file.get(), bytes.data(), bytes.size());
    if (wrote < 0 && errno != EINTR) {
      return Error::from_errno(errno, "write the program's input");
    }
    bytes.remove_prefix(wrote < 0 ? 0 : static_cast<std::size_t>(wrote));
  }
  lseek(file.get(), 0, SEEK_SET);
  return {std::move(file)};
}

// The environment of this process, with some variables set.
class Environment {
 public:
  void set(std::string_view name, std::string_view value) {
    own_.push_back(std::string(name) + "=" + std::string(value));
  }
  // Good until the next set().
  char** pointers() {
    pointers_.clear();
    for (std::string& text : own_) {
      pointers_.push_back(text.data());
    }
    for (char** inherited = environ; *inherited != nullptr; ++inherited) {
      if (!replaced(*inherited)) {
        pointers_.push_back(*inherited);
      }
    }
    pointers_.push_back(nullptr);
    return pointers_.data();
  }

 private:
  bool replaced(std::string_view inherited) const {
    for (const std::string& text : own_) {
      if (inherited.starts_with(std::string_view(text).substr(0, text.find('=') + 1))) {
        return true;
      }
    }
    return false;
  }

  std::vector<std::string> own_;
  std::vector<char*> pointers_;
};

// posix_spawn's two argument blocks, freed with the object.
class SpawnPlan {
 public:
  explicit SpawnPlan(int input) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_adddup2(&actions_, input, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setpgroup(&attributes_, 0);  // a group of its own: killed as one
    posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // 0 or an error number.
  int spawn(std::vector<char*>& words, char** environment, pid_t* pid) {
    return posix_spawnp(pid, words.front(), &actions_, &attributes_, words.data(), environment);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

class ExecSink final : public Sink {
 public:
  ExecSink(ExecSinkOptions options, std::string name)
      : options_(std::move(options)), name_(std::move(name)) {
    for (std::string& word : options_.command) {
      words_.push_back(word.data());
    }
    words_.push_back(nullptr);
  }

  // Nothing runs on without its timeout.
  ~ExecSink() override {
    for (auto& [pid, child] : children_) {
      loop_->cancel(child.timeout);
      loop_->unwatch(child.pidfd.get());
      kill(-pid, SIGKILL);
      while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
  }

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    return {};
  }

  Status submit(BatchRef batch, Token token) override {
    if (closed_) {
      return Error::unavailable("closed");
    }
    if (queue_.size() + batch->selected() > kMaxQueued) {
      return Error::unavailable("{} alerts wait for '{}'", queue_.size(), options_.command.front());
    }
    const MonoTime now = io::mono_now();
    for (const std::uint32_t row : batch->selection()) {
      const MonoTime made = batch->row(row).arrived;
      queue_.push_back({batch, token, row, made == MonoTime{} ? now : made});
    }
    run_next();
    return {};
  }

  std::size_t poll(std::span<Outcome> outcomes) override {
    run_next();  // what has become too old while all places were taken goes now
    return answers_.poll(outcomes);
  }

  std::string state() const override {
    return closed_ ? "closed"
                   : fmt::format("{} running, {} waiting", children_.size(), queue_.size());
  }

  void close() override { closed_ = true; }

 private:
  struct Job {
    BatchRef batch;
    Token token = 0;
    std::uint32_t row = 0;
    MonoTime made;
  };
  struct Child {
    Token token = 0;
    std::uint32_t row = 0;
    io::Fd pidfd;
    io::TimerId timeout = 0;
    bool timed_out = false;
  };

  // Expired jobs leave at once, the others as places come free.
  void run_next() {
    const MonoTime now = io::mono_now();
    while (!queue_.empty()) {
      const Job& job = queue_.front();
      const bool earlier = (job.batch->row(job.row).flags & kRowReplayed) != 0;
      if (earlier || now - job.made > options_.max_age) {
        answers_.add(job.token, job.row, Verdict::kExpired);
      } else if (closed_ || children_.size() >= static_cast<std::size_t>(options_.max_running)) {
        return;
      } else {
        run(job);
      }
      queue_.pop_front();
    }
  }

  void run(const Job& job) {
    const Row& row = job.batch->row(job.row);
    const Result<io::Fd> input = memory_file(row.payload);
    if (!input) {
      refuse(job, Verdict::kRetry, input.error().text());
      return;
    }
    const AlertName alert = alert_name(row.payload);
    Environment environment;
    environment.set("HEADWATER_DEVICE_ID", row.device);
    environment.set("HEADWATER_ALERT_ID", alert.id);
    environment.set("HEADWATER_EVENT", alert.event);
    pid_t pid = 0;
    const int failed = SpawnPlan(input->get()).spawn(words_, environment.pointers(), &pid);
    if (failed != 0) {
      const bool later = failed == EAGAIN || failed == ENOMEM || failed == EMFILE ||
                         failed == ENFILE || failed == ETXTBSY;
      refuse(job, later ? Verdict::kRetry : Verdict::kReject, strerror(failed));
      return;
    }
    // The child is not reaped yet, so its id is its own.
    Child child{job.token, job.row, io::Fd(pidfd_open(pid)), 0, false};
    Status watched = child.pidfd ? loop_->watch(child.pidfd.get(), EPOLLIN,
                                                [this, pid](std::uint32_t) { ended(pid); })
                                 : Status(Error::from_errno(errno, "watch the program"));
    if (!watched) {
      kill(-pid, SIGKILL);
      while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
      refuse(job, Verdict::kRetry, watched.error().text());
      return;
    }
    child.timeout = loop_->after(options_.timeout, [this, pid] {
      children_.at(pid).timed_out = true;
      kill(-pid, SIGKILL);
    });
    children_.emplace(pid, std::move(child));
  }

  void ended(pid_t pid) {
    int status = 0;
    const pid_t reaped = waitpid(pid, &status, WNOHANG);
    if (reaped == 0 || (reaped < 0 && errno == EINTR)) {
      return;
    }
    const auto found = children_.find(pid);
    Child& child = found->second;
    loop_->unwatch(child.pidfd.get());
    loop_->cancel(child.timeout);
    const bool exited = reaped == pid && WIFEXITED(status);
    Verdict verdict = Verdict::kReject;
    if (exited && !child.timed_out) {
      verdict = WEXITSTATUS(status) == 0                 ? Verdict::kOk
                : WEXITSTATUS(status) == kTryAgainStatus ? Verdict::kRetry
                                                         : Verdict::kReject;
    }
    if (verdict == Verdict::kReject) {
      log::warn("action failed", {{"sink", name_},
                                  {"command", options_.command.front()},
                                  {"how", child.timed_out ? "timeout"
                                          : exited        ? "exit status"
                                                          : "signal"},
                                  {"status", exited ? WEXITSTATUS(status) : WTERMSIG(status)}});
    }
    answers_.add(child.token, child.row, verdict);
    children_.erase(found);
    run_next();
  }

  void refuse(const Job& job, Verdict verdict, std::string_view why) {
    answers_.add(job.token, job.row, verdict);
    log::warn("action could not start",
              {{"sink", name_}, {"command", options_.command.front()}, {"error", why}});
  }

  ExecSinkOptions options_;
  std::string name_;
  std::vector<char*> words_;  // into options_.command, and a null
  io::Loop* loop_ = nullptr;
  std::deque<Job> queue_;
  std::unordered_map<pid_t, Child> children_;  // at most max_running
  Answers answers_;
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<Sink> make_exec_sink(const ExecSinkOptions& options, const config::Node&,
                                     const SinkContext& context, config::Diagnostics&) {
  return std::make_unique<ExecSink>(options, context.name);
}

}  // namespace headwater
