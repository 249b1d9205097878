#include "config/small_file.h"

#include <cerrno>
#include <cstdio>
#include <memory>

namespace headwater::config {

Result<std::string> read_small_file(const std::string& path, std::size_t limit) {
  const auto close = [](std::FILE* file) { std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "rb"), close);
  if (!file) {
    return Error::from_errno(errno, fmt::format("read {}", path));
  }
  std::string content;
  char buffer[16384];
  for (;;) {
    errno = 0;
    const std::size_t count = std::fread(buffer, 1, sizeof buffer, file.get());
    content.append(buffer, count);
    if (content.size() > limit) {
      return Error::exhausted("read {}: more than {} bytes", path, limit);
    }
    if (count < sizeof buffer) {
      if (std::ferror(file.get()) != 0) {
        return Error::from_errno(errno, fmt::format("read {}", path));
      }
      return content;
    }
  }
}

}  // namespace headwater::config
