// A fast receiver of upload batches: reads each POST whole, answers 200 and says on standard output
// what came:
//
//     port PORT
//     NANOSECONDS LANE FIRST LAST ROWS BYTES        CLOCK_MONOTONIC when the request was whole
//
// BYTES is all of the request, its header fields included. Stores nothing: for measurements only.
// One thread, epoll. Ends with its standard input.
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <unordered_map>

namespace {

constexpr const char* kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
constexpr std::size_t kRead = 256 * 1024;

long long now() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1'000'000'000LL + at.tv_nsec;
}

struct Connection {
  std::string head;           // header fields so far
  std::size_t body_left = 0;  // once the head is whole
  std::size_t bytes = 0;      // of the request
  bool in_body = false;
};

std::string field(const std::string& head, const char* name) {
  const std::string wanted = std::string("\r\n") + name + ": ";
  const std::size_t at = head.find(wanted);
  if (at == std::string::npos) {
    return "0";
  }
  const std::size_t begin = at + wanted.size();
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

void whole(int fd, Connection& connection) {
  std::printf("%lld %s %s %s %s %zu\n", now(), field(connection.head, "Headwater-Lane").c_str(),
              field(connection.head, "Headwater-First").c_str(),
              field(connection.head, "Headwater-Last").c_str(),
              field(connection.head, "Headwater-Rows").c_str(), connection.bytes);
  if (send(fd, kAnswer, std::strlen(kAnswer), MSG_NOSIGNAL) < 0) {
    std::perror("send");
  }
  connection = {};
}

void take(int fd, Connection& connection, const char* data, std::size_t size) {
  while (size > 0) {
    if (connection.in_body) {
      const std::size_t part = size < connection.body_left ? size : connection.body_left;
      connection.body_left -= part;
      connection.bytes += part;
      data += part;
      size -= part;
    } else {
      const std::size_t before = connection.head.size();
      connection.head.append(data, size);
      const std::size_t end = connection.head.find("\r\n\r\n");
      if (end == std::string::npos) {
        return;
      }
      const std::size_t used = end + 4 - before;
      connection.head.resize(end + 4);
      connection.bytes = connection.head.size();
      connection.in_body = true;
      connection.body_left =
          std::strtoull(field(connection.head, "Content-Length").c_str(), nullptr, 10);
      data += used;
      size -= used;
    }
    if (connection.in_body && connection.body_left == 0) {
      whole(fd, connection);
    }
  }
}

}  // namespace

int main() {
  const int door = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (door < 0 || bind(door, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(door, 64) != 0 ||
      getsockname(door, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    std::perror("listen");
    return 1;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("port %d\n", ntohs(address.sin_port));
  const int poll = epoll_create1(0);
  const auto watch = [&](int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
  };
  watch(door);
  watch(0);
  std::unordered_map<int, Connection> connections;
  std::string buffer(kRead, '\0');
  for (;;) {
    epoll_event ready{};
    if (epoll_wait(poll, &ready, 1, -1) != 1) {
      continue;
    }
    const int fd = ready.data.fd;
    if (fd == door) {
      const int accepted = accept(door, nullptr, nullptr);
      if (accepted >= 0) {
        connections[accepted] = {};
        watch(accepted);
      }
      continue;
    }
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (fd == 0) {
      if (got <= 0) {
        return 0;
      }
    } else if (got <= 0) {
      close(fd);
      connections.erase(fd);
    } else {
      take(fd, connections[fd], buffer.data(), static_cast<std::size_t>(got));
    }
  }
}
