#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

#include "columnar/batch_writer.h"
#include "config/load.h"
#include "io/fault_files.h"
#include "protocol/http/server.h"
#include "uplink/catalogue.h"
#include "uplink/file_target.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

EncodedBatch batch_of(std::uint64_t first, std::uint64_t last, std::string_view edge = "hall 2") {
  BatchWriter writer;
  BatchHeader header;
  header.edge = edge;
  header.spool = {1, 2};
  header.lane = "readings";
  header.first = first;
  writer.begin(header);
  for (std::uint64_t sequence = first; sequence <= last; ++sequence) {
    BatchRow row;
    row.sequence = sequence;
    row.payload = "{}";
    EXPECT_TRUE(writer.add(row).ok());
  }
  return writer.finish(last, {}, 3).value();
}

// The answer to one batch.
TargetAnswer send(UplinkTarget& target, io::Loop& loop, const EncodedBatch& batch) {
  std::optional<TargetAnswer> answer;
  target.send(batch, [&](TargetAnswer given) { answer = std::move(given); });
  EXPECT_FALSE(answer.has_value()) << "done is never called from within send()";
  for (const MonoTime until = io::mono_now() + std::chrono::seconds(20);
       !answer && io::mono_now() < until;) {
    loop.run_once(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(answer.has_value());
  return answer.value_or(TargetAnswer{});
}

class FileTarget : public testing::Test {
 protected:
  void start(FileTargetOptions options = {}) {
    options.dir.text = "outbox/hall";
    target = make_file_target(disk, options);
    ASSERT_TRUE(target->start(*loop).ok());
  }
  TargetAnswer send(std::uint64_t first, std::uint64_t last) {
    return headwater::send(*target, *loop, batch_of(first, last));
  }
  std::vector<std::string> names() { return disk.list("outbox/hall").value(); }

  static std::string name(std::uint64_t first, std::uint64_t last) {
    return batch_file_name(batch_of(first, last).header);
  }

  io::FaultFiles disk{1};
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  std::unique_ptr<UplinkTarget> target;
};

TEST_F(FileTarget, WritesABatchUnderItsName) {
  start();
  EXPECT_EQ(send(1, 3).receipt, Receipt::kStored);
  EXPECT_EQ(send(4, 5).receipt, Receipt::kStored);
  EXPECT_THAT(names(), ElementsAre(name(1, 3), name(4, 5)));
  EXPECT_EQ(disk.contents("outbox/hall/" + name(1, 3)), batch_of(1, 3).bytes);
}

TEST_F(FileTarget, KeepsWhatItCalledStoredOverAPowerCut) {
  start();
  EXPECT_EQ(send(1, 3).receipt, Receipt::kStored);
  disk.power_off();
  disk.restart(0.0);
  EXPECT_EQ(disk.contents("outbox/hall/" + name(1, 3)), batch_of(1, 3).bytes);
}

TEST_F(FileTarget, ReplacesARepeat) {
  start();
  EXPECT_EQ(send(1, 3).receipt, Receipt::kStored);
  EXPECT_EQ(send(1, 3).receipt, Receipt::kStored);
  EXPECT_THAT(names(), ElementsAre(name(1, 3)));
}

TEST_F(FileTarget, AFullOrFailingDiskIsTriedAgain) {
  start();
  for (const io::DiskCall call : {io::DiskCall::kOpen, io::DiskCall::kWrite, io::DiskCall::kSync,
                                  io::DiskCall::kRename, io::DiskCall::kSyncDir}) {
    disk.fail(call, ENOSPC);
    const TargetAnswer answer = send(1, 3);
    EXPECT_EQ(answer.receipt, Receipt::kRetry) << static_cast<int>(call);
    EXPECT_THAT(answer.text, HasSubstr("outbox/hall"));
    disk.clear_faults();
    EXPECT_EQ(send(1, 3).receipt, Receipt::kStored);
    EXPECT_EQ(disk.contents("outbox/hall/" + name(1, 3)), batch_of(1, 3).bytes);
  }
}

TEST_F(FileTarget, StopsAtItsNumberOfFiles) {
  FileTargetOptions options;
  options.max_files = 2;
  start(options);
  EXPECT_EQ(send(1, 1).receipt, Receipt::kStored);
  EXPECT_EQ(send(2, 2).receipt, Receipt::kStored);
  const TargetAnswer answer = send(3, 3);
  EXPECT_EQ(answer.receipt, Receipt::kRetry);
  EXPECT_THAT(answer.text, HasSubstr("2 batches lie in"));
  ASSERT_TRUE(disk.remove("outbox/hall/" + name(1, 1)).ok());
  EXPECT_EQ(send(3, 3).receipt, Receipt::kStored);
}

TEST_F(FileTarget, CallsNobodyAfterItsEnd) {
  start();
  bool called = false;
  const EncodedBatch batch = batch_of(1, 1);
  target->send(batch, [&](const TargetAnswer&) { called = true; });
  target->close();
  loop->run_once(Nanos{0});
  EXPECT_FALSE(called);
}

class HttpTarget : public testing::Test {
 protected:
  void SetUp() override {
    setenv("no_proxy", "*", 1);
    http::Router router;
    ASSERT_TRUE(router
                    .add("POST", "/in",
                         [this](http::Request&& request, http::Responder responder) {
                           const std::lock_guard lock(mutex);
                           requests.push_back(std::move(request));
                           if (keep_silent) {
                             unanswered.push_back(std::move(responder));
                             return;
                           }
                           http::Response response;
                           response.status = status;
                           response.headers = answer_headers;
                           responder.send(std::move(response));
                         },
                         {.max_body = 1U << 20})
                    .ok());
    server = http::Server::open({}, std::move(router)).value();
    options.url = "http://" + server->address() + "/in";
  }
  TargetAnswer send(const EncodedBatch& batch) {
    target = make_http_target(options, config::Node(), diagnostics);
    EXPECT_TRUE(target != nullptr && target->start(*loop).ok()) << diagnostics.text();
    return headwater::send(*target, *loop, batch);
  }
  Receipt receipt_of(int answered) {
    {
      const std::lock_guard lock(mutex);
      status = answered;
    }
    return send(batch_of(1, 3)).receipt;
  }

  std::mutex mutex;  // guards what follows, up to the server
  int status = 200;
  bool keep_silent = false;
  std::vector<http::Responder> unanswered;
  http::Fields answer_headers;
  std::vector<http::Request> requests;
  std::unique_ptr<http::Server> server;
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  HttpTargetOptions options;
  config::Diagnostics diagnostics;
  std::unique_ptr<UplinkTarget> target;
};

TEST_F(HttpTarget, PostsTheBatchAndSaysWhatItIs) {
  options.token = config::Secret("s3cret");
  options.headers["X-Site"] = config::Secret("hall");
  const EncodedBatch batch = batch_of(7, 9);
  EXPECT_EQ(send(batch).receipt, Receipt::kStored);
  const std::lock_guard lock(mutex);
  ASSERT_EQ(requests.size(), 1U);
  const http::Request& request = requests[0];
  EXPECT_EQ(request.body, batch.bytes);
  EXPECT_EQ(request.header("Content-Type"), kBatchMediaType);
  EXPECT_EQ(request.header("Authorization"), "Bearer s3cret");
  EXPECT_EQ(request.header("X-Site"), "hall");
  EXPECT_EQ(request.header("Headwater-Edge"), "hall%202");
  EXPECT_EQ(request.header("Headwater-Spool"), "00000000000000010000000000000002");
  EXPECT_EQ(request.header("Headwater-Lane"), "readings");
  EXPECT_EQ(request.header("Headwater-First"), "7");
  EXPECT_EQ(request.header("Headwater-Last"), "9");
  EXPECT_EQ(request.header("Headwater-Rows"), "3");
  EXPECT_EQ(request.header("Headwater-Checksum"), batch.header.checksum);
  EXPECT_EQ(request.header("Idempotency-Key"), "00000000000000010000000000000002-readings-7-9");
}

TEST_F(HttpTarget, TellsWhatAnAnswerMeans) {
  for (const int stored : {200, 201, 204}) {
    EXPECT_EQ(receipt_of(stored), Receipt::kStored) << stored;
  }
  for (const int again : {408, 409, 425, 429, 500, 502, 503, 504}) {
    EXPECT_EQ(receipt_of(again), Receipt::kRetry) << again;
  }
  for (const int parked : {301, 307, 401, 403, 404, 405, 407, 415}) {
    EXPECT_EQ(receipt_of(parked), Receipt::kPark) << parked;
  }
  for (const int refused : {400, 422}) {
    EXPECT_EQ(receipt_of(refused), Receipt::kRefused) << refused;
  }
  EXPECT_EQ(receipt_of(413), Receipt::kTooLarge);
}

TEST_F(HttpTarget, HonoursRetryAfterUpToItsLimit) {
  options.max_retry_after = std::chrono::seconds(90);
  status = 429;
  answer_headers = {{"Retry-After", "30"}};
  EXPECT_EQ(send(batch_of(1, 1)).retry_after, std::chrono::seconds(30));
  answer_headers = {{"Retry-After", "3000"}};
  EXPECT_EQ(send(batch_of(1, 1)).retry_after, std::chrono::seconds(90));
}

TEST_F(HttpTarget, AReceiverThatIsNotThereIsTriedAgain) {
  server.reset();
  const TargetAnswer answer = send(batch_of(1, 1));
  EXPECT_EQ(answer.receipt, Receipt::kRetry);
  EXPECT_FALSE(answer.text.empty());
}

// Listens, and lets `serve(fd)` have the first connection; without it, nobody ever answers.
class Door {
 public:
  explicit Door(std::function<void(int)> serve = {}) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 8), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    if (serve) {
      thread_ = std::thread([this, serve = std::move(serve)] {
        const int accepted = accept(fd_, nullptr, nullptr);
        serve(accepted);
        ::close(accepted);
      });
    }
  }
  ~Door() {
    if (thread_.joinable()) {
      thread_.join();
    }
    ::close(fd_);
  }
  std::string address() const { return fmt::format("127.0.0.1:{}", port_); }

 private:
  int fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port_ = 0;
  std::thread thread_;
};

