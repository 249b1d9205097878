#include "protocol/mqtt/door.h"

#include <openssl/rand.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "protocol/mqtt/codec.h"

namespace headwater::mqtt {
namespace {

// Before anybody has said who they are, they get this much and no more. The largest honest CONNECT
// holds a client id, a will and a token of a few KiB.
constexpr std::size_t kMaxConnectBytes = 64 * 1024;
constexpr std::size_t kMaxClientId = 512;
constexpr std::uint32_t kLeastForReasons = 256;  // maximum packet size that holds any of them
constexpr std::uint16_t kReceiveMaximum311 = 16;
constexpr int kAcceptsPerRound = 64;
constexpr Nanos kAcceptRetry = std::chrono::milliseconds(100);
constexpr Nanos kSweep = std::chrono::milliseconds(250);

std::string random_client_id() {
  std::array<char, 12> bytes{};
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) !=
      1) {
    return "";
  }
  return "auto-" + to_hex({bytes.data(), bytes.size()});
}

std::optional<KeptWill> keep(const std::optional<Will>& will) {
  if (!will) {
    return std::nullopt;
  }
  return KeptWill{std::string(will->topic), std::string(will->payload),
                  will->properties.will_delay.value_or(0)};
}

}  // namespace

struct Door::Knock {
  std::uint64_t id = 0;
  io::Stream stream;
  Ticket ticket;
  bool loopback = false;
  bool handshaking = false;
  bool watched = false;
  MonoTime deadline;
  std::string bytes;
  std::optional<Admission> admission;  // while the password is being checked
};

Door::Door(const ListenerOptions& options, io::Loop& loop, Admit admit)
    : options_(options),
      loop_(loop),
      admit_(std::move(admit)),
      lingering_(loop),
      open_connections_(std::make_shared<std::atomic<std::uint32_t>>(0)) {}

Result<std::unique_ptr<Door>> Door::open(const ListenerOptions& options, io::Loop& loop,
                                         Admit admit) {
  std::unique_ptr<Door> door(new Door(options, loop, std::move(admit)));
  const ListenerTls& tls = options.tls;
  if (!tls.certificate.empty()) {
    door->tls_ = HW_TRY(io::TlsContext::server(
        {tls.certificate, tls.key, tls.client_ca, tls.require_client_certificate}));
  } else if (!tls.key.empty() || !tls.client_ca.empty()) {
    return Error::invalid("a TLS key or client CA is given, but no certificate");
  }
  if (!options.password_file.empty()) {
    auto file = HW_TRY(PasswordFile::read(options.password_file));
    door->authenticator_ = std::make_unique<Authenticator>(std::move(file), loop);
  }
  const io::HostPort at = HW_TRY(io::parse_host_port(options.address));
  door->listening_ = HW_TRY(io::listen_tcp(at));
  door->port_ = HW_TRY(io::local_address(door->listening_.get())).port();
  return door;
}

Door::~Door() {
  stop();
}

void Door::start() {
  if (!listening_) {
    return;
  }
  const Status watched =
      loop_.watch(listening_.get(), EPOLLIN, [this](std::uint32_t) { accept_ready(); });
  if (!watched) {
    counts_.accept_errors.fetch_add(1, std::memory_order_relaxed);
    retry_timer_ = loop_.after(kAcceptRetry, [this] { start(); });
  }
}

void Door::stop() {
  if (listening_) {
    loop_.unwatch(listening_.get());
    listening_.reset();
  }
  loop_.cancel(retry_timer_);
  loop_.cancel(sweep_timer_);
  sweep_timer_ = 0;
  for (auto& [id, knock] : knocks_) {
    if (knock->watched) {
      loop_.unwatch(knock->stream.fd());
    }
  }
  knocks_.clear();
}

