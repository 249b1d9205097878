// Load for measurements: sends the packets of a file that corpus.py wrote, as MQTT 3.1.1 devices.
//
//   load blast PORT FILE COUNT CONNECTIONS WINDOW   pipelined, as fast as PUBACKs come
//   load each PORT FILE COUNT CONNECTIONS RATE      open loop, one message a packet, round robin
//   load drain PORT COUNT        subscribes to site/#, acknowledges, does nothing else
//   load null PORT               a server that answers CONNECT and PUBLISH and does nothing else
//   load alerts PORT             a server that takes alerts: time from "t0" in them to their
//   arrival
//
// blast and each take, at the end: --tls (any certificate), --user NAME --password WORD. Servers
// end at the end of their input. Port 0: a free one. Each prints one JSON object at its end;
// servers and drain print "ready PORT" first. CPU is that of this process, without what came before
// the first publish.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

using Nanos = std::int64_t;
constexpr Nanos kPatience = 30'000'000'000;  // without any progress
constexpr std::size_t kMostAtOnce = 64 * 1024;
constexpr std::size_t kReadBytes = 256 * 1024;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "load: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

Nanos now() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return Nanos{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double quantile(std::vector<Nanos>& values, double share) {
  if (values.empty()) {
    return 0;
  }
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank),
                   values.end());
  return static_cast<double>(values[rank]) / 1e3;
}

// ---- packets ----

std::string text16(std::string_view text) {
  std::string out{static_cast<char>(text.size() >> 8), static_cast<char>(text.size() & 0xFF)};
  return out.append(text);
}

std::string packet(unsigned first, const std::string& body) {
  std::string out(1, static_cast<char>(first));
  std::size_t length = body.size();
  do {
    out += static_cast<char>((length % 128) | (length >= 128 ? 128 : 0));
    length /= 128;
  } while (length > 0);
  return out + body;
}

struct Packet {
  unsigned char first = 0;
  std::size_t body = 0;  // offset
  std::size_t size = 0;  // of all; 0: not whole yet
};

Packet frame(std::string_view bytes) {
  std::size_t length = 0;
  for (std::size_t i = 1; i < bytes.size() && i < 5; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    length |= static_cast<std::size_t>(byte & 127U) << (7 * (i - 1));
    if (byte < 128) {
      const std::size_t size = i + 1 + length;
      return {static_cast<unsigned char>(bytes[0]), i + 1, size <= bytes.size() ? size : 0};
    }
  }
  return {};
}

// Where the packet id of a PUBLISH of QoS 1 is.
std::size_t id_at(std::string_view bytes, const Packet& publish) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  return publish.body + 2 + (at(publish.body) * 256U + at(publish.body + 1));
}

struct Corpus {
  std::string bytes;
  std::vector<std::size_t> begins;  // and the end

  explicit Corpus(const std::string& path) {
    std::FILE* const file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) {
      fail(path);
    }
    std::array<char, 65536> block;
    for (std::size_t got = 0; (got = std::fread(block.data(), 1, block.size(), file)) > 0;) {
      bytes.append(block.data(), got);
    }
    std::fclose(file);
    const std::string_view all = bytes;
    for (std::size_t at = 0; at < all.size();) {
      const Packet one = frame(all.substr(at));
      if (one.size == 0) {
        std::fprintf(stderr, "load: %s is cut off\n", path.c_str());
        std::exit(1);
      }
      begins.push_back(at);
      at += one.size;
    }
    begins.push_back(bytes.size());
  }
  std::size_t size() const { return begins.size() - 1; }
  std::string_view operator[](std::size_t i) const {
    return std::string_view(bytes).substr(begins[i], begins[i + 1] - begins[i]);
  }
};

// ---- connections ----

struct Login {
  bool tls = false;
  std::string user;
  std::string password;
};

