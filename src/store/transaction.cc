#include "store/transaction.h"

#include "base/result.h"
#include "store/format.h"

namespace headwater {

namespace format = spool_format;

namespace {

// An entry's head and numbers beside its texts.
constexpr std::size_t kKeptSlack = 64;

}  // namespace

std::size_t Transaction::group_index(Lane lane, std::uint16_t stream) {
  if (last_ < used_ && groups_[last_].lane == lane && groups_[last_].stream == stream) {
    return last_;
  }
  for (std::size_t i = 0; i < used_; ++i) {
    if (groups_[i].lane == lane && groups_[i].stream == stream) {
      last_ = i;
      return i;
    }
  }
  if (used_ == groups_.size()) {
    groups_.emplace_back();
  }
  groups_[used_].lane = lane;
  groups_[used_].stream = stream;
  last_ = used_;
  return used_++;
}

std::uint32_t Transaction::append(Lane lane, std::uint16_t stream, const StoredRow& row) {
  Group& to = groups_[group_index(lane, stream)];
  to.rows.append(row);
  facts_.add(lane, row.device, row.time);
  ++rows_;
  ++lane_rows_[index_of(lane)];
  return to.rows.count() - 1;
}

void Transaction::decide(const Decisions& decisions) {
  const std::size_t at = format::put_decisions(meta_, decisions);
  if (decisions.own_rows) {
    patches_.push_back({at, group_index(decisions.lane, decisions.stream)});
  }
}

void Transaction::cursor(std::string_view consumer, Lane lane, std::uint16_t stream,
                         std::uint64_t upto) {
  kept_bytes_ += kKeptSlack + consumer.size();
  format::put_cursor(meta_, consumer, static_cast<std::uint8_t>(lane), stream, upto);
}

void Transaction::cursor_to_own(std::string_view consumer, Lane lane, std::uint16_t stream) {
  const std::size_t group = group_index(lane, stream);
  const std::uint32_t count = groups_[group].rows.count();
  HW_CHECK(count > 0, "a cursor to own rows needs a row before it");
  patches_.push_back({meta_.size() + format::kEntryHeaderBytes, group});
  format::put_cursor(meta_, consumer, static_cast<std::uint8_t>(lane), stream, count - 1);
}

void Transaction::state(std::string_view key, std::string_view blob) {
  kept_bytes_ += kKeptSlack + key.size() + blob.size();
  format::put_state(meta_, key, blob);
}

void Transaction::gap(const Gap& gap) {
  kept_bytes_ += kKeptSlack;
  format::put_gap(meta_, gap);
}

void Transaction::skip(Lane lane, std::uint64_t count, WallTime from, WallTime to) {
  HW_CHECK(skipped(lane) == 0, "the rows of a lane are skipped at once");
  if (count > 0) {
    skips_.push_back({.lane = lane, .count = count, .from = from, .to = to});
  }
}

std::uint64_t Transaction::skipped(Lane lane) const {
  for (const Skip& skip : skips_) {
    if (skip.lane == lane) {
      return skip.count;
    }
  }
  return 0;
}

std::size_t Transaction::bytes() const {
  std::size_t sum = format::kFrameHeaderBytes + meta_.size() + skips_.size() * kKeptSlack;
  for (std::size_t i = 0; i < used_; ++i) {
    sum += format::kEntryHeaderBytes + format::kRowsHeadBytes + groups_[i].rows.size();
  }
  return format::padded(sum);
}

void Transaction::clear() {
  meta_.clear();
  patches_.clear();
  kept_bytes_ = 0;
  makes_room_ = false;
  leaves_room_ = false;
  waits_with_.reset();
  drop_rows();
}

void Transaction::drop_rows() {
  HW_CHECK(patches_.empty(), "a decision or cursor about rows stands and falls with them");
  for (std::size_t i = 0; i < used_; ++i) {
    groups_[i].rows.clear();
  }
  skips_.clear();
  used_ = 0;
  last_ = 0;
  if (rows_ > 0) {
    facts_.clear();
  }
  rows_ = 0;
  lane_rows_ = {};
}

void Transaction::assemble() {
  body_.clear();
  body_.reserve(bytes());
  for (std::size_t i = 0; i < used_; ++i) {
    Group& from = groups_[i];
    if (from.rows.count() == 0) {
      continue;  // named by a decision only
    }
    const std::size_t begun = format::begin_entry(
        body_, format::EntryType::kRows, static_cast<std::uint8_t>(from.lane), from.stream);
    from.first_at = body_.size();
    ByteWriter writer(body_);
    writer.put(std::uint64_t{0});
    writer.put(from.rows.count());
    writer.put_bytes(from.rows.bytes());
    format::end_entry(body_, begun);
  }
  for (Skip& skip : skips_) {
    skip.first_at = body_.size() + format::kEntryHeaderBytes;
    format::put_gap(body_, {.lane = skip.lane,
                            .reason = GapReason::kShed,
                            .first = 0,
                            .last = 0,
                            .count = skip.count,
                            .from = skip.from,
                            .to = skip.to});
  }
  meta_at_ = body_.size();
  body_.append(meta_);
}

void Transaction::number(std::array<std::uint64_t, kLanes>& next) {
  for (std::size_t i = 0; i < used_; ++i) {
    Group& group = groups_[i];
    group.first = next[index_of(group.lane)];
    if (group.rows.count() > 0) {
      headwater::store(body_.data() + group.first_at, group.first);
      next[index_of(group.lane)] += group.rows.count();
    }
  }
  for (const Skip& skip : skips_) {
    std::uint64_t& first = next[index_of(skip.lane)];
    headwater::store(body_.data() + skip.first_at, first);
    first += skip.count;
    headwater::store(body_.data() + skip.first_at + sizeof first, first - 1);
  }
  for (const Patch& patch : patches_) {
    char* const at = body_.data() + meta_at_ + patch.offset;
    headwater::store(at, groups_[patch.group].first + load<std::uint64_t>(at));
  }
}

}  // namespace headwater
