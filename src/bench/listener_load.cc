#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "bench/load.h"
#include "bench/schedule.h"
#include "io/loop.h"
#include "protocol/mqtt/codec.h"

namespace headwater::bench {
namespace {

constexpr std::size_t kMostInFlight = 60'000;      // of a connection: packet ids are 16 bits wide
constexpr std::size_t kMostOutput = 256 * 1024;    // bytes of a connection that wait for the kernel
constexpr std::uint64_t kMostWaiting = 4'000'000;  // messages that wait for their connections
constexpr std::uint64_t kMostAtOnce = 4096;        // messages between two looks at the sockets
constexpr int kConnectMillis = 10'000;
constexpr std::size_t kPubackBytes = 4;

// A message as a PUBLISH of QoS 1.
struct Frame {
  std::string bytes;
  std::size_t id_at = 0;
  std::size_t payload_at = 0;
  std::size_t connection = 0;
};

struct Connection {
  std::string client_id;
  int fd = -1;
  std::string out;
  std::size_t sent = 0;  // of `out`
  std::string in;
  std::uint16_t next_id = 1;
  std::deque<std::uint64_t> in_flight;  // numbers, in order: PUBACKs come in the order of PUBLISH
  std::deque<std::uint64_t> waiting;    // numbers that there is no room for yet
  bool watched_for_output = false;
  bool dirty = false;
};

class ListenerLoad final : public Load {
 public:
  ListenerLoad(const std::vector<Message>& messages, std::string source, std::size_t connections)
      : messages_(messages), source_(std::move(source)) {
    std::map<std::string_view, std::size_t> devices;
    for (const Message& message : messages) {
      devices.emplace(message.device, devices.size());
    }
    const bool own = devices.size() <= connections;
    connections_.resize(std::min(devices.size(), connections));
    for (const auto& [device, index] : devices) {
      Connection& connection = connections_[index % connections_.size()];
      connection.client_id =
          own ? std::string(device) : fmt::format("bench-{}", index % connections_.size());
    }
    for (const Message& message : messages) {
      Frame frame;
      mqtt::encode(
          frame.bytes, mqtt::Version::k311,
          mqtt::PublishPacket{
              .topic = message.topic, .payload = message.payload, .packet_id = 1, .qos = 1});
      frame.payload_at = frame.bytes.size() - message.payload.size();
      frame.id_at = frame.payload_at - 2;
      frame.connection = devices[message.device] % connections_.size();
      frames_.push_back(std::move(frame));
    }
  }
  ~ListenerLoad() override {
    stop();
    for (const Connection& connection : connections_) {
      if (connection.fd >= 0) {
        close(connection.fd);
      }
    }
    for (const int fd : {epoll_, timer_}) {
      if (fd >= 0) {
        close(fd);
      }
    }
  }

  AgentEnds ends() override {
    AgentEnds ends = silent_ends();
    ends.sources = [this, silent = ends.sources](
                       std::string_view name,
                       std::span<io::Loop* const> loops) -> std::vector<std::unique_ptr<Source>> {
      return name == source_ ? std::vector<std::unique_ptr<Source>>() : silent(name, loops);
    };
    return ends;
  }

