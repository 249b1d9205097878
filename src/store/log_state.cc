#include "store/log_state.h"

#include <algorithm>
#include <numeric>

namespace headwater {

namespace format = spool_format;

namespace {

constexpr std::size_t kEntrySlack = format::kEntryHeaderBytes + 24;
constexpr std::size_t kGapBytes = format::kEntryHeaderBytes + 41;
constexpr std::size_t kFixedCheckpoint = 512;

}  // namespace

LogState::Applied LogState::apply(std::string_view body, bool checkpoint, WallTime at) {
  Applied applied;
  if (checkpoint) {
    const format::Sequences before = next;
    *this = LogState();
    next = before;
  }
  // The lane goes on at `first`: sequences before it that nobody has seen are missing.
  const auto advance = [&](std::size_t lane, std::uint64_t first) {
    if (first > next[lane]) {
      applied.missing.push_back({.lane = static_cast<Lane>(lane),
                                 .reason = GapReason::kCorrupt,
                                 .first = next[lane],
                                 .last = first - 1,
                                 .count = first - next[lane],
                                 .from = at,
                                 .to = at});
      next[lane] = first;
    }
  };
  format::EntryReader entries(body);
  format::Entry entry;
  while (entries.next(&entry)) {
    bool good = true;
    switch (entry.type) {
      case format::EntryType::kRows: {
        const auto rows = format::decode_rows(entry.content);
        good = rows && entry.lane < kLanes && rows->first > 0;
        if (!good) {
          break;
        }
        advance(entry.lane, rows->first);
        next[entry.lane] = std::max(next[entry.lane], rows->first + rows->count);
        applied.rows[entry.lane] += rows->count;
        applied.row_bytes[entry.lane] += entry.content.size();
        break;
      }
      case format::EntryType::kCursor: {
        const auto cursor = format::decode_cursor(entry.content);
        good = cursor.has_value();
        if (good) {
          const auto [where, fresh] = cursors.insert_or_assign(
              CursorKey(cursor->consumer, entry.lane, entry.stream), cursor->upto);
          if (fresh) {
            cursor_bytes_ += kEntrySlack + cursor->consumer.size();
          }
        }
        break;
      }
      case format::EntryType::kState: {
        const auto state = format::decode_state(entry.content);
        good = state.has_value();
        if (!good) {
          break;
        }
        auto found = states.find(state->key);
        if (found != states.end()) {
          state_bytes_ -= kEntrySlack + found->first.size() + found->second.size();
        }
        if (state->blob.empty()) {
          if (found != states.end()) {
            states.erase(found);
          }
          break;
        }
        if (found != states.end()) {
          found->second.assign(state->blob);
        } else {
          found = states.emplace(state->key, state->blob).first;
        }
        state_bytes_ += kEntrySlack + found->first.size() + found->second.size();
        break;
      }
      case format::EntryType::kGap: {
        const auto gap = format::decode_gap(entry);
        good = gap.has_value();
        if (good && gap->reason == GapReason::kShed && gap->first >= next[entry.lane]) {
          advance(entry.lane, gap->first);
          gaps.skip(*gap, segment_first_[entry.lane]);
          next[entry.lane] = gap->last + 1;
        } else if (good) {
          gaps.add(*gap);
          // A gap at the end of a lane (damage that took its last rows) moves the lane on.
          std::uint64_t& expected = next[entry.lane];
          expected = std::max(expected, gap->last + 1);
        }
        break;
      }
      case format::EntryType::kNext: {
        const auto sequences = format::decode_next(entry.content);
        good = sequences.has_value();
        for (std::size_t lane = 0; good && lane < kLanes; ++lane) {
          advance(lane, (*sequences)[lane]);
        }
        applied.told_next = applied.told_next || good;
        break;
      }
      case format::EntryType::kOpened: {
        const auto opened = format::decode_opened(entry.content);
        good = opened.has_value();
        if (good) {
          epoch = opened->epoch;
          told_boot = opened->boot_id;
          told_mono = opened->mono;
          told_wall = opened->wall;
        }
        break;
      }
      case format::EntryType::kClock: {
        const auto map = format::decode_clock(entry.content);
        good = map.has_value();
        if (good) {
          clocks.add(*map);
          if (!checkpoint) {  // whose `opened` is newer than its clock maps
            told_boot = map->boot;
            told_mono = map->mono;
            told_wall = map->after;
          }
        }
        break;
      }
      case format::EntryType::kKept: {
        const auto row = format::decode_kept(entry.content);
        good = row && entry.lane < kLanes;
        if (good) {
          const auto [where, fresh] = kept.try_emplace({entry.lane, row->sequence});
          if (fresh) {
            where->second = {entry.stream, row->stored, std::string(row->row)};
            kept_bytes[entry.lane] += kEntrySlack + row->row.size();
          }
        }
        break;
      }
      case format::EntryType::kReleased: {
        const auto generation = format::decode_released(entry.content);
        good = generation.has_value();
        released = good ? std::max(released, *generation) : released;
        break;
      }
      case format::EntryType::kFloor: {
        const auto floor = format::decode_floor(entry.content);
        good = floor && entry.lane < kLanes;
        if (good) {
          floors[entry.lane] = std::max(floors[entry.lane], *floor);
          for (auto it = kept.lower_bound({entry.lane, 0});
               it != kept.end() && it->first.first == entry.lane && it->first.second < *floor;) {
            it = drop_kept(it);
          }
        }
        break;
      }
      case format::EntryType::kDecisions:
      default:
        break;
    }
    applied.ok = applied.ok && good;
  }
  applied.ok = applied.ok && entries.ok();
  if (checkpoint) {
    begin_segment();
  }
  return applied;
}

void LogState::put_checkpoint(std::string& body, const format::OpenedEntry& opened) const {
  format::put_opened(body, opened);
  format::put_next(body, next);
  for (const auto& [key, upto] : cursors) {
    format::put_cursor(body, std::get<0>(key), std::get<1>(key), std::get<2>(key), upto);
  }
  for (const auto& [key, blob] : states) {
    format::put_state(body, key, blob);
  }
  for (const Gap& gap : gaps.all()) {
    format::put_gap(body, gap);
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    if (floors[lane] > 0) {
      format::put_floor(body, static_cast<std::uint8_t>(lane), floors[lane]);
    }
  }
  for (const auto& [key, row] : kept) {
    format::put_kept(body, key.first, row.stream, {key.second, row.stored, row.row});
  }
  for (const ClockMap& map : clocks.all()) {
    format::put_clock(body, map);
  }
  if (released > 0) {
    format::put_released(body, released);
  }
}

std::size_t LogState::given_bytes() const {
  return cursor_bytes_ + state_bytes_;
}

std::size_t LogState::checkpoint_bytes() const {
  return kFixedCheckpoint + cursor_bytes_ + state_bytes_ +
         std::accumulate(kept_bytes.begin(), kept_bytes.end(), std::size_t{0}) +
         gaps.size() * kGapBytes + clocks.checkpoint_bytes();
}

LogState::KeptRows::iterator LogState::drop_kept(KeptRows::iterator row) {
  kept_bytes[row->first.first] -= kEntrySlack + row->second.row.size();
  return kept.erase(row);
}

std::optional<std::uint64_t> LogState::cursor(std::string_view consumer, Lane lane,
                                              std::uint16_t stream) const {
  const auto found = cursors.find(CursorKey(consumer, static_cast<std::uint8_t>(lane), stream));
  return found == cursors.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Gap> LogState::gap_in(Lane lane, std::uint64_t first, std::uint64_t last,
                                    std::uint64_t oldest) const {
  const Gap* const gap =
      first < oldest ? gaps.find(lane, first, last) : gaps.find_solid(lane, first, last);
  return gap == nullptr ? std::nullopt : std::optional(*gap);
}

std::optional<std::pair<std::uint64_t, KeptRow>> LogState::kept_in(Lane lane, std::uint64_t first,
                                                                   std::uint64_t last) const {
  const auto lane_byte = static_cast<std::uint8_t>(lane);
  const auto found = kept.lower_bound({lane_byte, first});
  if (found == kept.end() || found->first.first != lane_byte || found->first.second > last) {
    return std::nullopt;
  }
  return std::pair(found->first.second, found->second);
}

std::uint64_t LogState::lowest_cursor(std::string_view consumer, Lane lane) const {
  const auto lane_byte = static_cast<std::uint8_t>(lane);
  std::optional<std::uint64_t> lowest;
  for (auto it = cursors.lower_bound(CursorKey(consumer, lane_byte, 0));
       it != cursors.end() && std::get<0>(it->first) == consumer &&
       std::get<1>(it->first) == lane_byte;
       ++it) {
    lowest = std::min(lowest.value_or(it->second), it->second);
  }
  return lowest.value_or(0);
}

}  // namespace headwater
