#include "pipeline/worker.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <future>
#include <utility>

#include "base/result.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr Nanos kTickEvery = std::chrono::seconds(1);
constexpr Nanos kDrainCheckEvery = std::chrono::milliseconds(20);
// Of scoring before sources are asked again, if several pipelines have rows.
constexpr Nanos kScoreFor = std::chrono::milliseconds(2);

Nanos thread_cpu() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + Nanos(used.tv_nsec);
}

}  // namespace

Worker::Worker(std::size_t index, std::unique_ptr<io::Loop> loop, Nanos sink_patience)
    : index_(index), sink_patience_(sink_patience), loop_(std::move(loop)) {}

Worker::~Worker() {
  stop();
}

Scoring& Worker::add(std::unique_ptr<Scoring> scoring) {
  scorings_.push_back(std::move(scoring));
  scorings_.back()->measure(clock_);
  shares_.add();
  return *scorings_.back();
}

Intake& Worker::add(std::unique_ptr<Intake> intake) {
  intakes_.push_back(std::move(intake));
  intakes_.back()->measure(clock_);
  return *intakes_.back();
}

void Worker::add_sink(std::string name, std::unique_ptr<Sink> sink) {
  sinks_.push_back({std::move(name), std::move(sink)});
}

Delivery& Worker::add(std::unique_ptr<Delivery> delivery) {
  deliveries_.push_back(std::move(delivery));
  return *deliveries_.back();
}

EarlyDelivery& Worker::add(std::unique_ptr<EarlyDelivery> delivery) {
  early_.push_back(std::move(delivery));
  return *early_.back();
}

Status Worker::start(std::function<void()> beat) {
  beat_ = std::move(beat);
  for (const NamedSink& sink : sinks_) {
    HW_TRY(sink.sink->start(*loop_).with("start sink '{}'", sink.name));
  }
  for (const std::unique_ptr<Scoring>& scoring : scorings_) {
    HW_TRY(scoring->restore().with("start pipeline '{}'", scoring->pipeline()));
  }
  for (const std::unique_ptr<Intake>& intake : intakes_) {
    HW_TRY(intake->start(*loop_).with("start source '{}'", intake->name()));
  }
  loop_->at_round_end([this] { return round(); });
  loop_->after(kTickEvery, [this] { tick(); });
  loop_->post([] {});  // a first round at once: what a crash left is scored before anything new
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), ("hw-worker-" + std::to_string(index_)).c_str());
    clock_.begin(StageClock::moment());
    loop_->run();
  });
  return {};
}

bool Worker::round() {
  if (closed_) {
    return false;
  }
  bool more = false;
  for (const std::unique_ptr<Intake>& intake : intakes_) {
    more |= intake->pump(pool_);
  }
  more |= score();
  if (!deliveries_.empty() || !early_.empty()) {
    clock_.enter(clock_.own(), CpuStage::kDeliver);
  }
  for (const std::unique_ptr<Delivery>& delivery : deliveries_) {
    delivery->pump();
  }
  for (const std::unique_ptr<EarlyDelivery>& delivery : early_) {
    delivery->pump();
  }
  clock_.leave();
  if (!more && !finished() && ended()) {
    ended_.store(true, std::memory_order_release);
    if (settled()) {
      finished_.store(true, std::memory_order_release);
    }
  }
  return more;
}

// True if there is more to do now.
bool Worker::score() {
  if (scorings_.size() == 1) {
    return scorings_.front()->step(pool_);
  }
  const MonoTime until = io::mono_now() + kScoreFor;
  shares_.begin();
  while (const auto who = shares_.next()) {
    const Nanos before = thread_cpu();
    const bool more = scorings_[*who]->step(pool_);
    shares_.used(*who, thread_cpu() - before, scorings_[*who]->weight(), more);
    if (io::mono_now() >= until) {
      return shares_.next().has_value();
    }
  }
  return false;
}

void Worker::committed(Ticket upto) {
  committed_.store(upto, std::memory_order_release);
  if (!wake_posted_.exchange(true)) {
    loop_->post([this] {
      wake_posted_.store(false);
      on_commit();
    });
  }
}

