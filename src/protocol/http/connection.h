// Inside the server: one client connection. Included by server.cc alone.
//
// A connection is a small state machine over Asio's non-blocking reads and writes; Beast parses the
// requests (RFC 9112: it refuses both framing headers together, bad lengths, bad chunks); routing,
// bounds and answers are ours. Everything here runs on the server's thread, but the two State
// structs, which their handles use from any thread.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/http/server_core.h"
#include "protocol/http/wire.h"
#include "telemetry/log.h"

namespace headwater::http {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  enum class Phase : std::uint8_t {
    kHandshake,
    kIdle,       // waiting for a request's first byte
    kRequest,    // inside a request
    kAnswering,  // the handler has it
    kWriting,
    kStream,
    kDrain,  // all is written; reading until the client closes, so that it sees the answer
    kClosed,
  };

  Connection(ServerCore& core, std::uint64_t id, Socket socket)
      : core_(core), id_(id), socket_(std::move(socket)) {}

  // `refused`: over the bound of connections, hears 503 and goes.
  void start(bool refused) {
    error_code ec;
    socket_.set_option(tcp::no_delay(true), ec);
    const auto peer = socket_.remote_endpoint(ec);
    peer_ = ec ? std::string() : show(peer);
    if (refused) {
      close_after_ = true;
      write(Response::error(503, "exhausted", "too many connections"), false);
    } else if (core_.tls != nullptr) {
      tls_ = std::make_unique<TlsStream>(socket_, *core_.tls);
      enter(Phase::kHandshake, core_.options.request_timeout);
      tls_->async_handshake(asio::ssl::stream_base::server,
                            [self = shared_from_this()](error_code failed) {
                              if (failed) {
                                self->close();
                              } else if (self->phase_ == Phase::kHandshake) {
                                self->await_request();
                              }
                            });
    } else {
      await_request();
    }
  }

  Phase phase() const { return phase_; }
  SteadyClock::time_point deadline() const { return deadline_; }
  SteadyClock::time_point phase_start() const { return phase_start_; }
  std::uint64_t request_number() const { return request_number_; }

  void answer(Response response) { write(std::move(response), is_head_); }

  void begin_stream(const std::shared_ptr<EventStream::State>& stream) {
    Response response;
    response.content_type = "text/event-stream";
    close_after_ = true;
    if (is_head_) {
      mark_closed(*stream);
      write(std::move(response), true);
      return;
    }
    stream_ = stream;
    core_.counts.streams.fetch_add(1, std::memory_order_relaxed);
    append_head(out_, response, Framing::kUntilClose, true);
    out_ += "retry: 2000\n\n";
    enter(Phase::kStream, core_.options.write_timeout);
    after_write_ = &Connection::flush_stream;
    last_event_ = SteadyClock::now();
    write_more();
    read_more();  // only to learn that the client has gone
  }

  // Writes what is queued; called when something was queued and after each write.
  void flush_stream() {
    if (phase_ != Phase::kStream || writing_) {
      return;
    }
    bool ending = false;
    {
      const std::lock_guard lock(stream_->mutex);
      while (!stream_->queue.empty() && out_.size() < kStreamWriteBytes) {
        stream_->bytes -= stream_->queue.front()->size();
        out_ += *stream_->queue.front();
        stream_->queue.pop_front();
      }
      stream_->scheduled = !out_.empty();
      ending = stream_->ending;
    }
    if (!out_.empty()) {
      last_event_ = SteadyClock::now();
      deadline_ = last_event_ + core_.options.write_timeout;
      write_more();
    } else if (ending || core_.stopping) {
      mark_closed(*stream_);
      finish();
    } else {
      deadline_ = SteadyClock::time_point::max();
    }
  }

  void heartbeat(SteadyClock::time_point now) {
    if (phase_ == Phase::kStream && !writing_ && now - last_event_ >= core_.options.heartbeat) {
      last_event_ = now;
      deadline_ = now + core_.options.write_timeout;
      out_ += ":\n\n";
      write_more();
    }
  }

  void time_out() {
    if (phase_ == Phase::kRequest) {
      core_.counts.timeouts.fetch_add(1, std::memory_order_relaxed);
      refuse(408, "invalid", "the request took too long");
    } else if (phase_ == Phase::kAnswering) {
      core_.counts.timeouts.fetch_add(1, std::memory_order_relaxed);
      close_after_ = true;
      answer(Response::unavailable("the answer took too long"));
    } else {
      if (phase_ != Phase::kIdle && phase_ != Phase::kDrain) {
        core_.counts.timeouts.fetch_add(1, std::memory_order_relaxed);
      }
      close();
    }
  }

  // The server is going: ends what is quiet, lets the rest finish its answer.
  void wind_down() {
    close_after_ = true;
    if (phase_ == Phase::kStream) {
      flush_stream();
    } else if (phase_ == Phase::kIdle || phase_ == Phase::kHandshake || phase_ == Phase::kDrain ||
               phase_ == Phase::kRequest) {
      close();
    }
  }

