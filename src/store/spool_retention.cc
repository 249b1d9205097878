// What is let go and in which order: lane limits, debug rows, the oldest segment. On the flusher
// thread (and in open(), before it runs).
#include <algorithm>
#include <array>
#include <limits>

#include "base/planted.h"
#include "store/ahead.h"
#include "store/lane_reader.h"
#include "store/row_codec.h"
#include "store/spool_core.h"

namespace headwater {

namespace format = spool_format;

namespace {

// Kept rows are in memory and in every checkpoint: these parts of a segment at most.
constexpr std::uint64_t kMostKeptAlerts = 8;
constexpr std::uint64_t kMostKeptSamples = 32;
// What a kept row takes beside its bytes.
constexpr std::size_t kKeptSlack = 64;
// A look at the age of rows, while nothing is committed.
constexpr std::uint64_t kLeastWait = 1'000'000'000;
constexpr std::uint64_t kMostWait = 600'000'000'000;

}  // namespace

std::uint64_t Segment::lane_bytes(Lane lane, const format::Sequences& upto) const {
  const std::size_t i = index_of(lane);
  if (summary) {
    return summary->lanes[i].bytes;
  }
  std::uint64_t all = 0;
  for (std::size_t at = 0; at < kLanes; ++at) {
    all += upto[at] - std::min(upto[at], header.next[at]);
  }
  const std::uint64_t rows = upto[i] - std::min(upto[i], header.next[i]);
  const double share = all == 0 ? 0 : static_cast<double>(rows) / static_cast<double>(all);
  return static_cast<std::uint64_t>(share *
                                    static_cast<double>(end.load(std::memory_order_relaxed)));
}

std::optional<std::uint64_t> SpoolCore::delivered(Lane lane) const {
  std::optional<std::uint64_t> lowest;
  bool received = false;
  for (const Consumer& consumer : consumers_) {
    if (consumer.lane == lane) {
      const std::uint64_t upto = state_.lowest_cursor(consumer.name, lane);
      lowest = std::min(lowest.value_or(upto), upto);
      received = received || consumer.receives;
    }
  }
  return received ? lowest : std::nullopt;
}

std::vector<SequenceRange> SpoolCore::undelivered(Lane lane, std::uint64_t first,
                                                  std::uint64_t last) const {
  const std::uint64_t live = std::max(first, state_.floors[index_of(lane)]);
  std::vector<SequenceRange> missing;
  bool received = false;
  for (const Consumer& consumer : consumers_) {
    if (consumer.lane != lane) {
      continue;
    }
    received = received || consumer.receives;
    const auto ahead = state_.states.find(ahead_key(consumer.name, lane));
    const auto parts = parts_not_had(
        live, last, state_.lowest_cursor(consumer.name, lane),
        decode_ahead(ahead == state_.states.end() ? std::string_view() : ahead->second));
    missing.insert(missing.end(), parts.begin(), parts.end());
  }
  if (!received) {
    missing = parts_not_had(live, last, 0, {});
  }
  merge_ranges(missing);
  return missing;
}

bool SpoolCore::needed(const Segment& segment, Lane lane) const {
  const std::size_t i = index_of(lane);
  if (segment.end_next[i] <= std::max(segment.header.next[i], state_.floors[i])) {
    return false;
  }
  const std::uint64_t last = segment.end_next[i] - 1;
  // Asked of each delivered segment at each commit: mostly the cursors say it all.
  return delivered(lane).value_or(0) < last &&
         !undelivered(lane, segment.header.next[i], last).empty();
}

bool SpoolCore::nothing_needed(const Segment& segment) const {
  return std::none_of(kAllLanes.begin(), kAllLanes.end(),
                      [&](Lane lane) { return needed(segment, lane); });
}

void SpoolCore::count_live() {
  live_bytes_ = {};
  live_closed_ = {};
  for (const auto& segment : segments_) {
    const format::Sequences& end = segment == active_ ? state_.next : segment->end_next;
    for (const Lane lane : kAllLanes) {
      const std::size_t i = index_of(lane);
      if (end[i] > std::max(segment->header.next[i], state_.floors[i])) {
        live_bytes_[i] += segment->lane_bytes(lane, end);
        live_closed_[i] = live_closed_[i] || segment != active_;
      }
    }
  }
}

void SpoolCore::drop_delivered_kept() {
  for (auto it = state_.kept.begin(); it != state_.kept.end();) {
    const auto upto = delivered(static_cast<Lane>(it->first.first));
    it = upto && it->first.second <= *upto ? state_.drop_kept(it) : std::next(it);
  }
}

// Carries the rows first..last of a lane forward while they fit in `budget`; the rest becomes a gap
// record.
Status SpoolCore::keep_rows(const Gap& rows, std::size_t* budget, std::string* body,
                            std::vector<Gap>* gaps) {
  LaneReader reader(*this, rows.lane, rows.first, {});
  std::uint64_t kept_upto = rows.first - 1;
  for (bool more = true; more;) {
    switch (HW_TRY(reader.next())) {
      case ReadItem::kRow: {
        const ReadRow& row = reader.row();
        if (row.sequence > rows.last) {
          more = false;
          break;
        }
        RowEncoder encoder;
        encoder.append(row.row);
        const std::size_t need = encoder.size() + kKeptSlack;
        if (need > *budget) {
          more = false;
          break;
        }
        *budget -= need;
        format::put_kept(*body, static_cast<std::uint8_t>(rows.lane), row.stream,
                         {row.sequence, row.stored, encoder.bytes()});
        kept_upto = row.sequence;
        break;
      }
      case ReadItem::kGap:
        if (reader.gap().reason == GapReason::kCorrupt) {
          gaps->push_back(reader.gap());  // found just now
        }
        more = reader.gap().last < rows.last;
        kept_upto = std::min(reader.gap().last, rows.last);
        break;
      case ReadItem::kEnd:
      case ReadItem::kDecisions:
        more = false;
        break;
    }
  }
  if (kept_upto < rows.last) {
    Gap gap = rows;
    gap.first = kept_upto + 1;
    gap.count = gap.last - kept_upto;
    gaps->push_back(gap);
  }
  return {};
}

Result<std::string> SpoolCore::last_will(const Segment& oldest) {
  std::string body;
  std::vector<Gap> gaps;
  std::vector<Gap> keep;  // not delivered, of lanes that are carried forward; alerts first
  std::array<std::size_t, kLanes> kept{};
  {
    const std::lock_guard guard(state_mutex_);
    drop_delivered_kept();
    kept = state_.kept_bytes;
    for (const Lane lane : kAllLanes) {
      const std::size_t i = index_of(lane);
      const bool carried = (lane == Lane::kAlerts || lane == Lane::kSamples) && delivered(lane);
      for (const auto& [first, last] :
           undelivered(lane, oldest.header.next[i], oldest.end_next[i] - 1)) {
        const Gap rows{.lane = lane,
                       .reason = GapReason::kShed,
                       .first = first,
                       .last = last,
                       .count = last - first + 1,
                       .from = oldest.header.wall,
                       .to = oldest.end_wall};
        if (carried) {
          keep.push_back(rows);
          continue;
        }
        gaps.push_back(rows);
        gaps.back().last -= planted(Bug::kShortGap) && last > first ? 1 : 0;
      }
    }
  }
  const std::uint64_t room = active_->header.file_bytes - active_->end;
  const std::size_t gap_room = (kLanes + 2 + gaps.size() + keep.size()) * 128;
  std::size_t left = static_cast<std::size_t>(room > gap_room ? room - gap_room : 0);
  for (const Gap& rows : keep) {
    const std::uint64_t most =
        options_.segment_bytes / (rows.lane == Lane::kAlerts ? kMostKeptAlerts : kMostKeptSamples);
    std::size_t& there = kept[index_of(rows.lane)];
    std::size_t budget =
        std::min(left, most > there ? static_cast<std::size_t>(most) - there : std::size_t{0});
    const std::size_t before = budget;
    HW_TRY(keep_rows(rows, &budget, &body, &gaps));
    left -= before - budget;
    there += before - budget;
  }
  HW_TRY(put_gaps(gaps, &body));
  format::put_released(body, oldest.header.generation);
  return body;
}

Status SpoolCore::put_gaps(const std::vector<Gap>& gaps, std::string* body) {
  std::vector<Gap> parts;
  {
    const std::lock_guard guard(state_mutex_);
    for (const Gap& loose : state_.gaps.all()) {
      std::vector<SequenceRange> taken;
      for (const Gap& gap : gaps) {
        if (gap.lane == loose.lane && gap.first <= loose.last && gap.last >= loose.first) {
          taken.push_back({gap.first, gap.last});
        }
      }
      if (taken.empty() || loose.count == loose.last - loose.first + 1) {
        continue;
      }
      merge_ranges(taken);
      for (const auto& [first, last] : parts_not_had(loose.first, loose.last, 0, taken)) {
        parts.push_back(loose);
        parts.back().first = first;
        parts.back().last = last;
      }
    }
  }
  for (const Gap& gap : gaps) {
    format::put_gap(*body, gap);
  }
  for (Gap& part : parts) {
    part.count = HW_TRY(skipped_in(part.lane, part.first, part.last));
    format::put_gap(*body, part);
  }
  return {};
}

Result<std::uint64_t> SpoolCore::skipped_in(Lane lane, std::uint64_t first, std::uint64_t last) {
  LaneReader reader(*this, lane, first, {});
  std::uint64_t skipped = 0;
  while (true) {
    switch (HW_TRY(reader.next())) {
      case ReadItem::kRow:
        if (reader.row().sequence >= last) {
          return skipped;
        }
        break;
      case ReadItem::kGap:
        if (reader.gap().first <= last && reader.gap().reason == GapReason::kShed) {
          skipped += std::min(reader.gap().count,
                              std::min(reader.gap().last, last) - reader.gap().first + 1);
        }
        if (reader.gap().last >= last) {
          return skipped;
        }
        break;
      case ReadItem::kDecisions:
        break;
      case ReadItem::kEnd:
        return skipped;
    }
  }
}

void SpoolCore::put_let_go(Lane lane, std::uint64_t floor, GapReason reason, std::vector<Gap>* gaps,
                           std::string* floors) const {
  const std::size_t i = index_of(lane);
  for (const auto& [first, last] : undelivered(lane, oldest_live(lane), floor - 1)) {
    Gap gap{.lane = lane,
            .reason = reason,
            .first = first,
            .last = last,
            .count = last - first + 1,
            .from = {},
            .to = {}};
    for (const auto& segment : segments_) {
      if (segment != active_ && segment->end_next[i] > first && segment->header.next[i] <= last) {
        gap.from = gap.from.ns == 0 ? segment->header.wall : gap.from;
        gap.to = segment->end_wall;
      }
    }
    gaps->push_back(gap);
  }
  // Kept rows, most of them one behind the other.
  Gap run{.lane = lane, .reason = reason, .first = 0, .last = 0, .count = 0, .from = {}, .to = {}};
  const auto put_run = [&] {
    if (run.count > 0) {
      gaps->push_back(run);
    }
  };
  for (auto it = state_.kept.lower_bound({static_cast<std::uint8_t>(lane), 0});
       it != state_.kept.end() && it->first.first == i && it->first.second < floor; ++it) {
    const std::uint64_t sequence = it->first.second;
    if (undelivered(lane, sequence, sequence).empty()) {
      continue;
    }
    if (run.count == 0 || sequence != run.last + 1) {
      put_run();
      run.first = sequence;
      run.count = 0;
      run.from = it->second.stored;
    }
    run.last = sequence;
    ++run.count;
    run.to = it->second.stored;
  }
  put_run();
  format::put_floor(*floors, static_cast<std::uint8_t>(lane), floor);
}

// Debug rows go first: where nothing else is needed in the oldest segments, all of theirs at once.
Status SpoolCore::shed_debug() {
  std::vector<Gap> gaps;
  std::string floors;
  {
    const std::lock_guard guard(state_mutex_);
    std::uint64_t floor = 0;
    for (const auto& segment : segments_) {
      const bool other = std::any_of(kAllLanes.begin(), kAllLanes.end(), [&](Lane lane) {
        return lane != Lane::kDebug && needed(*segment, lane);
      });
      if (segment == active_ || other) {
        break;
      }
      floor = segment->end_next[index_of(Lane::kDebug)];
    }
    const std::uint64_t oldest = oldest_live(Lane::kDebug);
    if (floor <= oldest || undelivered(Lane::kDebug, oldest, floor - 1).empty()) {
      return Error::exhausted("no debug rows to let go");
    }
    put_let_go(Lane::kDebug, floor, GapReason::kShed, &gaps, &floors);
  }
  std::string body;
  HW_TRY(put_gaps(gaps, &body));
  return write_own(body + floors);
}

// The floors that the limits ask for now; the next time to look is left in next_expiry_.
Result<std::string> SpoolCore::limit_records() {
  std::vector<Gap> gaps;
  std::string floors;
  const std::uint64_t now = uptime();
  next_expiry_ = std::numeric_limits<std::uint64_t>::max();
  std::unique_lock lock(state_mutex_);
  drop_delivered_kept();
  for (const Lane lane : kAllLanes) {
    const std::size_t i = index_of(lane);
    const LaneLimits& limits = options_.lanes[i];
    const auto most_age = static_cast<std::uint64_t>(limits.max_age.count());
    std::uint64_t bytes = live_bytes_[i];
    std::uint64_t expired = 0;
    std::uint64_t shed = 0;
    for (const auto& segment : segments_) {
      if (segment == active_) {
        break;
      }
      const std::uint64_t end = segment->end_next[i];
      if (end <= std::max(segment->header.next[i], state_.floors[i])) {
        continue;
      }
      const bool old = most_age > 0 && now - std::min(now, segment->end_uptime) >= most_age;
      const bool large = limits.max_bytes > 0 && bytes > limits.max_bytes;
      if (!old && !large) {
        if (most_age > 0) {
          next_expiry_ = std::min(next_expiry_, segment->end_uptime + most_age);
        }
        break;
      }
      bytes -= std::min(bytes, segment->lane_bytes(lane, segment->end_next));
      (old ? expired : shed) = end;
    }
    // What is too old lies before what is too much.
    if (expired > 0) {
      put_let_go(lane, expired, GapReason::kExpired, &gaps, &floors);
    }
    if (shed > expired) {
      put_let_go(lane, shed, GapReason::kShed, &gaps, &floors);
    }
  }
  lock.unlock();
  std::string body;
  HW_TRY(put_gaps(gaps, &body));
  return body + floors;
}

bool SpoolCore::limits_due() const {
  const std::uint64_t now = uptime();
  if (now < uptime_mark_.uptime + static_cast<std::uint64_t>(options_.limits_after.count())) {
    return false;
  }
  if (next_expiry_ <= now) {
    return true;
  }
  const std::lock_guard guard(state_mutex_);
  for (std::size_t i = 0; i < kLanes; ++i) {
    const std::uint64_t most = options_.lanes[i].max_bytes;
    if (most > 0 && live_bytes_[i] > most && live_closed_[i]) {
      return true;
    }
  }
  return false;
}

void SpoolCore::keep_limits() {
  if (!active_ || !limits_due()) {
    return;
  }
  const Result<std::string> body = limit_records();
  if (!body || (!body->empty() && !write_own(*body))) {
    next_expiry_ = uptime() + kLeastWait;  // the disk refuses, or the segment is at its end
    return;
  }
  {
    const std::lock_guard guard(state_mutex_);
    count_live();
  }
  // Nothing is left in them, delivered rows included: their space is for others now.
  bool more = true;
  while (more) {
    {
      const std::lock_guard guard(state_mutex_);
      const Segment& oldest = *segments_.front();
      more =
          segments_.size() > 1 && std::all_of(kAllLanes.begin(), kAllLanes.end(), [&](Lane lane) {
            const std::size_t i = index_of(lane);
            return oldest.end_next[i] <= std::max(oldest.header.next[i], state_.floors[i]);
          });
    }
    more = more && release_oldest(false);
  }
  update_room();
}

Nanos SpoolCore::until_limits_due() const {
  const std::uint64_t now = uptime();
  const std::uint64_t wait = next_expiry_ > now ? next_expiry_ - now : 0;
  return Nanos{static_cast<std::int64_t>(std::clamp(wait, kLeastWait, kMostWait))};
}

}  // namespace headwater