void Worker::on_commit() {
  if (closed_) {
    return;
  }
  const Ticket upto = committed_.load(std::memory_order_acquire);
  for (const std::unique_ptr<Intake>& intake : intakes_) {
    intake->on_commit(upto);
  }
  for (const std::unique_ptr<Scoring>& scoring : scorings_) {
    scoring->on_commit(upto);
  }
  clock_.leave();
}

void Worker::settle_times() {
  change([this] { clock_.settle(StageClock::moment()); });
}

void Worker::tick() {
  clock_.settle(StageClock::moment());
  const WallTime now = io::wall_now();
  for (const std::unique_ptr<Scoring>& scoring : scorings_) {
    scoring->tick(now);
  }
  if (beat_) {
    beat_();
  }
  loop_->after(kTickEvery, [this] { tick(); });
}

bool Worker::ended() const {
  return std::all_of(intakes_.begin(), intakes_.end(),
                     [](const auto& intake) { return intake->ended(); });
}

bool Worker::taken_is_done() const {
  const auto taken = [](const auto& intake) { return intake->settled(); };
  const auto scored = [](const auto& scoring) { return scoring->idle(); };
  return std::all_of(intakes_.begin(), intakes_.end(), taken) &&
         std::all_of(scorings_.begin(), scorings_.end(), scored);
}

bool Worker::settled() const {
  return taken_is_done() && std::all_of(deliveries_.begin(), deliveries_.end(),
                                        [](const auto& delivery) { return delivery->settled(); });
}

std::uint64_t Worker::answered() const {
  std::uint64_t total = 0;
  for (const std::unique_ptr<Delivery>& delivery : deliveries_) {
    const DeliveryCounts& counts = delivery->counts();
    total += counts.delivered.get() + counts.rejected.get() + counts.expired.get();
  }
  return total;
}

void Worker::drain(Nanos limit, std::function<void()> done) {
  loop_->post([this, limit, done = std::move(done)]() mutable {
    drain_until_ = io::mono_now() + limit;
    drained_ = std::move(done);
    for (const std::unique_ptr<Intake>& intake : intakes_) {
      intake->stop_taking();
    }
    check_drained();
  });
}

void Worker::check_drained() {
  if (!settled()) {
    const MonoTime now = io::mono_now();
    if (!taken_is_done() || answered() != answered_ || sinks_until_ == MonoTime{}) {
      answered_ = answered();
      sinks_until_ = now + sink_patience_;
    }
    if (now < std::min(drain_until_, sinks_until_)) {
      loop_->after(kDrainCheckEvery, [this] { check_drained(); });
      return;
    }
    // Nothing is lost by this: what is unscored or unsent is in the spool and goes on at the next
    // start.
    log::warn("drain took too long; the rest continues at the next start", {{"worker", index_}});
  }
  for (const std::unique_ptr<Scoring>& scoring : scorings_) {
    scoring->checkpoint();
  }
  for (const std::unique_ptr<Delivery>& delivery : deliveries_) {
    delivery->save_cursor();
  }
  if (drained_) {
    std::exchange(drained_, nullptr)();
  }
}

void Worker::change(const std::function<void()>& change) {
  if (!thread_.joinable()) {
    change();
    return;
  }
  std::promise<void> done;
  loop_->post([&] {
    change();
    done.set_value();
  });
  done.get_future().wait();
}

void Worker::stop() {
  if (!thread_.joinable()) {
    return;
  }
  loop_->post([this] {
    closed_ = true;
    for (const std::unique_ptr<Intake>& intake : intakes_) {
      intake->close();
    }
    for (const NamedSink& sink : sinks_) {
      sink.sink->close();
    }
    loop_->stop();
  });
  thread_.join();
}

void Worker::release() {
  HW_CHECK(!thread_.joinable(), "nodes are destroyed when nothing calls them");
  early_.clear();
  deliveries_.clear();
  sinks_.clear();
  intakes_.clear();
  scorings_.clear();
}

}  // namespace headwater
