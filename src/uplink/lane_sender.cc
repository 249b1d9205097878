#include "uplink/lane_sender.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/planted.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr MonoTime kNever{std::numeric_limits<std::int64_t>::max()};
constexpr std::size_t kReadStep = 256;
constexpr Nanos kStoreRetry = std::chrono::milliseconds(200);
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

LaneSender::LaneSender(LaneContext& lane, std::uint64_t upto, bool live)
    : lane_(lane),
      plan_(*lane.parts.spool, lane.parts.lane, lane.parts.scored),
      backoff_(lane.parts.backoff, lane.parts.seed + (live ? 1 : 0)),
      live_(live) {
  plan_.sent(upto);
}

void LaneSender::restore(const LaneBoundary& boundary) {
  boundary_ = boundary;
  phase_ = Phase::kClosed;
  tried_ = true;
}

void LaneSender::give_up() {
  if (phase_ == Phase::kSending) {
    phase_ = Phase::kClosed;
    ++attempt_;
  }
  silences_ = 0;
}

bool LaneSender::quiet() const {
  if (phase_ == Phase::kSending || phase_ == Phase::kCommitting) {
    return false;
  }
  return wait_ || lane_.pause || std::max(not_before_, lane_.not_before) > now_ ||
         (lane_.held && lane_.parts.lane != Lane::kAlerts);
}

