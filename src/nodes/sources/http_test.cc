#include "nodes/sources/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <future>

#include "nodes/sources/http_body.h"
#include "protocol/http/client.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Texts = std::vector<std::string>;

Texts pieces(const Result<BodyReadings>& readings) {
  EXPECT_TRUE(readings.ok()) << (readings ? "" : readings.error().text());
  Texts texts;
  for (std::size_t i = 0; readings && i < readings->pieces.size(); ++i) {
    texts.emplace_back(readings->piece(i));
    if (const std::size_t note = readings->pieces[i].note; note != BodyReadings::kNone) {
      texts.back() += " ! " + readings->notes[note];
    }
  }
  return texts;
}

TEST(HttpBody, GoesByTheContentType) {
  EXPECT_EQ(body_format("application/json"), BodyFormat::kJson);
  EXPECT_EQ(body_format(" Application/JSON ; charset=utf-8"), BodyFormat::kJson);
  EXPECT_EQ(body_format("application/x-ndjson"), BodyFormat::kLines);
  EXPECT_EQ(body_format("application/jsonl"), BodyFormat::kLines);
  EXPECT_EQ(body_format("text/csv;header=present"), BodyFormat::kCsv);
  EXPECT_EQ(body_format("text/plain"), BodyFormat::kUnknown);
  EXPECT_EQ(body_format(""), BodyFormat::kUnknown);
  EXPECT_EQ(body_format("application/x-www-form-urlencoded"), BodyFormat::kUnknown);
}

TEST(HttpBody, IsTakenApart) {
  EXPECT_THAT(pieces(read_body(R"({"a":1})", BodyFormat::kJson, {})), ElementsAre(R"({"a":1})"));
  EXPECT_THAT(pieces(read_body(R"([{"a":1}, 2])", BodyFormat::kJson, {})),
              ElementsAre(R"({"a":1})", "2"));
  EXPECT_THAT(pieces(read_body("[]", BodyFormat::kJson, {})), IsEmpty());
  EXPECT_THAT(pieces(read_body("{\"a\":1}\r\n\n  nonsense\n{}", BodyFormat::kLines, {})),
              ElementsAre("{\"a\":1}", "nonsense", "{}"));
  EXPECT_THAT(pieces(read_body("a,b\n1,2\n3\n4,5\n", BodyFormat::kCsv, {})),
              ElementsAre(R"({"a":1,"b":2})", "3 ! line 3: 1 fields, there are 2 columns",
                          R"({"a":4,"b":5})"));
}

TEST(HttpBody, WhatCannotBeReadAsAWholeIsRefused) {
  const auto code = [](std::string body, BodyFormat format) {
    CsvDocumentOptions csv;
    csv.max_records = 2;
    const auto readings = read_body(std::move(body), format, csv);
    return readings ? Code::kInternal : readings.error().code();
  };
  EXPECT_EQ(code("hello", BodyFormat::kJson), Code::kInvalid);
  EXPECT_EQ(code("{\"a\":1", BodyFormat::kJson), Code::kInvalid);
  EXPECT_EQ(code("", BodyFormat::kJson), Code::kInvalid);
  EXPECT_EQ(code("", BodyFormat::kCsv), Code::kInvalid);
  EXPECT_EQ(code("[1,2,3]", BodyFormat::kJson), Code::kExhausted);
  EXPECT_EQ(code("1\n2\n3", BodyFormat::kLines), Code::kExhausted);
  EXPECT_EQ(code("a\n1\n2\n3", BodyFormat::kCsv), Code::kExhausted);
}

// A source on a loop of the test's own thread; requests come from others.
class HttpSource : public testing::Test {
 protected:
  void open(HttpSourceOptions options = {}) {
    options.address.port = 0;
    SourceContext context;
    context.name = "in";
    context.loops = {loop.get()};
    config::Diagnostics diagnostics;
    SourceSet set = make_http_source(options, config::Node(), context, diagnostics);
    ASSERT_TRUE(set.good) << diagnostics.text();
    source = std::move(set.sources.front());
    const Status started = source->start(*loop);
    ASSERT_TRUE(started.ok()) << started.error().text();
    address = dynamic_cast<const Listening&>(*source).address();
  }
  void TearDown() override {
    if (source != nullptr) {
      source->close();
    }
  }

