#include "io/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/strings.h"

namespace headwater::io {
namespace {

constexpr std::size_t kZeroChunk = 256 * 1024;

class RealFile final : public File {
 public:
  RealFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~RealFile() override { close(fd_); }
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  Result<std::size_t> pread(std::uint64_t offset, char* to, std::size_t count) const override {
    std::size_t done = 0;
    while (done < count) {
      const ssize_t got = ::pread(fd_, to + done, count - done, static_cast<off_t>(offset + done));
      if (got < 0) {
        if (errno == EINTR) {
          continue;
        }
        return Error::from_errno(errno, fmt::format("read '{}'", path_));
      }
      if (got == 0) {
        break;
      }
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  Status pwrite(std::uint64_t offset, std::span<const std::string_view> parts) override {
    std::array<iovec, 64> vectors;
    std::size_t part = 0;  // the first that is not wholly written
    std::size_t skip = 0;  // bytes of it that are
    while (true) {
      std::size_t used = 0;
      for (std::size_t i = part; i < parts.size() && used < vectors.size(); ++i) {
        const std::size_t from = i == part ? skip : 0;
        if (parts[i].size() > from) {
          vectors[used].iov_base = const_cast<char*>(parts[i].data()) + from;
          vectors[used].iov_len = parts[i].size() - from;
          ++used;
        }
      }
      if (used == 0) {
        return {};
      }
      const ssize_t wrote =
          ::pwritev(fd_, vectors.data(), static_cast<int>(used), static_cast<off_t>(offset));
      if (wrote < 0) {
        if (errno == EINTR) {
          continue;
        }
        return Error::from_errno(errno, fmt::format("write '{}'", path_));
      }
      offset += static_cast<std::uint64_t>(wrote);
      std::size_t left = static_cast<std::size_t>(wrote);
      while (part < parts.size() && left >= parts[part].size() - skip) {
        left -= parts[part].size() - skip;
        skip = 0;
        ++part;
      }
      skip += left;
    }
  }

  Status sync() override {
    if (fdatasync(fd_) != 0) {
      return Error::from_errno(errno, fmt::format("sync '{}'", path_));
    }
    return {};
  }

  Status allocate(std::uint64_t wanted) override {
    if (fallocate(fd_, 0, 0, static_cast<off_t>(wanted)) == 0) {
      return {};
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) {
      return Error::from_errno(errno, fmt::format("allocate '{}'", path_));
    }
    // A file system without fallocate: only written bytes are reserved.
    const std::string zeros(kZeroChunk, '\0');
    std::uint64_t at = HW_TRY(size());
    while (at < wanted) {
      const auto step =
          static_cast<std::size_t>(std::min<std::uint64_t>(zeros.size(), wanted - at));
      HW_TRY(File::pwrite(at, std::string_view(zeros.data(), step)));
      at += step;
    }
    return {};
  }

  Status truncate(std::uint64_t wanted) override {
    if (ftruncate(fd_, static_cast<off_t>(wanted)) != 0) {
      return Error::from_errno(errno, fmt::format("truncate '{}'", path_));
    }
    return {};
  }

  Result<std::uint64_t> size() const override {
    struct stat facts {};
    if (fstat(fd_, &facts) != 0) {
      return Error::from_errno(errno, fmt::format("look at '{}'", path_));
    }
    return static_cast<std::uint64_t>(facts.st_size);
  }

 private:
  using File::pwrite;
  int fd_;
  std::string path_;
};

class RealLock final : public FileLock {
 public:
  explicit RealLock(int fd) : fd_(fd) {}
  ~RealLock() override { close(fd_); }
  RealLock(const RealLock&) = delete;
  RealLock& operator=(const RealLock&) = delete;

 private:
  int fd_;
};

class RealFiles final : public Files {
 public:
  Result<std::unique_ptr<File>> open(std::string_view path, OpenMode mode) override {
    std::string text(path);
    int flags = O_CLOEXEC;
    flags |= mode == OpenMode::kRead ? O_RDONLY : O_RDWR;
    flags |= mode == OpenMode::kCreate ? O_CREAT : 0;
    const int fd = ::open(text.c_str(), flags, 0640);
    if (fd < 0) {
      return Error::from_errno(errno, fmt::format("open '{}'", path));
    }
    return std::unique_ptr<File>(std::make_unique<RealFile>(fd, std::move(text)));
  }

  Status rename(std::string_view from, std::string_view to) override {
    if (::rename(std::string(from).c_str(), std::string(to).c_str()) != 0) {
      return Error::from_errno(errno, fmt::format("rename '{}' to '{}'", from, to));
    }
    return {};
  }

  Status remove(std::string_view path) override {
    if (::unlink(std::string(path).c_str()) != 0) {
      return Error::from_errno(errno, fmt::format("remove '{}'", path));
    }
    return {};
  }

  Status make_dir(std::string_view path) override {
    std::size_t end = 0;
    while (end != std::string_view::npos) {
      end = path.find('/', end + 1);
      const std::string part(path.substr(0, end));
      if (::mkdir(part.c_str(), 0750) == 0) {
        const auto slash = part.rfind('/');
        HW_TRY(sync_dir(slash == std::string::npos ? "."
                        : slash == 0               ? "/"
                                                   : part.substr(0, slash)));
      } else if (errno != EEXIST) {
        return Error::from_errno(errno, fmt::format("make folder '{}'", part));
      }
    }
    struct stat facts {};
    if (::stat(std::string(path).c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) {
      return Error::invalid("make folder '{}': a file of this name is in the way", path);
    }
    return {};
  }

  Result<std::vector<std::string>> list(std::string_view dir) override {
    DIR* stream = opendir(std::string(dir).c_str());
    if (stream == nullptr) {
      return Error::from_errno(errno, fmt::format("list folder '{}'", dir));
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(stream)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") {
        names.emplace_back(name);
      }
    }
    const int error = errno;
    closedir(stream);
    if (error != 0) {
      return Error::from_errno(error, fmt::format("list folder '{}'", dir));
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  Status sync_dir(std::string_view dir) override {
    const int fd = ::open(std::string(dir).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
      return Error::from_errno(errno, fmt::format("open folder '{}'", dir));
    }
    const int failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    if (failed != 0) {
      return Error::from_errno(failed, fmt::format("sync folder '{}'", dir));
    }
    return {};
  }

  Result<std::uint64_t> free_bytes(std::string_view dir) override {
    struct statvfs facts {};
    if (statvfs(std::string(dir).c_str(), &facts) != 0) {
      return Error::from_errno(errno, fmt::format("look at the disk of '{}'", dir));
    }
    return std::uint64_t{facts.f_bavail} * facts.f_frsize;
  }

  Result<std::unique_ptr<FileLock>> lock(std::string_view path) override {
    const int fd = ::open(std::string(path).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
      return Error::from_errno(errno, fmt::format("open '{}'", path));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      std::array<char, 32> text{};
      const ssize_t got = ::pread(fd, text.data(), text.size() - 1, 0);
      close(fd);
      if (error != EWOULDBLOCK) {
        return Error::from_errno(error, fmt::format("lock '{}'", path));
      }
      const std::string_view holder(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
      return Error::unavailable("'{}' is locked by process {}: only one may write here", path,
                                holder.empty() ? "(unknown)" : trim(holder));
    }
    const std::string text = fmt::format("{}\n", getpid());
    if (ftruncate(fd, 0) != 0 ||
        ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
      // The name of the holder is a courtesy; the lock itself is held (a full disk must not stop
      // us).
    }
    return std::unique_ptr<FileLock>(std::make_unique<RealLock>(fd));
  }
};

std::string parent_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? "." : std::string(path.substr(0, slash));
}

}  // namespace

Result<std::string> Files::read_all(std::string_view path) {
  auto file = HW_TRY(open(path, OpenMode::kRead));
  std::string bytes(static_cast<std::size_t>(HW_TRY(file->size())), '\0');
  bytes.resize(HW_TRY(file->pread(0, bytes.data(), bytes.size())));
  return bytes;
}

Status Files::write_all(std::string_view path, std::string_view bytes) {
  const std::string draft = fmt::format("{}.new", path);
  {
    auto file = HW_TRY(open(draft, OpenMode::kCreate));
    HW_TRY(file->truncate(0));
    HW_TRY(file->pwrite(0, bytes));
    HW_TRY(file->sync());
  }
  HW_TRY(rename(draft, path));
  return sync_dir(parent_of(path));
}

Files& real_files() {
  static RealFiles files;
  return files;
}

}  // namespace headwater::io
