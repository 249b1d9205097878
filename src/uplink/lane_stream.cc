#include "uplink/lane_stream.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr MonoTime kNever{std::numeric_limits<std::int64_t>::max()};
// Items of the log that one pump looks at, so that the other lanes have their turn.
constexpr std::size_t kLooks = 4096;
constexpr std::size_t kReadStep = 256;
constexpr Nanos kStoreRetry = std::chrono::milliseconds(200);
constexpr std::uint64_t kStateVersion = 1;
constexpr std::uint64_t kLeastLearned = 1024;
// What 413 took from the size of batches comes back by this part of it with each batch.
constexpr std::uint64_t kRegrowth = 8;

}  // namespace

std::string_view lane_state_name(LaneState state) {
  switch (state) {
    case LaneState::kIdle:
      return "idle";
    case LaneState::kSending:
      return "sending";
    case LaneState::kWaiting:
      return "waiting";
    case LaneState::kParked:
      return "parked";
  }
  return "";
}

LaneStream::LaneStream(Parts parts)
    : parts_(std::move(parts)),
      plan_(*parts_.spool, parts_.lane, parts_.scored),
      backoff_(parts_.backoff, parts_.seed),
      trouble_("uplink", std::string(lane_name(parts_.lane))) {
  restore();
}

std::string LaneStream::state_key() const {
  return fmt::format("uplink/batch/{}", lane_name(parts_.lane));
}

void LaneStream::restore() {
  const Spool& spool = *parts_.spool;
  cursor_.set(spool.cursor(kUplinkConsumer, parts_.lane, kAllStreams).value_or(0));
  accepted_ = cursor_.get() != 0;
  const std::string blob = spool.state(state_key());
  ByteReader in(blob);
  const std::uint64_t version = in.get_varint();
  Boundary boundary;
  boundary.first = in.get_varint();
  boundary.last = in.get_varint();
  boundary.refused = in.get_varint() != 0;
  if (in.ok() && version == kStateVersion && boundary.first == cursor_.get() + 1 &&
      boundary.last >= boundary.first &&
      boundary.last < spool.stats().lanes[index_of(parts_.lane)].next_sequence) {
    boundary_ = boundary;
    phase_ = Phase::kClosed;
    tried_ = true;  // perhaps: its answer may have been lost
  }
  plan_.sent(cursor_.get());
}

LanePlan::Limits LaneStream::limits() const {
  LanePlan::Limits limits = parts_.limits;
  if (learned_bytes_ != 0) {
    limits.bytes = std::min(limits.bytes, learned_bytes_);
  }
  return limits;
}

std::uint64_t LaneStream::pending() const {
  const std::uint64_t next = parts_.spool->stats().lanes[index_of(parts_.lane)].next_sequence;
  return next - 1 - std::min(cursor_.get(), next - 1);
}

bool LaneStream::settled() const {
  return pending() == 0 && saved_with_.load() <= parts_.spool->committed();
}

std::optional<WallTime> LaneStream::oldest() const {
  const std::int64_t at = oldest_.load(std::memory_order_relaxed);
  return at == 0 ? std::nullopt : std::optional(WallTime{at});
}

bool LaneStream::quiet() const {
  if (phase_ == Phase::kSending || phase_ == Phase::kCommitting) {
    return false;
  }
  if (wait_ || not_before_ > now_ || (held_ && parts_.lane != Lane::kAlerts)) {
    return true;
  }
  return phase_ == Phase::kOpen && pending() == 0;
}

LaneStream::Next LaneStream::pump(const LanePlan::Clock& now) {
  now_ = now.mono;
  if (wait_) {
    not_before_ = now.mono + *std::exchange(wait_, std::nullopt);
  }
  looks_ = kLooks;
  Next next{false, kNever};
  if (cursor_open_ && !save_cursor()) {
    next.at = now.mono + kStoreRetry;
  }
  for (bool more = true; more;) {
    switch (phase_) {
      case Phase::kOpen:
        more = close_batch(now, next);
        break;
      case Phase::kCommitting:
        more = parts_.spool->committed() >= ticket_;  // a commit pumps again
        phase_ = more ? Phase::kClosed : phase_;
        break;
      case Phase::kClosed:
        more = send_batch(now, next);
        break;
      case Phase::kSending:
        more = false;
        break;
    }
  }
  const std::optional<WallTime> oldest = plan_.oldest();
  oldest_.store(oldest ? oldest->ns : 0, std::memory_order_relaxed);
  return next;
}

// True: there may be more to read now.
bool LaneStream::read_more(MonoTime now, Next& next) {
  if (looks_ == 0) {
    next.again = true;
    return false;
  }
  looks_ -= std::min(looks_, kReadStep);
  const Result<bool> more = plan_.read(kReadStep, now);
  if (!more) {
    trouble_.set(more.error().text());
    next.at = std::min(next.at, now + kStoreRetry);
    return false;
  }
  return *more;
}

