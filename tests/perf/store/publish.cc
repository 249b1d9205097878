// A publisher for measurements: MQTT 3.1.1, QoS 1, readings of three fields, nothing but sockets.
//
//   publish PORT blast COUNT CONNECTIONS WINDOW       as fast as PUBACKs come
//   publish PORT paced COUNT RATE                     open loop, one message a packet
//   publish PORT random COUNT RATE                    the same, at random: Poisson arrivals
//   publish PORT paced COUNT RATE FILE BYTES          and between two messages a bare write
//
// The bare write: BYTES at the next offset of FILE (64 MiB, written through once before, used again
// from its start), then fdatasync. Prints one JSON object: messages, seconds, rate; when paced the
// quantiles of PUBLISH to PUBACK, and of the bare write and sync, in microseconds.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
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
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Nanos = std::int64_t;

constexpr std::size_t kDevices = 64;
constexpr std::size_t kBareFileBytes = std::size_t{64} << 20;
constexpr std::size_t kPubackBytes = 4;
constexpr Nanos kPatience = 30'000'000'000;  // without any PUBACK

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "publish: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

Nanos now() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return Nanos{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

std::string text16(std::string_view text) {
  std::string out;
  out += static_cast<char>(text.size() >> 8);
  out += static_cast<char>(text.size() & 0xff);
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

struct Message {
  std::string packet;
  std::size_t topic_bytes = 0;
  std::size_t payload_bytes = 0;
};

Message make_message(std::uint64_t index, std::uint16_t id) {
  std::array<char, 400> payload{};
  const auto wave = static_cast<double>(index * 2'654'435'761U % 1000) / 1000;
  const int size = std::snprintf(
      payload.data(), payload.size(),
      R"({"device_id":"press-%04u","timestamp":"2026-11-24T11:%02u:%02u.%03uZ","temperature":%.3f,)"
      R"("pressure":%.3f,"vibration":%.3f,"seq":%llu,"line":"hall 2"})",
      static_cast<unsigned>(index % kDevices), static_cast<unsigned>(index / 60'000 % 60),
      static_cast<unsigned>(index / 1000 % 60), static_cast<unsigned>(index % 1000), 59.5 + wave,
      100.8 + wave / 3, 0.45 + wave / 10, static_cast<unsigned long long>(index));
  std::array<char, 40> topic{};
  std::snprintf(topic.data(), topic.size(), "site/1/press-%04u/m",
                static_cast<unsigned>(index % kDevices));
  std::string body = text16(topic.data());
  body += static_cast<char>(id >> 8);
  body += static_cast<char>(id & 0xff);
  body.append(payload.data(), static_cast<std::size_t>(size));
  return {packet(0x32, body), std::strlen(topic.data()), static_cast<std::size_t>(size)};
}

// Mean bytes of the messages sent, as devices know them.
class Sizes {
 public:
  void add(const Message& message) {
    topic_ += message.topic_bytes;
    payload_ += message.payload_bytes;
    ++count_;
  }
  void print() const {
    std::printf(R"(,"topic_bytes":%.2f,"payload_bytes":%.2f)", mean(topic_), mean(payload_));
  }

 private:
  double mean(std::size_t sum) const {
    return static_cast<double>(sum) / static_cast<double>(count_);
  }
  std::size_t topic_ = 0;
  std::size_t payload_ = 0;
  std::size_t count_ = 0;
};

int connect_to(std::uint16_t port, const std::string& client) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    fail("connect");
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const std::string hello =
      packet(0x10, text16("MQTT") + std::string("\x04\x02\x00\x00", 4) + text16(client));
  std::array<char, 4> answer{};
  if (send(fd, hello.data(), hello.size(), MSG_NOSIGNAL) < 0 ||
      recv(fd, answer.data(), answer.size(), MSG_WAITALL) != 4 || answer[3] != 0) {
    fail("CONNECT");
  }
  return fd;
}

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      fail("send");
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

// PUBACKs are all that comes, four bytes each.
std::size_t take_acks(int fd, std::size_t* rest) {
  std::array<char, 65536> buffer;
  const ssize_t got = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got == 0) {
    std::fputs("publish: the listener closed the connection\n", stderr);
    std::exit(1);
  }
  if (got < 0) {
    if (errno != EAGAIN) {
      fail("recv");
    }
    return 0;
  }
  *rest += static_cast<std::size_t>(got);
  const std::size_t acks = *rest / kPubackBytes;
  *rest %= kPubackBytes;
  return acks;
}

void blast(std::uint16_t port, std::uint64_t count, std::size_t connections, std::uint64_t window) {
  constexpr std::uint64_t kPrepared = 20'000;
  constexpr std::uint64_t kMostAtOnce = 400;
  std::string bytes;
  std::vector<std::size_t> begins;
  Sizes sizes;
  for (std::uint64_t i = 0; i < kPrepared; ++i) {
    begins.push_back(bytes.size());
    const Message message = make_message(i, static_cast<std::uint16_t>(i + 1));
    bytes += message.packet;
    sizes.add(message);
  }
  begins.push_back(bytes.size());

  struct Connection {
    int fd = -1;
    std::uint64_t quota = 0;
    std::uint64_t begun = 0;  // messages of which a byte was sent
    std::uint64_t acked = 0;
    std::uint64_t place = 0;  // of the next message in `begins`
    std::size_t at = 0;       // next byte
    std::size_t rest = 0;
    std::size_t end = 0;  // of what may be sent
  };
  std::vector<Connection> all(connections);
  for (std::size_t i = 0; i < connections; ++i) {
    all[i].fd = connect_to(port, "blast-" + std::to_string(getpid()) + "-" + std::to_string(i));
    all[i].quota = count / connections;
  }
  const Nanos began = now();
  Nanos moved = began;
  std::vector<pollfd> polls;
  for (std::size_t done = 0; done < connections;) {
    done = 0;
    bool progress = false;
    polls.clear();
    for (Connection& one : all) {
      const std::size_t acks = take_acks(one.fd, &one.rest);
      one.acked += acks;
      progress = progress || acks > 0;
      if (one.at == one.end && one.begun < one.quota) {
        if (one.place == kPrepared) {
          one.place = 0;
        }
        const std::uint64_t open = one.begun - one.acked;
        const std::uint64_t more = std::min({one.quota - one.begun, kPrepared - one.place,
                                             kMostAtOnce, window > open ? window - open : 0});
        one.at = begins[one.place];
        one.place += more;
        one.begun += more;
        one.end = begins[one.place];
      }
      if (one.at < one.end) {
        const ssize_t sent =
            send(one.fd, bytes.data() + one.at, one.end - one.at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) {
          fail("send");
        }
        if (sent > 0) {
          one.at += static_cast<std::size_t>(sent);
          progress = true;
        }
      }
      if (one.acked >= one.quota) {
        ++done;
      }
      polls.push_back({one.fd, static_cast<short>(POLLIN | (one.at < one.end ? POLLOUT : 0)), 0});
    }
    if (progress) {
      moved = now();
    } else if (done < connections) {
      poll(polls.data(), polls.size(), 20);
      if (now() - moved > kPatience) {
        std::fputs("publish: no PUBACK for 30 s\n", stderr);
        std::exit(1);
      }
    }
  }
  const double seconds = static_cast<double>(now() - began) * 1e-9;
  const std::uint64_t sent = count / connections * connections;
  std::printf(R"({"messages":%llu,"seconds":%.4f,"rate":%.0f)",
              static_cast<unsigned long long>(sent), seconds, static_cast<double>(sent) / seconds);
  sizes.print();
  std::puts("}");
}

double quantile(std::vector<Nanos> values, double share) {
  if (values.empty()) {
    return 0;
  }
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rank),
                   values.end());
  return static_cast<double>(values[rank]) / 1e3;
}