void Door::accept_ready() {
  for (int i = 0; i < kAcceptsPerRound; ++i) {
    io::SocketAddress peer;
    auto fd = io::accept_tcp(listening_.get(), &peer);
    if (!fd) {
      counts_.accept_errors.fetch_add(1, std::memory_order_relaxed);
      if (fd.error().code() == Code::kExhausted) {
        // The connection stays in the queue and the socket readable: without a pause this spins.
        loop_.unwatch(listening_.get());
        retry_timer_ = loop_.after(kAcceptRetry, [this] { start(); });
        return;
      }
      continue;
    }
    if (!*fd) {
      return;
    }
    if (open_connections_->load(std::memory_order_relaxed) >= options_.max_connections) {
      counts_.refused_full.fetch_add(1, std::memory_order_relaxed);
      continue;  // closes it
    }
    auto knock = std::make_unique<Knock>();
    knock->ticket = Ticket(open_connections_);
    knock->loopback = peer.is_loopback();
    knock->deadline = loop_.now() + options_.connect_timeout;
    if (tls_) {
      auto stream = tls_->accept(*std::move(fd));
      if (!stream) {
        counts_.refused_other.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      knock->stream = *std::move(stream);
      knock->handshaking = true;
    } else {
      knock->stream = io::Stream(*std::move(fd));
    }
    const std::uint64_t id = next_knock_++;
    knock->id = id;
    const Status watched = loop_.watch(knock->stream.fd(), EPOLLIN, [this, id](std::uint32_t) {
      const auto found = knocks_.find(id);
      if (found != knocks_.end()) {
        go_on(*found->second);
      }
    });
    if (!watched) {
      counts_.accept_errors.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    knock->watched = true;
    knocks_.emplace(id, std::move(knock));
    if (sweep_timer_ == 0) {
      sweep_timer_ = loop_.after(kSweep, [this] { sweep(); });
    }
  }
}

void Door::sweep() {
  sweep_timer_ = 0;
  std::vector<std::uint64_t> late;
  for (const auto& [id, knock] : knocks_) {
    if (knock->deadline <= loop_.now()) {
      late.push_back(id);
    }
  }
  for (const std::uint64_t id : late) {
    counts_.refused_other.fetch_add(1, std::memory_order_relaxed);
    drop(*knocks_[id]);
  }
  if (!knocks_.empty()) {
    sweep_timer_ = loop_.after(kSweep, [this] { sweep(); });
  }
}

void Door::drop(Knock& knock) {
  if (knock.watched) {
    loop_.unwatch(knock.stream.fd());
  }
  knocks_.erase(knock.id);
}

void Door::go_on(Knock& knock) {
  if (knock.handshaking) {
    const io::IoResult result = knock.stream.handshake();
    if (result.state == io::IoState::kWantRead || result.state == io::IoState::kWantWrite) {
      const bool write = result.state == io::IoState::kWantWrite;
      (void)loop_.rewatch(knock.stream.fd(), write ? EPOLLOUT : EPOLLIN).ok();
      return;
    }
    if (result.state != io::IoState::kOk) {
      counts_.refused_other.fetch_add(1, std::memory_order_relaxed);
      return drop(knock);
    }
    knock.handshaking = false;
    (void)loop_.rewatch(knock.stream.fd(), EPOLLIN).ok();
  }
  read_connect(knock);
}

void Door::read_connect(Knock& knock) {
  std::array<char, 4096> chunk;
  while (true) {
    const io::IoResult result = knock.stream.read(chunk.data(), chunk.size());
    if (result.state == io::IoState::kWantRead || result.state == io::IoState::kWantWrite) {
      return;
    }
    if (result.state != io::IoState::kOk) {
      counts_.refused_other.fetch_add(1, std::memory_order_relaxed);
      return drop(knock);
    }
    knock.bytes.append(chunk.data(), result.bytes);
    Frame frame;
    const Framing framing = next_frame(knock.bytes, kMaxConnectBytes, &frame);
    const auto first = static_cast<unsigned char>(knock.bytes[0]);
    if (first != static_cast<unsigned char>(PacketType::kConnect) << 4 ||
        framing == Framing::kFault) {
      counts_.refused_other.fetch_add(1, std::memory_order_relaxed);
      return drop(knock);  // not MQTT, or not in words that could be answered
    }
    if (framing == Framing::kMore) {
      continue;
    }
    Connect connect;
    const Fault fault = decode(frame, &connect);
    if (fault.ok()) {
      return judge(knock, connect, frame.size);
    }
    if (fault.reason == Reason::kUnsupportedVersion) {
      // 3.1 and unknown versions understand the old form.
      counts_.refused_other.fetch_add(1, std::memory_order_relaxed);
      loop_.unwatch(knock.stream.fd());
      knock.watched = false;
      std::string answer;
      encode(answer, Version::k311, Connack{.reason = fault.reason});
      lingering_.close(std::move(knock.stream), answer);
      return drop(knock);
    }
    knock.admission.emplace().version = connect.version;
    return refuse(knock, fault.reason, counts_.refused_other, fault.why);
  }
}

void Door::judge(Knock& knock, const Connect& connect, std::size_t connect_size) {
  Admission& admission = knock.admission.emplace();
  admission.version = connect.version;
  admission.clean_start = connect.clean_start;
  admission.keep_alive = connect.keep_alive;
  admission.client_id = connect.client_id;
  admission.username = connect.username.value_or(std::string_view());
  if (options_.wills) {
    admission.will = keep(connect.will);
  }
  admission.max_packet = connect.properties.maximum_packet_size.value_or(0xFFFFFFFF);
  // 3.1.1 clients cannot say; no device has room for many.
  admission.receive_maximum = connect.properties.receive_maximum.value_or(
      connect.version == Version::k5 ? 65'535 : kReceiveMaximum311);
  admission.wants_reasons = connect.properties.request_problem_information.value_or(true);
  const auto most = static_cast<std::uint32_t>(std::clamp<std::int64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(options_.max_session_expiry).count(), 0,
      0xFFFFFFFF));
  const std::uint32_t asked = connect.version == Version::k5
                                  ? connect.properties.session_expiry.value_or(0)
                                  : (connect.clean_start ? 0 : 0xFFFFFFFF);
  admission.session_expiry = std::min(asked, most);
  admission.expiry_reduced = asked > most;
  const std::string password(connect.password.value_or(std::string_view()));
  const bool has_username = connect.username.has_value();
  if (connect.properties.authentication_method) {
    return refuse(knock, Reason::kBadAuthenticationMethod, counts_.refused_credentials,
                  "there is no authentication method; use a password or a certificate");
  }
  if (admission.client_id.size() > kMaxClientId ||
      (admission.client_id.empty() && connect.version == Version::k311 && !connect.clean_start)) {
    return refuse(knock, Reason::kClientIdNotValid, counts_.refused_other,
                  admission.client_id.empty() ? "a session that is kept needs a client id"
                                              : "the client id is longer than 512 bytes");
  }
  if (admission.client_id.empty()) {
    admission.client_id = random_client_id();
    admission.assigned = true;
    if (admission.client_id.empty()) {
      return refuse(knock, Reason::kServerUnavailable, counts_.refused_other, "no random bytes");
    }
  }
  knock.bytes.erase(0, connect_size);
  admission.buffered = std::move(knock.bytes);

  const std::string common_name = knock.stream.peer_common_name();
  if (!common_name.empty()) {
    admission.username = common_name;
    admission.verified = true;
    return admit(knock);
  }
  if (authenticator_ && has_username) {
    loop_.unwatch(knock.stream.fd());  // nothing more is read until the answer is known
    knock.watched = false;
    const std::uint64_t id = knock.id;
    const auto answer = authenticator_->check(admission.username, password, [this, id](bool right) {
      const auto found = knocks_.find(id);
      if (found == knocks_.end()) {
        return;
      }
      if (!right) {
        return refuse(*found->second, Reason::kBadCredentials, counts_.refused_credentials,
                      "the user name or password is wrong");
      }
      found->second->admission->verified = true;
      admit(*found->second);
    });
    if (answer == Authenticator::Answer::kRight) {
      admission.verified = true;
      return admit(knock);
    }
    if (answer == Authenticator::Answer::kBusy) {
      refuse(knock, Reason::kServerBusy, counts_.refused_other,
             "too many passwords are being checked; try again");
    }
    return;
  }
  const bool anonymous =
      options_.anonymous == Anonymous::kYes ||
      (options_.anonymous == Anonymous::kLoopback && !authenticator_ && knock.loopback);
  if (!anonymous) {
    return refuse(knock, Reason::kNotAuthorized, counts_.refused_credentials,
                  "a user name and password are needed");
  }
  admit(knock);
}

void Door::admit(Knock& knock) {
  Admission& admission = *knock.admission;
  if (options_.client_id_is_username && admission.assigned && admission.verified) {
    admission.client_id = admission.username;
  }
  if (options_.client_id_is_username &&
      (!admission.verified || admission.client_id != admission.username)) {
    return refuse(knock, Reason::kClientIdNotValid, counts_.refused_credentials,
                  "the client id must be the user name");
  }
  if (knock.watched) {
    loop_.unwatch(knock.stream.fd());
    knock.watched = false;
  }
  admission.stream = std::move(knock.stream);
  admission.ticket = std::move(knock.ticket);
  Admission going = std::move(admission);
  drop(knock);
  admit_(std::move(going));
}

void Door::refuse(Knock& knock, Reason reason, std::atomic<std::uint64_t>& count,
                  std::string_view why) {
  count.fetch_add(1, std::memory_order_relaxed);
  if (knock.watched) {
    loop_.unwatch(knock.stream.fd());
    knock.watched = false;
  }
  std::string answer;
  Connack refusal{.reason = reason};
  if (knock.admission->max_packet >= kLeastForReasons) {
    refusal.properties.reason_string = why;
  }
  encode(answer, knock.admission->version, refusal);
  lingering_.close(std::move(knock.stream), answer);
  drop(knock);
}

}  // namespace headwater::mqtt
