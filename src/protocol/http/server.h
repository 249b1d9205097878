// Server: HTTP/1.1 on one thread of its own, for probes, metrics, the API and the embedded pages.
//
//   Router router;
//   HW_TRY(router.add("GET", "/livez",
//                     [](Request&&, Responder r) { r.send(Response::text("ok")); }));
//   auto server = HW_TRY(http::Server::open({.address = "127.0.0.1:8080"}, std::move(router)));
//   ... server->port() ...
//   server->stop();
//
// Thread rule: handlers run on the server's thread, one at a time, and must not block; one that has
// to wait gives its Responder to another thread. Responder and EventStream may be used from any
// thread, and after the server is gone (they then do nothing).
//
// Bounds, so that a bad client costs little: header size, body size per route, time to send a
// request, time between requests, time to take a response, connections in all, bytes waiting per
// event stream. A client over a bound is answered (408, 413, 431, 503) where possible, closed and
// counted. Requests with both Content-Length and Transfer-Encoding, or otherwise malformed, get 400
// and a close. Built on Boost.Beast's parser (RFC 9112) and Asio.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "protocol/http/message.h"
#include "protocol/http/router.h"

namespace headwater::http {

struct ServerTls {
  std::string certificate;     // PEM file, the chain
  std::string private_key;     // PEM file
  std::string client_ca = {};  // PEM file; if set, clients must show a certificate it signed
};

struct ServerOptions {
  // "HOST:PORT" with a numeric host or `localhost`; ":8080" is loopback, not everywhere: that is
  // "0.0.0.0:8080" or "[::]:8080". Port 0 lets the kernel choose.
  std::string address = "127.0.0.1:0";
  std::string name = "http";  // in the log and as the metric label `listener`
  std::size_t max_connections = 256;
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_stream_backlog = 256 * 1024;        // bytes waiting per event stream
  std::chrono::milliseconds request_timeout{10'000};  // first byte to last, and the TLS handshake
  std::chrono::milliseconds idle_timeout{60'000};     // between requests
  std::chrono::milliseconds answer_timeout{60'000};   // handler to answer (then 503)
  std::chrono::milliseconds write_timeout{30'000};    // client to take what was written
  std::chrono::milliseconds heartbeat{15'000};        // comment on a quiet event stream
  std::optional<ServerTls> tls = {};                  // nothing: plain
};

// Whether `address` names this machine only.
bool is_loopback(std::string_view address);

struct ServerCounts {
  std::uint64_t connections = 0;  // open now
  std::uint64_t streams = 0;      // open now
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  // over max_connections
  std::uint64_t requests = 0;
  std::uint64_t bad_requests = 0;     // 400, 413, 431 by the server itself
  std::uint64_t timeouts = 0;         // closed by a time bound
  std::uint64_t dropped_streams = 0;  // backlog over its bound
};

// A server-sent event stream to one client. A handle: copies are the same stream.
class EventStream {
 public:
  EventStream() = default;
  // Queues bytes already formatted with format_event(). False once the client is gone or was
  // dropped for being slow. The same string may go to many streams without a copy.
  bool push(std::shared_ptr<const std::string> event) const;
  bool push(std::string event) const {
    return push(std::make_shared<const std::string>(std::move(event)));
  }
  bool closed() const;
  // Ends the stream after what is queued.
  void close() const;

  struct State;  // the server's own
  explicit EventStream(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

// Answers one request, once: what comes after the first answer is ignored. If the last copy dies
// unanswered, the client gets 500.
class Responder {
 public:
  void send(Response response) const;
  // Starts a 200 text/event-stream response.
  EventStream stream() const;

  struct State;  // the server's own
  explicit Responder(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

class Server {
 public:
  // Binds, listens and starts the thread.
  static Result<std::unique_ptr<Server>> open(ServerOptions options, Router router);
  ~Server();  // stop(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  std::string address() const;  // "127.0.0.1:8080", as bound
  const std::string& name() const;
  ServerCounts counts() const;  // any thread

  // Stops accepting, closes idle connections and streams, gives requests under way `grace` to
  // finish, then closes the rest and joins the thread. Not from a handler. Further calls do
  // nothing.
  void stop(std::chrono::milliseconds grace = std::chrono::milliseconds{0});

 private:
  explicit Server(std::shared_ptr<struct ServerCore> core);
  std::shared_ptr<struct ServerCore> core_;
};

}  // namespace headwater::http
