#include "torture/edge_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "io/loop.h"

namespace headwater::torture {

Result<Process> Process::start(const std::vector<std::string>& command, const std::string& log) {
  std::vector<char*> arguments;
  for (const std::string& part : command) {
    arguments.push_back(const_cast<char*>(part.c_str()));  // execv does not change them
  }
  arguments.push_back(nullptr);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (out < 0) {
    return Error::from_errno(errno, fmt::format("open '{}'", log));
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    // Ends with us, whatever ends us.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
      _exit(1);
    }
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  ::close(out);
  if (pid < 0) {
    return Error::from_errno(errno, "fork");
  }
  return Process(pid);
}

Process::~Process() {
  kill();
}

bool Process::running() {
  if (pid_ == 0) {
    return false;
  }
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) {
    pid_ = 0;
    ended_ = WIFSIGNALED(status) ? fmt::format("by signal {}", WTERMSIG(status))
                                 : fmt::format("with {}", WEXITSTATUS(status));
  }
  return pid_ != 0;
}

void Process::signal(int number) const {
  if (pid_ != 0) {
    ::kill(pid_, number);
  }
}

void Process::kill() {
  if (pid_ != 0) {
    ::kill(pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
  }
}

Result<int> Process::stop(Nanos patience) {
  signal(SIGCONT);
  signal(SIGTERM);
  const MonoTime until = io::mono_now() + patience;
  while (pid_ != 0) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = 0;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    }
    if (io::mono_now() > until) {
      return Error::unavailable("it does not end");
    }
    poll(nullptr, 0, 5);
  }
  return 0;
}

}  // namespace headwater::torture
