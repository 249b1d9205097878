#include "pipeline/worker.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>

#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

using Texts = std::vector<std::string>;

// A worker with one source, one pipeline and one sink. What the worker's thread uses is looked at
// after stop(), or changed through its loop.
class WorkerTest : public testing::Test {
 protected:
  void TearDown() override {
    worker.reset();
    spool.reset();
  }

  void build() {
    spool = Spool::open(disk, options).value();
    worker = std::make_unique<Worker>(0, io::Loop::create().value(), sink_patience);
    Scoring::Parts scoring;
    scoring.name = "main/0";
    scoring.pipeline = "main";
    scoring.stream = 2;
    scoring.steps.stages.push_back(std::make_unique<Score>());
    scoring.steps.stages.push_back(std::make_unique<EveryThird>());
    scoring.steps.stage_keys = {"0", "1"};
    scoring.spool = spool.get();
    scoring.latency = &latency;
    Scoring& added = worker->add(std::make_unique<Scoring>(std::move(scoring)));
    Intake::Parts intake;
    intake.name = "main/in";
    intake.stream = 1;
    intake.room = 7;
    intake.source = std::make_unique<FakeSource>(feed);
    intake.decode = std::make_unique<FakeDecode>();
    intake.spool = spool.get();
    intake.scoring = &added;
    Intake& source = worker->add(std::make_unique<Intake>(std::move(intake)));
    added.add_stream(1, source.decode());
    auto made = std::make_unique<FakeSink>(taken);
    Delivery& delivery = worker->add(
        std::make_unique<Delivery>(Delivery::Parts{.name = "pager",
                                                   .sink = made.get(),
                                                   .spool = spool.get(),
                                                   .loop = &worker->loop(),
                                                   .retry_after = std::chrono::milliseconds(1)}));
    delivery.add_stream(2);
    worker->add_sink("pager", std::move(made));
    Worker* const to = worker.get();
    spool->on_commit([this, to](Ticket upto, const Status&) {
      const std::lock_guard lock(mutex);
      if (tells) {
        to->committed(upto);
      }
    });
  }
  void start() {
    const Status started = worker->start([this] { ++beats; });
    ASSERT_TRUE(started.ok());
  }
  void add(int first, int last) {
    worker->loop().post([this, first, last] {
      for (int i = first; i <= last; ++i) {
        feed->add(fmt::format("d {}", i));
      }
    });
  }
  // True when it called back within patience.
  bool drain(Nanos limit) {
    std::condition_variable changed;
    std::mutex drain_mutex;
    bool done = false;
    worker->drain(limit, [&] {
      const std::lock_guard lock(drain_mutex);
      done = true;
      changed.notify_all();
    });
    std::unique_lock lock(drain_mutex);
    return changed.wait_for(lock, kPatience, [&] { return done; });
  }
  void stop() {
    {
      const std::lock_guard lock(mutex);
      tells = false;
    }
    worker->stop();
  }

  io::FaultFiles disk{1};
  SpoolOptions options = small_options();
  telemetry::Histogram latency;
  Nanos sink_patience = Worker::kSinkPatience;
  std::shared_ptr<Feed> feed = std::make_shared<Feed>();
  std::shared_ptr<Taken> taken = std::make_shared<Taken>();
  std::mutex mutex;
  bool tells = true;
  std::atomic<int> beats{0};
  std::unique_ptr<Spool> spool;
  std::unique_ptr<Worker> worker;
};

TEST_F(WorkerTest, DrainEndsWhenAllIsAcknowledgedScoredAndSent) {
  build();
  start();
  add(1, 100);
  // What is posted before the drain is taken in the round before it.
  std::atomic<bool> taken_all{false};
  const MonoTime until = io::mono_now() + kPatience;
  while (!taken_all && io::mono_now() < until) {
    worker->loop().post([&] { taken_all = feed->taken == 100; });
    std::this_thread::yield();
  }
  ASSERT_TRUE(drain(kPatience));
  ASSERT_TRUE(spool->flush(kPatience).ok());
  stop();
  EXPECT_TRUE(feed->closed);
  EXPECT_TRUE(taken->closed);
  EXPECT_EQ(feed->acknowledged.back(), (std::pair<Partition, Position>(1, 100)));
  EXPECT_THAT(taken->payloads, SizeIs(33)) << "also the alerts of the last commit";
  EXPECT_EQ(taken->payloads, read_lane(*spool, Lane::kAlerts));
  EXPECT_THAT(read_decisions(*spool), SizeIs(100));
  // The state is written: a restart replays nothing.
  EXPECT_EQ(spool->cursor("checkpoint/main/0", Lane::kReadings, kAllStreams), 100U);
  EXPECT_EQ(spool->cursor("sink/pager", Lane::kAlerts, kAllStreams), 33U);
}

