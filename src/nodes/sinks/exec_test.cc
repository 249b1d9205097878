#include "nodes/sinks/exec.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>
#include <iterator>

#include "nodes/sinks/testing.h"
#include "nodes/testing.h"

namespace headwater {
namespace {

using testing::HasSubstr;

constexpr std::string_view kAlert =
    R"({"id": "0af3", "event": "raised", "raw_data": {"event": "x"}})";

class ExecSink : public testing::Test {
 protected:
  SinkRun run(ExecSinkOptions options) {
    config::Diagnostics diagnostics;
    return SinkRun(make_exec_sink(options, config::Node(), {"siren", "edge"}, diagnostics));
  }
  SinkRun shell(std::string script) {
    ExecSinkOptions options;
    options.command = {"sh", "-c", std::move(script)};
    return run(options);
  }
  bool exists(std::string_view name) const { return std::filesystem::exists(folder.path(name)); }
  std::string text(std::string_view name) const {
    std::ifstream file(folder.path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder;
};

TEST_F(ExecSink, GivesTheAlertOnStandardInputAndItsNameInTheEnvironment) {
  SinkRun run = shell("cat > " + folder.path("in") +
                      " && printf '%s %s %s' \"$HEADWATER_DEVICE_ID\" \"$HEADWATER_ALERT_ID\" "
                      "\"$HEADWATER_EVENT\" > " +
                      folder.path("env"));
  ASSERT_TRUE(run.sink().submit(alerts({kAlert}), 5).ok());
  const std::vector<Outcome> outcomes = run.outcomes(1);
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].token, 5U);
  EXPECT_EQ(outcomes[0].verdict, Verdict::kOk);
  EXPECT_EQ(text("in"), kAlert);
  EXPECT_EQ(text("env"), "press-7 0af3 raised");
}

TEST_F(ExecSink, NoShellReadsTheCommand) {
  ExecSinkOptions options;
  options.command = {"touch", folder.path("a b;$HOME")};
  SinkRun run = this->run(options);
  ASSERT_TRUE(run.sink().submit(alerts({kAlert}), 1).ok());
  EXPECT_EQ(run.verdict(), Verdict::kOk);
  EXPECT_TRUE(exists("a b;$HOME"));
}

TEST_F(ExecSink, TheExitStatusDecides) {
  const std::vector<std::pair<std::string, Verdict>> cases = {{"exit 0", Verdict::kOk},
                                                              {"exit 75", Verdict::kRetry},
                                                              {"exit 1", Verdict::kReject},
                                                              {"kill -9 $$", Verdict::kReject}};
  for (const auto& [script, verdict] : cases) {
    SinkRun run = shell(script);
    ASSERT_TRUE(run.sink().submit(alerts({kAlert}), 1).ok());
    EXPECT_EQ(run.verdict(), verdict) << script;
  }
}

TEST_F(ExecSink, AProgramThatIsNotThereIsRefusedForGood) {
  ExecSinkOptions options;
  options.command = {folder.path("no-such-program")};
  SinkRun run = this->run(options);
  ASSERT_TRUE(run.sink().submit(alerts({kAlert}), 1).ok());
  EXPECT_EQ(run.verdict(), Verdict::kReject);
}

TEST_F(ExecSink, AProgramThatReadsNothingOfALargeAlertHoldsNothingUp) {
  SinkRun run = shell("exit 0");
  ASSERT_TRUE(run.sink().submit(alerts({std::string(1 << 20, 'x')}), 1).ok());
  EXPECT_EQ(run.verdict(), Verdict::kOk);
}

TEST_F(ExecSink, TheTimeoutKillsTheWholeGroup) {
  ExecSinkOptions options;
  options.command = {"sh", "-c", "sleep 600 & echo $! > " + folder.path("pid") + "; wait"};
  options.timeout = std::chrono::milliseconds(300);
  SinkRun run = this->run(options);
  ASSERT_TRUE(run.sink().submit(alerts({kAlert}), 1).ok());
  EXPECT_EQ(run.verdict(), Verdict::kReject);
  const int pid = std::stoi("0" + text("pid"));
  ASSERT_GT(pid, 1);
  run.until([&] {  // gone, or a zombie of init
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string stat{std::istreambuf_iterator<char>(file), {}};
    return stat.empty() || stat.find(") Z") != std::string::npos;
  });
}

TEST_F(ExecSink, NoMoreThanMaxRunningRunAtOnce) {
  ExecSinkOptions options;
  options.command = {"sh", "-c",
                     "read line; echo > " + folder.path("began") + "-$line; while ! [ -e " +
                         folder.path("go") + " ]; do sleep 0.01; done"};
  options.max_running = 2;
  SinkRun run = this->run(options);
  ASSERT_TRUE(run.sink().submit(alerts({"a\n", "b\n", "c\n"}), 1).ok());
  EXPECT_EQ(run.sink().state(), "2 running, 1 waiting");
  run.until([&] { return exists("began-a") && exists("began-b"); });
  EXPECT_FALSE(exists("began-c"));
  std::ofstream(folder.path("go")) << "";
  EXPECT_EQ(run.outcomes(3).size(), 3U);
  EXPECT_TRUE(exists("began-c"));
}

TEST_F(ExecSink, AnAlertOlderThanMaxAgeIsExpiredAndNotRun) {
  SinkRun run = shell("cat >> " + folder.path("in"));
  const auto batch = alerts({"old", "fresh", "of an earlier start"});
  batch->row(0).arrived = io::mono_now() - std::chrono::seconds(11);
  batch->row(1).arrived = io::mono_now() - std::chrono::seconds(1);
  batch->row(2).arrived = io::mono_now();
  batch->row(2).flags = kRowReplayed;
  ASSERT_TRUE(run.sink().submit(batch, 1).ok());
  const std::vector<Outcome> outcomes = run.outcomes(3);
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_EQ(outcomes[0].verdict, Verdict::kExpired);
  EXPECT_EQ(outcomes[1].verdict, Verdict::kExpired);
  EXPECT_EQ(outcomes[1].row, 2U);
  EXPECT_EQ(outcomes[2].verdict, Verdict::kOk);
  EXPECT_EQ(text("in"), "fresh");
}

TEST_F(ExecSink, AnAlertThatWaitedTooLongForAPlaceIsExpired) {
  ExecSinkOptions options;
  options.command = {"sh", "-c", "sleep 600"};
  options.max_running = 1;
  options.max_age = std::chrono::milliseconds(50);
  SinkRun run = this->run(options);
  ASSERT_TRUE(run.sink().submit(alerts({"1", "2"}), 1).ok());
  const std::vector<Outcome> outcomes = run.outcomes(1);
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].row, 1U);
  EXPECT_EQ(outcomes[0].verdict, Verdict::kExpired);
}

TEST_F(ExecSink, ItsEndKillsWhatRuns) {
  SinkRun run = shell("echo $$ > " + folder.path("pid") + "; sleep 600");
  ASSERT_TRUE(run.sink().submit(alerts({kAlert}), 1).ok());
  run.until([&] { return text("pid").ends_with('\n'); });
  const int pid = std::stoi(text("pid"));
  run.destroy();
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(ExecSink, TakesNothingOnceClosedOrFull) {
  ExecSinkOptions options;
  options.command = {"sleep", "600"};
  SinkRun run = this->run(options);
  Status taken;
  for (int i = 0; i < 2000 && taken.ok(); ++i) {
    taken = run.sink().submit(alerts({"1"}), 1);
  }
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code(), Code::kUnavailable);
  EXPECT_THAT(taken.error().text(), HasSubstr("1024 alerts wait"));
  run.sink().close();
  EXPECT_EQ(run.sink().submit(alerts({"1"}), 1).error().text(), "closed");
}

}  // namespace
}  // namespace headwater
