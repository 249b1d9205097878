// syscall_log: runs a program under ptrace and writes down, in the order of the kernel, what it
// writes to files, syncs, renames and sends.
//
//   syscall_log LOG [--poke SYMBOL=BYTE] PROGRAM ARGUMENT...
//
// LOG gets one JSON object a line. `begin` stands where the call entered the kernel, `end` where it
// had returned, before its thread went on:
//   {"e":"begin","id":7,"call":"pwritev","file":"2049:131","path":"…","offset":4096,"dsync":false,"data":"hex"}
//   {"e":"begin","id":8,"call":"fdatasync","file":"2049:131","path":"…"}
//   {"e":"begin","id":9,"call":"sendto","peer":51234,"data":"hex"}       peer: port of the other
//   side
//   {"e":"begin","id":10,"call":"rename","from":"…","to":"…"}            `end` adds the file
//   renamed
//   {"e":"begin","id":11,"call":"io_uring_setup"}                        a way out that is not seen
//   {"e":"end","id":7,"ret":512}                                         negative: the error
// A send that had entered when a sync returned could not know of that return: it is written before
// it.
//
// --poke stores a byte in a variable of the program before its first instruction (a planted bug).
// The first line of standard output is the process id. Signals to that process reach it. Exit
// status: the program's; 77: ptrace is not permitted, or there is no such variable; the reason is
// on standard error.
#include <elf.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kSkipped = 77;
constexpr std::uint64_t kDsyncFlag = 0x2;  // RWF_DSYNC
constexpr std::uint64_t kSyncFlag = 0x4;   // RWF_SYNC

enum class Kind { kWrite, kSync, kRename, kBlind };
// Where the arguments of a call lie.
enum class Form { kBuffer, kVector, kMessage, kNone, kPaths, kPathsAt };

struct Call {
  long number;
  const char* name;
  Kind kind;
  Form form;
  int offset;  // its argument; -1: none
  int flags;   // of pwritev2; -1: none
};

constexpr std::array kCalls = {
    Call{SYS_write, "write", Kind::kWrite, Form::kBuffer, -1, -1},
    Call{SYS_pwrite64, "pwrite", Kind::kWrite, Form::kBuffer, 3, -1},
    Call{SYS_writev, "writev", Kind::kWrite, Form::kVector, -1, -1},
    Call{SYS_pwritev, "pwritev", Kind::kWrite, Form::kVector, 3, -1},
    Call{SYS_pwritev2, "pwritev2", Kind::kWrite, Form::kVector, 3, 5},
    Call{SYS_sendto, "sendto", Kind::kWrite, Form::kBuffer, -1, -1},
    Call{SYS_sendmsg, "sendmsg", Kind::kWrite, Form::kMessage, -1, -1},
    Call{SYS_fsync, "fsync", Kind::kSync, Form::kNone, -1, -1},
    Call{SYS_fdatasync, "fdatasync", Kind::kSync, Form::kNone, -1, -1},
    Call{SYS_sync_file_range, "sync_file_range", Kind::kSync, Form::kNone, -1, -1},
#ifdef SYS_rename
    Call{SYS_rename, "rename", Kind::kRename, Form::kPaths, -1, -1},
#endif
    Call{SYS_renameat, "renameat", Kind::kRename, Form::kPathsAt, -1, -1},
    Call{SYS_renameat2, "renameat2", Kind::kRename, Form::kPathsAt, -1, -1},
    Call{SYS_io_uring_setup, "io_uring_setup", Kind::kBlind, Form::kNone, -1, -1},
    Call{SYS_sendmmsg, "sendmmsg", Kind::kBlind, Form::kNone, -1, -1},
    Call{SYS_sendfile, "sendfile", Kind::kBlind, Form::kNone, -1, -1},
    Call{SYS_splice, "splice", Kind::kBlind, Form::kNone, -1, -1},
};

const Call* find_call(std::uint64_t number) {
  for (const Call& call : kCalls) {
    if (static_cast<std::uint64_t>(call.number) == number) {
      return &call;
    }
  }
  return nullptr;
}

[[noreturn]] void give_up(int status, const std::string& why) {
  std::fprintf(stderr, "syscall_log: %s\n", why.c_str());
  std::exit(status);
}

std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

// Stops the calls above only: others run at full speed.
void install_filter() {
  std::vector<sock_filter> code = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const Call& call : kCalls) {
    code.push_back(
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call.number), 0, 1));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    _exit(126);
  }
}

// A traced process seen from outside.
class Subject {
 public:
  explicit Subject(pid_t pid) : pid_(pid) {}