TEST_F(HttpTarget, AReceiverThatAcceptsAndStaysSilentIsGivenUp) {
  const Door door;
  const std::string good = options.url;
  options.url = "http://" + door.address() + "/in";
  options.stall = std::chrono::milliseconds(200);
  const TargetAnswer answer = send(batch_of(1, 1));
  EXPECT_EQ(answer.receipt, Receipt::kRetry);
  EXPECT_TRUE(answer.silent);
  EXPECT_EQ(answer.text, "nothing moved for 200ms");
  options.url = good;
  EXPECT_FALSE(send(batch_of(1, 1)).silent);
}

TEST_F(HttpTarget, AfterASilenceItTakesANewConnectionAndStartsAnew) {
  options.stall = std::chrono::milliseconds(200);
  {
    const std::lock_guard lock(mutex);
    keep_silent = true;
  }
  EXPECT_TRUE(send(batch_of(1, 1)).silent);
  {
    const std::lock_guard lock(mutex);
    keep_silent = false;
  }
  EXPECT_EQ(headwater::send(*target, *loop, batch_of(1, 1)).receipt, Receipt::kStored);
  target->close();
  ASSERT_TRUE(target->start(*loop).ok());
  EXPECT_EQ(headwater::send(*target, *loop, batch_of(1, 1)).receipt, Receipt::kStored);
}

