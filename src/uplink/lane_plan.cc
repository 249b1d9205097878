#include "uplink/lane_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "data/batch.h"

namespace headwater {
namespace {

// What a line has beside payload, device and topic, roughly.
constexpr std::size_t kLineBytes = 220;
constexpr std::size_t kModelDigits = 16;

BatchGap to_batch(const Gap& gap, std::string_view reason, std::uint64_t last) {
  BatchGap out{gap.first, std::min(gap.last, last), gap.count, reason, gap.from, gap.to};
  out.rows = std::min(out.rows, out.last - out.first + 1);
  return out;
}

}  // namespace

LanePlan::LanePlan(const Spool& spool, Lane lane, ScoredStreams scored)
    : spool_(spool),
      lane_(lane),
      scored_(lane == Lane::kReadings ? std::move(scored) : ScoredStreams()),
      boot_(spool.boot_id()) {}

void LanePlan::sent(std::uint64_t upto) {
  next_ = upto + 1;
  while (!items_.empty() && items_.front().last < next_) {
    items_.pop_front();
  }
  if (!items_.empty()) {
    items_.front().first = std::max(items_.front().first, next_);
  }
  if (reader_ == nullptr || read_upto_ < upto) {
    items_.clear();
    read_upto_ = upto;
    skipped_from_ = 0;
    reader_ =
        spool_.read(lane_, next_, {.stream = std::nullopt, .decisions = lane_ == Lane::kReadings});
  } else if (skipped_from_ != 0 && items_.size() < kMost / 2) {
    reader_ = spool_.read(lane_, std::exchange(skipped_from_, 0),
                          {.stream = std::nullopt, .decisions = true});
  }
}

Result<bool> LanePlan::read(std::size_t looks, MonoTime now) {
  // Decisions that a cursor speaks of are committed with it or before: at the end of the log they
  // have been read.
  std::map<std::string, std::uint64_t> cursors;
  for (const auto& [stream, name] : scored_) {
    cursors.try_emplace(name, spool_.cursor(name, Lane::kReadings, kAllStreams).value_or(0));
  }
  for (; looks != 0; --looks) {
    switch (HW_TRY(reader_->next())) {
      case ReadItem::kEnd:
        settled_ = std::move(cursors);
        return false;
      case ReadItem::kRow: {
        const ReadRow& row = reader_->row();
        const std::size_t bytes =
            row.row.payload.size() + row.row.device.size() + row.row.topic.size() + kLineBytes;
        Item item;
        item.first = item.last = row.sequence;
        item.stored = row.stored;
        item.since = row.boot == boot_ ? row.mono : MonoTime{0};
        item.seen = now;
        item.score = std::numeric_limits<double>::quiet_NaN();
        item.bytes = static_cast<std::uint32_t>(
            std::min<std::size_t>(bytes, std::numeric_limits<std::uint32_t>::max()));
        item.stream = row.stream;
        add(item);
        break;
      }
      case ReadItem::kGap: {
        const Gap& gap = reader_->gap();
        Item item;
        item.first = gap.first;
        item.last = gap.last;
        item.stored = gap.to;
        item.since = now;
        item.seen = now;
        item.bytes = kLineBytes;
        item.is_gap = true;
        add(item);
        break;
      }
      case ReadItem::kDecisions:
        apply(reader_->decisions());
        break;
    }
  }
  return true;
}

void LanePlan::add(Item item) {
  if (item.last <= read_upto_) {
    return;  // read a second time for the decisions behind it
  }
  if (skipped_from_ != 0 || items_.size() >= kMost) {
    skipped_from_ = skipped_from_ == 0 ? read_upto_ + 1 : skipped_from_;
    return;
  }
  item.first = std::max(item.first, read_upto_ + 1);
  if (item.first > read_upto_ + 1) {
    // Let go without a record, before this uplink was there.
    Item hole = item;
    hole.first = read_upto_ + 1;
    hole.last = item.first - 1;
    hole.bytes = kLineBytes;
    hole.is_gap = true;
    items_.push_back(hole);
  }
  read_upto_ = item.last;
  items_.push_back(item);
}

std::uint16_t LanePlan::decider(const Decisions& decisions) {
  const Decider wanted{std::string(decisions.pipeline),
                       std::string(decisions.model_digest.substr(0, kModelDigits))};
  const auto found = std::find(deciders_.begin(), deciders_.end(), wanted);
  if (found != deciders_.end()) {
    return static_cast<std::uint16_t>(found - deciders_.begin() + 1);
  }
  if (deciders_.size() == std::numeric_limits<std::uint16_t>::max()) {
    deciders_.clear();  // as many models in one run: their rows lose the name
    for (Item& item : items_) {
      item.decided_by = 0;
    }
  }
  deciders_.push_back(wanted);
  return static_cast<std::uint16_t>(deciders_.size());
}

void LanePlan::apply(const Decisions& decisions) {
  // A pipeline without model and rule records that rows went through; that is no decision.
  if (decisions.scores.empty() && decisions.alerted.empty() &&
      !scored_.contains(decisions.stream)) {
    return;
  }
  if (items_.empty() || decisions.count == 0) {
    return;
  }
  const auto sequence_of = [&](std::size_t i) {
    return decisions.sequences.empty() ? decisions.first + i : decisions.sequences[i];
  };
  if (sequence_of(decisions.count - 1) < items_.front().first) {
    return;
  }
  const std::uint16_t by = decider(decisions);
  auto item =
      std::lower_bound(items_.begin(), items_.end(), sequence_of(0),
                       [](const Item& one, std::uint64_t sequence) { return one.last < sequence; });
  for (std::size_t i = 0; i < decisions.count; ++i) {
    const std::uint64_t sequence = sequence_of(i);
    while (item != items_.end() && item->last < sequence) {
      ++item;
    }
    if (item == items_.end()) {
      return;
    }
    if (item->is_gap || item->first != sequence) {
      continue;
    }
    item->decided_by = by;
    item->score = i < decisions.scores.size() ? decisions.scores[i]
                                              : std::numeric_limits<double>::quiet_NaN();
    item->alerted = i < decisions.alerted.size() && decisions.alerted[i] != 0;
  }
}

std::optional<MonoTime> LanePlan::not_ready_until(const Item& item, Nanos score_wait,
                                                  MonoTime now) const {
  if (item.is_gap || item.decided_by != 0) {
    return std::nullopt;
  }
  const auto scored = scored_.find(item.stream);
  if (scored == scored_.end()) {
    return std::nullopt;
  }
  const auto settled = settled_.find(scored->second);
  if (settled != settled_.end() && settled->second >= item.first) {
    return std::nullopt;
  }
  const MonoTime until = item.seen + score_wait;
  return until <= now ? std::nullopt : std::optional(until);
}

bool LanePlan::is_ready(std::uint64_t last, Nanos score_wait, MonoTime now, MonoTime* at) const {
  if (read_upto_ < last) {
    return false;
  }
  for (const Item& item : items_) {
    if (item.first > last) {
      break;
    }
    if (const auto until = not_ready_until(item, score_wait, now)) {
      *at = std::min(*at, *until);
      return false;
    }
  }
  return true;
}

std::optional<std::uint64_t> LanePlan::close(const Limits& limits, const Clock& now, bool flush,
                                             MonoTime* at) const {
  if (items_.empty()) {
    return std::nullopt;
  }
  const Item& oldest = items_.front();
  const Nanos age = std::max(now.mono - oldest.since, now.mono - oldest.seen);
  const bool due = flush || age >= limits.every;
  std::uint64_t last = 0;
  std::size_t rows = 0;
  std::uint64_t bytes = 0;
  for (const Item& item : items_) {
    if (last != 0 && (bytes + item.bytes > limits.bytes || item.first > limits.upto)) {
      return last;
    }
    if (item.first > limits.upto) {
      return std::nullopt;
    }
    if (const auto until = not_ready_until(item, limits.score_wait, now.mono)) {
      *at = std::min(*at, *until);
      // What is ready before it goes when it is due.
      return due && last != 0 ? std::optional(last) : std::nullopt;
    }
    last = std::min(item.last, limits.upto);
    bytes += item.bytes;
    rows += item.is_gap ? 0 : 1;
    if (rows >= limits.rows || bytes >= limits.bytes || last == limits.upto) {
      return last;
    }
  }
  if (due) {
    return last;
  }
  *at = std::min(*at, now.mono + (limits.every - age));
  return std::nullopt;
}

std::optional<MonoTime> LanePlan::stored_since(std::uint64_t sequence) const {
  const auto found =
      std::lower_bound(items_.begin(), items_.end(), sequence,
                       [](const Item& one, std::uint64_t wanted) { return one.last < wanted; });
  return found == items_.end() ? std::nullopt : std::optional(found->since);
}

std::optional<WallTime> LanePlan::oldest() const {
  return items_.empty() ? std::nullopt : std::optional(items_.front().stored);
}

const LanePlan::Item* LanePlan::find(std::uint64_t sequence) const {
  const auto found =
      std::lower_bound(items_.begin(), items_.end(), sequence,
                       [](const Item& one, std::uint64_t wanted) { return one.last < wanted; });
  return found == items_.end() || found->first > sequence ? nullptr : &*found;
}

Status LanePlan::build(std::uint64_t first, std::uint64_t last, BatchWriter& writer) {
  // A reader holds the segment it stands in: what the spool has let go meanwhile is a gap by now.
  if (builder_ == nullptr || std::exchange(builder_next_, 0) != first ||
      spool_.stats().lanes[index_of(lane_)].oldest_sequence > first) {
    builder_ = spool_.read(lane_, first);
  }
  SpoolReader* const reader = builder_.get();
  std::uint64_t read_upto = 0;
  const auto fill = [&](std::uint64_t upto, WallTime near) -> Status {
    if (writer.next() > upto) {
      return {};
    }
    return writer.add(BatchGap{writer.next(), upto, 0, "released", near, near});
  };
  while (writer.next() <= last) {
    switch (HW_TRY(reader->next())) {
      case ReadItem::kEnd:
        return Error::unavailable("sequence {} is not readable yet", writer.next());
      case ReadItem::kDecisions:
        break;
      case ReadItem::kGap: {
        const Gap& gap = reader->gap();
        read_upto = gap.last;
        HW_TRY(fill(std::min(gap.first - 1, last), gap.from));
        if (gap.first <= last) {
          HW_TRY(writer.add(to_batch(gap, gap_reason_name(gap.reason), last)));
        }
        break;
      }
      case ReadItem::kRow: {
        const ReadRow& read = reader->row();
        read_upto = read.sequence;
        HW_TRY(fill(std::min(read.sequence - 1, last), read.stored));
        if (read.sequence > last) {
          break;
        }
        BatchRow row;
        row.sequence = read.sequence;
        row.device = read.row.device;
        row.topic = read.row.topic;
        row.sender = read.row.sender;
        row.time = read.row.time;
        row.received = read.row.received;
        row.identity = read.row.identity;
        row.time_missing = (read.row.flags & kRowTimeMissing) != 0;
        row.late = (read.row.flags & kRowLate) != 0;
        row.offline = (read.row.flags & kRowOffline) != 0;
        row.note = read.row.note;
        row.payload = read.row.payload;
        const Item* item = find(read.sequence);
        if (item != nullptr && item->decided_by != 0) {
          const Decider& by = deciders_[item->decided_by - 1U];
          row.decided = true;
          row.score = item->score;
          row.alerted = item->alerted;
          row.pipeline = by.pipeline;
          row.model = by.model;
        }
        HW_TRY(writer.add(row));
        break;
      }
    }
  }
  builder_next_ = read_upto == last ? last + 1 : 0;
  return {};
}

}  // namespace headwater