// A file whose blocks were all written once: what a recycled segment is.
class BareFile {
 public:
  BareFile(const char* path, std::size_t bytes) : bytes_(bytes, 'r') {
    fd_ = open(path, O_RDWR | O_CREAT, 0600);
    if (fd_ < 0 || fallocate(fd_, 0, 0, kBareFileBytes) != 0) {
      fail("the bare file");
    }
    const std::string zeros(std::size_t{1} << 20, '\0');
    for (std::size_t at = 0; at < kBareFileBytes; at += zeros.size()) {
      if (pwrite(fd_, zeros.data(), zeros.size(), static_cast<off_t>(at)) < 0) {
        fail("the bare file");
      }
    }
    if (fsync(fd_) != 0) {
      fail("the bare file");
    }
  }
  Nanos write() {
    const Nanos began = now();
    if (pwrite(fd_, bytes_.data(), bytes_.size(), static_cast<off_t>(at_)) < 0 ||
        fdatasync(fd_) != 0) {
      fail("the bare write");
    }
    at_ = (at_ + 2 * bytes_.size()) % kBareFileBytes < at_ ? 0 : at_ + bytes_.size();
    return now() - began;
  }

 private:
  int fd_ = -1;
  std::string bytes_;
  std::size_t at_ = 4096;
};

