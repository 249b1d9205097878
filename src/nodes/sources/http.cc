#include "nodes/sources/http.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "io/tls.h"
#include "nodes/expression.h"
#include "nodes/sources/http_body.h"
#include "protocol/http/auth.h"
#include "protocol/http/server.h"

namespace headwater {
namespace {

// What one take() copies at most, so that a round stays short.
constexpr std::size_t kTakeBytes = 4U << 20;
constexpr std::chrono::milliseconds kCloseGrace{2'000};

struct PostedRequest {
  http::Responder responder;
  BodyReadings readings;
  std::string topic{};
  std::string sender{};
  std::size_t next = 0;  // reading to be taken
  Position first = 0;    // of its first reading; once that is taken
  Position last = 0;     // of its last reading; likewise
  bool refused = false;  // and told so
  std::uint64_t stored = 0;
  std::uint64_t duplicate = 0;
  std::uint64_t filtered = 0;
  std::uint64_t dead_letter = 0;
  std::uint64_t thinned = 0;

  std::string counts() const {
    return fmt::format(
        R"({{"received":{},"stored":{},"duplicate":{},"filtered":{},"dead_letter":{}{}}})",
        stored + duplicate + filtered + dead_letter + thinned, stored, duplicate, filtered,
        dead_letter, thinned == 0 ? std::string() : fmt::format(",\"thinned\":{}", thinned));
  }
};

constexpr std::string_view kNothingNow = "the store takes nothing at the moment";

void refuse_for_now(const http::Responder& responder, std::string_view text) {
  responder.send(http::Response::unavailable(text));
}

// Between the server's thread and the worker's.
struct Inbox {
  Inbox(HttpSourceOptions source_options, CsvDocumentOptions csv_options, io::Loop& of_worker)
      : options(std::move(source_options)), csv(std::move(csv_options)), loop(of_worker) {}

  // On the server's thread.
  void take(http::Request&& request, const http::Responder& responder);

  const HttpSourceOptions options;
  const CsvDocumentOptions csv;
  io::Loop& loop;  // of the worker that has the source; outlives the server
  std::atomic<std::uint64_t> refused{0};

  std::mutex mutex;  // guards what follows
  std::deque<std::unique_ptr<PostedRequest>> arrived;
  std::size_t bytes = 0;  // of requests that are not wholly taken
  std::size_t open = 0;   // requests without an answer
  bool paused = false;

 private:
  void refuse(const http::Responder& responder, int status, std::string_view code,
              std::string_view text) {
    refused.fetch_add(1, std::memory_order_relaxed);
    responder.send(http::Response::error(status, code, text));
  }
  bool admits(const http::Request& request, const http::Responder& responder);
};

// A browser names the page that made it post (Origin); no other client does. Without a token any
// page could otherwise write readings to a listener on its visitor's machine.
bool Inbox::admits(const http::Request& request, const http::Responder& responder) {
  if (options.token.empty()) {
    if (request.header("Origin")) {
      refuse(responder, 403, "invalid", "without a token no page of a browser may post");
      return false;
    }
    return true;
  }
  if (http::has_bearer(request, options.token.reveal())) {
    return true;
  }
  refused.fetch_add(1, std::memory_order_relaxed);
  http::Response response =
      http::Response::error(401, "unauthorized", "a valid bearer token is required");
  response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"headwater\"");
  responder.send(std::move(response));
  return false;
}

void Inbox::take(http::Request&& request, const http::Responder& responder) {
  if (!admits(request, responder)) {
    return;
  }
  const BodyFormat format = body_format(request.header("Content-Type").value_or(""));
  if (format == BodyFormat::kUnknown) {
    refuse(responder, 415, "invalid",
           "Content-Type: use application/json (an object or an array), application/x-ndjson "
           "(lines) or text/csv (with a header line)");
    return;
  }
  if (const auto coding = request.header("Content-Encoding"); coding && *coding != "identity") {
    refuse(responder, 415, "invalid", "Content-Encoding: bodies are read as they are");
    return;
  }
  {
    const std::lock_guard lock(mutex);
    if (paused || open >= options.max_requests ||
        bytes + request.body.size() > options.max_waiting.bytes) {
      refused.fetch_add(1, std::memory_order_relaxed);
      refuse_for_now(responder, paused ? kNothingNow : "too much waits to be stored");
      return;
    }
  }
  auto readings = read_body(std::move(request.body), format, csv);
  if (!readings) {
    refuse(responder, readings.error().code() == Code::kExhausted ? 413 : 400, "invalid",
           readings.error().text());
    return;
  }
  auto posted = std::make_unique<PostedRequest>(
      PostedRequest{.responder = responder, .readings = std::move(*readings)});
  if (posted->readings.pieces.empty()) {
    responder.send(http::Response::json(posted->counts()));
    return;
  }
  posted->topic =
      request.param("topic").empty() ? options.path.substr(1) : std::string(request.param("topic"));
  posted->sender = request.peer.substr(0, request.peer.rfind(':'));
  {
    const std::lock_guard lock(mutex);
    bytes += posted->readings.bytes.size();
    ++open;
    arrived.push_back(std::move(posted));
  }
  loop.post([] {});  // a round, in which take() is called
}

// The source is one partition: its positions count readings.
class HttpSource final : public Source,
                         public Accounting,
                         public Declining,
                         public Refusing,
                         public Listening {
 public:
  HttpSource(std::shared_ptr<Inbox> inbox, std::unique_ptr<http::Server> server)
      : inbox_(std::move(inbox)), server_(std::move(server)) {}

  // The server has been open since the source was made; requests wait for the first take().
  Status start(io::Loop&) override { return {}; }

  Result<More> take(std::size_t room, Batch& batch) override {
    if (paused_ || room == 0) {
      return More::kNone;
    }
    fetch();
    const MonoTime arrived = io::mono_now();
    const WallTime received = io::wall_now();
    std::size_t bytes = 0;
    while (batch.rows() < room && bytes < kTakeBytes && !waiting_.empty()) {
      PostedRequest& request = *waiting_.front();
      Row row;
      row.topic = batch.arena().copy(request.topic);
      row.sender = batch.arena().copy(request.sender);
      row.received = received;
      row.time = received;
      row.arrived = arrived;
      if (request.next == 0) {
        request.first = position_ + 1;
        request.last = position_ + request.readings.pieces.size();
        taken_.push_back(&request);
      }
      while (batch.rows() < room && bytes < kTakeBytes &&
             request.next < request.readings.pieces.size()) {
        bytes += add(request, row, batch);
      }
      if (request.next == request.readings.pieces.size()) {
        finish_first();
      }
    }
    return waiting_.empty() ? More::kNone : More::kYes;
  }

  void became(Partition, Position position, Fate fate) override {
    while (judging_ < taken_.size() && taken_[judging_]->last < position) {
      ++judging_;
    }
    HW_CHECK(judging_ < taken_.size(), "each row is one of a request that was taken");
    PostedRequest& request = *taken_[judging_];
    switch (fate) {
      case Fate::kStored:
        ++request.stored;
        break;
      case Fate::kDuplicate:
        ++request.duplicate;
        break;
      case Fate::kFiltered:
        ++request.filtered;
        break;
      case Fate::kDeadLetter:
        ++request.dead_letter;
        break;
      case Fate::kThinned:
        ++request.thinned;
        break;
    }
  }

  Status acknowledge(Partition, Position upto) override {
    std::size_t answered = 0;
    while (!answering_.empty() && answering_.front()->last <= upto) {
      answering_.front()->responder.send(http::Response::json(answering_.front()->counts()));
      answering_.pop_front();
      taken_.pop_front();
      judging_ -= judging_ > 0 ? 1 : 0;
      ++answered;
    }
    forget_open(answered);
    return {};
  }

  // A request of which a reading is refused is answered at once, whatever its others became. What
  // of it is not taken yet never is.
  void decline(Partition, Position from, Position upto) override {
    for (PostedRequest* request : taken_) {
      if (request->refused || request->last < from || request->first > upto) {
        continue;
      }
      request->refused = true;
      refuse_for_now(request->responder, "the store is full");
      if (!waiting_.empty() && waiting_.front().get() == request) {
        inbox_->refused.fetch_add(request->readings.pieces.size() - request->next,
                                  std::memory_order_relaxed);
        request->last = position_;
        finish_first();
      }
    }
  }

  // What is not taken yet is sent away, so that no client waits for a store that is full.
  void pause(bool paused) override {
    if (std::exchange(paused_, paused) == paused) {
      return;
    }
    {
      const std::lock_guard lock(inbox_->mutex);
      inbox_->paused = paused;
    }
    if (paused) {
      turn_away();
    } else {
      inbox_->loop.post([] {});
    }
  }

  void close() override {
    pause(true);
    for (const std::unique_ptr<PostedRequest>& request : answering_) {
      refuse_for_now(request->responder, "the edge is stopping");
    }
    for (const std::unique_ptr<PostedRequest>& request : waiting_) {
      refuse_for_now(request->responder, "the edge is stopping");
    }
    server_->stop(kCloseGrace);
  }

  std::uint64_t refused() const override {
    return inbox_->refused.load(std::memory_order_relaxed) + server_->counts().bad_requests;
  }
  std::string address() const override { return server_->address(); }
  std::size_t connections() const override {
    return static_cast<std::size_t>(server_->counts().connections);
  }
  std::vector<std::pair<std::string, std::uint64_t>> closed() const override {
    const http::ServerCounts counts = server_->counts();
    std::vector<std::pair<std::string, std::uint64_t>> out;
    if (counts.refused != 0) {
      out.emplace_back("refused_full", counts.refused);
    }
    if (counts.timeouts != 0) {
      out.emplace_back("timeout", counts.timeouts);
    }
    return out;
  }

 private:
  void fetch() {
    const std::lock_guard lock(inbox_->mutex);
    for (std::unique_ptr<PostedRequest>& request : inbox_->arrived) {
      waiting_.push_back(std::move(request));
    }
    inbox_->arrived.clear();
  }

  std::size_t add(PostedRequest& request, Row row, Batch& batch) {
    const std::string_view piece = request.readings.piece(request.next);
    const std::size_t note = request.readings.pieces[request.next].note;
    ++request.next;
    row.payload = batch.arena().copy(piece);
    row.position = ++position_;
    if (note != BodyReadings::kNone) {
      row.flags |= kRowUndecoded;
      row.note = batch.arena().copy(request.readings.notes[note]);
    }
    batch.add_row(row);
    return piece.size();
  }

  // All of the first waiting request is taken that ever will be.
  void finish_first() {
    forget_bytes(waiting_.front()->readings.bytes.size());
    waiting_.front()->readings = {};
    answering_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }

  void turn_away() {
    fetch();
    std::size_t bytes = 0;
    std::size_t count = 0;
    while (!waiting_.empty() && waiting_.back()->next == 0) {
      refuse_for_now(waiting_.back()->responder, kNothingNow);
      inbox_->refused.fetch_add(waiting_.back()->readings.pieces.size(), std::memory_order_relaxed);
      bytes += waiting_.back()->readings.bytes.size();
      ++count;
      waiting_.pop_back();
    }
    forget_bytes(bytes);
    forget_open(count);
  }

  void forget_bytes(std::size_t bytes) {
    const std::lock_guard lock(inbox_->mutex);
    inbox_->bytes -= bytes;
  }
  void forget_open(std::size_t requests) {
    const std::lock_guard lock(inbox_->mutex);
    inbox_->open -= requests;
  }

  std::shared_ptr<Inbox> inbox_;
  std::unique_ptr<http::Server> server_;
  std::deque<std::unique_ptr<PostedRequest>> waiting_;    // not wholly taken, in order
  std::deque<std::unique_ptr<PostedRequest>> answering_;  // wholly taken, in order
  std::deque<PostedRequest*> taken_;  // those of answering_, then the one that is partly taken
  std::size_t judging_ = 0;           // of taken_: whose rows became() is told about
  Position position_ = 0;
  bool paused_ = false;
};

http::ServerOptions server_options(const HttpSourceOptions& options, const std::string& name) {
  const auto milliseconds = [](config::Duration time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time);
  };
  http::ServerOptions server;
  server.address = options.address.text();
  server.name = name;
  server.max_connections = options.max_connections;
  server.request_timeout = milliseconds(options.request_timeout);
  server.answer_timeout = milliseconds(options.answer_timeout);
  if (options.tls) {
    server.tls = http::ServerTls{options.tls->certificate.text, options.tls->key.text,
                                 options.tls->client_ca.text};
  }
  return server;
}

Result<std::unique_ptr<http::Server>> open_server(const std::shared_ptr<Inbox>& inbox,
                                                  const std::string& name) {
  http::Router router;
  const http::RouteOptions bounds{.max_body = inbox->options.max_body.bytes};
  for (const char* rest : {"", "/{topic...}"}) {
    HW_TRY(router.add(
        "POST", inbox->options.path + rest,
        [inbox](http::Request&& request, const http::Responder& responder) {
          inbox->take(std::move(request), responder);
        },
        bounds));
  }
  return http::Server::open(server_options(inbox->options, name), std::move(router));
}

bool check_listener(const HttpSourceOptions& options, const config::Node& node,
                    config::Diagnostics& diagnostics) {
  bool good = true;
  const auto report = [&](std::string_view option, std::string_view text) {
    diagnostics.error(option_node(node, option), std::string(text));
    good = false;
  };
  if (!http::is_loopback(options.address.text())) {
    const bool known = !options.token.empty() || (options.tls && !options.tls->client_ca.empty());
    if (!options.tls || !known) {
      report("address",
             fmt::format("'{}' is reachable from elsewhere and has no {}", options.address.text(),
                         options.tls ? "token or tls.client_ca"
                         : known     ? "tls"
                                     : "tls and no token"));
    }
  }
  if (options.path.size() < 2 || options.path[0] != '/' || options.path.back() == '/' ||
      options.path.find_first_of("{}?#% ") != std::string::npos ||
      options.path.find("//") != std::string::npos) {
    report("path", fmt::format("'{}' is no path such as /readings", options.path));
  }
  if (options.tls) {
    const auto loaded =
        io::TlsContext::server({options.tls->certificate.text, options.tls->key.text,
                                options.tls->client_ca.text, !options.tls->client_ca.empty()});
    if (!loaded) {
      report("tls", loaded.error().text());
    }
  }
  if (options.max_waiting.bytes < options.max_body.bytes) {
    report("max_waiting", "is less than max_body: the largest request would never be taken");
  }
  if (options.reading.format != ReadingFormat::kJson) {
    report("format", "an http source goes by the Content-Type of each request");
  }
  return good;
}

}  // namespace