bool LaneStream::close_batch(const LanePlan::Clock& now, Next& next) {
  const bool alerts = parts_.lane == Lane::kAlerts;
  if ((held_ && !alerts) || not_before_ > now.mono) {
    next.at = std::min(next.at, std::max(not_before_, now.mono + kStoreRetry));
    return false;
  }
  const bool flush = flush_ || held_;
  for (;;) {
    MonoTime at = kNever;
    // By size first; by age only once everything that is there has been read.
    LanePlan::Limits full = limits();
    full.every = std::chrono::hours(1'000'000);
    std::optional<std::uint64_t> last = plan_.close(full, now, false, &at);
    if (!last) {
      at = kNever;
      if (read_more(now.mono, next)) {
        continue;
      }
      if (next.again) {
        return false;
      }
      last = plan_.close(limits(), now, flush, &at);
    }
    if (last) {
      return commit_boundary({}, {cursor_.get() + 1, *last, false});
    }
    next.at = std::min(next.at, at);
    return false;
  }
}

bool LaneStream::commit_boundary(Transaction transaction, const Boundary& boundary) {
  std::string blob;
  ByteWriter out(blob);
  out.put_varint(kStateVersion);
  out.put_varint(boundary.first);
  out.put_varint(boundary.last);
  out.put_varint(boundary.refused ? 1 : 0);
  transaction.state(state_key(), blob);
  const Result<Submitted> submitted = parts_.spool->submit(transaction);
  if (!submitted) {
    trouble_.set(submitted.error().text());
    not_before_ = now_ + kStoreRetry;
    return true;  // the phase it is in waits until then
  }
  boundary_ = boundary;
  built_.reset();
  tried_ = false;
  ticket_ = submitted->ticket;
  phase_ = Phase::kCommitting;
  return true;
}

bool LaneStream::send_batch(const LanePlan::Clock& now, Next& next) {
  if (not_before_ > now.mono) {
    next.at = std::min(next.at, not_before_);
    return false;
  }
  if (held_ && parts_.lane != Lane::kAlerts) {
    return false;
  }
  // Rows that the spool has let go meanwhile are in a gap record: they must not go out beside it.
  if (built_ &&
      parts_.spool->stats().lanes[index_of(parts_.lane)].oldest_sequence > boundary_.first) {
    built_.reset();
  }
  if (!built_) {
    MonoTime at = kNever;
    while (!plan_.is_ready(boundary_.last, parts_.limits.score_wait, now.mono, &at)) {
      at = kNever;
      if (!read_more(now.mono, next)) {
        if (!next.again &&
            !plan_.is_ready(boundary_.last, parts_.limits.score_wait, now.mono, &at)) {
          next.at = std::min(next.at, at);
          return false;
        }
        break;
      }
    }
    if (next.again) {
      return false;
    }
    if (Status built = build(now.wall); !built) {
      trouble_.set(built.error().text());
      not_before_ = now.mono + kStoreRetry;
      return true;
    }
  }
  if (parts_.pacer != nullptr) {
    if (const Nanos wait = parts_.pacer->wait(now.mono); wait > Nanos{0}) {
      next.at = std::min(next.at, now.mono + wait);
      return false;
    }
    parts_.pacer->take(now.mono, built_->bytes.size());
  }
  if (tried_) {
    counts_.retries.add(1);
  }
  tried_ = true;
  counts_.sent_bytes.add(built_->bytes.size());
  phase_ = Phase::kSending;
  if (state() != LaneState::kParked) {
    state_.store(LaneState::kSending, std::memory_order_relaxed);
  }
  parts_.target->send(*built_, [this](const TargetAnswer& answer) { take(answer); });
  return false;
}

Status LaneStream::build(WallTime now) {
  BatchHeader header;
  header.edge = parts_.edge_id;
  header.spool = parts_.spool->id();
  header.lane = lane_name(parts_.lane);
  header.first = boundary_.first;
  writer_.begin(header);
  if (boundary_.refused) {
    const WallTime at = plan_.oldest().value_or(now);
    HW_TRY(writer_.add(BatchGap{boundary_.first, boundary_.last, 1, "refused", at, at}));
  } else {
    HW_TRY(plan_.build(boundary_.first, boundary_.last, writer_));
  }
  built_ = HW_TRY(writer_.finish(boundary_.last, now, parts_.compression_level));
  return {};
}