void paced(std::uint16_t port, std::uint64_t count, double rate, bool at_random, BareFile* bare) {
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  const int fd = connect_to(port, "paced-" + std::to_string(getpid()));
  std::vector<Nanos> acks;
  std::vector<Nanos> bares;
  std::deque<Nanos> open;
  std::size_t rest = 0;
  Sizes sizes;
  // Until `when`, or until all are acknowledged when it is 0.
  const auto collect = [&](Nanos when) {
    for (Nanos last = now();;) {
      const std::size_t got = take_acks(fd, &rest);
      const Nanos at = now();
      for (std::size_t i = 0; i < got; ++i) {
        acks.push_back(at - open.front());
        open.pop_front();
      }
      last = got > 0 ? at : last;
      if (when == 0 ? open.empty() : at >= when) {
        return;
      }
      if (at - last > kPatience && !open.empty()) {
        std::fputs("publish: no PUBACK for 30 s\n", stderr);
        std::exit(1);
      }
      const Nanos wait = when == 0 ? 100'000'000 : when - at;
      const timespec limit{wait / 1'000'000'000, wait % 1'000'000'000};
      pollfd one{fd, POLLIN, 0};
      ppoll(&one, 1, &limit, nullptr);
    }
  };
  const auto every = static_cast<Nanos>(1e9 / rate);
  std::mt19937_64 random(count);
  std::exponential_distribution<double> gap(rate);
  const Nanos began = now();
  double due_seconds = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    due_seconds += at_random ? gap(random) : 1 / rate;
    const Nanos due = began + static_cast<Nanos>(due_seconds * 1e9);
    collect(due);
    const Message message = make_message(i, static_cast<std::uint16_t>(i % 65'535 + 1));
    sizes.add(message);
    open.push_back(now());
    send_all(fd, message.packet);
    if (bare != nullptr) {
      collect(due + every / 2);
      bares.push_back(bare->write());
    }
  }
  collect(0);
  const double seconds = static_cast<double>(now() - began) * 1e-9;
  std::printf(R"({"messages":%llu,"seconds":%.4f,"rate":%.1f,)"
              R"("puback_p50_us":%.1f,"puback_p99_us":%.1f)",
              static_cast<unsigned long long>(count), seconds, static_cast<double>(count) / seconds,
              quantile(acks, 0.5), quantile(acks, 0.99));
  sizes.print();
  if (bare != nullptr) {
    std::printf(R"(,"bare_p50_us":%.1f,"bare_p99_us":%.1f)", quantile(bares, 0.5),
                quantile(bares, 0.99));
  }
  std::puts("}");
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> given(argv, argv + argc);
  if (given.size() == 6 && given[2] == "blast") {
    blast(static_cast<std::uint16_t>(std::stoul(given[1])), std::stoull(given[3]),
          std::stoul(given[4]), std::stoull(given[5]));
    return 0;
  }
  const bool at_random = given.size() == 5 && given[2] == "random";
  if (at_random || ((given.size() == 5 || given.size() == 7) && given[2] == "paced")) {
    std::unique_ptr<BareFile> bare;
    if (given.size() == 7) {
      bare = std::make_unique<BareFile>(given[5].c_str(), std::stoul(given[6]));
    }
    paced(static_cast<std::uint16_t>(std::stoul(given[1])), std::stoull(given[3]),
          std::stod(given[4]), at_random, bare.get());
    return 0;
  }
  std::fputs(
      "usage: publish PORT blast COUNT CONNECTIONS WINDOW\n"
      "       publish PORT random COUNT RATE\n"
      "       publish PORT paced COUNT RATE [FILE BYTES]\n",
      stderr);
  return 64;
}
