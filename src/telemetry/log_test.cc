#include "telemetry/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

namespace headwater::log {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Log : public testing::Test {
 protected:
  void start(Format format, Level level = Level::kInfo) {
    configure({.level = level,
               .format = format,
               .sink = [this](std::string_view line) { lines_.emplace_back(line); },
               .clock = [this] { return now_; }});
  }
  void TearDown() override { configure({}); }

  std::vector<std::string> lines_;
  WallTime now_{1'767'323'045'678'900'000};  // 2026-01-02T03:04:05.6789Z
};

TEST_F(Log, WritesLogfmt) {
  start(Format::kLogfmt);
  info("model loaded", {{"model", "anomaly"},
                        {"seconds", 0.125},
                        {"rows", 12U},
                        {"delta", -3},
                        {"ready", true},
                        {"path", std::string("a b")}});
  EXPECT_THAT(lines_, ElementsAre("ts=2026-01-02T03:04:05.678Z level=info msg=\"model loaded\" "
                                  "model=anomaly seconds=0.125 rows=12 delta=-3 ready=true "
                                  "path=\"a b\""));
}

TEST_F(Log, WritesJson) {
  start(Format::kJson);
  error("write failed", {{"error", Error::unavailable("disk \"x\"\n")},
                         {"ratio", std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_THAT(lines_, ElementsAre("{\"ts\":\"2026-01-02T03:04:05.678Z\",\"level\":\"error\","
                                  "\"msg\":\"write failed\",\"error\":\"disk \\\"x\\\"\\n\","
                                  "\"ratio\":null}"));
}

TEST_F(Log, AHostileValueCannotForgeALineOrAField) {
  start(Format::kLogfmt);
  info("client", {{"id", "x\nts=2026 level=error"}, {"empty", ""}, {"equals", "a=b"}});
  EXPECT_THAT(lines_, ElementsAre("ts=2026-01-02T03:04:05.678Z level=info msg=client "
                                  "id=\"x\\nts=2026 level=error\" empty=\"\" equals=\"a=b\""));
}

TEST_F(Log, CutsLongValuesOutsideUtf8Sequences) {
  start(Format::kLogfmt);
  info("long", {{"text", std::string(511, 'a') + "é" + std::string(5'000, 'b')}});
  ASSERT_EQ(lines_.size(), 1U);
  EXPECT_THAT(lines_[0], testing::EndsWith("text=\"" + std::string(511, 'a') + "…\""));
}

TEST_F(Log, LeavesOutWhatIsBelowTheLevel) {
  start(Format::kLogfmt, Level::kWarn);
  debug("a");
  info("b");
  warn("c");
  set_level(Level::kDebug);
  debug("d");
  set_level(Level::kOff);
  error("e");
  ASSERT_EQ(lines_.size(), 2U);
  EXPECT_THAT(lines_[0], HasSubstr("msg=c"));
  EXPECT_THAT(lines_[1], HasSubstr("msg=d"));
}

TEST_F(Log, LimitsAWarningPerCallSiteAndTellsHowManyWereHeldBack) {
  start(Format::kLogfmt);
  const auto before = suppressed();
  const auto complain = [] { warn("link down"); };
  for (int i = 0; i < 25; ++i) {
    complain();
  }
  EXPECT_EQ(lines_.size(), 10U);
  EXPECT_EQ(suppressed() - before, 15U);
  warn("another site");
  EXPECT_EQ(lines_.size(), 11U);
  now_ = now_ + std::chrono::seconds{10};
  complain();
  ASSERT_EQ(lines_.size(), 12U);
  EXPECT_THAT(lines_.back(), testing::EndsWith("msg=\"link down\" suppressed=15"));
  complain();
  EXPECT_THAT(lines_.back(), testing::EndsWith("msg=\"link down\""));
}

TEST_F(Log, InfoIsNotLimited) {
  start(Format::kLogfmt);
  for (int i = 0; i < 50; ++i) {
    info("step");
  }
  EXPECT_EQ(lines_.size(), 50U);
}

TEST_F(Log, LinesOfThreadsDoNotMix) {
  start(Format::kLogfmt);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) {
        info("work", {{"thread", t}, {"i", i}});
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  ASSERT_EQ(lines_.size(), 400U);
  for (const auto& line : lines_) {
    EXPECT_THAT(line, testing::ContainsRegex(" msg=work thread=[0-3] i=[0-9]+$"));
  }
}

TEST(LogStderr, WritesOneLinePerCall) {
  configure({.clock = [] { return WallTime{0}; }});
  testing::internal::CaptureStderr();
  info("hello", {{"who", "{}"}});
  error("%s");
  const auto text = testing::internal::GetCapturedStderr();
  configure({});
  EXPECT_EQ(text,
            "ts=1970-01-01T00:00:00.000Z level=info msg=hello who={}\n"
            "ts=1970-01-01T00:00:00.000Z level=error msg=%s\n");
}

TEST(LogOptions, NamesAreParsed) {
  EXPECT_EQ(parse_level("warn").value(), Level::kWarn);
  EXPECT_EQ(parse_format("json").value(), Format::kJson);
  EXPECT_EQ(parse_level("loud").error().text(),
            "log level 'loud': use debug, info, warn, error or off");
  EXPECT_FALSE(parse_format("xml"));
}

}  // namespace
}  // namespace headwater::log