TEST_F(HttpTarget, AReceiverThatIsNotThereIsNotSilent) {
  server.reset();
  EXPECT_FALSE(send(batch_of(1, 1)).silent);
}

TEST_F(HttpTarget, AProxyThatWantsALoginParks) {
  const Door proxy([](int fd) {
    std::array<char, 4096> request{};
    EXPECT_GT(read(fd, request.data(), request.size()), 0);
    const std::string_view answer =
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    EXPECT_EQ(write(fd, answer.data(), answer.size()), static_cast<ssize_t>(answer.size()));
  });
  setenv("no_proxy", "", 1);
  setenv("https_proxy", ("http://" + proxy.address()).c_str(), 1);
  options.url = "https://hub.invalid/in";
  const TargetAnswer answer = send(batch_of(1, 1));
  unsetenv("https_proxy");
  EXPECT_EQ(answer.receipt, Receipt::kPark);
  EXPECT_THAT(answer.text, HasSubstr("the proxy wants a login"));
}

// What the config says about an `uplink:`; "" when it is good.
std::string complaint(std::string_view yaml) {
  config::Diagnostics diagnostics;
  const auto node = config::load_text(std::string(yaml), "edge.yaml", diagnostics, {});
  const config::Node* type = node->find("type");
  if (const TargetKind* kind = find_target_kind(type->text(), type->place(), diagnostics)) {
    const MadeUplink made = kind->make(node->without("type"), diagnostics);
    EXPECT_EQ(made.target != nullptr, diagnostics.ok());
  }
  return diagnostics.ok() ? "" : diagnostics.text();
}

