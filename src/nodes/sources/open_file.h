// A file that others write, rename and cut while it is read, and the place that was read up to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headwater {

struct FileFacts {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;

  bool same_file(const FileFacts& other) const {
    return device == other.device && inode == other.inode;
  }
  friend bool operator==(const FileFacts&, const FileFacts&) = default;
};

// Nothing where there is no such file.
std::optional<FileFacts> facts_of(const std::string& path);

// Where a source is in a file, so that it finds it again: which file (by inode and by its first
// bytes), how often it began anew, and the offset of the next record.
struct FilePlace {
  static constexpr std::size_t kHeadBytes = 1024;

  std::uint64_t offset = 0;
  std::size_t line = 1;          // of the next record
  std::uint32_t generation = 0;  // files read before this one under the same name
  FileFacts file;                // inode 0: not known
  std::size_t head_bytes = 0;    // that head_hash is of
  std::uint64_t head_hash = 0;

  std::string save() const;
  // A place saved before files were told apart has an offset only. Corrupt: damaged.
  static Result<FilePlace> restore(std::string_view blob);
};

// Read-only. Any thread, one at a time.
class OpenFile {
 public:
  // Regular files only; never waits.
  static Result<std::unique_ptr<OpenFile>> open(const std::string& path);
  // The file with this inode in the folder of `path`: the one that was renamed. Null: none.
  static std::unique_ptr<OpenFile> find_renamed(const std::string& path, const FileFacts& file);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  Result<FileFacts> facts() const;
  // Up to `count` bytes at `offset`; fewer only at the end of the file.
  Result<std::size_t> pread(std::uint64_t offset, char* to, std::size_t count) const;
  Result<std::string> head(std::size_t count) const;

  // Whether it begins with what `place` saw.
  bool begins_as(const FilePlace& place) const;
  // Extends what `place` knows about the first bytes, up to its offset.
  void note_head(FilePlace& place) const;

  const std::string& path() const { return path_; }

 private:
  OpenFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

}  // namespace headwater
