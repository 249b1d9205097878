#include "protocol/http/server.h"

#include <pthread.h>
#include <signal.h>

#include <charconv>
#include <vector>

#include "protocol/http/connection.h"

namespace headwater::http {
namespace {

// "HOST:PORT"; an empty host is loopback.
Result<tcp::endpoint> parse_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Error::invalid("address '{}': expected HOST:PORT", text);
  }
  auto host = text.substr(0, colon);
  const auto port_text = text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, failed] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (failed != std::errc{} || end != port_text.data() + port_text.size() || port > 65535) {
    return Error::invalid("address '{}': '{}' is not a port", text, port_text);
  }
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return Error::invalid("address '{}': write an IPv6 host in brackets", text);
  }
  if (host.empty() || host == "localhost") {
    host = "127.0.0.1";
  }
  error_code ec;
  const auto address = asio::ip::make_address(std::string(host), ec);
  if (ec) {
    return Error::invalid("address '{}': '{}' is not a numeric address or localhost", text, host);
  }
  return tcp::endpoint(address, static_cast<unsigned short>(port));
}

Result<std::unique_ptr<asio::ssl::context>> make_tls(const ServerTls& options) {
  // The constructor reports a failed SSL_CTX_new by throwing; open() catches.
  auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = tls->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  error_code ec;
  tls->use_certificate_chain_file(options.certificate, ec);
  if (ec) {
    return Error::invalid("certificate '{}': {}", options.certificate, ec.message());
  }
  tls->use_private_key_file(options.private_key, asio::ssl::context::pem, ec);
  if (ec || SSL_CTX_check_private_key(native) != 1) {
    return Error::invalid("private key '{}': {}", options.private_key,
                          ec ? ec.message() : "does not fit the certificate");
  }
  if (!options.client_ca.empty()) {
    tls->load_verify_file(options.client_ca, ec);
    if (ec) {
      return Error::invalid("client CA '{}': {}", options.client_ca, ec.message());
    }
    tls->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert, ec);
    // Sessions are resumed only within this server.
    SSL_CTX_set_session_id_context(native, reinterpret_cast<const unsigned char*>("headwater"), 9);
  }
  return tls;
}

}  // namespace

std::string show(const tcp::endpoint& endpoint) {
  error_code ec;
  const auto host = endpoint.address().to_string(ec);
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", host, endpoint.port())
                                    : fmt::format("{}:{}", host, endpoint.port());
}

Status ServerCore::listen() {
  const auto endpoint = HW_TRY(parse_address(options.address));
  if (options.tls) {
    tls = HW_TRY(make_tls(*options.tls));
  }
  const auto failed = [&](const char* step, const error_code& ec) {
    return Error::from_errno(ec.value(), fmt::format("{} {}", step, options.address));
  };
  error_code ec;
  if (acceptor.open(endpoint.protocol(), ec); ec) {
    return failed("open a socket for", ec);
  }
  acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (acceptor.bind(endpoint, ec); ec) {
    return failed("bind", ec);
  }
  if (acceptor.listen(asio::socket_base::max_listen_connections, ec); ec) {
    return failed("listen on", ec);
  }
  bound = acceptor.local_endpoint(ec);
  return {};
}

// With all places taken, a connection that idles between requests gives way to a new one.
bool ServerCore::make_room() {
  std::shared_ptr<Connection> oldest;
  for (const auto& [id, connection] : connections) {
    if (connection->phase() == Connection::Phase::kIdle && connection->request_number() > 0 &&
        (oldest == nullptr || connection->phase_start() < oldest->phase_start())) {
      oldest = connection;
    }
  }
  if (oldest == nullptr) {
    return false;
  }
  oldest->close();
  return true;
}

