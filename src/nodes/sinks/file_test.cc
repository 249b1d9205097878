#include <gmock/gmock.h>

#include <array>
#include <fstream>
#include <iterator>

#include "nodes/sinks/sinks.h"
#include "nodes/testing.h"

namespace headwater {
namespace {

class FileSink : public testing::Test {
 protected:
  void SetUp() override { open(); }

  void open() {
    FileSinkOptions options;
    options.path.text = folder.path("alerts.jsonl");
    config::Diagnostics diagnostics;
    sink = make_file_sink(options, config::Node(), {}, diagnostics);
    const Status started = sink->start(*loop);
    ASSERT_TRUE(started.ok());
  }
  Status submit(std::initializer_list<std::string_view> payloads, Token token) {
    auto batch = std::make_shared<Batch>();
    for (const std::string_view payload : payloads) {
      Row row;
      row.payload = batch->arena().copy(payload);
      batch->add_row(row);
    }
    return sink->submit(std::move(batch), token);
  }
  std::string text() const {
    std::ifstream file(folder.path("alerts.jsonl"), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder;
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  std::unique_ptr<Sink> sink;
};

TEST_F(FileSink, AppendsALinePerAlertAndAnswersEach) {
  ASSERT_TRUE(submit({"{\"a\":1}", "{\"a\":2}"}, 5).ok());
  ASSERT_TRUE(submit({"{\"a\":3}"}, 6).ok());
  EXPECT_EQ(text(), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
  std::array<Outcome, 2> outcomes;
  ASSERT_EQ(sink->poll(outcomes), 2U);
  EXPECT_EQ(outcomes[1].token, 5U);
  EXPECT_EQ(outcomes[1].row, 1U);
  EXPECT_EQ(outcomes[1].verdict, Verdict::kOk);
  ASSERT_EQ(sink->poll(outcomes), 1U);
  EXPECT_EQ(outcomes[0].token, 6U);
  EXPECT_EQ(sink->poll(outcomes), 0U);
}

TEST_F(FileSink, KeepsWhatIsThere) {
  ASSERT_TRUE(submit({"1"}, 1).ok());
  sink->close();
  open();
  ASSERT_TRUE(submit({"2"}, 1).ok());
  EXPECT_EQ(text(), "1\n2\n");
}

TEST_F(FileSink, TakesNothingOnceClosed) {
  EXPECT_EQ(sink->state(), "open");
  sink->close();
  EXPECT_EQ(sink->state(), "closed");
  EXPECT_EQ(submit({"1"}, 1).error().code(), Code::kUnavailable);
  EXPECT_EQ(text(), "");
}

}  // namespace
}  // namespace headwater