void LaneStream::take(const TargetAnswer& answer) {
  phase_ = Phase::kClosed;
  switch (answer.receipt) {
    case Receipt::kStored:
      stored();
      break;
    case Receipt::kRetry:
      wait(std::max(backoff_.next(), answer.retry_after), LaneState::kWaiting, answer.text);
      break;
    case Receipt::kPark:
      park(answer.text, answer.retry_after);
      break;
    case Receipt::kTooLarge:
      halve(Cause::kSize, answer.text);
      break;
    case Receipt::kRefused:
      halve(Cause::kContent, answer.text);
      break;
  }
  parts_.wake();
}

void LaneStream::wait(Nanos time, LaneState state, std::string_view text) {
  wait_ = time;
  state_.store(state, std::memory_order_relaxed);
  trouble_.set(text);
}

void LaneStream::park(std::string_view text, Nanos retry_after) {
  wait(std::max(backoff_.jitter(parts_.park_every * 3 / 4, parts_.park_every), retry_after),
       LaneState::kParked, text);
}

void LaneStream::stored() {
  const BatchHeader& header = built_->header;
  if (header.rows != 0) {
    accepted_ = true;
    refused_in_a_row_ = 0;
  }
  counts_.rows.add(header.rows);
  counts_.batches.add(1);
  counts_.bytes.add(built_->bytes.size());
  if (learned_bytes_ != 0) {
    learned_bytes_ += learned_bytes_ / kRegrowth;
    learned_bytes_ = learned_bytes_ >= parts_.limits.bytes ? 0 : learned_bytes_;
  }
  backoff_.reset();
  trouble_.clear();
  state_.store(LaneState::kIdle, std::memory_order_relaxed);
  saved_with_.store(kUnsaved);
  cursor_.set(boundary_.last);
  cursor_open_ = true;
  plan_.sent(boundary_.last);
  built_.reset();
  boundary_ = {};
  phase_ = Phase::kOpen;
  (void)save_cursor();
}

bool LaneStream::save_cursor() {
  Transaction transaction;
  transaction.cursor(kUplinkConsumer, parts_.lane, kAllStreams, cursor_.get());
  if (phase_ == Phase::kOpen) {
    transaction.state(state_key(), {});
  }
  const Result<Submitted> submitted = parts_.spool->submit(transaction);
  if (!submitted) {
    trouble_.set(submitted.error().text());
    return false;
  }
  cursor_open_ = false;
  saved_with_.store(submitted->ticket);
  return true;
}

// Smaller batches until a row alone is refused. Halving loses nothing; giving a row up does, so
// that waits for a receiver that has stored others.
void LaneStream::halve(Cause cause, const std::string& text) {
  const std::uint64_t count = boundary_.last - boundary_.first + 1;
  if (boundary_.refused) {
    park(text);  // not even that a row is missing: nothing smaller can be sent
    return;
  }
  if (count > 1) {
    if (cause == Cause::kSize) {
      learned_bytes_ = std::max(built_->header.bytes / 2, kLeastLearned);
    }
    (void)commit_boundary({}, {boundary_.first, boundary_.first + count / 2 - 1, false});
    return;
  }
  if (cause == Cause::kContent && (!accepted_ || refused_in_a_row_ >= kMostRefusedInARow)) {
    park(text);
    return;
  }
  Transaction copy;
  if (parts_.lane != Lane::kDeadLetter) {
    Result<Transaction> letter = dead_letter(
        boundary_.first, cause == Cause::kSize ? "larger than the receiver takes" : text);
    if (!letter) {
      wait(kStoreRetry, LaneState::kWaiting, letter.error().text());
      return;
    }
    copy = std::move(*letter);
  }
  log::warn("the receiver takes no batch with this row: it goes as a gap",
            {{"lane", lane_name(parts_.lane)},
             {"sequence", boundary_.first},
             {"bytes", built_->bytes.size()},
             {"answer", text}});
  if (commit_boundary(std::move(copy), {boundary_.first, boundary_.last, true}) &&
      boundary_.refused) {
    counts_.refused.add(1);
    refused_in_a_row_ += cause == Cause::kContent ? 1 : 0;
  }
}

// The row as a dead letter; nothing where it has been let go meanwhile.
Result<Transaction> LaneStream::dead_letter(std::uint64_t sequence, std::string_view why) const {
  Transaction transaction;
  const std::unique_ptr<SpoolReader> reader = parts_.spool->read(parts_.lane, sequence);
  const ReadItem item = HW_TRY(reader->next());
  if (item == ReadItem::kRow && reader->row().sequence == sequence) {
    StoredRow row = reader->row().row;
    const std::string note =
        fmt::format("uplink: {} {}: {}", lane_name(parts_.lane), sequence, why);
    row.note = note;
    transaction.append(Lane::kDeadLetter, reader->row().stream, row);
  }
  return transaction;
}

}  // namespace headwater