class Link {
 public:
  Link(std::uint16_t port, const std::string& client, const Login& login) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd_ < 0 || connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      fail("connect");
    }
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (login.tls) {
      static SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
      SSL_CTX_set_mode(context,
                       SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
      ssl_ = SSL_new(context);
      SSL_set_fd(ssl_, fd_);
      if (SSL_connect(ssl_) != 1) {
        fail("TLS handshake");
      }
    }
    std::string flags("\x04\x02\x00\x00", 4);
    std::string tail = text16(client);
    if (!login.user.empty()) {
      flags[1] = static_cast<char>(0xC2);
      tail += text16(login.user) + text16(login.password);
    }
    const std::string hello = packet(0x10, text16("MQTT") + flags + tail);
    std::array<char, 4> answer{};
    if (write(hello) != static_cast<ssize_t>(hello.size())) {
      fail("CONNECT");
    }
    for (std::size_t have = 0; have < answer.size();) {
      const ssize_t got = read(answer.data() + have, answer.size() - have);
      if (got <= 0) {
        fail("CONNACK");
      }
      have += static_cast<std::size_t>(got);
    }
    if (answer[3] != 0) {
      std::fprintf(stderr, "load: CONNECT is refused with %d\n", answer[3]);
      std::exit(1);
    }
    fcntl(fd_, F_SETFL, O_NONBLOCK);
  }

  int fd() const { return fd_; }
  // Bytes, 0 at the end, or -1 when it would wait.
  ssize_t read(char* into, std::size_t size) {
    if (ssl_ == nullptr) {
      return ended(recv(fd_, into, size, 0));
    }
    return ssl_result(SSL_read(ssl_, into, static_cast<int>(size)));
  }
  ssize_t write(std::string_view bytes) {
    if (ssl_ == nullptr) {
      return ended(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
    }
    return ssl_result(SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())));
  }

 private:
  static ssize_t ended(ssize_t result) {
    return result < 0 && errno != EAGAIN && errno != EWOULDBLOCK ? 0 : result;
  }
  ssize_t ssl_result(int result) {
    if (result > 0) {
      return result;
    }
    const int why = SSL_get_error(ssl_, result);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
  }
  int fd_ = -1;
  SSL* ssl_ = nullptr;
};

std::string client_id(const char* kind, std::size_t number) {
  return std::string(kind) + "-" + std::to_string(getpid()) + "-" + std::to_string(number);
}

// PUBACKs are all that comes, four bytes each.
std::size_t take_acks(Link& link, std::size_t* rest) {
  static std::array<char, 65536> buffer;
  const ssize_t got = link.read(buffer.data(), buffer.size());
  if (got == 0) {
    std::fputs("load: the server closed the connection\n", stderr);
    std::exit(1);
  }
  if (got < 0) {
    return 0;
  }
  *rest += static_cast<std::size_t>(got);
  const std::size_t acks = *rest / 4;
  *rest %= 4;
  return acks;
}

// ---- blast ----

