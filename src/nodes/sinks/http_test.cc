#include "nodes/sinks/http.h"

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <thread>

#include "nodes/sinks/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A receiver on 127.0.0.1 that answers the requests with canned texts, one connection each; the
// last text again and again.
class Receiver {
 public:
  explicit Receiver(std::vector<std::string> answers) : answers_(std::move(answers)) {
    door_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(bind(door_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(listen(door_, 16), 0);
    EXPECT_EQ(getsockname(door_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Receiver() {
    shutdown(door_, SHUT_RDWR);
    thread_.join();
    close(door_);
  }
  std::string url(std::string_view path) const {
    return fmt::format("http://127.0.0.1:{}{}", port_, path);
  }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (std::size_t served = 0;; ++served) {
      const int client = accept(door_, nullptr, nullptr);
      if (client < 0) {
        return;
      }
      std::string request;
      std::array<char, 65536> some;
      while (!whole(request)) {
        const ssize_t got = recv(client, some.data(), some.size(), 0);
        if (got <= 0) {
          break;
        }
        request.append(some.data(), static_cast<std::size_t>(got));
      }
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(std::move(request));
      }
      const std::string& answer = answers_[std::min(served, answers_.size() - 1)];
      (void)!send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      shutdown(client, SHUT_WR);
      while (recv(client, some.data(), some.size(), 0) > 0) {
      }
      close(client);
    }
  }
  static bool whole(const std::string& request) {
    const std::size_t head = request.find("\r\n\r\n");
    const std::size_t length = request.find("Content-Length: ");
    return head != std::string::npos && length != std::string::npos &&
           request.size() >= head + 4 + std::stoul(request.substr(length + 16));
  }

  std::vector<std::string> answers_;
  int door_ = -1;
  int port_ = 0;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
};

std::string answer(std::string_view status, std::string_view headers = "") {
  return fmt::format("HTTP/1.1 {}\r\nContent-Length: 0\r\nConnection: close\r\n{}\r\n", status,
                     headers);
}

class HttpSink : public testing::Test {
 protected:
  void SetUp() override {
    setenv("no_proxy", "*", 1);
    options.max_backoff = std::chrono::milliseconds(1);
  }
  std::unique_ptr<Sink> make() {
    return make_http_sink(options, config::Node(), {"hook", "hall/2"}, diagnostics);
  }
  // What becomes of one alert that the receiver answers so.
  Verdict verdict_of(std::string text) {
    const Receiver receiver({std::move(text)});
    options.url = receiver.url("/");
    SinkRun run(make());
    EXPECT_TRUE(run.sink().submit(alerts({"{}"}), 1).ok());
    return run.verdict();
  }

  HttpSinkOptions options;
  config::Diagnostics diagnostics;
};

TEST_F(HttpSink, PostsTheAlertWithItsIdAndHeaders) {
  const Receiver receiver({answer("204 No Content")});
  options.url = receiver.url("/${edge_id}/${device_id}/${topic}?a=b");
  options.token = config::Secret("t0ken");
  options.headers["X-Site"] = config::Secret("hall-2");
  SinkRun run(make());
  ASSERT_TRUE(run.sink().submit(alerts({R"({"id": "0af3", "event": "raised"})"}), 7).ok());
  const std::vector<Outcome> outcomes = run.outcomes(1);
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].token, 7U);
  EXPECT_EQ(outcomes[0].verdict, Verdict::kOk);
  const std::string request = receiver.requests().at(0);
  EXPECT_THAT(request, HasSubstr("POST /hall%2F2/press-7/hall%202/press-7?a=b HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nAuthorization: Bearer t0ken\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nX-Site: hall-2\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nIdempotency-Key: 0af3\r\n"));
  EXPECT_TRUE(request.ends_with("\r\n\r\n{\"id\": \"0af3\", \"event\": \"raised\"}"));
}

TEST_F(HttpSink, TheStatusDecides) {
  for (const std::string_view status : {"200 OK", "201 Created", "299 Fine"}) {
    EXPECT_EQ(verdict_of(answer(status)), Verdict::kOk) << status;
  }
  for (const std::string_view status :
       {"408 Request Timeout", "429 Too Many Requests", "500 Oops", "503 Busy"}) {
    EXPECT_EQ(verdict_of(answer(status)), Verdict::kRetry) << status;
  }
  for (const std::string_view status : {"400 Bad Request", "404 Not Found", "304 Not Modified"}) {
    EXPECT_EQ(verdict_of(answer(status)), Verdict::kReject) << status;
  }
}

TEST_F(HttpSink, HalfAnAnswerAndNoneAreTriedAgain) {
  EXPECT_EQ(verdict_of("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Verdict::kRetry);
  EXPECT_EQ(verdict_of(""), Verdict::kRetry);
  EXPECT_EQ(verdict_of("no HTTP at all\r\n\r\n"), Verdict::kRetry);
}

TEST_F(HttpSink, ALargeAnswerIsCutAndItsStatusHolds) {
  const std::string large(1 << 20, 'x');
  EXPECT_EQ(verdict_of("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + large), Verdict::kOk);
}

TEST_F(HttpSink, ARedirectIsNotFollowed) {
  const Receiver other({answer("200 OK")});
  EXPECT_EQ(verdict_of(answer("307 Elsewhere", "Location: " + other.url("/") + "\r\n")),
            Verdict::kReject);
  EXPECT_TRUE(other.requests().empty());
}

TEST_F(HttpSink, AReceiverThatIsNotThereIsTriedAgain) {
  std::string url;
  { url = Receiver({""}).url("/"); }
  options.url = url;
  SinkRun run(make());
  ASSERT_TRUE(run.sink().submit(alerts({"{}"}), 1).ok());
  EXPECT_EQ(run.verdict(), Verdict::kRetry);
  EXPECT_THAT(run.sink().state(), HasSubstr("waiting: Failed to connect"));
}

TEST_F(HttpSink, ARequestEndsAtItsTimeout) {
  options.timeout = std::chrono::milliseconds(50);
  EXPECT_EQ(verdict_of("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"), Verdict::kRetry);
}

TEST_F(HttpSink, WhileItWaitsNothingIsTakenAndWhatWaitedGoesBack) {
  const Receiver receiver({answer("503 Busy", "Retry-After: 100\r\n")});
  options.url = receiver.url("/");
  options.max_retry_after = std::chrono::seconds(200);
  SinkRun run(make());
  ASSERT_TRUE(run.sink().submit(alerts({"1", "2", "3"}), 1).ok());
  const std::vector<Outcome> outcomes = run.outcomes(3);
  ASSERT_EQ(outcomes.size(), 3U);
  for (std::uint32_t row = 0; row < 3; ++row) {
    EXPECT_EQ(outcomes[row].row, row);
    EXPECT_EQ(outcomes[row].verdict, Verdict::kRetry);
  }
  const Status refused = run.sink().submit(alerts({"4"}), 2);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kUnavailable);
  EXPECT_EQ(refused.error().text(), "the receiver answered 503");
  EXPECT_EQ(receiver.requests().size(), 1U);
}

TEST_F(HttpSink, ARetryAfterIsGrantedUpToItsBound) {
  const Receiver receiver({answer("429 Slow", "Retry-After: 100000\r\n"), answer("200 OK")});
  options.url = receiver.url("/");
  options.max_retry_after = std::chrono::milliseconds(20);
  SinkRun run(make());
  ASSERT_TRUE(run.sink().submit(alerts({"1"}), 1).ok());
  EXPECT_EQ(run.verdict(), Verdict::kRetry);
  run.until([&] { return run.sink().submit(alerts({"1"}), 2).ok(); });
  EXPECT_EQ(run.verdict(), Verdict::kOk);
}

TEST_F(HttpSink, AfterAFailureOneAlertGoesAhead) {
  const Receiver receiver({answer("500 Oops"), answer("200 OK")});
  options.url = receiver.url("/");
  SinkRun run(make());
  ASSERT_TRUE(run.sink().submit(alerts({"1"}), 1).ok());
  EXPECT_EQ(run.verdict(), Verdict::kRetry);
  run.until([&] { return run.sink().submit(alerts({"1"}), 2).ok(); });
  EXPECT_FALSE(run.sink().submit(alerts({"2"}), 3).ok());
  EXPECT_EQ(run.verdict(), Verdict::kOk);
  EXPECT_TRUE(run.sink().submit(alerts({"2"}), 3).ok());
  EXPECT_EQ(run.verdict(), Verdict::kOk);
}

TEST_F(HttpSink, AlertsArePostedInOrder) {
  const Receiver receiver({answer("200 OK")});
  options.url = receiver.url("/");
  SinkRun run(make());
  ASSERT_TRUE(run.sink().submit(alerts({"1", "2", "3"}), 1).ok());
  EXPECT_EQ(run.outcomes(3).size(), 3U);
  std::vector<std::string> bodies;
  for (const std::string& request : receiver.requests()) {
    bodies.push_back(request.substr(request.find("\r\n\r\n") + 4));
  }
  EXPECT_THAT(bodies, ElementsAre("1", "2", "3"));
}

TEST_F(HttpSink, ItsEndInTheMiddleOfARequestIsQuiet) {
  const Receiver receiver({answer("200 OK")});
  options.url = receiver.url("/");
  SinkRun run(make());
  ASSERT_TRUE(run.sink().submit(alerts({"1"}), 1).ok());
  run.loop().run_once(std::chrono::milliseconds(0));
  run.destroy();
  run.loop().run_once(std::chrono::milliseconds(0));
}

TEST_F(HttpSink, RefusesWhatIsNoUrlOrHeader) {
  const auto error = [&](std::string_view url) {
    options.url = url;
    diagnostics = {};
    EXPECT_EQ(make(), nullptr) << url;
    return diagnostics.text();
  };
  EXPECT_THAT(error("ftp://x/"), HasSubstr("wants http://HOST or https://HOST"));
  EXPECT_THAT(error("http://"), HasSubstr("wants http://HOST"));
  EXPECT_THAT(error("http://${device_id}/"), HasSubstr("the host is fixed"));
  EXPECT_THAT(error("http://me:pw@x/"), HasSubstr("credentials do not belong"));
  EXPECT_THAT(error("http://x/${site}"), HasSubstr("unknown ${site}"));
  options.headers["X-A"] = config::Secret("a\r\nX-B: c");
  EXPECT_THAT(error("http://x/"), HasSubstr("header 'X-A' has a line break"));
  options.headers.clear();
  options.headers["content-length"] = config::Secret("1");
  EXPECT_THAT(error("http://x/"), HasSubstr("is set by the sink itself"));
  options.headers.clear();
  options.headers["a b"] = config::Secret("1");
  EXPECT_THAT(error("http://x/"), HasSubstr("is no header name"));
}

}  // namespace
}  // namespace headwater
