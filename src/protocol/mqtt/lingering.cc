#include "protocol/mqtt/lingering.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace headwater::mqtt {
namespace {

constexpr Nanos kLongest = std::chrono::seconds(2);

}  // namespace

Lingering::~Lingering() {
  for (auto& [id, one] : streams_) {
    loop_.unwatch(one.stream.fd());
    loop_.cancel(one.timer);
  }
}

void Lingering::close(io::Stream stream, std::string_view last) {
  while (!last.empty()) {
    const io::IoResult result = stream.write(last);
    if (result.state != io::IoState::kOk) {
      break;
    }
    last.remove_prefix(result.bytes);
  }
  if (streams_.size() >= kMost) {
    return;
  }
  stream.shutdown_write();
  const std::uint64_t id = next_++;
  if (!loop_.watch(stream.fd(), EPOLLIN, [this, id](std::uint32_t) { discard(id); })) {
    return;
  }
  One& one = streams_[id];
  one.stream = std::move(stream);
  one.timer = loop_.after(kLongest, [this, id] { end(id); });
}

void Lingering::discard(std::uint64_t id) {
  std::array<char, 16 * 1024> bin;
  // The bytes below TLS: nobody reads them any more.
  const ssize_t got = recv(streams_[id].stream.fd(), bin.data(), bin.size(), 0);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
    end(id);
  }
}

void Lingering::end(std::uint64_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) {
    return;
  }
  loop_.unwatch(found->second.stream.fd());
  loop_.cancel(found->second.timer);
  streams_.erase(found);
}

}  // namespace headwater::mqtt
