#include <gmock/gmock.h>

#include <array>
#include <fstream>
#include <iterator>
#include <optional>

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
    options.max_bytes = max_bytes;
    options.keep = keep;
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
  std::string text(std::string_view name = "alerts.jsonl") const {
    std::ifstream file(folder.path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder;
  std::optional<config::ByteSize> max_bytes;
  int keep = 5;
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  std::unique_ptr<Sink> sink;
};

TEST_F(FileSink, HalfALineOfAKillGoesAndWhatOthersWroteStays) {
  const std::string whole = "{\"id\":\"1\"}\n";
  const std::string next = "{\"id\":\"2\"}";
  const std::string half = "{\"id\":\"2\",\"raw_data\":\"" + std::string(200'000, 'x');
  for (const std::string& torn : {std::string("{"), std::string("{\"id\":\"2"), next, half}) {
    sink->close();
    std::ofstream(folder.path("alerts.jsonl"), std::ios::binary | std::ios::trunc) << whole << torn;
    open();
    ASSERT_TRUE(submit({next}, 1).ok());
    EXPECT_EQ(text(), whole + next + "\n");
  }
  sink->close();
  std::ofstream(folder.path("alerts.jsonl"), std::ios::binary | std::ios::trunc) << "# by hand";
  open();
  ASSERT_TRUE(submit({next}, 2).ok());
  EXPECT_EQ(text(), "# by hand\n" + next + "\n");
}

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

TEST_F(FileSink, RenamesTheFileBeforeALineThatWouldBeTooMuch) {
  max_bytes = config::ByteSize{6};
  keep = 2;
  open();
  ASSERT_TRUE(submit({"aa", "bb", "cc"}, 1).ok());
  EXPECT_EQ(text("alerts.jsonl.1"), "aa\nbb\n");
  EXPECT_EQ(text(), "cc\n");
  ASSERT_TRUE(submit({"dd"}, 2).ok());
  ASSERT_TRUE(submit({"longer than all"}, 3).ok());
  ASSERT_TRUE(submit({"e"}, 4).ok());
  EXPECT_EQ(text(), "e\n");
  EXPECT_EQ(text("alerts.jsonl.1"), "longer than all\n");
  EXPECT_EQ(text("alerts.jsonl.2"), "cc\ndd\n");
  EXPECT_EQ(text("alerts.jsonl.3"), "") << "only `keep` old files";
  std::array<Outcome, 8> outcomes;
  ASSERT_EQ(sink->poll(outcomes), 6U);
  EXPECT_EQ(outcomes[2].row, 2U);
}

TEST_F(FileSink, CountsWhatWasThereTowardsTheLimit) {
  ASSERT_TRUE(submit({"aa"}, 1).ok());
  sink->close();
  max_bytes = config::ByteSize{4};
  open();
  ASSERT_TRUE(submit({"bb"}, 1).ok());
  EXPECT_EQ(text("alerts.jsonl.1"), "aa\n");
  EXPECT_EQ(text(), "bb\n");
}

TEST_F(FileSink, AnswersWhatIsOnDiskWhenItCannotRename) {
  max_bytes = config::ByteSize{6};
  keep = 1;
  open();
  std::filesystem::create_directories(folder.path("alerts.jsonl.1/in the way"));
  ASSERT_TRUE(submit({"aa", "bb", "cc"}, 1).ok());
  std::array<Outcome, 8> outcomes;
  ASSERT_EQ(sink->poll(outcomes), 3U);
  EXPECT_EQ(outcomes[1].verdict, Verdict::kOk);
  EXPECT_EQ(outcomes[2].verdict, Verdict::kRetry);
  EXPECT_EQ(text(), "aa\nbb\n");
  EXPECT_EQ(submit({"cc"}, 2).error().code(), Code::kUnavailable);
  std::filesystem::remove_all(folder.path("alerts.jsonl.1"));
  ASSERT_TRUE(submit({"cc"}, 3).ok());
  EXPECT_EQ(text(), "cc\n");
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
