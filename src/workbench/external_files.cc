#include "workbench/external_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>

#include "base/strings.h"

namespace headwater::workbench {
namespace {

bool to_number(const std::string& text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// The path without links; "" when it does not exist.
std::string resolved(const std::string& path) {
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  const std::unique_ptr<char, Free> text(realpath(path.c_str(), nullptr));
  return text ? text.get() : "";
}

// Inside, as a file or deeper.
bool inside(const std::string& path, const std::string& folder) {
  if (folder == "/") {
    return true;
  }
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

}  // namespace

ExternalFiles::~ExternalFiles() {
  for (const auto& [location, bytes] : mapped_) {
    if (!bytes.empty()) {
      munmap(const_cast<char*>(bytes.data()), bytes.size());
    }
  }
}

Result<std::string_view> ExternalFiles::map(const std::string& location) {
  if (location.empty()) {
    return Error::invalid("it names no location");
  }
  if (location.find('\0') != std::string::npos) {
    return Error::invalid("the location has a zero byte");
  }
  for (const std::string_view part : split(location, '/')) {
    if (part == ".." || location.front() == '/') {
      return Error::invalid("'{}' leads out of the model's folder; it is not opened", location);
    }
  }
  const std::string folder = resolved(folder_);
  const std::string path = resolved(folder_ + "/" + location);
  if (path.empty()) {
    return Error::invalid("'{}' is not there; copy it to the model's folder", location);
  }
  if (folder.empty() || !inside(path, folder)) {
    return Error::invalid("'{}' leads out of the model's folder; it is not opened", location);
  }
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) {
    return Error::from_errno(errno, fmt::format("open '{}'", location));
  }
  struct stat facts {};
  if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    close(fd);
    return Error::invalid("'{}' is not a regular file", location);
  }
  const auto size = static_cast<std::size_t>(facts.st_size);
  if (size == 0) {
    close(fd);
    return std::string_view{};
  }
  void* const at = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (at == MAP_FAILED) {
    return Error::from_errno(error, fmt::format("map '{}'", location));
  }
  return std::string_view(static_cast<const char*>(at), size);
}

Result<std::string_view> ExternalFiles::find(const onnx::TensorProto& tensor) {
  std::string location;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool has_length = false;
  const auto failed = [&](Error error) {
    return std::move(error).with("external data of tensor '{}'", tensor.name());
  };
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") {
      location = entry.value();
    } else if (entry.key() == "offset" || entry.key() == "length") {
      std::uint64_t& target = entry.key() == "offset" ? offset : length;
      if (!to_number(entry.value(), target)) {
        return failed(Error::invalid("{} '{}' is not a number", entry.key(), entry.value()));
      }
      has_length = has_length || entry.key() == "length";
    }
  }
  const std::lock_guard lock(mutex_);
  auto found = mapped_.find(location);
  if (found == mapped_.end()) {
    auto bytes = map(location);
    if (!bytes) {
      return failed(std::move(bytes).error());
    }
    found = mapped_.emplace(location, *bytes).first;
  }
  const std::uint64_t size = found->second.size();
  if (offset > size || (has_length && length > size - offset)) {
    return failed(Error::invalid("bytes {} to {} of '{}', which has {}", offset, offset + length,
                                 location, size));
  }
  return found->second.substr(offset, has_length ? length : size - offset);
}

}  // namespace headwater::workbench