int blast(std::uint16_t port, const Corpus& corpus, std::size_t count, std::size_t connections,
          std::size_t window, const Login& login) {
  struct Device {
    Link link;
    std::size_t begun = 0;  // messages of which a byte may have been sent
    std::size_t acked = 0;
    std::size_t place = 0;  // of the next message in the corpus
    std::size_t at = 0;     // next byte
    std::size_t end = 0;    // of what may be sent
    std::size_t rest = 0;
  };
  const std::size_t quota = count / connections;
  std::vector<Device> devices;
  for (std::size_t i = 0; i < connections; ++i) {
    devices.push_back({Link(port, client_id("blast", i), login)});
    devices.back().place = i * corpus.size() / connections;  // not all the same at the same time
  }
  const double cpu = cpu_seconds();
  const Nanos began = now();
  Nanos moved = began;
  std::vector<pollfd> polls;
  for (std::size_t done = 0; done < connections;) {
    done = 0;
    bool progress = false;
    polls.clear();
    for (Device& one : devices) {
      const std::size_t acks = take_acks(one.link, &one.rest);
      one.acked += acks;
      progress = progress || acks > 0;
      if (one.at == one.end && one.begun < quota) {
        one.place = one.place == corpus.size() ? 0 : one.place;
        const std::size_t open = one.begun - one.acked;
        std::size_t last = one.place + std::min({quota - one.begun, corpus.size() - one.place,
                                                 window > open ? window - open : 0});
        one.at = corpus.begins[one.place];
        while (corpus.begins[last] - one.at > kMostAtOnce) {
          last = one.place + (last - one.place) / 2;
        }
        one.begun += last - one.place;
        one.place = last;
        one.end = corpus.begins[last];
      }
      if (one.at < one.end) {
        const ssize_t sent =
            one.link.write(std::string_view(corpus.bytes).substr(one.at, one.end - one.at));
        if (sent == 0) {
          fail("send");
        }
        if (sent > 0) {
          one.at += static_cast<std::size_t>(sent);
          progress = true;
        }
      }
      done += one.acked >= quota ? 1 : 0;
      polls.push_back(
          {one.link.fd(), static_cast<short>(POLLIN | (one.at < one.end ? POLLOUT : 0)), 0});
    }
    if (progress) {
      moved = now();
    } else if (done < connections) {
      poll(polls.data(), polls.size(), 20);
      if (now() - moved > kPatience) {
        std::fputs("load: no PUBACK for 30 s\n", stderr);
        return 1;
      }
    }
  }
  const double seconds = static_cast<double>(now() - began) * 1e-9;
  const std::size_t sent = quota * connections;
  std::printf(R"({"messages":%zu,"seconds":%.4f,"rate":%.0f,"cpu_us":%.4f})"
              "\n",
              sent, seconds, static_cast<double>(sent) / seconds,
              (cpu_seconds() - cpu) / static_cast<double>(sent) * 1e6);
  return 0;
}

// ---- each ----

int each(std::uint16_t port, const Corpus& corpus, std::size_t count, std::size_t connections,
         double rate, const Login& login) {
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  struct Device {
    Link link;
    std::deque<Nanos> open;  // send times of what is not acknowledged
    std::size_t rest = 0;
  };
  std::vector<std::unique_ptr<Device>> devices;
  const int epoll = epoll_create1(0);
  for (std::size_t i = 0; i < connections; ++i) {
    devices.push_back(
        std::make_unique<Device>(Device{Link(port, client_id("each", i), login), {}, 0}));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    epoll_ctl(epoll, EPOLL_CTL_ADD, devices.back()->link.fd(), &event);
  }
  std::puts("connected");
  std::fflush(stdout);
  if (std::getchar() == EOF) {  // one byte of input: go
    return 0;
  }
  std::vector<Nanos> latencies;
  latencies.reserve(count);
  std::string one;
  std::array<epoll_event, 256> events;
  const auto collect = [&](Nanos wait) {
    const timespec limit{wait / 1'000'000'000, wait % 1'000'000'000};
    const int ready = epoll_pwait2(epoll, events.data(), events.size(), &limit, nullptr);
    for (int i = 0; i < ready; ++i) {
      Device& device = *devices[events[static_cast<std::size_t>(i)].data.u64];
      const std::size_t acks = take_acks(device.link, &device.rest);
      const Nanos at = now();
      for (std::size_t k = 0; k < acks; ++k) {
        latencies.push_back(at - device.open.front());
        device.open.pop_front();
      }
    }
  };
  const double cpu = cpu_seconds();
  const Nanos began = now();
  std::size_t late = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Nanos due = began + static_cast<Nanos>(static_cast<double>(i) / rate * 1e9);
    for (Nanos left = due - now(); left > 0; left = due - now()) {
      collect(left);
    }
    late += now() - due > 100'000'000 ? 1 : 0;
    Device& device = *devices[i % connections];
    one.assign(corpus[i % corpus.size()]);
    const std::size_t id = id_at(one, frame(one));
    const std::size_t number = i / connections % 65'535 + 1;
    one[id] = static_cast<char>(number >> 8);
    one[id + 1] = static_cast<char>(number & 0xFF);
    device.open.push_back(now());
    if (device.link.write(one) != static_cast<ssize_t>(one.size())) {
      fail("send");  // one small packet in an empty buffer
    }
    if (i % 64 == 0) {
      collect(0);
    }
  }
  for (Nanos last = now(); latencies.size() < count;) {
    const std::size_t before = latencies.size();
    collect(100'000'000);
    last = latencies.size() != before ? now() : last;
    if (now() - last > kPatience) {
      std::fputs("load: no PUBACK for 30 s\n", stderr);
      return 1;
    }
  }
  const double seconds = static_cast<double>(now() - began) * 1e-9;
  std::printf(
      R"({"messages":%zu,"seconds":%.4f,"rate":%.0f,"cpu_us":%.4f,"p50_us":%.1f,"p99_us":%.1f,)"
      R"("late":%zu})"
      "\n",
      count, seconds, static_cast<double>(count) / seconds,
      (cpu_seconds() - cpu) / static_cast<double>(count) * 1e6, quantile(latencies, 0.5),
      quantile(latencies, 0.99), late);
  return 0;
}

