// Files: the disk as an argument. Everything durable goes through this interface, so that a test
// can hand in a disk that fills up, fails, tears writes or loses what was not synced
// (fault_files.h).
//
// Paths are plain text, relative to the process's directory or absolute. A File is used by one
// thread at a time except pread(), which any thread may call at any time. Errors carry the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headwater::io {

class File {
 public:
  virtual ~File() = default;

  // Reads up to `count` bytes at `offset`; fewer only at the end of the file.
  virtual Result<std::size_t> pread(std::uint64_t offset, char* to, std::size_t count) const = 0;
  // Writes all parts one after the other at `offset`. After an error any part of them may be in
  // the file. Not durable before sync().
  virtual Status pwrite(std::uint64_t offset, std::span<const std::string_view> parts) = 0;
  Status pwrite(std::uint64_t offset, std::string_view bytes) {
    return pwrite(offset, std::span<const std::string_view>(&bytes, 1));
  }
  // fdatasync. After an error the bytes written since the last success may be lost although a
  // later sync succeeds: write them again, elsewhere.
  virtual Status sync() = 0;
  // Makes the file at least `size` bytes long and reserves the blocks; new bytes read as zero.
  virtual Status allocate(std::uint64_t size) = 0;
  virtual Status truncate(std::uint64_t size) = 0;
  virtual Result<std::uint64_t> size() const = 0;
};

// Held while it lives; released by the kernel when the process ends in any way.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

enum class OpenMode : std::uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // read and write; made when it does not exist
};

class Files {
 public:
  virtual ~Files() = default;

  virtual Result<std::unique_ptr<File>> open(std::string_view path, OpenMode mode) = 0;
  // Replaces `to` atomically. Durable after sync_dir() of the folder.
  virtual Status rename(std::string_view from, std::string_view to) = 0;
  virtual Status remove(std::string_view path) = 0;
  // With its parents; fine when it exists. The new entries are synced.
  virtual Status make_dir(std::string_view path) = 0;
  // Names (not paths) in a folder, sorted.
  virtual Result<std::vector<std::string>> list(std::string_view dir) = 0;
  virtual Status sync_dir(std::string_view dir) = 0;
  // Bytes that may still be allocated where `dir` lies.
  virtual Result<std::uint64_t> free_bytes(std::string_view dir) = 0;
  // Takes an exclusive lock on `path` (made when it does not exist; holds the owner's process id).
  // kUnavailable, naming the holder's process id, when another holds it.
  virtual Result<std::unique_ptr<FileLock>> lock(std::string_view path) = 0;

  // A small file at once, and its atomic, durable replacement.
  Result<std::string> read_all(std::string_view path);
  Status write_all(std::string_view path, std::string_view bytes);
};

// The real disk. Stateless; lives as long as the process.
Files& real_files();

}  // namespace headwater::io
