// logged_disk: a disk as a file, which writes down every write and flush that reaches it, in order.
//
//   logged_disk FOLDER BYTES LOG COUNT
//
// Serves a file system at FOLDER (FUSE, without a library) with one file `disk` of BYTES zero
// bytes, kept in memory. A loop device over that file is a disk with a write cache: what its file
// system writes comes as writes, what it flushes as an fsync. From LOG any state can be rebuilt
// that a disk may show after a power cut: everything before the last flush, and any part of what
// came behind.
//
// LOG: records of u64 offset, u64 size and `size` bytes, little-endian; a flush has offset ~0 and
// size 0. COUNT: a file of 8 bytes, a u64: records so far. It counts a record before its caller
// hears of it, so that an acknowledgement that follows from a flush is read beside a number that
// includes the flush.
//
// Prints "ready". SIGTERM ends it, with LOG complete. One thread. Exit status 77: no right to
// mount, or no FUSE in this kernel.
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kSkipped = 77;
constexpr std::uint64_t kRoot = FUSE_ROOT_ID;
constexpr std::uint64_t kDisk = 2;
constexpr std::string_view kName = "disk";
constexpr std::uint32_t kMostWrite = 1U << 20;
constexpr std::uint64_t kFlush = ~std::uint64_t{0};
constexpr std::uint32_t kBlock = 4096;

volatile sig_atomic_t g_stop = 0;
void stop(int) {
  g_stop = 1;
}