  void close() {
    if (phase_ == Phase::kClosed) {
      return;
    }
    if (stream_ != nullptr) {
      mark_closed(*stream_);
      stream_.reset();
      core_.counts.streams.fetch_sub(1, std::memory_order_relaxed);
    }
    phase_ = Phase::kClosed;
    error_code ec;
    socket_.close(ec);
    const auto self = shared_from_this();  // the map's may be the last
    core_.connections.erase(id_);
    core_.counts.connections.store(core_.connections.size(), std::memory_order_relaxed);
    if (core_.stopping && core_.connections.empty()) {
      core_.finish_stop();
    }
  }

 private:
  static void mark_closed(EventStream::State& stream) {
    const std::lock_guard lock(stream.mutex);
    stream.closed = true;
    stream.queue.clear();
    stream.bytes = 0;
  }

  void enter(Phase phase, milliseconds limit) {
    phase_ = phase;
    phase_start_ = SteadyClock::now();
    deadline_ = phase_start_ + limit;
  }

  void await_request() {
    if (core_.stopping) {
      finish();
      return;
    }
    parser_.reset();
    if (in_.capacity() > kKeepCapacity) {
      in_.shrink_to_fit();
    }
    enter(Phase::kIdle, core_.options.idle_timeout);
    advance();
  }

  void read_more() {
    if (reading_ || phase_ == Phase::kClosed) {
      return;
    }
    reading_ = true;
    auto done = [self = shared_from_this()](error_code ec, std::size_t size) {
      self->reading_ = false;
      self->on_read(ec, size);
    };
    if (tls_ != nullptr) {
      tls_->async_read_some(asio::buffer(buffer_), std::move(done));
    } else {
      socket_.async_read_some(asio::buffer(buffer_), std::move(done));
    }
  }

  void on_read(error_code ec, std::size_t size) {
    if (phase_ == Phase::kClosed) {
      return;
    }
    if (ec) {
      // Ends between requests, inside one, or of a stream's client: nothing is owed in any case.
      close();
      return;
    }
    if (phase_ == Phase::kStream || phase_ == Phase::kDrain) {
      drained_ += size;
      if (drained_ > kMaxDrainBytes) {
        close();
      } else {
        read_more();
      }
      return;
    }
    in_.append(buffer_.data(), size);
    advance();
  }

  // Parses what is there, and asks for more or hands the request over.
  void advance() {
    if (phase_ == Phase::kIdle) {
      // An empty line before a request is to be ignored (RFC 9112 §2.2).
      in_.erase(0, std::min(in_.find_first_not_of("\r\n"), in_.size()));
      if (in_.empty()) {
        read_more();
        return;
      }
      enter(Phase::kRequest, core_.options.request_timeout);
      parser_.emplace();
      parser_->header_limit(static_cast<std::uint32_t>(core_.options.max_header_bytes));
      parser_->body_limit(std::numeric_limits<std::uint64_t>::max());  // until the route is known
      match_ = {};
      is_head_ = false;
    }
    while (phase_ == Phase::kRequest) {
      const bool had_header = parser_->is_header_done();
      error_code ec;
      const auto used = parser_->put(asio::buffer(in_), ec);
      in_.erase(0, used);
      if (ec == beast_http::error::need_more) {
        read_more();
        return;
      }
      if (ec) {
        refuse_parse(ec);
        return;
      }
      if (!had_header && parser_->is_header_done() && !take_header()) {
        return;
      }
      if (parser_->is_done()) {
        hand_over();
        return;
      }
      if (used == 0) {
        read_more();
        return;
      }
    }
  }

  void refuse_parse(const error_code& ec) {
    if (ec == beast_http::error::header_limit) {
      refuse(431, "invalid", "the request header is too large");
    } else if (ec == beast_http::error::body_limit && match_.handler == nullptr) {
      refuse_unrouted();
    } else if (ec == beast_http::error::body_limit) {
      refuse(413, "invalid", "the request body is too large for this path");
    } else {
      refuse(400, "invalid", ec.message());
    }
  }

  // The header is complete: finds the route and its bounds. False when the request is over.
  bool take_header() {
    auto& message = parser_->get();
    is_head_ = message.method() == beast_http::verb::head;
    auto target = parse_target(std::string_view(message.target().data(), message.target().size()));
    if (!target) {
      refuse(400, "invalid", target.error().text());
      return false;
    }
    target_ = std::move(target).value();
    const auto method = message.method_string();
    match_ = core_.router.match(std::string_view(method.data(), method.size()), target_.path);
    const std::size_t limit = match_.handler != nullptr ? match_.options->max_body : 0;
    const auto length = parser_->content_length();
    if (length && *length > limit) {
      // Without a route the answer is 404 or 405; the body is not read for it either.
      if (match_.handler != nullptr) {
        refuse(413, "invalid", "the request body is too large for this path");
      } else {
        refuse_unrouted();
      }
      return false;
    }
    parser_->body_limit(limit);
    const auto expect = message.find(beast_http::field::expect);
    if (expect != message.end() && message.version() >= 11 && !parser_->is_done()) {
      if (!boost::beast::iequals(expect->value(), "100-continue")) {
        refuse(417, "invalid", "only 100-continue can be expected");
        return false;
      }
      if (match_.handler == nullptr) {
        refuse_unrouted();
        return false;
      }
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      after_write_ = &Connection::advance;
      write_more();
      return false;  // goes on in advance() when written
    }
    return true;
  }

