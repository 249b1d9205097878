#include "torture/links.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace headwater::torture {
namespace {

constexpr std::size_t kMostHeld = 256 * 1024;

// False: the connection is over.
bool read_into(int fd, std::string& held) {
  char buffer[64 * 1024];
  while (held.size() < kMostHeld) {
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got > 0) {
      held.append(buffer, static_cast<std::size_t>(got));
    } else {
      return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
  }
  return true;
}

bool write_from(int fd, std::string& held) {
  while (!held.empty()) {
    const ssize_t sent = ::send(fd, held.data(), held.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    held.erase(0, static_cast<std::size_t>(sent));
  }
  return true;
}

std::uint32_t events_of(const std::string& coming, const std::string& going, bool open) {
  return (coming.size() < kMostHeld ? EPOLLIN : 0U) | (!going.empty() || !open ? EPOLLOUT : 0U);
}

void reset(int fd) {
  const linger hard{1, 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

}  // namespace

Result<std::unique_ptr<Links>> Links::open(io::Loop& loop, std::uint16_t to) {
  std::unique_ptr<Links> made(new Links(loop, to));
  made->listening_ = HW_TRY(io::listen_tcp({"127.0.0.1", 0}));
  made->port_ = HW_TRY(io::local_address(made->listening_.get())).port();
  Links* links = made.get();
  HW_TRY(loop.watch(made->listening_.get(), EPOLLIN, [links](std::uint32_t) { links->accept(); }));
  return made;
}

Links::~Links() {
  reset_all();
  loop_.unwatch(listening_.get());
}

void Links::accept() {
  for (;;) {
    io::SocketAddress peer;
    Result<io::Fd> device = io::accept_tcp(listening_.get(), &peer);
    if (!device || !*device) {
      return;
    }
    const auto address = io::numeric_address("127.0.0.1", to_);
    Result<io::Fd> edge = address ? io::connect_tcp(*address) : Result<io::Fd>(address.error());
    if (!edge) {
      continue;  // the device is closed, and tries again
    }
    const std::uint64_t id = next_++;
    auto link = std::make_unique<Link>();
    link->device = std::move(*device);
    link->edge = std::move(*edge);
    const auto ready = [this, id](std::uint32_t) { serve(id); };
    (void)loop_.watch(link->device.get(), EPOLLIN, ready);
    (void)loop_.watch(link->edge.get(), EPOLLIN | EPOLLOUT, ready);
    links_.emplace(id, std::move(link));
  }
}

void Links::serve(std::uint64_t id) {
  const auto found = links_.find(id);
  if (found == links_.end() || found->second->frozen) {
    return;
  }
  Link& link = *found->second;
  if (!link.connected) {
    int error = 0;
    socklen_t size = sizeof error;
    (void)getsockopt(link.edge.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      close(id);
      return;
    }
    link.connected = true;
  }
  const bool good =
      read_into(link.device.get(), link.to_edge) && read_into(link.edge.get(), link.to_device);
  // What was read before an end still goes through.
  const bool written =
      write_from(link.edge.get(), link.to_edge) && write_from(link.device.get(), link.to_device);
  if (!good || !written) {
    close(id);
    return;
  }
  rewatch(link);
}

void Links::rewatch(const Link& link) {
  (void)loop_.rewatch(link.device.get(), events_of(link.to_edge, link.to_device, true));
  (void)loop_.rewatch(link.edge.get(), events_of(link.to_device, link.to_edge, link.connected));
}

void Links::close(std::uint64_t id) {
  const auto found = links_.find(id);
  if (found == links_.end()) {
    return;
  }
  loop_.unwatch(found->second->device.get());
  loop_.unwatch(found->second->edge.get());
  links_.erase(found);
}

void Links::reset_all() {
  while (!links_.empty()) {
    reset(links_.begin()->second->device.get());
    reset(links_.begin()->second->edge.get());
    close(links_.begin()->first);
  }
}

void Links::freeze_all() {
  for (const auto& [id, link] : links_) {
    link->frozen = true;
    (void)loop_.rewatch(link->device.get(), 0);
    (void)loop_.rewatch(link->edge.get(), 0);
  }
}

}  // namespace headwater::torture