  std::string read(std::uint64_t from, std::uint64_t size) const {
    std::string out(size, '\0');
    const iovec here{out.data(), size};
    const iovec there{reinterpret_cast<void*>(from), size};  // an address over there
    const ssize_t got = process_vm_readv(pid_, &here, 1, &there, 1, 0);
    out.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return out;
  }
  template <typename T>
  T read_as(std::uint64_t from) const {
    T value{};
    const std::string bytes = read(from, sizeof(T));
    if (bytes.size() == sizeof(T)) {
      std::memcpy(&value, bytes.data(), sizeof(T));
    }
    return value;
  }
  std::string read_text(std::uint64_t from) const {
    std::string out;
    while (out.size() < PATH_MAX) {
      const char c = read_as<char>(from + out.size());
      if (c == '\0') {
        break;
      }
      out += c;
    }
    return out;
  }
  std::string read_vector(std::uint64_t vectors, std::uint64_t count) const {
    std::string out;
    for (std::uint64_t i = 0; i < count && i < IOV_MAX; ++i) {
      const auto part = read_as<iovec>(vectors + i * sizeof(iovec));
      out += read(reinterpret_cast<std::uint64_t>(part.iov_base), part.iov_len);
    }
    return out;
  }

  std::string proc(const std::string& name) const {
    return "/proc/" + std::to_string(pid_) + "/" + name;
  }
  std::string link(const std::string& name) const {
    std::string out(PATH_MAX, '\0');
    const ssize_t size = readlink(proc(name).c_str(), out.data(), out.size());
    out.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return out;
  }
  bool opened_synchronous(int fd) const {
    std::ifstream in(proc("fdinfo/" + std::to_string(fd)));
    for (std::string word; in >> word;) {
      if (word == "flags:" && in >> word) {
        return (std::stoul(word, nullptr, 8) & O_DSYNC) != 0;
      }
    }
    return false;
  }
  // Port of the other side of an internet socket; 0: it is none.
  int peer(int fd) const {
    const int process = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    const int copy = static_cast<int>(syscall(SYS_pidfd_getfd, process, fd, 0));
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const bool known = getpeername(copy, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    close(copy);
    close(process);
    if (!known || (address.ss_family != AF_INET && address.ss_family != AF_INET6)) {
      return 0;
    }
    // sin_port and sin6_port lie at the same place.
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }

 private:
  pid_t pid_;
};

// Address of a variable in the program's file, and whether the file is loaded at an offset.
struct Symbol {
  std::uint64_t address = 0;
  bool relative = false;
};
Symbol find_symbol(const std::string& path, std::string_view name) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  Elf64_Ehdr header{};
  if (bytes.size() < sizeof header) {
    return {};
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto section = [&](std::size_t index) {
    Elf64_Shdr out{};
    const std::size_t at = header.e_shoff + index * header.e_shentsize;
    if (at + sizeof out <= bytes.size()) {
      std::memcpy(&out, bytes.data() + at, sizeof out);
    }
    return out;
  };
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr table = section(i);
    if (table.sh_type != SHT_SYMTAB) {
      continue;
    }
    const Elf64_Shdr names = section(table.sh_link);
    for (std::size_t at = table.sh_offset;
         at + sizeof(Elf64_Sym) <= table.sh_offset + table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol{};
      std::memcpy(&symbol, bytes.data() + at, sizeof symbol);
      if (name == std::string_view(bytes.c_str() + names.sh_offset + symbol.st_name)) {
        return {symbol.st_value, header.e_type == ET_DYN};
      }
    }
  }
  return {};
}

class Tracer {
 public:
  Tracer(pid_t root, std::FILE* log, std::string poke)
      : root_(root), subject_(root), log_(log), poke_(std::move(poke)) {}

  int run() {
    for (;;) {
      collect(true);
      if (ended_) {
        return status_;
      }
      // What waits stopped at its entrance comes before what has returned.
      std::vector<Stop> returned;
      while (!stops_.empty()) {
        std::vector<Stop> now = std::move(stops_);
        stops_.clear();
        for (const Stop& stop : now) {
          if (is_sync_return(stop.tid)) {
            returned.push_back(stop);
          } else {
            handle(stop);
          }
        }
        collect(false);
      }
      for (const Stop& stop : returned) {
        handle(stop);
      }
    }
  }

 private:
  struct Stop {
    pid_t tid;
    int status;
  };
  struct Open {
    std::uint64_t id;
    const Call* call;
    std::string path;  // of a rename: where to
  };