// ---- drain ----

int drain(std::uint16_t port, std::size_t count) {
  Link link(port, client_id("drain", 0), {});
  std::string subscribe = packet(0x82, std::string("\x00\x01", 2) + text16("site/#") + "\x01");
  if (link.write(subscribe) != static_cast<ssize_t>(subscribe.size())) {
    fail("SUBSCRIBE");
  }
  std::vector<char> block(kReadBytes);
  std::string have;
  std::string acks;
  std::size_t taken = 0;
  Nanos first = 0;
  Nanos last = now();
  while (taken < count) {
    pollfd one{link.fd(), POLLIN, 0};
    if (poll(&one, 1, 2000) == 0 && now() - last > kPatience) {
      break;
    }
    const ssize_t got = link.read(block.data(), block.size());
    if (got == 0) {
      break;
    }
    if (got < 0) {
      continue;
    }
    have.append(block.data(), static_cast<std::size_t>(got));
    std::size_t at = 0;
    acks.clear();
    for (;;) {
      const std::string_view rest = std::string_view(have).substr(at);
      const Packet next = frame(rest);
      if (next.size == 0) {
        break;
      }
      if (next.first >> 4 == 3) {
        ++taken;
        if ((next.first & 6) != 0) {
          const std::size_t id = id_at(rest, next);
          acks.append({0x40, 2, rest[id], rest[id + 1]});
        }
      } else if (next.first >> 4 == 9) {
        std::printf("ready %d\n", port);
        std::fflush(stdout);
      }
      at += next.size;
    }
    have.erase(0, at);
    last = now();
    first = first == 0 && taken > 0 ? last : first;
    for (std::string_view out = acks; !out.empty();) {
      const ssize_t sent = link.write(out);
      if (sent == 0) {
        fail("PUBACK");
      }
      out.remove_prefix(sent > 0 ? static_cast<std::size_t>(sent) : 0);
    }
  }
  const double seconds = static_cast<double>(last - first) * 1e-9;
  std::printf(R"({"messages":%zu,"seconds":%.4f,"rate":%.0f})"
              "\n",
              taken, seconds, seconds > 0 ? static_cast<double>(taken) / seconds : 0);
  return 0;
}

// ---- servers ----

