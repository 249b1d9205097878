#include "uplink/lane_stream.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr MonoTime kNever{std::numeric_limits<std::int64_t>::max()};
constexpr Nanos kStoreRetry = std::chrono::milliseconds(200);
constexpr std::uint64_t kStateVersion = 2;
// Rows that wait for longer than twice `every`, and than this, stay behind.
constexpr Nanos kLeastBehind = std::chrono::seconds(2);
// So many full batches in front of live rows are a backlog, however young.
constexpr std::uint64_t kMostBatchesInFront = 8;
// While live rows are sent, batches of the backlog are so much smaller: one that is built or on its
// way delays a live batch by less.
constexpr std::size_t kBacklogPart = 4;

}  // namespace

LaneStream::LaneStream(Parts parts) : context_(std::move(parts)) {
  context_.save = [this](Transaction transaction) { return save(std::move(transaction)); };
  context_.delivered = [this](std::uint64_t first, std::uint64_t last) { delivered(first, last); };
  restore();
}

std::string LaneStream::state_key() const {
  return fmt::format("uplink/batch/{}", lane_name(lane()));
}

std::vector<LaneBoundary> LaneStream::saved_boundaries() const {
  const Spool& spool = *context_.parts.spool;
  const std::string blob = spool.state(state_key());
  ByteReader in(blob);
  const std::uint64_t version = in.get_varint();
  const std::uint64_t count = version == kStateVersion ? in.get_varint() : 1;
  std::vector<LaneBoundary> boundaries;
  for (std::uint64_t i = 0; i < count && i < 2; ++i) {
    LaneBoundary boundary;
    boundary.first = in.get_varint();
    boundary.last = in.get_varint();
    boundary.refused = in.get_varint() != 0;
    if (in.ok() && version <= kStateVersion && boundary.first > progress_.cursor() &&
        boundary.last >= boundary.first &&
        boundary.last < spool.stats().lanes[index_of(lane())].next_sequence) {
      boundaries.push_back(boundary);
    }
  }
  return boundaries;
}

void LaneStream::restore() {
  const Spool& spool = *context_.parts.spool;
  progress_ = LaneProgress(spool.cursor(kUplinkConsumer, lane(), kAllStreams).value_or(0),
                           decode_ahead(spool.state(ahead_key(kUplinkConsumer, lane()))));
  context_.accepted = progress_.end() != 0;
  main_ = std::make_unique<LaneSender>(context_, progress_.cursor(), false);
  ahead_in_log_ = !progress_.ahead().empty();
  if (ahead_in_log_) {
    live_ = std::make_unique<LaneSender>(context_, progress_.end(), true);
  }
  for (const LaneBoundary& boundary : saved_boundaries()) {
    if (boundary.first == progress_.cursor() + 1) {
      main_->restore(boundary);
    } else if (boundary.first >= main_->behind() && boundary.first > progress_.end()) {
      // Perhaps it had just jumped there: what lies before is for the backlog.
      live_ = std::make_unique<LaneSender>(context_, boundary.first - 1, true);
      live_->restore(boundary);
    }
  }
  publish();
}

std::uint64_t LaneStream::pending() const {
  const std::uint64_t next = context_.parts.spool->stats().lanes[index_of(lane())].next_sequence;
  const std::uint64_t had = cursor_.get() + ahead_.get();
  return next - 1 - std::min(had, next - 1);
}

bool LaneStream::settled() const {
  return pending() == 0 && saved_with_.load() <= context_.parts.spool->committed();
}

std::optional<MonoTime> LaneStream::oldest() const {
  const std::int64_t at = oldest_.load(std::memory_order_relaxed);
  return at == kNone ? std::nullopt : std::optional(MonoTime{at});
}

bool LaneStream::quiet() const {
  const auto rests = [&](const LaneSender* sender) {
    return sender == nullptr || sender->quiet() || (sender->is_open() && pending() == 0);
  };
  return rests(main_.get()) && rests(live_.get());
}

void LaneStream::give_up() {
  main_->give_up();
  if (live_) {
    live_->give_up();
  }
}

LaneStream::Next LaneStream::pump(const LanePlan::Clock& now) {
  Next next{false, kNever};
  if (context_.pause) {
    context_.not_before = now.mono + *std::exchange(context_.pause, std::nullopt);
  }
  if (progress_open_ && !save({})) {
    next.at = now.mono + kStoreRetry;
  }
  join();
  split(now, &next);
  const auto pump = [&](LaneSender& sender, const LanePlan::Limits& limits) {
    Next its{false, kNever};
    sender.pump(now, limits, &its);
    next.again = next.again || its.again;
    next.at = std::min(next.at, its.at);
  };
  if (live_ && (context_.parts.live_first || !live_->is_open())) {
    pump(*live_, context_.parts.limits);
  }
  pump(*main_, main_limits());
  const std::optional<MonoTime> oldest = main_->stored_since(main_->first(), now.mono);
  oldest_.store(oldest ? oldest->ns : kNone, std::memory_order_relaxed);
  publish();
  return next;
}