[[noreturn]] void give_up(int status, const std::string& what) {
  std::fprintf(stderr, "logged_disk: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(status);
}

class Disk {
 public:
  Disk(int device, std::uint64_t size, std::FILE* log, std::atomic<std::uint64_t>* count)
      : device_(device), size_(size), log_(log), count_(count), request_(kMostWrite + kBlock) {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      give_up(1, "memory for the disk");
    }
    bytes_ = static_cast<char*>(memory);
  }

  void serve() {
    while (g_stop == 0) {
      const ssize_t got = read(device_, request_.data(), request_.size());
      if (got < 0 && (errno == EINTR || errno == ENOENT)) {
        continue;
      }
      if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) {
        return;  // unmounted
      }
      std::memcpy(&header_, request_.data(), sizeof header_);
      answer_request(request_.data() + sizeof header_);
    }
  }

 private:
  template <typename T>
  static T as(const char* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

  void answer_request(const char* body) {
    switch (header_.opcode) {
      case FUSE_INIT:
        return init(as<fuse_init_in>(body));
      case FUSE_LOOKUP: {
        if (header_.nodeid != kRoot || std::string_view(body) != kName) {
          return fail(ENOENT);
        }
        fuse_entry_out out{};
        out.nodeid = kDisk;
        out.entry_valid = out.attr_valid = kLong;
        out.attr = attributes(kDisk);
        return reply(out);
      }
      case FUSE_GETATTR:
      case FUSE_SETATTR: {
        fuse_attr_out out{};
        out.attr_valid = kLong;
        out.attr = attributes(header_.nodeid);
        return reply(out);
      }
      case FUSE_OPEN:
      case FUSE_OPENDIR: {
        fuse_open_out out{};
        out.open_flags = FOPEN_KEEP_CACHE;
        return reply(out);
      }
      case FUSE_READ: {
        const auto in = as<fuse_read_in>(body);
        return header_.nodeid == kDisk ? read_bytes(in.offset, in.size) : done({});
      }
      case FUSE_WRITE: {
        const auto in = as<fuse_write_in>(body);
        return write_bytes(in.offset, {body + sizeof in, in.size});
      }
      case FUSE_FSYNC:
        record(kFlush, {});
        return done({});
      case FUSE_STATFS: {
        fuse_statfs_out out{};
        out.st.bsize = out.st.frsize = kBlock;
        out.st.blocks = size_ / kBlock;
        out.st.namelen = 255;
        return reply(out);
      }
      case FUSE_READDIR:
      case FUSE_FLUSH:
      case FUSE_RELEASE:
      case FUSE_RELEASEDIR:
      case FUSE_ACCESS:
      case FUSE_DESTROY:
        return done({});
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT:
        return;  // no answer is expected
      default:
        return fail(ENOSYS);
    }
  }

  void init(const fuse_init_in& in) {
    fuse_init_out out{};
    out.major = FUSE_KERNEL_VERSION;
    out.minor = std::min<std::uint32_t>(in.minor, FUSE_KERNEL_MINOR_VERSION);
    out.flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES;
    out.max_write = kMostWrite;
    out.max_pages = kMostWrite / kBlock;
    out.max_background = 16;
    out.congestion_threshold = 12;
    reply(out);
  }

  fuse_attr attributes(std::uint64_t node) const {
    fuse_attr out{};
    out.ino = node;
    out.mode = node == kRoot ? S_IFDIR | 0700U : S_IFREG | 0600U;
    out.nlink = 1;
    out.size = node == kRoot ? 0 : size_;
    out.blocks = out.size / 512;
    out.blksize = kBlock;
    return out;
  }

  void read_bytes(std::uint64_t offset, std::uint64_t size) {
    const std::uint64_t from = std::min(offset, size_);
    done({bytes_ + from, std::min(size, size_ - from)});
  }

  void write_bytes(std::uint64_t offset, std::string_view bytes) {
    if (offset > size_ || bytes.size() > size_ - offset) {
      return fail(ENOSPC);
    }
    std::memcpy(bytes_ + offset, bytes.data(), bytes.size());
    record(offset, bytes);
    fuse_write_out out{};
    out.size = static_cast<std::uint32_t>(bytes.size());
    reply(out);
  }

  void record(std::uint64_t offset, std::string_view bytes) {
    const std::array<std::uint64_t, 2> head = {offset, bytes.size()};
    if (std::fwrite(head.data(), sizeof head, 1, log_) != 1 ||
        std::fwrite(bytes.data(), 1, bytes.size(), log_) != bytes.size()) {
      give_up(1, "write the log");
    }
    count_->fetch_add(1);
  }

  template <typename T>
  void reply(const T& out) {
    done({reinterpret_cast<const char*>(&out), sizeof out});
  }
  void done(std::string_view bytes) { answer(0, bytes); }
  void fail(int error) { answer(-error, {}); }
  void answer(int error, std::string_view bytes) {
    fuse_out_header out{};
    out.len = static_cast<std::uint32_t>(sizeof out + bytes.size());
    out.error = error;
    out.unique = header_.unique;
    std::array<iovec, 2> parts = {iovec{&out, sizeof out},
                                  iovec{const_cast<char*>(bytes.data()), bytes.size()}};
    // ENOENT: who asked has given up.
    if (writev(device_, parts.data(), bytes.empty() ? 1 : 2) < 0 && errno != ENOENT) {
      give_up(1, "answer the kernel");
    }
  }

  static constexpr std::uint64_t kLong = 1'000'000;  // seconds: nothing changes behind the kernel
  const int device_;
  const std::uint64_t size_;
  std::FILE* const log_;
  std::atomic<std::uint64_t>* const count_;
  std::vector<char> request_;
  fuse_in_header header_{};
  char* bytes_ = nullptr;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: logged_disk FOLDER BYTES LOG COUNT\n");
    return 2;
  }
  const char* folder = arguments[1];
  const int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (device < 0) {
    give_up(kSkipped, "open /dev/fuse");
  }
  const std::string options =
      "fd=" + std::to_string(device) + ",rootmode=40000,user_id=0,group_id=0";
  if (mount("logged_disk", folder, "fuse.logged_disk", MS_NOSUID | MS_NODEV, options.c_str()) !=
      0) {
    give_up(kSkipped, std::string("mount '") + folder + "'");
  }
  std::FILE* log = std::fopen(arguments[3], "we");
  const int number = open(arguments[4], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  void* shared = ftruncate(number, 8) == 0
                     ? mmap(nullptr, 8, PROT_READ | PROT_WRITE, MAP_SHARED, number, 0)
                     : MAP_FAILED;
  if (log == nullptr || shared == MAP_FAILED) {
    umount2(folder, MNT_DETACH);
    give_up(1, "log and count");
  }
  struct sigaction action {};
  action.sa_handler = stop;  // interrupts read()
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::printf("ready\n");
  std::fflush(stdout);
  Disk(device, std::strtoull(arguments[2], nullptr, 10), log,
       new (shared) std::atomic<std::uint64_t>(0))
      .serve();
  umount2(folder, MNT_DETACH);
  return std::fclose(log) == 0 ? 0 : 1;
}