  void collect(bool wait) {
    for (;;) {
      int status = 0;
      const pid_t tid = waitpid(-1, &status, __WALL | (wait ? 0 : WNOHANG));
      if (tid <= 0) {
        ended_ = ended_ || (tid < 0 && errno == ECHILD);
        return;
      }
      wait = false;
      if (WIFSTOPPED(status)) {
        stops_.push_back({tid, status});
        continue;
      }
      open_.erase(tid);
      processes_.erase(tid);
      if (tid == root_) {
        status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        std::fflush(log_);
      }
    }
  }

  bool is_sync_return(pid_t tid) const {
    const auto open = open_.find(tid);
    return open != open_.end() && open->second.call->kind == Kind::kSync;
  }

  void handle(const Stop& stop) {
    const int signal = WSTOPSIG(stop.status);
    const int event = stop.status >> 16;
    if (signal == (SIGTRAP | 0x80)) {
      leave(stop.tid);
      resume(stop.tid, PTRACE_CONT, 0);
    } else if (event == PTRACE_EVENT_SECCOMP) {
      resume(stop.tid, enter(stop.tid) ? PTRACE_SYSCALL : PTRACE_CONT, 0);
    } else if (event == PTRACE_EVENT_EXEC) {
      poke();
      resume(stop.tid, PTRACE_CONT, 0);
    } else if (event != 0 || signal == SIGSTOP || signal == SIGTRAP) {
      resume(stop.tid, PTRACE_CONT, 0);  // a new thread, or its first stop
    } else {
      // In the middle of a call its return is still to come.
      resume(stop.tid, open_.contains(stop.tid) ? PTRACE_SYSCALL : PTRACE_CONT, signal);
    }
  }
  static void resume(pid_t tid, __ptrace_request how, int signal) {
    ptrace(how, tid, nullptr, reinterpret_cast<void*>(static_cast<std::uintptr_t>(signal)));
  }

  void poke() {
    if (poke_.empty()) {
      return;
    }
    const std::size_t equals = poke_.find('=');
    const Symbol symbol = find_symbol(subject_.proc("exe"), poke_.substr(0, equals));
    if (symbol.address == 0) {
      kill(root_, SIGKILL);
      give_up(kSkipped, "the program has no variable " + poke_.substr(0, equals));
    }
    std::uint64_t base = 0;
    if (symbol.relative) {
      std::ifstream maps(subject_.proc("maps"));
      maps >> std::hex >> base;  // the program's own file comes first
    }
    const auto byte = static_cast<unsigned char>(std::stoi(poke_.substr(equals + 1)));
    const int memory = open(subject_.proc("mem").c_str(), O_WRONLY | O_CLOEXEC);
    if (pwrite(memory, &byte, 1, static_cast<off_t>(base + symbol.address)) != 1) {
      kill(root_, SIGKILL);
      give_up(1, "cannot write into the program");
    }
    close(memory);
    poke_.clear();
  }

  // The process that a thread belongs to.
  pid_t process_of(pid_t tid) {
    pid_t& process = processes_[tid];
    if (process == 0) {
      std::ifstream in(Subject(tid).proc("status"));
      for (std::string word; in >> word && word != "Tgid:";) {
      }
      in >> process;
    }
    return process;
  }