void ServerCore::accept() {
  acceptor.async_accept(io, [this](error_code ec, Socket socket) {
    if (stopping || ec == asio::error::operation_aborted) {
      return;
    }
    if (ec) {
      log::warn("accept failed", {{"listener", options.name}, {"error", ec.message()}});
      accept_timer.expires_after(kAcceptPause);
      accept_timer.async_wait([this](error_code aborted) {
        if (!aborted && !stopping) {
          accept();
        }
      });
      return;
    }
    counts.accepted.fetch_add(1, std::memory_order_relaxed);
    const bool full = connections.size() >= options.max_connections && !make_room();
    if (full) {
      counts.refused.fetch_add(1, std::memory_order_relaxed);
      log::warn("too many connections",
                {{"listener", options.name}, {"max_connections", options.max_connections}});
    }
    // A TLS client is refused by the close alone: a handshake only to say no is too dear.
    const bool hears =
        tls == nullptr && connections.size() < options.max_connections + kRefusalSlots;
    if (!full || hears) {
      const auto id = next_id++;
      const auto connection = std::make_shared<Connection>(*this, id, std::move(socket));
      connections.emplace(id, connection);
      counts.connections.store(connections.size(), std::memory_order_relaxed);
      connection->start(full);
      arm_tick();
    }
    accept();
  });
}

// The clock of all bounds runs only while someone is connected: an idle server never wakes up.
void ServerCore::arm_tick() {
  if (ticking || connections.empty()) {
    return;
  }
  ticking = true;
  const auto shortest =
      std::min({options.request_timeout, options.idle_timeout, options.answer_timeout,
                options.write_timeout, options.heartbeat});
  tick_timer.expires_after(std::clamp(shortest / 4, milliseconds{5}, milliseconds{500}));
  tick_timer.async_wait([this](error_code ec) {
    ticking = false;
    if (!ec) {
      tick();
      arm_tick();
    }
  });
}

void ServerCore::tick() {
  const auto now = SteadyClock::now();
  for (const auto& connection : all()) {
    if (now >= connection->deadline()) {
      connection->time_out();
    } else {
      connection->heartbeat(now);
    }
  }
}

void ServerCore::respond(std::uint64_t connection, std::uint64_t request, Response response) {
  const auto found = connections.find(connection);
  if (found != connections.end() && found->second->request_number() == request &&
      found->second->phase() == Connection::Phase::kAnswering) {
    const auto keep = found->second;
    keep->answer(std::move(response));
  }
}

void ServerCore::begin_stream(std::uint64_t connection, std::uint64_t request,
                              const std::shared_ptr<EventStream::State>& stream) {
  const auto found = connections.find(connection);
  if (found != connections.end() && found->second->request_number() == request &&
      found->second->phase() == Connection::Phase::kAnswering) {
    const auto keep = found->second;
    keep->begin_stream(stream);
  } else {
    const std::lock_guard lock(stream->mutex);
    stream->closed = true;
  }
}

void ServerCore::flush_stream(std::uint64_t connection) {
  const auto found = connections.find(connection);
  if (found != connections.end()) {
    const auto keep = found->second;
    keep->flush_stream();
  }
}

std::vector<std::shared_ptr<Connection>> ServerCore::all() const {
  std::vector<std::shared_ptr<Connection>> out;
  out.reserve(connections.size());
  for (const auto& [id, connection] : connections) {
    out.push_back(connection);
  }
  return out;
}

void ServerCore::close_all() {
  for (const auto& connection : all()) {
    connection->close();
  }
}

void ServerCore::finish_stop() {
  error_code ec;
  acceptor.close(ec);
  work.reset();
  io.stop();
}

bool EventStream::push(std::shared_ptr<const std::string> event) const {
  if (state_ == nullptr) {
    return false;
  }
  std::shared_ptr<ServerCore> core;
  bool dropped = false;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->closed || state_->ending) {
      return false;
    }
    core = state_->core.lock();
    if (core == nullptr) {
      state_->closed = true;
      return false;
    }
    dropped = state_->bytes + event->size() > state_->limit;
    if (dropped) {
      state_->closed = true;
      state_->queue.clear();
      state_->bytes = 0;
    } else {
      state_->bytes += event->size();
      state_->queue.push_back(std::move(event));
      if (state_->scheduled) {
        return true;
      }
      state_->scheduled = true;
    }
  }
  const auto id = state_->connection;
  if (!dropped) {
    asio::post(core->io, [raw = core.get(), id] { raw->flush_stream(id); });
    return true;
  }
  core->counts.dropped_streams.fetch_add(1, std::memory_order_relaxed);
  log::warn("event stream dropped: the client is too slow", {{"listener", core->options.name}});
  asio::post(core->io, [raw = core.get(), id] {
    const auto found = raw->connections.find(id);
    if (found != raw->connections.end()) {
      const auto keep = found->second;
      keep->close();
    }
  });
  return false;
}