  Response unrouted() const {
    if (match_.allow.empty()) {
      return Response::error(404, "not_found", fmt::format("no '{}' here", target_.path));
    }
    auto response = Response::error(405, "invalid", "allowed here: " + match_.allow);
    response.headers.emplace_back("Allow", match_.allow);
    return response;
  }

  void refuse_unrouted() {
    close_after_ = true;
    answer(unrouted());
  }

  void hand_over() {
    core_.counts.requests.fetch_add(1, std::memory_order_relaxed);
    auto& message = parser_->get();
    close_after_ = !parser_->keep_alive() || core_.stopping;
    ++request_number_;
    enter(Phase::kAnswering, core_.options.answer_timeout);
    if (match_.handler == nullptr) {
      answer(unrouted());
      return;
    }
    Request request;
    request.method = std::string(message.method_string());
    request.path = std::move(target_.path);
    request.query = std::move(target_.query);
    request.params = std::move(match_.params);
    for (const auto& field : message) {
      request.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
    }
    request.body = std::move(message.body());
    request.peer = peer_;
    const Responder responder(
        std::make_shared<Responder::State>(core_.weak_from_this(), id_, request_number_));
    call_handler(std::move(request), responder);
  }

  void call_handler(Request&& request, const Responder& responder);

  void refuse(int status, std::string_view code, std::string_view text) {
    core_.counts.bad_requests.fetch_add(1, std::memory_order_relaxed);
    close_after_ = true;
    write(Response::error(status, code, text), is_head_);
  }

  void write(Response response, bool head_only) {
    if (writing_) {
      // Only a time-out behind an unsent "100 Continue" gets here: that client takes nothing.
      close();
      return;
    }
    append_head(out_, response, Framing::kLength, close_after_);
    if (!head_only && response.status != 204 && response.status != 304) {
      out_ += response.body;
    }
    enter(Phase::kWriting, core_.options.write_timeout);
    after_write_ = &Connection::after_answer;
    write_more();
  }

  void after_answer() {
    if (close_after_) {
      finish();
    } else {
      await_request();
    }
  }

  void write_more() {
    writing_ = true;
    auto done = [self = shared_from_this()](error_code ec, std::size_t size) {
      self->writing_ = false;
      self->on_written(ec, size);
    };
    const auto rest = asio::buffer(out_.data() + written_, out_.size() - written_);
    if (tls_ != nullptr) {
      tls_->async_write_some(rest, std::move(done));
    } else {
      socket_.async_write_some(rest, std::move(done));
    }
  }

  void on_written(error_code ec, std::size_t size) {
    if (phase_ == Phase::kClosed) {
      return;
    }
    if (ec) {
      close();
      return;
    }
    written_ += size;
    if (written_ < out_.size()) {
      if (phase_ != Phase::kRequest) {
        deadline_ = SteadyClock::now() + core_.options.write_timeout;
      }
      write_more();
      return;
    }
    written_ = 0;
    out_.clear();
    if (out_.capacity() > kKeepCapacity) {
      out_.shrink_to_fit();
    }
    (this->*after_write_)();
  }

  // Closes so that the client can still read the answer: a close with unread bytes in the kernel
  // would be a reset, which may overtake it.
  void finish() {
    if (core_.stopping && tls_ == nullptr) {
      close();
      return;
    }
    enter(Phase::kDrain, kDrainTime);
    if (tls_ != nullptr) {
      tls_->async_shutdown([self = shared_from_this()](error_code) { self->close(); });
      return;
    }
    error_code ec;
    socket_.shutdown(tcp::socket::shutdown_send, ec);
    read_more();
  }

  ServerCore& core_;
  const std::uint64_t id_;
  Socket socket_;
  std::unique_ptr<TlsStream> tls_;
  std::string peer_;
  Phase phase_ = Phase::kIdle;
  SteadyClock::time_point phase_start_;
  SteadyClock::time_point deadline_;

  std::array<char, kReadBytes> buffer_;
  std::string in_;  // received, not yet parsed
  std::size_t drained_ = 0;
  bool reading_ = false;
  std::optional<Parser> parser_;
  Target target_;
  Router::Match match_;
  bool is_head_ = false;
  std::uint64_t request_number_ = 0;

  std::string out_;
  std::size_t written_ = 0;
  bool writing_ = false;
  bool close_after_ = false;
  void (Connection::*after_write_)() = nullptr;

  std::shared_ptr<EventStream::State> stream_;
  SteadyClock::time_point last_event_;
};

inline void Connection::call_handler(Request&& request, const Responder& responder) {
  const auto self = shared_from_this();
  try {
    (*match_.handler)(std::move(request), responder);
  } catch (const std::exception& failed) {
    // Handlers are ours and do not throw; a library below one may. One request fails, not all.
    log::error("http handler failed", {{"listener", core_.options.name}, {"error", failed.what()}});
    responder.send(Response::error(500, "internal", "the request failed"));
  }
}

}  // namespace headwater::http