  Status start(const Agent& agent) override {
    const std::string address = agent.address_of(source_);
    const std::size_t colon = address.rfind(':');
    std::uint16_t port = 0;
    std::from_chars(address.data() + colon + 1, address.data() + address.size(), port);
    if (colon == std::string::npos || port == 0) {
      return Error::invalid("source '{}' is no listener", source_);
    }
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll_ < 0 || timer_ < 0) {
      return Error::from_errno(errno, "make an event loop");
    }
    epoll_event event{.events = EPOLLIN, .data = {.u64 = connections_.size()}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event);
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      HW_TRY(open(connections_[i], port).with("client '{}'", connections_[i].client_id));
      event.data.u64 = i;
      epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].fd, &event);
    }
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), kLoadThread);
      run();
    });
    return {};
  }

  void pace(double rate) override {
    const std::lock_guard lock(mutex_);
    wanted_ = rate;
    pace_changed_ = true;
  }
  LoadCounts counts() const override {
    return {sent_.get(), acknowledged_count_.get(), waiting_.get()};
  }
  const telemetry::Histogram& acknowledged() const override { return acknowledged_; }
  std::string trouble() const override {
    const std::lock_guard lock(mutex_);
    return trouble_;
  }
  void stop() override {
    stopping_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
  }

 private:
  static Status open(Connection& connection, std::uint16_t port) {
    connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection.fd < 0) {
      return Error::from_errno(errno, "make a socket");
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(connection.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      return Error::from_errno(errno, "connect to the listener");
    }
    const int yes = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    std::string hello;
    mqtt::encode(hello, mqtt::Connect{.version = mqtt::Version::k311,
                                      .clean_start = true,
                                      .keep_alive = 0,
                                      .client_id = connection.client_id});
    if (write(connection.fd, hello.data(), hello.size()) != static_cast<ssize_t>(hello.size())) {
      return Error::from_errno(errno, "send CONNECT");
    }
    pollfd waiting{connection.fd, POLLIN, 0};
    std::array<char, 4> answer{};
    if (poll(&waiting, 1, kConnectMillis) != 1 ||
        recv(connection.fd, answer.data(), answer.size(), MSG_WAITALL) != 4 || answer[3] != 0) {
      return Error::invalid(
          "the listener does not take it (code {}): options such as write_own, anonymous or "
          "max_connections may forbid clients without a user name; change them for this run by "
          "--set sources.NAME.OPTION=…",
          static_cast<int>(answer[3]));
    }
    const int flags = fcntl(connection.fd, F_GETFL);
    fcntl(connection.fd, F_SETFL, flags | O_NONBLOCK);
    return {};
  }

  void run() {
    std::array<epoll_event, 128> events;
    while (!stopping_ && !broken_) {
      take_pace();
      const MonoTime now = io::mono_now();
      const bool more = send_due(now);
      int wait = 0;
      if (!more) {
        arm(now);
        wait = 50;  // to see a new pace
      }
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), wait);
      for (int i = 0; i < count; ++i) {
        const auto index = static_cast<std::size_t>(events[static_cast<std::size_t>(i)].data.u64);
        if (index == connections_.size()) {
          std::uint64_t times = 0;
          (void)!read(timer_, &times, sizeof times);
          continue;
        }
        Connection& connection = connections_[index];
        if ((events[static_cast<std::size_t>(i)].events & EPOLLOUT) != 0) {
          fill(connection, index);
          flush(connection, index);
        }
        if ((events[static_cast<std::size_t>(i)].events & ~std::uint32_t{EPOLLOUT}) != 0) {
          receive(connection);
          fill(connection, index);
          flush(connection, index);
        }
      }
    }
  }

  void take_pace() {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(pace_changed_, false)) {
      return;
    }
    // Numbers that wait keep theirs: they are given up, and count as neither sent nor waiting.
    for (Connection& connection : connections_) {
      connection.waiting.clear();
    }
    held_ = 0;
    waiting_.set(0);
    schedule_.pace(wanted_, io::mono_now());
  }

  // True: more is due now.
  bool send_due(MonoTime now) {
    std::uint64_t due = schedule_.waiting(now);
    std::uint64_t count = std::min(due, kMostAtOnce);
    if (held_ >= kMostWaiting) {
      count = 0;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t number = schedule_.taken() + i + 1;
      const std::size_t index = frames_[(number - 1) % frames_.size()].connection;
      Connection& connection = connections_[index];
      if (!connection.waiting.empty() || !has_room(connection)) {
        connection.waiting.push_back(number);
        ++held_;
      } else {
        append(connection, index, number);
      }
    }
    schedule_.take(count);
    for (const std::size_t index : std::exchange(dirty_, {})) {
      connections_[index].dirty = false;
      flush(connections_[index], index);
    }
    waiting_.set(schedule_.waiting(now) + held_);
    return count != 0 && count < due;
  }

  static bool has_room(const Connection& connection) {
    return connection.out.size() - connection.sent < kMostOutput &&
           connection.in_flight.size() < kMostInFlight;
  }

  void fill(Connection& connection, std::size_t index) {
    while (!connection.waiting.empty() && has_room(connection)) {
      append(connection, index, connection.waiting.front());
      connection.waiting.pop_front();
      --held_;
    }
  }

  void append(Connection& connection, std::size_t index, std::uint64_t number) {
    const std::size_t which = (number - 1) % frames_.size();
    const Frame& frame = frames_[which];
    const std::size_t at = connection.out.size();
    connection.out += frame.bytes;
    const std::uint16_t id = connection.next_id;
    connection.next_id = id == 0xFFFF ? 1 : static_cast<std::uint16_t>(id + 1);
    connection.out[at + frame.id_at] = static_cast<char>(id >> 8);
    connection.out[at + frame.id_at + 1] = static_cast<char>(id & 0xFF);
    const MonoTime due = schedule_.due(number);
    const WallTime wall{io::wall_now().ns - (io::mono_now() - due).count()};
    stamper_.fill(messages_[which], connection.out.data() + at + frame.payload_at, wall, number);
    connection.in_flight.push_back(number);
    sent_.add(1);
    if (!connection.dirty) {
      connection.dirty = true;
      dirty_.push_back(index);
    }
  }

  void flush(Connection& connection, std::size_t index) {
    while (connection.sent < connection.out.size()) {
      const ssize_t wrote =
          send(connection.fd, connection.out.data() + connection.sent,
               connection.out.size() - connection.sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (wrote < 0) {
        if (errno != EAGAIN) {
          fail(connection, "write");
        }
        break;
      }
      connection.sent += static_cast<std::size_t>(wrote);
    }
    if (connection.sent == connection.out.size()) {
      connection.out.clear();
      connection.sent = 0;
    } else if (connection.sent > kMostOutput) {
      connection.out.erase(0, connection.sent);
      connection.sent = 0;
    }
    const bool wants = !connection.out.empty();
    if (wants != connection.watched_for_output) {
      connection.watched_for_output = wants;
      epoll_event event{.events = wants ? EPOLLIN | EPOLLOUT : EPOLLIN, .data = {.u64 = index}};
      epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event);
    }
  }

  void receive(Connection& connection) {
    const ssize_t count = recv(connection.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count <= 0) {
      if (count == 0 || errno != EAGAIN) {
        fail(connection, "read");
      }
      return;
    }
    connection.in.append(buffer_.data(), static_cast<std::size_t>(count));
    const MonoTime now = io::mono_now();
    std::size_t at = 0;
    for (; connection.in.size() - at >= kPubackBytes; at += kPubackBytes) {
      if (connection.in[at] != 0x40 || connection.in[at + 1] != 2 || connection.in_flight.empty()) {
        fail(connection, "not a PUBACK");
        return;
      }
      const Nanos took = now - schedule_.due(connection.in_flight.front());
      connection.in_flight.pop_front();
      acknowledged_.record(static_cast<double>(took.count()) * 1e-9);
      acknowledged_count_.add(1);
    }
    connection.in.erase(0, at);
  }

  void fail(const Connection& connection, std::string_view what) {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    if (trouble_.empty()) {
      trouble_ = fmt::format(
          "the listener ended the connection of client '{}' ({}): does it take topics such as "
          "'{}'? --topic changes them",
          connection.client_id, what, messages_.front().topic);
    }
  }

  void arm(MonoTime now) const {
    if (!schedule_.active() || held_ >= kMostWaiting) {
      return;
    }
    const Nanos at{std::max(schedule_.next(), now).ns};
    itimerspec spec{};
    spec.it_value.tv_sec = at.count() / 1'000'000'000;
    spec.it_value.tv_nsec = at.count() % 1'000'000'000;
    timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
  }

  const std::vector<Message>& messages_;
  std::string source_;
  std::vector<Frame> frames_;
  std::vector<Connection> connections_;
  int epoll_ = -1;
  int timer_ = -1;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  mutable std::mutex mutex_;  // guards wanted_, pace_changed_, trouble_
  double wanted_ = 0;
  bool pace_changed_ = false;
  std::string trouble_;

  // The thread's own.
  Schedule schedule_;
  Stamper stamper_;
  std::uint64_t held_ = 0;  // of all connections, waiting
  std::vector<std::size_t> dirty_;
  std::array<char, 65'536> buffer_{};
  bool broken_ = false;

  telemetry::Histogram acknowledged_;
  Count sent_;
  Count acknowledged_count_;
  Count waiting_;
};

}  // namespace

std::unique_ptr<Load> make_listener_load(const std::vector<Message>& messages, std::string source,
                                         std::size_t connections) {
  return std::make_unique<ListenerLoad>(messages, std::move(source), connections);
}

}  // namespace headwater::bench