TEST(UplinkOptions, AreChecked) {
  EXPECT_EQ(complaint("{type: file, dir: out}"), "");
  EXPECT_EQ(complaint("{type: http, url: 'https://hub:8443/in', budget: 256KiB/s}"), "");
  EXPECT_THAT(complaint("{type: fil, dir: out}"), HasSubstr("did you mean 'file'?"));
  EXPECT_THAT(complaint("{type: file}"), HasSubstr("dir"));
  EXPECT_THAT(complaint("{type: file, dir: out, lanes: [readngs]}"),
              HasSubstr("no lane 'readngs', did you mean 'readings'?"));
  EXPECT_THAT(complaint("{type: file, dir: out, lanes: [alerts, alerts]}"), HasSubstr("twice"));
  EXPECT_THAT(complaint("{type: file, dir: out, budget: 256KiB}"), HasSubstr("256KiB/s"));
  EXPECT_THAT(complaint("{type: file, dir: out, budget: 0B/s}"), HasSubstr("nothing through"));
  EXPECT_THAT(complaint("{type: file, dir: out, max_rows: 0}"), HasSubstr("max_rows"));
}

TEST(UplinkOptions, PlainHttpStaysOnThisMachine) {
  EXPECT_EQ(complaint("{type: http, url: 'http://127.0.0.1:8080/in'}"), "");
  EXPECT_EQ(complaint("{type: http, url: 'http://localhost/in'}"), "");
  EXPECT_EQ(complaint("{type: http, url: 'http://[::1]:8080/in'}"), "");
  EXPECT_THAT(complaint("{type: http, url: 'http://hub:8080/in'}"), HasSubstr("insecure: true"));
  EXPECT_THAT(complaint("{type: http, url: 'http://127.0.0.1.evil.example/in'}"),
              HasSubstr("insecure: true"));
  EXPECT_EQ(complaint("{type: http, url: 'http://hub:8080/in', insecure: true}"), "");
  EXPECT_THAT(complaint("{type: http, url: 'https://u:p@hub/in'}"), HasSubstr("credentials"));
  EXPECT_THAT(complaint("{type: http, url: 'ftp://hub/in'}"), HasSubstr("https://HOST"));
}

TEST(UplinkOptions, HeadersCannotSmuggle) {
  EXPECT_THAT(complaint("{type: http, url: 'https://h/', headers: {'Headwater-First': '1'}}"),
              HasSubstr("set by the uplink itself"));
  EXPECT_THAT(complaint("{type: http, url: 'https://h/', headers: {X-A: \"1\\r\\nB: 2\"}}"),
              HasSubstr("line break"));
  EXPECT_THAT(complaint("{type: http, url: 'https://h/', token: \"a\\nb\"}"),
              HasSubstr("line break"));
  EXPECT_THAT(complaint("{type: http, url: 'https://h/', certificate: /nowhere.pem}"),
              HasSubstr("nowhere.pem"));
}

}  // namespace
}  // namespace headwater
