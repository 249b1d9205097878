#include "uplink/uplink.h"

#include <pthread.h>

#include <algorithm>
#include <limits>
#include <random>
#include <utility>

#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr MonoTime kNever{std::numeric_limits<std::int64_t>::max()};
constexpr Nanos kTickEvery = std::chrono::seconds(1);
constexpr Nanos kStartRetry = std::chrono::seconds(1);
constexpr Nanos kQuietCheckEvery = std::chrono::milliseconds(20);

}  // namespace

Uplink::Uplink(std::unique_ptr<io::Loop> loop, std::uint64_t budget)
    : loop_(std::move(loop)), pacer_(budget) {}

Result<std::unique_ptr<Uplink>> Uplink::create(Parts parts) {
  const UplinkOptions& options = parts.made.options;
  const std::uint64_t budget = HW_TRY(parse_budget(options.budget));
  std::unique_ptr<Uplink> uplink(new Uplink(HW_TRY(io::Loop::create()), budget));
  uplink->where_ = parts.made.where;
  uplink->target_ = std::move(parts.made.target);
  std::vector<Lane> lanes;
  for (const std::string& name : options.lanes) {
    lanes.push_back(parse_lane(name).value_or(Lane::kReadings));
  }
  std::stable_partition(lanes.begin(), lanes.end(),
                        [](Lane lane) { return lane == Lane::kAlerts; });
  std::random_device random;
  for (const Lane lane : lanes) {
    const bool alerts = lane == Lane::kAlerts;
    LaneStream::Parts stream;
    stream.spool = parts.spool;
    stream.target = uplink->target_.get();
    stream.pacer = alerts ? nullptr : &uplink->pacer_;
    stream.lane = lane;
    stream.live_first = !alerts && options.order == UplinkOrder::kLiveFirst;
    stream.edge_id = parts.edge_id;
    stream.limits.rows = options.max_rows;
    stream.limits.bytes = options.max_bytes.bytes;
    stream.limits.every = alerts ? Nanos{0} : Nanos{options.every};
    stream.limits.score_wait = options.score_wait;
    stream.scored = parts.scored;
    stream.compression_level = options.compression_level;
    stream.backoff.base = std::min(stream.backoff.base, options.max_backoff);
    stream.backoff.most = options.max_backoff;
    stream.park_every = options.park_every;
    stream.seed = random();
    stream.wake = [up = uplink.get()] { up->pump_soon(); };
    stream.restart = [up = uplink.get()] { up->restart_due_ = true; };
    uplink->streams_.push_back(std::make_unique<LaneStream>(std::move(stream)));
    parts.spool->deliver_to(kUplinkConsumer, lane);
  }
  return uplink;
}

Uplink::~Uplink() {
  drain(Nanos{0});
  if (target_ != nullptr) {
    target_->close();
  }
}

Status Uplink::start(std::function<void()> beat) {
  beat_ = std::move(beat);
  HW_TRY(target_->start(*loop_));
  if (beat_) {
    loop_->after(kTickEvery, [this] { tick(); });
  }
  loop_->at_round_end([this] { return round(); });
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "hw-uplink");
    loop_->run();
  });
  loop_->post([] {});  // a first round at once
  return {};
}

void Uplink::tick() {
  beat_();
  loop_->after(kTickEvery, [this] { tick(); });
}

bool Uplink::round() {
  if (!due_) {
    return false;
  }
  due_ = false;
  woken_.store(false);  // before the streams look at what is committed
  last_pump_ = io::mono_now();
  if (restart_due_ && !restart_target()) {
    arm(last_pump_ + kStartRetry);
    return false;
  }
  const LanePlan::Clock now{last_pump_, io::wall_now()};
  MonoTime at = kNever;
  for (const std::unique_ptr<LaneStream>& stream : streams_) {
    const LaneStream::Next next = stream->pump(now);
    due_ = due_ || next.again;
    at = std::min(at, next.at);
  }
  if (!due_ && at != kNever) {
    arm(std::max(at, last_pump_ + std::chrono::milliseconds(1)));
  }
  return due_;
}

// Not from within an answer of the target: here.
bool Uplink::restart_target() {
  target_->close();
  for (const std::unique_ptr<LaneStream>& stream : streams_) {
    stream->give_up();
  }
  if (Status started = target_->start(*loop_); !started) {
    log::warn("the target does not start", {{"to", where_}, {"error", started.error().text()}});
    return false;
  }
  restart_due_ = false;
  restarts_.add(1);
  return true;
}

void Uplink::arm(MonoTime at) {
  if (timer_ != 0 && armed_for_ <= at) {
    return;
  }
  loop_->cancel(timer_);
  armed_for_ = at;
  timer_ = loop_->after(std::max(at - io::mono_now(), Nanos{0}), [this] {
    timer_ = 0;
    due_ = true;
  });
}

void Uplink::pump_soon() {
  due_ = true;
  loop_->post([] {});  // so that this round has a successor
}

void Uplink::committed() {
  if (!woken_.exchange(true)) {
    loop_->post([this] { arm(last_pump_ + kPumpEvery); });
  }
}

void Uplink::finish() {
  loop_->post([this] {
    for (const std::unique_ptr<LaneStream>& stream : streams_) {
      stream->flush();
    }
    due_ = true;
  });
}

bool Uplink::settled() const {
  return std::all_of(streams_.begin(), streams_.end(),
                     [](const auto& stream) { return stream->settled(); });
}

void Uplink::drain(Nanos limit) {
  if (!thread_.joinable()) {
    return;
  }
  std::promise<void> quiet;
  loop_->post([this, &quiet, until = io::mono_now() + limit] {
    for (const std::unique_ptr<LaneStream>& stream : streams_) {
      stream->hold();
    }
    due_ = true;
    wait_until_quiet(quiet, until);
  });
  quiet.get_future().wait();
  loop_->post([this] { loop_->stop(); });
  thread_.join();
}

void Uplink::wait_until_quiet(std::promise<void>& quiet, MonoTime until) {
  const bool all = std::all_of(streams_.begin(), streams_.end(),
                               [](const auto& stream) { return stream->quiet(); });
  if (all || io::mono_now() >= until) {
    quiet.set_value();
    return;
  }
  loop_->after(kQuietCheckEvery, [this, &quiet, until] { wait_until_quiet(quiet, until); });
}

}  // namespace headwater