void LaneSender::pump(const LanePlan::Clock& now, const LanePlan::Limits& limits, Next* next) {
  now_ = now.mono;
  if (wait_) {
    not_before_ = now.mono + *std::exchange(wait_, std::nullopt);
  }
  looks_ = kLooks;
  for (bool more = true; more;) {
    switch (phase_) {
      case Phase::kOpen:
        more = close_batch(now, limits, next);
        break;
      case Phase::kCommitting:
        more = lane_.parts.spool->committed() >= ticket_;  // a commit pumps again
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
}

bool LaneSender::may_act(const LanePlan::Clock& now, Next* next) const {
  if (lane_.held && lane_.parts.lane != Lane::kAlerts) {
    return false;
  }
  const MonoTime from = std::max(not_before_, lane_.not_before);
  if (from > now.mono) {
    next->at = std::min(next->at, from);
    return false;
  }
  return true;
}

// True: there may be more to read now.
bool LaneSender::read_more(MonoTime now, Next* next) {
  if (looks_ == 0) {
    next->again = true;
    return false;
  }
  looks_ -= std::min(looks_, kReadStep);
  const Result<bool> more = plan_.read(kReadStep, now);
  if (!more) {
    lane_.trouble.set(more.error().text());
    next->at = std::min(next->at, now + kStoreRetry);
    return false;
  }
  return *more;
}

std::optional<MonoTime> LaneSender::stored_since(std::uint64_t sequence, MonoTime now) {
  std::optional<MonoTime> since = plan_.stored_since(sequence);
  if (!since && plan_.read(kReadStep, now)) {
    since = plan_.stored_since(sequence);
  }
  return since;
}

bool LaneSender::close_batch(const LanePlan::Clock& now, const LanePlan::Limits& limits,
                             Next* next) {
  if (!may_act(now, next)) {
    return false;
  }
  LanePlan::Limits due = limits;
  if (lane_.learned_bytes != 0) {
    due.bytes = std::min(due.bytes, lane_.learned_bytes);
  }
  LanePlan::Limits full = due;
  full.every = std::chrono::hours(1'000'000);
  const bool flush = lane_.flush || lane_.held;
  for (;;) {
    MonoTime at = kNever;
    // By size first; by age only once everything that is there has been read.
    std::optional<std::uint64_t> last = plan_.close(full, now, false, &at);
    if (!last) {
      at = kNever;
      if (plan_.next() <= limits.upto && read_more(now.mono, next)) {
        continue;
      }
      if (next->again) {
        return false;
      }
      last = plan_.close(due, now, flush, &at);
    }
    if (last) {
      return commit_boundary({}, {plan_.next(), *last, false});
    }
    next->at = std::min(next->at, at);
    return false;
  }
}

bool LaneSender::commit_boundary(Transaction transaction, const LaneBoundary& boundary) {
  const LaneBoundary old_boundary = std::exchange(boundary_, boundary);
  const Phase old_phase = std::exchange(phase_, Phase::kCommitting);
  const Result<Ticket> ticket = lane_.save(std::move(transaction));
  if (!ticket) {
    lane_.trouble.set(ticket.error().text());
    boundary_ = old_boundary;
    phase_ = old_phase;
    not_before_ = now_ + kStoreRetry;
    return true;  // the phase it is in waits until then
  }
  built_.reset();
  tried_ = false;
  ticket_ = *ticket;
  return true;
}

bool LaneSender::send_batch(const LanePlan::Clock& now, Next* next) {
  if (!may_act(now, next)) {
    return false;
  }
  const LaneParts& parts = lane_.parts;
  // Rows that the spool has let go meanwhile are in a gap record: they must not go out beside it.
  if (built_ &&
      parts.spool->stats().lanes[index_of(parts.lane)].oldest_sequence > boundary_.first) {
    built_.reset();
  }
  if (!built_) {
    MonoTime at = kNever;
    while (!plan_.is_ready(boundary_.last, parts.limits.score_wait, now.mono, &at)) {
      at = kNever;
      if (!read_more(now.mono, next)) {
        if (!next->again &&
            !plan_.is_ready(boundary_.last, parts.limits.score_wait, now.mono, &at)) {
          next->at = std::min(next->at, at);
          return false;
        }
        break;
      }
    }
    if (next->again) {
      return false;
    }
    if (Status built = build(now.wall); !built) {
      lane_.trouble.set(built.error().text());
      not_before_ = now.mono + kStoreRetry;
      return true;
    }
  }
  if (parts.pacer != nullptr) {
    const Pacer::Class pace = live_ ? Pacer::Class::kLive : Pacer::Class::kBacklog;
    if (const Nanos wait = parts.pacer->wait(now.mono, pace); wait > Nanos{0}) {
      next->at = std::min(next->at, now.mono + wait);
      return false;
    }
    parts.pacer->take(now.mono, built_->bytes.size(), pace);
  }
  if (tried_) {
    lane_.counts.retries.add(1);
  }
  tried_ = true;
  lane_.counts.sent_bytes.add(built_->bytes.size());
  phase_ = Phase::kSending;
  if (state_ != LaneState::kParked) {
    state_ = LaneState::kSending;
  }
  parts.target->send(*built_, [this, attempt = ++attempt_](const TargetAnswer& answer) {
    if (attempt == attempt_) {
      take(answer);
    }
  });
  return false;
}

Status LaneSender::build(WallTime now) {
  BatchHeader header;
  header.edge = lane_.parts.edge_id;
  header.spool = lane_.parts.spool->id();
  header.lane = lane_name(lane_.parts.lane);
  header.first = boundary_.first;
  for (const ClockMap& map : lane_.parts.spool->clock_maps()) {
    header.clock.push_back(
        {map.next[index_of(lane_.parts.lane)], map.boot, map.mono, map.before, map.after});
  }
  lane_.writer.begin(header);
  if (boundary_.refused) {
    const WallTime at = plan_.oldest().value_or(now);
    HW_TRY(lane_.writer.add(BatchGap{boundary_.first, boundary_.last, 1, "refused", at, at}));
  } else {
    HW_TRY(plan_.build(boundary_.first, boundary_.last, lane_.writer));
  }
  built_ = HW_TRY(lane_.writer.finish(boundary_.last, now, lane_.parts.compression_level));
  let_go_before_ = let_go(boundary_);
  return {};
}

// Rows of the boundary that lie in gap records; of a record that spans others too, as many as may.
std::uint64_t LaneSender::let_go(const LaneBoundary& rows) const {
  std::uint64_t count = 0;
  for (const Gap& gap : lane_.parts.spool->gaps()) {
    if (gap.lane == lane_.parts.lane && gap.first <= rows.last && gap.last >= rows.first) {
      const std::uint64_t span =
          std::min(gap.last, rows.last) - std::max(gap.first, rows.first) + 1;
      count += std::min(gap.count, span);
    }
  }
  return count;
}

void LaneSender::take(const TargetAnswer& answer) {
  phase_ = Phase::kClosed;
  answered_ = answer.receipt == Receipt::kStored;
  failing_ = !answered_;
  silences_ = answer.silent ? silences_ + 1 : 0;
  switch (answer.receipt) {
    case Receipt::kStored:
      stored();
      break;
    case Receipt::kRetry:
      if (planted(Bug::kNoAnswerIsStored)) {
        stored();
        break;
      }
      retry(answer);
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
  lane_.parts.wake();
}

void LaneSender::wait(Nanos time, LaneState state, std::string_view text) {
  wait_ = time;
  state_ = state;
  lane_.trouble.set(text);
}

// A receiver that fell silent has cost its time already: the next attempt, on a new connection, is
// at once.
void LaneSender::retry(const TargetAnswer& answer) {
  if (!answer.silent) {
    if (answer.retry_after > Nanos{0}) {
      lane_.pause = answer.retry_after;
    }
    wait(std::max(backoff_.next(), answer.retry_after), LaneState::kWaiting, answer.text);
    return;
  }
  lane_.counts.silences.add(1);
  const bool restart = silences_ > kMostReconnects;
  log::warn(restart ? "the receiver stays silent: the target is started anew"
                    : "the receiver fell silent: trying a new connection",
            {{"lane", lane_name(lane_.parts.lane)},
             {"first", boundary_.first},
             {"last", boundary_.last},
             {"silences", silences_},
             {"error", answer.text}});
  wait(Nanos{0}, LaneState::kWaiting, answer.text);
  if (restart) {
    silences_ = 0;
    lane_.parts.restart();
  }
}

void LaneSender::park(std::string_view text, Nanos retry_after) {
  const Nanos time = std::max(
      backoff_.jitter(lane_.parts.park_every * 3 / 4, lane_.parts.park_every), retry_after);
  lane_.pause = time;
  wait(time, LaneState::kParked, text);
}

void LaneSender::stored() {
  const BatchHeader& header = built_->header;
  if (header.rows != 0) {
    lane_.accepted = true;
    lane_.refused_in_a_row = 0;
  }
  lane_.counts.rows.add(header.rows);
  lane_.counts.live_rows.add(live_ ? header.rows : 0);
  const std::uint64_t gone = let_go(boundary_);
  lane_.counts.underway.add(
      std::min<std::uint64_t>(header.rows, gone - std::min(gone, let_go_before_)));
  lane_.counts.batches.add(1);
  lane_.counts.bytes.add(built_->bytes.size());
  if (lane_.learned_bytes != 0) {
    lane_.learned_bytes += lane_.learned_bytes / kRegrowth;
    lane_.learned_bytes = lane_.learned_bytes >= lane_.parts.limits.bytes ? 0 : lane_.learned_bytes;
  }
  backoff_.reset();
  state_ = LaneState::kIdle;
  built_.reset();
  plan_.sent(boundary_.last);
  phase_ = Phase::kOpen;
  const LaneBoundary done = std::exchange(boundary_, {});
  lane_.delivered(done.first, done.last);
}

// Smaller batches until a row alone is refused. Halving loses nothing; giving a row up does, so
// that waits for a receiver that has stored others.
void LaneSender::halve(Cause cause, const std::string& text) {
  const std::uint64_t count = boundary_.last - boundary_.first + 1;
  if (boundary_.refused) {
    park(text);  // not even that a row is missing: nothing smaller can be sent
    return;
  }
  if (count > 1) {
    if (cause == Cause::kSize) {
      lane_.learned_bytes = std::max(built_->header.bytes / 2, kLeastLearned);
    }
    (void)commit_boundary({}, {boundary_.first, boundary_.first + count / 2 - 1, false});
    return;
  }
  if (cause == Cause::kContent &&
      (!lane_.accepted || lane_.refused_in_a_row >= kMostRefusedInARow)) {
    park(text);
    return;
  }
  Transaction copy;
  if (lane_.parts.lane != Lane::kDeadLetter) {
    Result<Transaction> letter = dead_letter(
        boundary_.first, cause == Cause::kSize ? "larger than the receiver takes" : text);
    if (!letter) {
      wait(kStoreRetry, LaneState::kWaiting, letter.error().text());
      return;
    }
    copy = std::move(*letter);
  }
  log::warn("the receiver takes no batch with this row: it goes as a gap",
            {{"lane", lane_name(lane_.parts.lane)},
             {"sequence", boundary_.first},
             {"bytes", built_->bytes.size()},
             {"answer", text}});
  if (commit_boundary(std::move(copy), {boundary_.first, boundary_.last, true}) &&
      boundary_.refused) {
    lane_.counts.refused.add(1);
    lane_.refused_in_a_row += cause == Cause::kContent ? 1 : 0;
  }
}

// The row as a dead letter; nothing where it has been let go meanwhile.
Result<Transaction> LaneSender::dead_letter(std::uint64_t sequence, std::string_view why) const {
  Transaction transaction;
  const std::unique_ptr<SpoolReader> reader = lane_.parts.spool->read(lane_.parts.lane, sequence);
  const ReadItem item = HW_TRY(reader->next());
  if (item == ReadItem::kRow && reader->row().sequence == sequence) {
    StoredRow row = reader->row().row;
    const std::string note =
        fmt::format("uplink: {} {}: {}", lane_name(lane_.parts.lane), sequence, why);
    row.note = note;
    transaction.append(Lane::kDeadLetter, reader->row().stream, row);
    transaction.to_make_room();  // a full spool would wait for this row for ever
  }
  return transaction;
}

}  // namespace headwater
