#include "nodes/sources/open_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/bytes.h"

namespace headwater {
namespace {

FileFacts facts_from(const struct stat& found) {
  return {static_cast<std::uint64_t>(found.st_dev), static_cast<std::uint64_t>(found.st_ino),
          static_cast<std::uint64_t>(found.st_size)};
}

}  // namespace

std::optional<FileFacts> facts_of(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) {
    return std::nullopt;
  }
  return facts_from(found);
}

std::string FilePlace::save() const {
  std::string blob;
  ByteWriter writer(blob);
  writer.put_varint(offset);
  writer.put_varint(line);
  writer.put_varint(generation);
  writer.put_varint(file.device);
  writer.put_varint(file.inode);
  writer.put_varint(head_bytes);
  writer.put(head_hash);
  return blob;
}

Result<FilePlace> FilePlace::restore(std::string_view blob) {
  FilePlace place;
  ByteReader reader(blob);
  place.offset = reader.get_varint();
  if (reader.ok() && reader.rest().empty()) {
    return place;
  }
  place.line = reader.get_varint();
  place.generation = static_cast<std::uint32_t>(reader.get_varint());
  place.file.device = reader.get_varint();
  place.file.inode = reader.get_varint();
  place.head_bytes = reader.get_varint();
  place.head_hash = reader.get<std::uint64_t>();
  if (!reader.ok() || place.head_bytes > kHeadBytes) {
    return Error::corrupt("the place in the file is damaged");
  }
  return place;
}

Result<std::unique_ptr<OpenFile>> OpenFile::open(const std::string& path) {
  // O_NONBLOCK: opening a pipe would wait for its writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return Error::from_errno(errno, path);
  }
  std::unique_ptr<OpenFile> file(new OpenFile(fd, path));
  struct stat found {};
  if (::fstat(fd, &found) != 0) {
    return Error::from_errno(errno, path);
  }
  if (!S_ISREG(found.st_mode)) {
    return Error::invalid("'{}' is no file", path);
  }
  return file;
}

std::unique_ptr<OpenFile> OpenFile::find_renamed(const std::string& path, const FileFacts& file) {
  if (file.inode == 0) {
    return nullptr;
  }
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code failed;
  std::filesystem::directory_iterator entries(folder.empty() ? "." : folder, failed);
  for (; !failed && entries != std::filesystem::directory_iterator(); entries.increment(failed)) {
    const std::string name = entries->path().string();
    const std::optional<FileFacts> found = facts_of(name);
    if (found && found->same_file(file)) {
      auto opened = open(name);
      return opened ? std::move(*opened) : nullptr;
    }
  }
  return nullptr;
}

OpenFile::~OpenFile() {
  ::close(fd_);
}

Result<FileFacts> OpenFile::facts() const {
  struct stat found {};
  if (::fstat(fd_, &found) != 0) {
    return Error::from_errno(errno, path_);
  }
  return facts_from(found);
}

Result<std::size_t> OpenFile::pread(std::uint64_t offset, char* to, std::size_t count) const {
  std::size_t have = 0;
  while (have < count) {
    const ssize_t got = ::pread(fd_, to + have, count - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return Error::from_errno(errno, path_);
    }
    if (got == 0) {
      break;
    }
    have += static_cast<std::size_t>(got);
  }
  return have;
}

Result<std::string> OpenFile::head(std::size_t count) const {
  std::string bytes(count, '\0');
  bytes.resize(HW_TRY(pread(0, bytes.data(), count)));
  return bytes;
}

bool OpenFile::begins_as(const FilePlace& place) const {
  const Result<std::string> bytes = head(place.head_bytes);
  return bytes && bytes->size() == place.head_bytes &&
         (place.head_bytes == 0 || hash64(*bytes) == place.head_hash);
}

void OpenFile::note_head(FilePlace& place) const {
  const std::size_t want = std::min<std::uint64_t>(place.offset, FilePlace::kHeadBytes);
  if (want <= place.head_bytes) {
    return;
  }
  const Result<std::string> bytes = head(want);
  if (bytes && bytes->size() == want) {
    place.head_bytes = want;
    place.head_hash = hash64(*bytes);
  }
}

}  // namespace headwater
