#include "protocol/mqtt/client_core.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

namespace headwater::mqtt {
namespace {

// A connection that lived this long was a good one: the next failure begins with a short delay.
constexpr Nanos kStable = std::chrono::seconds(5);

}  // namespace

Client::Core::Core(ClientOptions options, io::Loop& loop, std::shared_ptr<io::TlsContext> tls)
    : options_(std::move(options)),
      loop_(loop),
      tls_(std::move(tls)),
      alive_(std::make_shared<Core*>(this)),
      random_(std::random_device{}()) {}

Client::Core::~Core() {
  loop_.cancel(timer_);
  drop_stream();
}

ClientState Client::Core::state() const {
  switch (phase_) {
    case Phase::kIdle:
      return ClientState::kIdle;
    case Phase::kConnected:
      return ClientState::kConnected;
    case Phase::kWaiting:
      return ClientState::kWaiting;
    case Phase::kClosed:
      return ClientState::kClosed;
    default:
      return ClientState::kConnecting;
  }
}

ClientStats Client::Core::stats() const {
  ClientStats stats = counts_;
  stats.in_flight = messages_.size() + fleeting_.size();
  stats.queued_bytes = queued_bytes_;
  return stats;
}

void Client::Core::notify() {
  if (std::exchange(changed_, false) && on_change_) {
    on_change_();
  }
}

void Client::Core::begin() {
  loop_.cancel(timer_);
  phase_ = Phase::kResolving;
  timer_ = loop_.after(options_.connect_timeout, [this] {
    lost(fmt::format("connect to {}:{}: no answer within {}", options_.host, options_.port,
                     format_duration(options_.connect_timeout)));
    notify();
  });
  auto started = io::Resolution::start(loop_, options_.host, options_.port,
                                       [this](Result<std::vector<io::SocketAddress>> answer) {
                                         resolved(std::move(answer));
                                         notify();
                                       });
  if (!started) {
    return lost(started.error().text());
  }
  resolution_ = *std::move(started);
}

void Client::Core::resolved(Result<std::vector<io::SocketAddress>> answer) {
  resolution_.reset();
  if (!answer) {
    return lost(answer.error().text());
  }
  addresses_ = *std::move(answer);
  next_address_ = 0;
  last_error_.clear();
  try_address();
}

void Client::Core::try_address() {
  drop_stream();
  while (next_address_ < addresses_.size()) {
    auto fd = io::connect_tcp(addresses_[next_address_++]);
    if (!fd) {
      last_error_ = fd.error().text();
      continue;
    }
    if (tls_) {
      auto stream = tls_->connect(*std::move(fd), options_.host);
      if (!stream) {
        return lost(stream.error().text());
      }
      stream_ = *std::move(stream);
    } else {
      stream_ = io::Stream(*std::move(fd));
    }
    phase_ = Phase::kConnecting;
    interest_ = EPOLLOUT;
    const Status watched = loop_.watch(stream_.fd(), EPOLLOUT, [this](std::uint32_t events) {
      on_event(events);
      notify();
    });
    if (!watched) {
      return lost(watched.error().text());
    }
    watched_ = true;
    return;
  }
  lost(last_error_.empty() ? fmt::format("'{}' has no address", options_.host) : last_error_);
}

void Client::Core::on_event(std::uint32_t events) {
  if (phase_ == Phase::kConnecting) {
    const Status result = io::connect_result(stream_.fd());
    if (!result) {
      last_error_ = fmt::format("{}:{}: {}", options_.host, options_.port, result.error().text());
      return try_address();
    }
    phase_ = Phase::kHandshaking;
    return handshake();
  }
  if (phase_ == Phase::kHandshaking) {
    return handshake();
  }
  if ((events & EPOLLOUT) != 0) {
    write_out();
  }
  if ((events & (EPOLLHUP | EPOLLERR)) != 0 && publish_waits_ && watched_) {
    // epoll tells of the end whether asked or not; take() finds it behind what has come before.
    loop_.unwatch(stream_.fd());
    watched_ = false;
    hung_up_ = true;
    return;
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && watched_) {
    read_ready();
  }
}

void Client::Core::handshake() {
  const io::IoResult result = stream_.handshake();
  if (result.state == io::IoState::kOk) {
    return send_connect();
  }
  if (result.state == io::IoState::kWantRead || result.state == io::IoState::kWantWrite) {
    interest_ = result.state == io::IoState::kWantRead ? EPOLLIN : EPOLLOUT;
    (void)loop_.rewatch(stream_.fd(), interest_).ok();
    return;
  }
  lost(fmt::format("connect to {}:{}: {}", options_.host, options_.port, stream_.error()));
}

void Client::Core::send_connect() {
  phase_ = Phase::kAwaitingConnack;
  Connect connect;
  connect.version = options_.version;
  const bool resume = ever_connected_ && options_.version == Version::k5;
  connect.clean_start = options_.clean_start && !resume;
  connect.keep_alive = options_.keep_alive;
  connect.client_id = options_.client_id;
  if (options_.username) {
    connect.username = *options_.username;
  }
  if (options_.password) {
    connect.password = *options_.password;
  }
  if (options_.version == Version::k5) {
    connect.properties.receive_maximum = options_.receive_maximum;
    if (options_.session_expiry > 0) {
      connect.properties.session_expiry = options_.session_expiry;
    }
    connect.properties.maximum_packet_size = static_cast<std::uint32_t>(
        std::min<std::size_t>(options_.max_packet_bytes, kMaxRemainingLength));
  }
  encode(out_, connect);
  appended_ += out_.size();
  write_out();
}

void Client::Core::connected(const Connack& connack) {
  loop_.cancel(timer_);
  timer_ = 0;
  phase_ = Phase::kConnected;
  ever_connected_ = true;
  changed_ = true;
  ++counts_.connects;
  last_error_.clear();
  session_present_ = connack.session_present;
  if (!session_present_ && !received_.empty()) {
    received_.clear();  // the broker gives these packet ids to other messages
    received_changed_ = true;
  }
  connected_at_ = last_sent_ = last_heard_ = loop_.now();
  ping_waits_ = false;
  server_window_ = connack.properties.receive_maximum.value_or(65'535);
  server_max_packet_ = connack.properties.maximum_packet_size.value_or(kMaxRemainingLength);
  server_max_qos_ = connack.properties.maximum_qos.value_or(2);
  keep_alive_ =
      std::chrono::seconds(connack.properties.server_keep_alive.value_or(options_.keep_alive));
  if (keep_alive_.count() > 0) {
    timer_ = loop_.after(Nanos(keep_alive_) / 2, [this] { keep_alive(); });
  }
  unsent_ = 0;
  in_window_ = 0;
  send_subscribe();
  send_waiting();
  write_out();
}

// Every half keep alive: a ping when nothing was sent for that long, and the end when the broker
// has said nothing to a ping for a whole one.
void Client::Core::keep_alive() {
  const MonoTime now = loop_.now();
  if (ping_waits_ && now - ping_sent_ >= keep_alive_) {
    lost(fmt::format("the broker did not answer a ping within {} s", keep_alive_.count()));
    return notify();
  }
  if (!ping_waits_ &&
      (now - last_sent_ >= Nanos(keep_alive_) / 2 || now - last_heard_ >= keep_alive_)) {
    const std::size_t before = out_.size();
    encode_pingreq(out_);
    appended_ += out_.size() - before;
    ping_waits_ = true;
    ping_sent_ = now;
    write_out();
  }
  if (phase_ == Phase::kConnected) {
    timer_ = loop_.after(Nanos(keep_alive_) / 2, [this] { keep_alive(); });
  }
  notify();
}

void Client::Core::drop_stream() {
  resolution_.reset();
  if (watched_) {
    loop_.unwatch(stream_.fd());
    watched_ = false;
  }
  stream_.close();
  out_.clear();
  in_.clear();
  in_used_ = 0;
  appended_ = written_ = 0;
  want_write_ = false;
  publish_waits_ = false;
  hung_up_ = false;
  unacknowledged_.reset();  // the broker sends them again
}

void Client::Core::lost(std::string why) {
  loop_.cancel(timer_);
  timer_ = 0;
  if (phase_ == Phase::kConnected) {
    ++counts_.disconnects;
    if (loop_.now() - connected_at_ >= kStable) {
      attempt_ = 0;
    }
  }
  last_error_ = std::move(why);
  changed_ = true;
  drop_stream();
  for (const Fleeting& one : fleeting_) {
    outcomes_.push_back({one.token, OutcomeKind::kDisconnected, Reason::kSuccess});
  }
  fleeting_.clear();
  unsent_ = 0;
  in_window_ = 0;
  ids_in_use_.reset();  // those of SUBSCRIBEs end with the connection
  for (const Message& message : messages_) {
    ids_in_use_.set(message.packet_id);
  }
  if (!options_.reconnect) {
    phase_ = Phase::kClosed;
    return end_all(OutcomeKind::kDisconnected);
  }
  phase_ = Phase::kWaiting;
  const Nanos ceiling = std::min<Nanos>(options_.max_backoff,
                                        options_.min_backoff * (1LL << std::min(attempt_, 20U)));
  ++attempt_;
  std::uniform_int_distribution<std::int64_t> jitter(0, ceiling.count());
  timer_ = loop_.after(Nanos{jitter(random_)}, [this] {
    begin();
    notify();
  });
}

void Client::Core::close() {
  if (phase_ == Phase::kClosed) {
    return;
  }
  loop_.cancel(timer_);
  timer_ = 0;
  if (phase_ == Phase::kConnected) {
    encode(out_, options_.version, PacketType::kDisconnect, Disconnect{});
    (void)stream_.write(out_);
    stream_.shutdown_write();
  }
  drop_stream();
  phase_ = Phase::kClosed;
  changed_ = true;
  for (const Fleeting& one : fleeting_) {
    outcomes_.push_back({one.token, OutcomeKind::kDisconnected, Reason::kSuccess});
  }
  fleeting_.clear();
  end_all(OutcomeKind::kDisconnected);
}

void Client::Core::set_interest() {
  if (!watched_ || phase_ == Phase::kConnecting || phase_ == Phase::kHandshaking) {
    return;  // until CONNECT is out, the events are those of the connection itself
  }
  const std::uint32_t interest = (publish_waits_ ? 0U : static_cast<std::uint32_t>(EPOLLIN)) |
                                 (want_write_ ? static_cast<std::uint32_t>(EPOLLOUT) : 0U);
  if (interest != interest_) {
    interest_ = interest;
    (void)loop_.rewatch(stream_.fd(), interest).ok();
  }
}

}  // namespace headwater::mqtt