LanePlan::Limits LaneStream::main_limits() const {
  LanePlan::Limits limits = context_.parts.limits;
  if (live_) {
    limits.rows = std::max<std::size_t>(1, limits.rows / kBacklogPart);
    limits.bytes = std::max<std::uint64_t>(1, limits.bytes / kBacklogPart);
    limits.upto =
        (progress_.ahead().empty() ? live_->first() : progress_.ahead().front().first) - 1;
  }
  return limits;
}

void LaneStream::join() {
  if (!main_->is_open()) {
    return;
  }
  if (main_->first() <= progress_.cursor()) {
    main_->move_to(progress_.cursor());  // over what went ahead
  }
  if (live_ && live_->first() <= main_->first()) {
    main_ = std::move(live_);
    main_->set_live(false);
    log::info("the backlog is sent: live readings go in order again",
              {{"lane", lane_name(lane())}, {"cursor", progress_.cursor()}});
  }
}

std::uint64_t LaneStream::live_from(MonoTime now, std::uint64_t end, Nanos bound) {
  while (!marks_.empty() && now - marks_.front().at >= bound) {
    marks_.pop_front();
  }
  if (marks_.empty() || now - marks_.back().at >= bound / kMarks) {
    marks_.push_back({now, end});
  }
  return marks_.front().end;
}

void LaneStream::split(const LanePlan::Clock& now, Next* next) {
  if (!context_.parts.live_first || context_.held || context_.flush) {
    return;
  }
  const Nanos bound = std::max<Nanos>(2 * context_.parts.limits.every, kLeastBehind);
  const std::uint64_t end = context_.parts.spool->stats().lanes[index_of(lane())].next_sequence - 1;
  const std::uint64_t upto = live_from(now.mono, end, bound);
  LaneSender& lead = live_ ? *live_ : *main_;
  if (!main_->answered() || lead.behind() > upto) {
    return;
  }
  if (live_) {
    // It jumps to the end of the lane, but not over what one batch holds.
    if (!live_->is_open() || live_->failing() ||
        upto - live_->first() < context_.parts.limits.rows ||
        progress_.ahead().size() >= LaneProgress::kMostAhead) {
      return;
    }
  } else if (main_->is_open()) {
    return;  // all of it may fit into the batch that it closes next
  }
  if (live_ || upto - lead.behind() < kMostBatchesInFront * context_.parts.limits.rows) {
    const std::optional<MonoTime> since = lead.stored_since(lead.behind(), now.mono);
    if (!since) {
      return;
    }
    if (now.mono - *since < bound) {
      next->at = std::min(next->at, *since + bound);
      return;
    }
  }
  if (!live_) {
    log::info(
        "readings stay behind: live ones go first from now on",
        {{"lane", lane_name(lane())}, {"cursor", progress_.cursor()}, {"live_from", upto + 1}});
  }
  live_ = std::make_unique<LaneSender>(context_, upto, true);
}

Result<Ticket> LaneStream::save(Transaction transaction) {
  std::string blob;
  ByteWriter out(blob);
  std::uint64_t count = 0;
  const auto put = [&](const LaneSender* sender) {
    if (sender != nullptr && !sender->is_open()) {
      ++count;
      out.put_varint(sender->boundary().first);
      out.put_varint(sender->boundary().last);
      out.put_varint(sender->boundary().refused ? 1 : 0);
    }
  };
  put(main_.get());
  put(live_.get());
  std::string head;
  ByteWriter head_out(head);
  if (count != 0) {
    head_out.put_varint(kStateVersion);
    head_out.put_varint(count);
  }
  transaction.state(state_key(), head + blob);
  if (progress_open_) {
    transaction.cursor(kUplinkConsumer, lane(), kAllStreams, progress_.cursor());
    if (ahead_in_log_ || !progress_.ahead().empty()) {
      transaction.state(ahead_key(kUplinkConsumer, lane()), encode_ahead(progress_.ahead()));
    }
  }
  const Result<Submitted> submitted = context_.parts.spool->submit(transaction);
  if (!submitted) {
    context_.trouble.set(submitted.error().text());
    return submitted.error();
  }
  if (std::exchange(progress_open_, false)) {
    ahead_in_log_ = !progress_.ahead().empty();
    saved_with_.store(submitted->ticket);
  }
  return submitted->ticket;
}

void LaneStream::delivered(std::uint64_t first, std::uint64_t last) {
  saved_with_.store(kUnsaved);
  progress_.add(first, last);
  progress_open_ = true;
  if (!main_->failing() && !(live_ && live_->failing())) {
    context_.trouble.clear();
  }
  publish();
  (void)save({});
}

void LaneStream::publish() {
  cursor_.set(progress_.cursor());
  ahead_.set(progress_.ahead_rows());
  split_.store(live_ != nullptr, std::memory_order_relaxed);
  LaneState state = main_->state();
  if (live_ && (state == LaneState::kIdle || live_->state() == LaneState::kParked)) {
    state = live_->state();
  }
  state_.store(state, std::memory_order_relaxed);
}

}  // namespace headwater
