// Worker: one thread that owns partitions end to end: sources, decode, append, score, acknowledge.
//
// A round of its loop: read what arrived → decode, filter → hand to the spool's flusher → score
// what has arrived → decisions → hand to the flusher. Where several pipelines have rows to score
// they take turns by weight (shares.h), a step each, and after some 2 ms the sources are asked
// again. The flusher wakes it when a group is on disk, and it acknowledges. So nodes hold no locks.
//
// Thread rule: built and configured on one thread, then start(); afterwards everything runs on the
// worker's own thread but what is marked "any thread".
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "io/loop.h"
#include "pipeline/batch_pool.h"
#include "pipeline/delivery.h"
#include "pipeline/intake.h"
#include "pipeline/scoring.h"
#include "pipeline/shares.h"
#include "pipeline/sink.h"
#include "pipeline/stage_clock.h"
#include "store/spool.h"

namespace headwater {

class Worker {
 public:
  static constexpr Nanos kSinkPatience = std::chrono::seconds(3);

  Worker(std::size_t index, std::unique_ptr<io::Loop> loop, Nanos sink_patience = kSinkPatience);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  io::Loop& loop() { return *loop_; }
  std::size_t index() const { return index_; }

  Scoring& add(std::unique_ptr<Scoring> scoring);
  Intake& add(std::unique_ptr<Intake> intake);
  // Sinks live on worker 0. Each gets its alerts through a Delivery or, before their commit,
  // through an EarlyDelivery.
  void add_sink(std::string name, std::unique_ptr<Sink> sink);
  Delivery& add(std::unique_ptr<Delivery> delivery);
  EarlyDelivery& add(std::unique_ptr<EarlyDelivery> delivery);

  // Binds sources, restores state. An error ends the start. Then the thread runs.
  Status start(std::function<void()> beat);

  bool running() const { return thread_.joinable(); }

  // Any thread. Calls `done` on the worker's thread once nothing taken is unscored, uncommitted or
  // unacknowledged and no alert unanswered, or `limit` has passed, or only alerts are left and no
  // sink has taken one for `sink_patience`. The steps: stop taking, finish,
  // commit, acknowledge, write the state.
  void drain(Nanos limit, std::function<void()> done);
  // Any thread. Calls `change` on the worker's thread between two rounds and waits for it. At once
  // and on the caller's thread while the worker does not run.
  void change(const std::function<void()>& change);
  // Any thread: brings the CPU times of stages up to now.
  void settle_times();
  // Any thread: closes sources and sinks, ends the thread, joins it.
  void stop();
  // After stop(): destroys sources, sinks and what drives them; the loop stays. The parts of a
  // listener lie on several workers and share an object, so all of them go before any loop does.
  void release();

  // Any thread: a commit happened.
  void committed(Ticket upto);

  const std::vector<std::unique_ptr<Intake>>& intakes() const { return intakes_; }
  const std::vector<std::unique_ptr<Scoring>>& scorings() const { return scorings_; }
  const std::vector<std::unique_ptr<Delivery>>& deliveries() const { return deliveries_; }
  // CPU time of its thread that belongs to none of these.
  const StageTimes& own_times() const { return clock_.own(); }
  // True when every source of this worker has ended and all its rows are decided and committed.
  // The sources of this worker are; what they gave may still wait for its commit.
  bool sources_ended() const { return ended_.load(std::memory_order_acquire); }
  bool finished() const { return finished_.load(std::memory_order_acquire); }

 private:
  struct NamedSink {
    std::string name;
    std::unique_ptr<Sink> sink;
  };

  bool round();
  bool score();
  void on_commit();
  bool ended() const;
  bool taken_is_done() const;
  bool settled() const;
  std::uint64_t answered() const;
  void check_drained();
  void tick();

  std::size_t index_;
  Nanos sink_patience_;
  std::unique_ptr<io::Loop> loop_;
  BatchPool pool_;
  StageClock clock_;
  std::vector<std::unique_ptr<Scoring>> scorings_;
  Shares shares_;  // of scorings_
  std::vector<std::unique_ptr<Intake>> intakes_;
  std::vector<NamedSink> sinks_;
  std::vector<std::unique_ptr<Delivery>> deliveries_;
  std::vector<std::unique_ptr<EarlyDelivery>> early_;
  std::function<void()> beat_;
  std::thread thread_;
  std::atomic<Ticket> committed_{0};
  std::atomic<bool> wake_posted_{false};
  std::atomic<bool> ended_{false};
  std::atomic<bool> finished_{false};

  bool closed_ = false;  // sources and sinks take no more calls
  MonoTime drain_until_;
  MonoTime sinks_until_;        // patience with sinks; moved on by every answer
  std::uint64_t answered_ = 0;  // by sinks, when sinks_until_ was set
  std::function<void()> drained_;
};

}  // namespace headwater