SourceSet make_http_source(const HttpSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics) {
  SourceSet set;
  set.acknowledges_on_receipt = options.acknowledge == Acknowledge::kReceived;
  set.acknowledges = !set.acknowledges_on_receipt;
  set.declared = declared_schema(options.reading);
  set.declares_id = !options.reading.message_id.empty();
  const ReadingOptions reading = without_csv(options.reading);
  set.make_decode = [reading, node] {
    config::Diagnostics ignored;  // reported below, once
    return make_json_decode(reading, node, ignored);
  };
  const std::optional<CsvDocumentOptions> csv = csv_options(options.reading, node, diagnostics);
  set.good = make_json_decode(reading, node, diagnostics) != nullptr && csv.has_value();
  set.good = check_listener(options, node, diagnostics) && set.good;
  if (!set.good || context.loops.empty()) {
    return set;
  }
  const std::size_t worker = hash64(context.name) % context.loops.size();
  const auto inbox = std::make_shared<Inbox>(options, *csv, *context.loops[worker]);
  Result<std::unique_ptr<http::Server>> server = open_server(inbox, context.name);
  if (!server) {
    diagnostics.error(option_node(node, "address"), server.error());
    set.good = false;
    return set;
  }
  set.sources.resize(context.loops.size());
  set.sources[worker] = std::make_unique<HttpSource>(inbox, std::move(*server));
  return set;
}

}  // namespace headwater