bool EventStream::closed() const {
  if (state_ == nullptr) {
    return true;
  }
  const std::lock_guard lock(state_->mutex);
  return state_->closed || state_->ending || state_->core.expired();
}

void EventStream::close() const {
  if (state_ == nullptr) {
    return;
  }
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->closed || std::exchange(state_->ending, true)) {
      return;
    }
  }
  if (const auto core = state_->core.lock()) {
    asio::post(core->io, [raw = core.get(), id = state_->connection] { raw->flush_stream(id); });
  }
}

void Responder::send(Response response) const {
  state_->answer(std::move(response));
}

EventStream Responder::stream() const {
  auto stream = std::make_shared<EventStream::State>();
  stream->connection = state_->connection;
  stream->core = state_->core;
  const auto core = state_->core.lock();
  if (core == nullptr || state_->answered.exchange(true)) {
    stream->closed = true;
    return EventStream(std::move(stream));
  }
  stream->limit = core->options.max_stream_backlog;
  core->run([raw = core.get(), id = state_->connection, number = state_->request, stream] {
    raw->begin_stream(id, number, stream);
  });
  return EventStream(std::move(stream));
}

Server::Server(std::shared_ptr<ServerCore> core) : core_(std::move(core)) {}

Server::~Server() {
  stop();
}

Result<std::unique_ptr<Server>> Server::open(ServerOptions options, Router router) {
  const auto name = options.name;
  std::shared_ptr<ServerCore> core;
  try {
    core = std::make_shared<ServerCore>(std::move(options), std::move(router));
    if (auto listening = core->listen(); !listening) {
      return std::move(listening).error().with("{} listener", name);
    }
  } catch (const std::exception& failed) {
    return Error::unavailable("{} listener: {}", name, failed.what());
  }
  core->accept();
  // Signals are for the main thread: the new thread inherits a full mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  core->thread = std::thread([core] {
    core->thread_id.store(std::this_thread::get_id());
    pthread_setname_np(pthread_self(), "hw-http");
    core->io.run();
    core->close_all();
    core->thread_id.store({});
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return std::unique_ptr<Server>(new Server(std::move(core)));
}

std::uint16_t Server::port() const {
  return core_->bound.port();
}

std::string Server::address() const {
  return show(core_->bound);
}

const std::string& Server::name() const {
  return core_->options.name;
}

ServerCounts Server::counts() const {
  const auto& from = core_->counts;
  ServerCounts out;
  out.connections = from.connections.load(std::memory_order_relaxed);
  out.streams = from.streams.load(std::memory_order_relaxed);
  out.accepted = from.accepted.load(std::memory_order_relaxed);
  out.refused = from.refused.load(std::memory_order_relaxed);
  out.requests = from.requests.load(std::memory_order_relaxed);
  out.bad_requests = from.bad_requests.load(std::memory_order_relaxed);
  out.timeouts = from.timeouts.load(std::memory_order_relaxed);
  out.dropped_streams = from.dropped_streams.load(std::memory_order_relaxed);
  return out;
}

void Server::stop(milliseconds grace) {
  if (!core_->thread.joinable()) {
    return;
  }
  asio::post(core_->io, [core = core_.get(), grace] {
    core->stopping = true;
    error_code ec;
    core->acceptor.close(ec);
    if (grace.count() > 0) {
      for (const auto& connection : core->all()) {
        connection->wind_down();
      }
    } else {
      core->close_all();
    }
    if (core->connections.empty()) {
      core->finish_stop();
      return;
    }
    core->stop_timer.expires_after(grace);
    core->stop_timer.async_wait([core](error_code) { core->finish_stop(); });
  });
  core_->thread.join();
}

bool is_loopback(std::string_view address) {
  const auto endpoint = parse_address(address);
  return endpoint && endpoint->address().is_loopback();
}

}  // namespace headwater::http