TEST_F(WorkerTest, DrainWaitsNoLongerForASinkThatTakesNothing) {
  sink_patience = std::chrono::milliseconds(50);
  taken->refuse = Error::unavailable("no connection");
  build();
  start();
  add(1, 10);
  std::atomic<bool> taken_all{false};
  const MonoTime until = io::mono_now() + kPatience;
  while (!taken_all && io::mono_now() < until) {
    worker->loop().post([&] { taken_all = feed->taken == 10; });
    std::this_thread::yield();
  }
  ASSERT_TRUE(drain(10 * kPatience));
  ASSERT_TRUE(spool->flush(kPatience).ok());
  stop();
  EXPECT_EQ(feed->acknowledged.back(), (std::pair<Partition, Position>(1, 10)));
  EXPECT_THAT(read_lane(*spool, Lane::kAlerts), SizeIs(3)) << "kept for the next start";
  EXPECT_EQ(spool->cursor("sink/pager", Lane::kAlerts, kAllStreams).value_or(0), 0U);
}

TEST_F(WorkerTest, DrainTakesNothingMore) {
  build();
  start();
  ASSERT_TRUE(drain(kPatience));
  add(1, 5);
  std::atomic<int> rounds{0};
  const MonoTime until = io::mono_now() + kPatience;
  while (rounds < 3 && io::mono_now() < until) {
    worker->loop().post([&] { ++rounds; });
    std::this_thread::yield();
  }
  stop();
  EXPECT_EQ(feed->taken, 0U);
  EXPECT_EQ(feed->rooms.back(), 0U);
}

TEST_F(WorkerTest, DrainEndsAtItsLimitAndTheRestGoesOnAtTheNextStart) {
  taken->refuse = Error::unavailable("no connection");
  build();
  start();
  add(1, 9);
  const MonoTime until = io::mono_now() + kPatience;
  std::atomic<bool> acknowledged{false};
  while (!acknowledged && io::mono_now() < until) {
    worker->loop().post([&] {
      acknowledged = !feed->acknowledged.empty() && feed->acknowledged.back().second == 9;
    });
    std::this_thread::yield();
  }
  ASSERT_TRUE(drain(std::chrono::milliseconds(30)));
  stop();
  worker.reset();
  spool.reset();
  taken = std::make_shared<Taken>();
  feed = std::make_shared<Feed>();
  tells = true;
  build();
  start();
  ASSERT_TRUE(drain(kPatience));
  stop();
  EXPECT_THAT(taken->payloads, ElementsAre("d n=3 sum=6", "d n=6 sum=21", "d n=9 sum=45"));
}

TEST_F(WorkerTest, DrainOfASpoolThatRefusesEndsAtItsLimit) {
  build();
  start();
  disk.fail(io::DiskCall::kWrite, EIO, 1'000'000);
  disk.fail(io::DiskCall::kOpen, EIO, 1'000'000);
  add(1, 3);
  EXPECT_TRUE(drain(std::chrono::milliseconds(30)));
  stop();
  EXPECT_TRUE(feed->acknowledged.empty());
  disk.clear_faults();
}

TEST_F(WorkerTest, StopWithoutStartAndStopTwiceAreFine) {
  build();
  worker->stop();
  EXPECT_FALSE(worker->running());
  EXPECT_FALSE(feed->started);
  start();
  EXPECT_TRUE(worker->running());
  stop();
  worker->stop();
  EXPECT_FALSE(worker->running());
}

TEST_F(WorkerTest, StopWithoutDrainClosesOnceAndCallsNothingAfterwards) {
  build();
  start();
  add(1, 50);
  stop();  // the fakes fail the test at a call after close()
  EXPECT_TRUE(feed->closed);
  EXPECT_TRUE(taken->closed);
}

TEST_F(WorkerTest, AnErrorAtStartNamesThePartAndEndsTheStart) {
  class Broken final : public Sink {
   public:
    Status start(io::Loop&) override { return Error::invalid("no such file"); }
    Status submit(BatchRef, Token) override { return {}; }
    std::size_t poll(std::span<Outcome>) override { return 0; }
    std::string state() const override { return ""; }
    void close() override {}
  };
  build();
  worker->add_sink("log", std::make_unique<Broken>());
  const Status started = worker->start({});
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().text(), "start sink 'log': no such file");
  EXPECT_FALSE(worker->running());
  stop();
}

TEST_F(WorkerTest, ScoresWhatACrashLeftWithoutAnythingNew) {
  spool = Spool::open(disk, options).value();
  for (int i = 1; i <= 3; ++i) {
    Transaction transaction;
    StoredRow row = sample_row("");
    const std::string payload = fmt::format("d {}", i);
    row.payload = payload;
    row.device = "d";
    transaction.append(Lane::kReadings, 1, row);
    ASSERT_TRUE(spool->submit(transaction).ok());
  }
  ASSERT_TRUE(spool->flush(kPatience).ok());
  spool.reset();
  build();
  start();
  ASSERT_TRUE(drain(kPatience));
  stop();
  EXPECT_THAT(taken->payloads, ElementsAre("d n=3 sum=6"));
}

TEST_F(WorkerTest, IsFinishedWhenItsSourcesHaveEndedAndAllIsDone) {
  feed->ends = true;
  for (int i = 1; i <= 30; ++i) {
    feed->add(fmt::format("d {}", i));
  }
  build();
  start();
  const MonoTime until = io::mono_now() + kPatience;
  while ((!worker->finished() || beats == 0) && io::mono_now() < until) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(worker->finished());
  EXPECT_GE(beats, 1);
  stop();
  EXPECT_THAT(taken->payloads, SizeIs(10));
}

}  // namespace
}  // namespace headwater