  using Answer = std::future<Result<http::ClientResponse>>;
  Answer post(std::string body, std::string type = "application/json",
              std::string path = "/readings", std::string token = {}, http::Fields more = {}) {
    http::ClientOptions options;
    options.method = "POST";
    options.body = std::move(body);
    options.headers = std::move(more);
    options.headers.emplace_back("Content-Type", std::move(type));
    options.token = std::move(token);
    options.timeout = std::chrono::milliseconds(20'000);
    return std::async(std::launch::async, [url = "http://" + address + path, options] {
      return http::fetch(url, options);
    });
  }
  int status_of(Answer answer) {
    const auto got = answer.get();
    EXPECT_TRUE(got.ok()) << (got ? "" : got.error().text());
    last = got ? *got : http::ClientResponse{};
    return last.status;
  }
  // Rows until there are `count`.
  std::vector<Row> take(std::size_t count, std::size_t room = 100) {
    const MonoTime until = io::mono_now() + std::chrono::seconds(20);
    std::vector<Row> rows;
    while (rows.size() < count && io::mono_now() < until) {
      batches.emplace_back();
      EXPECT_TRUE(source->take(room, batches.back()).ok());
      for (const Row& row : batches.back().all_rows()) {
        rows.push_back(row);
      }
      loop->run_once(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(rows.size(), count);
    return rows;
  }
  void tell(const std::vector<Row>& rows, Fate fate = Fate::kStored) {
    for (const Row& row : rows) {
      dynamic_cast<Accounting&>(*source).became(row.partition, row.position, fate);
    }
  }
  void store(const std::vector<Row>& rows) {
    tell(rows);
    ASSERT_TRUE(source->acknowledge(rows.back().partition, rows.back().position).ok());
  }
  static bool answered(const Answer& answer) {
    return answer.wait_for(std::chrono::milliseconds(0)) == std::future_status::ready;
  }

  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  std::unique_ptr<Source> source;
  std::string address;
  std::deque<Batch> batches;
  http::ClientResponse last;
};

TEST_F(HttpSource, AnswersWhenTheLastReadingOfARequestIsDurable) {
  open();
  Answer answer = post(R"([{"v":1},{"v":2},{"v":3}])");
  const std::vector<Row> first = take(2, 2);
  EXPECT_EQ(first[0].payload, R"({"v":1})");
  EXPECT_EQ(first[0].topic, "readings");
  EXPECT_EQ(first[0].sender, "127.0.0.1");
  EXPECT_EQ(first[1].position, 2U);
  store(first);
  const std::vector<Row> rest = take(1);
  EXPECT_FALSE(answered(answer));
  tell(rest, Fate::kDuplicate);
  EXPECT_FALSE(answered(answer));
  ASSERT_TRUE(source->acknowledge(0, 3).ok());
  EXPECT_EQ(status_of(std::move(answer)), 200);
  EXPECT_EQ(last.body, R"({"received":3,"stored":2,"duplicate":1,"filtered":0,"dead_letter":0})");
}

TEST_F(HttpSource, RequestsAreAnsweredEachWithItsOwnCounts) {
  open();
  Answer one = post("{\"v\":1}\n{\"v\":\n", "application/x-ndjson", "/readings/press-1");
  const std::vector<Row> first = take(2);
  Answer two = post("v\n1\n", "text/csv", "/readings/hall/press%202");
  const std::vector<Row> second = take(1);
  EXPECT_EQ(first[0].topic, "press-1");
  EXPECT_EQ(second[0].topic, "hall/press 2");
  EXPECT_EQ(second[0].payload, R"({"v":1})");
  tell({first[0]}, Fate::kFiltered);
  tell({first[1]}, Fate::kDeadLetter);
  tell(second);
  ASSERT_TRUE(source->acknowledge(0, second[0].position).ok());
  EXPECT_EQ(status_of(std::move(one)), 200);
  EXPECT_EQ(last.body, R"({"received":2,"stored":0,"duplicate":0,"filtered":1,"dead_letter":1})");
  EXPECT_EQ(status_of(std::move(two)), 200);
  EXPECT_EQ(last.body, R"({"received":1,"stored":1,"duplicate":0,"filtered":0,"dead_letter":0})");
}

TEST_F(HttpSource, ABadRecordIsGivenWithItsReason) {
  open();
  Answer answer = post("a,b\n1\n", "text/csv");
  const std::vector<Row> rows = take(1);
  EXPECT_EQ(rows[0].payload, "1");
  EXPECT_NE(rows[0].flags & kRowUndecoded, 0U);
  EXPECT_EQ(rows[0].note, "line 2: 1 fields, there are 2 columns");
  store(rows);
  EXPECT_EQ(status_of(std::move(answer)), 200);
}

TEST_F(HttpSource, RefusesWhatItCannotRead) {
  HttpSourceOptions options;
  options.max_body.bytes = 1000;
  options.reading.max_elements = 3;
  open(options);
  EXPECT_EQ(status_of(post("hello")), 400);
  EXPECT_THAT(last.body, HasSubstr("expected a JSON object or array"));
  EXPECT_EQ(status_of(post("{}", "text/plain")), 415);
  EXPECT_THAT(last.body, HasSubstr("application/x-ndjson"));
  EXPECT_EQ(
      status_of(post("{}", "application/json", "/readings", "", {{"Content-Encoding", "gzip"}})),
      415);
  EXPECT_EQ(status_of(post("[1,2,3,4]")), 413);
  EXPECT_EQ(status_of(post(std::string(1001, ' '))), 413);
  EXPECT_EQ(status_of(post("{}", "application/json", "/other")), 404);
  EXPECT_EQ(status_of(post("{}", "application/json", "/readings", "",
                           {{"Origin", "https://example.org"}})),
            403);
  EXPECT_EQ(dynamic_cast<const Refusing&>(*source).refused(), 6U);
  EXPECT_EQ(status_of(post("[]")), 200);
  EXPECT_THAT(last.body, HasSubstr("\"received\":0"));
  Batch batch;
  EXPECT_TRUE(source->take(10, batch).ok());
  EXPECT_EQ(batch.rows(), 0U);
}

TEST_F(HttpSource, AsksForItsToken) {
  HttpSourceOptions options;
  options.token = config::Secret("sesame");
  open(options);
  EXPECT_EQ(status_of(post("{}")), 401);
  EXPECT_EQ(last.header("WWW-Authenticate"), "Bearer realm=\"headwater\"");
  EXPECT_EQ(status_of(post("{}", "application/json", "/readings", "open")), 401);
  Answer answer = post("{}", "application/json", "/readings", "sesame");
  store(take(1));
  EXPECT_EQ(status_of(std::move(answer)), 200);
}

TEST_F(HttpSource, WhileItIsPausedRequestsAreSentAwayAndWhatWasTakenIsAnswered) {
  open();
  Answer taken = post("{\"v\":1}");
  const std::vector<Row> rows = take(1);
  Answer waits = post("{\"v\":2}");
  const MonoTime until = io::mono_now() + std::chrono::seconds(20);
  while (dynamic_cast<const Listening&>(*source).connections() < 2 && io::mono_now() < until) {
    loop->run_once(std::chrono::milliseconds(1));
  }
  source->pause(true);
  EXPECT_EQ(status_of(std::move(waits)), 503);
  EXPECT_EQ(last.header("Retry-After"), "1");
  EXPECT_EQ(status_of(post("{\"v\":3}")), 503);
  store(rows);
  EXPECT_EQ(status_of(std::move(taken)), 200);
  source->pause(false);
  Answer again = post("{\"v\":4}");
  store(take(1));
  EXPECT_EQ(status_of(std::move(again)), 200);
}

TEST_F(HttpSource, ADeclinedReadingRefusesItsRequestAtOnceAndNoOther) {
  open();
  Answer stored = post("{\"v\":1}");
  std::vector<Row> rows = take(1);
  Answer refused = post(R"([{"v":2},{"v":3},{"v":4},{"v":5}])");
  const std::vector<Row> part = take(2, 2);  // of four
  tell(rows);
  tell(part);
  dynamic_cast<Declining&>(*source).decline(0, 3, 3);
  EXPECT_EQ(status_of(std::move(refused)), 503) << "though the first is not stored yet";
  EXPECT_EQ(last.header("Retry-After"), "1");
  EXPECT_EQ(dynamic_cast<const Refusing&>(*source).refused(), 2U) << "those that were not taken";
  EXPECT_FALSE(answered(stored));
  Answer behind = post("{\"v\":6}");
  rows = take(1);
  EXPECT_EQ(rows[0].payload, "{\"v\":6}");
  EXPECT_EQ(rows[0].position, 4U);
  tell(rows);
  ASSERT_TRUE(source->acknowledge(0, 3).ok());
  EXPECT_EQ(status_of(std::move(stored)), 200);
  EXPECT_FALSE(answered(behind));
  ASSERT_TRUE(source->acknowledge(0, 4).ok());
  EXPECT_EQ(status_of(std::move(behind)), 200);
  EXPECT_THAT(last.body, HasSubstr("\"stored\":1,"));
}

TEST_F(HttpSource, RequestsThatWaitAreBounded) {
  HttpSourceOptions options;
  options.max_requests = 1;
  open(options);
  Answer first = post("{\"v\":1}");
  const std::vector<Row> rows = take(1);
  EXPECT_EQ(status_of(post("{\"v\":2}")), 503);
  EXPECT_THAT(last.body, HasSubstr("too much waits"));
  store(rows);
  EXPECT_EQ(status_of(std::move(first)), 200);
  Answer next = post("{\"v\":3}");
  store(take(1));
  EXPECT_EQ(status_of(std::move(next)), 200);
}

TEST_F(HttpSource, WhatIsNotDurableWhenItClosesIsToldToComeAgain) {
  open();
  Answer answer = post("[{},{}]");
  tell(take(1, 1));
  source->close();
  EXPECT_EQ(status_of(std::move(answer)), 503);
  source.reset();
}

TEST_F(HttpSource, BeyondLoopbackItNeedsTlsAndATokenOrClientCertificates) {
  const auto problems = [](const HttpSourceOptions& options) {
    config::Diagnostics diagnostics;
    EXPECT_FALSE(make_http_source(options, config::Node(), {}, diagnostics).good);
    return diagnostics.text();
  };
  HttpSourceOptions options;
  options.address.host = "0.0.0.0";
  EXPECT_THAT(problems(options), HasSubstr("has no tls and no token"));
  options.token = config::Secret("x");
  EXPECT_THAT(problems(options), HasSubstr("has no tls"));
  options = {};
  options.path = "readings";
  EXPECT_THAT(problems(options), HasSubstr("no path such as /readings"));
  options = {};
  options.max_waiting.bytes = options.max_body.bytes - 1;
  EXPECT_THAT(problems(options), HasSubstr("less than max_body"));
  options = {};
  options.reading.format = ReadingFormat::kCsv;
  EXPECT_THAT(problems(options), HasSubstr("Content-Type of each request"));
  options = {};
  options.tls = HttpTlsOptions{{"none.pem"}, {"none.key"}, {}};
  EXPECT_THAT(problems(options), HasSubstr("none.pem"));
}

}  // namespace
}  // namespace headwater
