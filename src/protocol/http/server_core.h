// Inside the server: what all connections share, and the state behind EventStream and Responder.
// Included by connection.h alone, so that Boost is compiled once.
#pragma once

// clang-format off: Asio 1.74 uses std::exchange without including <utility>.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>
// clang-format on

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "protocol/http/server.h"

namespace headwater::http {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;
using TlsStream = asio::ssl::stream<Socket&>;
using Parser = beast_http::request_parser<beast_http::string_body>;
using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

inline constexpr std::size_t kReadBytes = 4096;
inline constexpr std::size_t kStreamWriteBytes = 64 * 1024;
inline constexpr std::size_t kKeepCapacity =
    16 * 1024;  // of a connection's buffers between requests
inline constexpr std::size_t kMaxDrainBytes =
    1024 * 1024;  // of a refused request, read and thrown away
inline constexpr milliseconds kDrainTime{2'000};
inline constexpr milliseconds kAcceptPause{100};  // after EMFILE and the like
inline constexpr std::size_t kRefusalSlots = 16;  // connections over the bound that still hear 503

// "127.0.0.1:8080", "[::1]:8080".
std::string show(const tcp::endpoint& endpoint);

class Connection;

struct ServerCore : std::enable_shared_from_this<ServerCore> {
  ServerCore(ServerOptions server_options, Router server_router)
      : options(std::move(server_options)), router(std::move(server_router)) {}

  Status listen();
  void accept();
  void tick();
  void arm_tick();
  bool make_room();
  void close_all();
  void finish_stop();
  // A copy: what is called on them may remove connections.
  std::vector<std::shared_ptr<Connection>> all() const;
  void respond(std::uint64_t connection, std::uint64_t request, Response response);
  void begin_stream(std::uint64_t connection, std::uint64_t request,
                    const std::shared_ptr<EventStream::State>& stream);
  void flush_stream(std::uint64_t connection);
  bool on_thread() const { return std::this_thread::get_id() == thread_id.load(); }

  // Runs `call` on the server's thread: now if this is it.
  template <class Call>
  void run(Call call) {
    if (on_thread()) {
      call();
    } else {
      asio::post(io, std::move(call));
    }
  }

  ServerOptions options;
  Router router;
  asio::io_context io{1};
  asio::executor_work_guard<Executor> work{io.get_executor()};
  std::unique_ptr<asio::ssl::context> tls;
  Acceptor acceptor{io};
  Timer tick_timer{io};
  Timer accept_timer{io};
  Timer stop_timer{io};
  tcp::endpoint bound;
  bool ticking = false;
  bool stopping = false;
  std::uint64_t next_id = 1;
  std::unordered_map<std::uint64_t, std::shared_ptr<Connection>> connections;
  std::thread thread;
  std::atomic<std::thread::id> thread_id{};

  struct Counts {
    std::atomic<std::uint64_t> connections{0}, streams{0}, accepted{0}, refused{0}, requests{0},
        bad_requests{0}, timeouts{0}, dropped_streams{0};
  } counts;
};

struct EventStream::State {
  std::mutex mutex;
  std::weak_ptr<ServerCore> core;
  std::uint64_t connection = 0;
  std::deque<std::shared_ptr<const std::string>> queue;
  std::size_t bytes = 0;  // in the queue
  std::size_t limit = 0;
  bool closed = false;     // nothing more is taken
  bool ending = false;     // close() was called: finish after the queue
  bool scheduled = false;  // a flush is on its way
};

struct Responder::State {
  std::weak_ptr<ServerCore> core;
  std::uint64_t connection = 0;
  std::uint64_t request = 0;
  std::atomic<bool> answered{false};

  State(std::weak_ptr<ServerCore> owner, std::uint64_t connection_id, std::uint64_t request_id)
      : core(std::move(owner)), connection(connection_id), request(request_id) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { answer(Response::error(500, "internal", "the request was not answered")); }

  void answer(Response response) {
    if (answered.exchange(true)) {
      return;
    }
    if (const auto owner = core.lock()) {
      owner->run([raw = owner.get(), id = connection, number = request,
                  answer = std::move(response)]() mutable {
        raw->respond(id, number, std::move(answer));
      });
    }
  }
};

}  // namespace headwater::http