  // False: of no interest.
  bool enter(pid_t tid) {
    const Subject subject(process_of(tid));
    __ptrace_syscall_info facts{};
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof facts, &facts) <= 0 ||
        facts.op != PTRACE_SYSCALL_INFO_SECCOMP) {
      return false;
    }
    const Call* call = find_call(facts.seccomp.nr);
    if (call == nullptr) {
      return false;
    }
    const auto& arguments = facts.seccomp.args;
    const int fd = static_cast<int>(arguments[0]);
    std::string fields;
    std::string path;
    if (call->kind == Kind::kRename) {
      const bool at = call->form == Form::kPathsAt;
      const std::string from = resolve(subject, at ? fd : AT_FDCWD, arguments[at ? 1 : 0]);
      path =
          resolve(subject, at ? static_cast<int>(arguments[2]) : AT_FDCWD, arguments[at ? 3 : 1]);
      fields = ",\"from\":\"" + from + "\",\"to\":\"" + path + "\"";
    } else if (call->kind != Kind::kBlind) {
      struct stat about {};
      const std::string name = "fd/" + std::to_string(fd);
      if (stat(subject.proc(name).c_str(), &about) != 0) {
        return false;
      }
      if (S_ISSOCK(about.st_mode)) {
        const int peer = subject.peer(fd);
        if (peer == 0) {
          return false;
        }
        fields = ",\"peer\":" + std::to_string(peer);
      } else if (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode)) {
        fields = ",\"file\":\"" + file_id(about) + "\",\"path\":\"" + subject.link(name) + "\"";
      } else {
        return false;
      }
      if (call->kind == Kind::kWrite) {
        fields += write_fields(subject, *call, arguments, fd, S_ISREG(about.st_mode));
      }
    }
    const std::uint64_t id = ++ids_;
    std::fprintf(log_, "{\"e\":\"begin\",\"id\":%llu,\"call\":\"%s\"%s}\n",
                 static_cast<unsigned long long>(id), call->name, fields.c_str());
    open_[tid] = {id, call, path};
    return true;
  }

  template <typename Arguments>
  std::string write_fields(const Subject& subject, const Call& call, const Arguments& arguments,
                           int fd, bool regular) {
    std::string out;
    if (regular) {
      const bool flagged = call.flags >= 0 && (arguments[static_cast<std::size_t>(call.flags)] &
                                               (kDsyncFlag | kSyncFlag)) != 0;
      out += ",\"dsync\":";
      out += flagged || subject.opened_synchronous(fd) ? "true" : "false";
    }
    if (call.offset >= 0) {
      out += ",\"offset\":" + std::to_string(arguments[static_cast<std::size_t>(call.offset)]);
    }
    std::string bytes;
    if (call.form == Form::kMessage) {
      const auto message = subject.read_as<msghdr>(arguments[1]);
      bytes =
          subject.read_vector(reinterpret_cast<std::uint64_t>(message.msg_iov), message.msg_iovlen);
    } else {
      bytes = call.form == Form::kVector ? subject.read_vector(arguments[1], arguments[2])
                                         : subject.read(arguments[1], arguments[2]);
    }
    return out + ",\"data\":\"" + hex(bytes) + "\"";
  }

  void leave(pid_t tid) {
    const auto open = open_.find(tid);
    if (open == open_.end()) {
      return;
    }
    __ptrace_syscall_info facts{};
    long long result = -EIO;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof facts, &facts) > 0 &&
        facts.op == PTRACE_SYSCALL_INFO_EXIT) {
      result = facts.exit.rval;
    }
    std::string file;
    struct stat about {};
    if (open->second.call->kind == Kind::kRename && result == 0 &&
        stat(open->second.path.c_str(), &about) == 0) {
      file = ",\"file\":\"" + file_id(about) + "\"";
    }
    std::fprintf(log_, "{\"e\":\"end\",\"id\":%llu,\"ret\":%lld%s}\n",
                 static_cast<unsigned long long>(open->second.id), result, file.c_str());
    open_.erase(open);
  }

  static std::string resolve(const Subject& subject, int folder, std::uint64_t name) {
    const std::string path = subject.read_text(name);
    if (path.starts_with('/')) {
      return path;
    }
    return subject.link(folder == AT_FDCWD ? "cwd" : "fd/" + std::to_string(folder)) + "/" + path;
  }
  static std::string file_id(const struct stat& about) {
    return std::to_string(about.st_dev) + ":" + std::to_string(about.st_ino);
  }

  pid_t root_;
  Subject subject_;
  std::FILE* log_;
  std::string poke_;
  std::vector<Stop> stops_;
  std::map<pid_t, Open> open_;  // calls that have entered and not returned, by thread
  std::map<pid_t, pid_t> processes_;
  std::uint64_t ids_ = 0;
  bool ended_ = false;
  int status_ = 1;
};

volatile pid_t g_child = 0;
void pass_on(int signal) {
  kill(g_child, signal);
}

}  // namespace

int main(int count, char** arguments) {
  std::string poke;
  int at = 2;
  if (count > 4 && std::string_view(arguments[2]) == "--poke") {
    poke = arguments[3];
    at = 4;
  }
  if (count <= at) {
    give_up(2, "usage: syscall_log LOG [--poke SYMBOL=BYTE] PROGRAM ARGUMENT...");
  }
  std::FILE* log = std::fopen(arguments[1], "we");
  if (log == nullptr) {
    give_up(1, std::string("cannot write '") + arguments[1] + "'");
  }
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
      _exit(kSkipped);
    }
    raise(SIGSTOP);
    install_filter();
    execv(arguments[at], arguments + at);
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
    give_up(kSkipped, "ptrace is not permitted here");
  }
  constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                            PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP |
                            PTRACE_O_EXITKILL;
  if (ptrace(PTRACE_SETOPTIONS, child, nullptr, reinterpret_cast<void*>(kOptions)) != 0) {
    kill(child, SIGKILL);
    give_up(kSkipped, std::string("ptrace: ") + std::strerror(errno));
  }
  g_child = child;
  struct sigaction action {};
  action.sa_handler = pass_on;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::printf("%d\n", child);
  std::fflush(stdout);
  ptrace(PTRACE_CONT, child, nullptr, nullptr);
  const int result = Tracer(child, log, poke).run();
  std::fclose(log);
  return result;
}