// Both answer each packet at once; `alerts` looks for the time in them.
int serve(std::uint16_t port, bool alerts) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_port = htons(port);
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof here;
  if (bind(listener, reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0 ||
      listen(listener, 1024) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&here), &size) != 0) {
    fail("listen");
  }
  const int epoll = epoll_create1(0);
  const auto watch = [&](int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  };
  watch(listener);
  watch(STDIN_FILENO);
  std::printf("ready %d\n", ntohs(here.sin_port));
  std::fflush(stdout);
  std::unordered_map<int, std::string> unfinished;
  std::vector<char> block(kReadBytes);
  std::vector<Nanos> latencies;
  std::string out;
  std::size_t messages = 0;
  const auto handle = [&](std::string_view bytes) {
    std::size_t at = 0;
    out.clear();
    for (;;) {
      const std::string_view rest = bytes.substr(at);
      const Packet next = frame(rest);
      if (next.size == 0) {
        return at;
      }
      if (next.first >> 4 == 1) {  // version 5 has a byte more
        out += rest[next.body + 6] == 5 ? std::string("\x20\x03\x00\x00\x00", 5)
                                        : std::string("\x20\x02\x00\x00", 4);
      } else if (next.first >> 4 == 3) {
        ++messages;
        if ((next.first & 6) != 0) {
          const std::size_t id = id_at(rest, next);
          out.append({0x40, 2, rest[id], rest[id + 1]});
        }
        if (alerts) {
          const std::size_t time = rest.substr(0, next.size).find("\"t0\":");
          if (time != std::string_view::npos) {
            // The corpus has a time that is none.
            const Nanos late = now() - std::strtoll(rest.data() + time + 5, nullptr, 10);
            if (late >= 0 && late < kPatience) {
              latencies.push_back(late);
            }
          }
        }
      } else if (next.first >> 4 == 12) {
        out += std::string("\xD0\x00", 2);
      }
      at += next.size;
    }
  };
  std::array<epoll_event, 256> events;
  for (bool run = true; run;) {
    const int ready = epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < ready; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == STDIN_FILENO) {
        run = false;
      } else if (fd == listener) {
        const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (client >= 0) {
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          watch(client);
        }
      } else {
        const ssize_t got = recv(fd, block.data(), block.size(), 0);
        if (got <= 0) {
          close(fd);
          unfinished.erase(fd);
          continue;
        }
        std::string_view bytes(block.data(), static_cast<std::size_t>(got));
        std::string& kept = unfinished[fd];
        if (!kept.empty()) {
          kept.append(bytes);
          bytes = kept;
        }
        const std::size_t used = handle(bytes);
        kept = std::string(bytes.substr(used));
        if (!out.empty() && send(fd, out.data(), out.size(), MSG_NOSIGNAL) < 0) {
          close(fd);
          unfinished.erase(fd);
        }
      }
    }
  }
  std::printf(R"({"messages":%zu,"timed":%zu,"p50_us":%.1f,"p99_us":%.1f})"
              "\n",
              messages, latencies.size(), quantile(latencies, 0.5), quantile(latencies, 0.99));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> given(argv + 1, argv + argc);
  Login login;
  const auto option = [&](std::string_view name, bool takes) {
    const auto found = std::find(given.begin(), given.end(), name);
    if (found == given.end() || (takes && found + 1 == given.end())) {
      return std::string();
    }
    const std::string value = takes ? found[1] : "yes";
    given.erase(found, found + (takes ? 2 : 1));
    return value;
  };
  login.tls = !option("--tls", false).empty();
  login.user = option("--user", true);
  login.password = option("--password", true);
  const auto number = [&](std::size_t i) { return std::stoull(given[i]); };
  const auto port = [&] { return static_cast<std::uint16_t>(number(1)); };
  if (given.size() == 6 && given[0] == "blast") {
    return blast(port(), Corpus(given[2]), number(3), number(4), number(5), login);
  }
  if (given.size() == 6 && given[0] == "each") {
    return each(port(), Corpus(given[2]), number(3), number(4), std::stod(given[5]), login);
  }
  if (given.size() == 3 && given[0] == "drain") {
    return drain(port(), number(2));
  }
  if (given.size() == 2 && (given[0] == "null" || given[0] == "alerts")) {
    return serve(port(), given[0] == "alerts");
  }
  std::fputs("usage: see the head of load.cc\n", stderr);
  return 64;
}
