#include "store/fsck.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "store/frame_scanner.h"
#include "store/lane_reader.h"
#include "store/recovery.h"
#include "store/repair_mark.h"
#include "store/row_codec.h"
#include "store/segment.h"

namespace headwater {

namespace format = spool_format;

namespace {

// Sequences as disjoint ranges; a store holds few, so a lane's rows cost no memory each.
class RangeSet {
 public:
  // Returns how many of the sequences were there already.
  std::uint64_t add(std::uint64_t first, std::uint64_t last) {
    std::uint64_t repeated = 0;
    auto it = ranges_.upper_bound(first);
    if (it != ranges_.begin() && std::prev(it)->second + 1 >= first) {
      --it;
    }
    while (it != ranges_.end() && it->first <= last + 1) {
      const std::uint64_t from = std::max(first, it->first);
      const std::uint64_t to = std::min(last, it->second);
      repeated += from <= to ? to - from + 1 : 0;
      first = std::min(first, it->first);
      last = std::max(last, it->second);
      it = ranges_.erase(it);
    }
    ranges_.emplace(first, last);
    return repeated;
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> holes(std::uint64_t from,
                                                             std::uint64_t end) const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> out;
    for (const auto& [first, last] : ranges_) {
      if (first > from && from < end) {
        out.emplace_back(from, std::min(first, end) - 1);
      }
      from = std::max(from, last + 1);
    }
    if (from < end) {
      out.emplace_back(from, end - 1);
    }
    return out;
  }
  std::uint64_t first() const { return ranges_.empty() ? 0 : ranges_.begin()->first; }

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;
};

struct Walk {
  std::array<RangeSet, kLanes> rows;
  LogState state;
  format::Sequences floors{};  // as they are in the end: rows below are let go
};

// A row that its entry's count promises and its bytes do not hold.
bool rows_whole(const format::RowsEntry& rows) {
  RowDecoder decoder(rows.rows);
  StoredRow row;
  std::uint32_t count = 0;
  while (decoder.next(&row)) {
    ++count;
  }
  return decoder.ok() && count == rows.count;
}

void walk_frame(const FrameScanner& scanner, SegmentReport* segment, FsckReport* report,
                Walk* walk) {
  ++segment->frames;
  ++report->frames;
  segment->to = scanner.header().wall;
  bool good =
      walk->state.apply(scanner.body(), scanner.header().checkpoint(), scanner.header().wall).ok;
  format::EntryReader entries(scanner.body());
  format::Entry entry;
  while (entries.next(&entry)) {
    if (entry.type == format::EntryType::kDecisions) {
      format::DecodedDecisions decisions;
      good = format::decode_decisions(entry, &decisions) && good;
      continue;
    }
    if (entry.type != format::EntryType::kRows || entry.lane >= kLanes) {
      continue;
    }
    const auto rows = format::decode_rows(entry.content);
    if (!rows || rows->count == 0 || !rows_whole(*rows)) {
      good = false;
      continue;
    }
    LaneReport& lane = report->lanes[entry.lane];
    segment->rows[entry.lane] += rows->count;
    const std::uint64_t first = std::max(rows->first, walk->floors[entry.lane]);
    const std::uint64_t end = rows->first + rows->count;
    if (first < end) {
      lane.rows += end - first;
      lane.repeated += walk->rows[entry.lane].add(first, end - 1);
    }
  }
  if (!good) {
    report->damage.push_back({segment->name, scanner.frame_offset(),
                              scanner.frame_offset() + scanner.header().frame_bytes(), 0,
                              "the frame is whole but holds an entry that makes no sense",
                              segment->generation});
  }
}

Status walk_segment(io::Files& files, std::string_view dir, const FoundSegment& found, bool newest,
                    FsckReport* report, Walk* walk) {
  auto file = HW_TRY(files.open(fmt::format("{}/{}", dir, found.name), io::OpenMode::kRead));
  SegmentReport segment;
  segment.name = found.name;
  segment.generation = found.header.generation;
  segment.file_bytes = HW_TRY(file->size());
  segment.epoch = found.header.epoch;
  segment.from = found.header.wall;
  std::string page(format::kPageBytes, '\0');
  page.resize(HW_TRY(file->pread(0, page.data(), page.size())));
  if (auto header = format::decode_segment_header(page); !header) {
    report->damage.push_back(
        {found.name, 0, format::kPageBytes, 0, header.error().text(), found.header.generation});
  }
  ScanRange range{.tag = format::segment_tag(found.header.spool_id, found.header.generation),
                  .first_number = found.header.first_frame,
                  .epoch = found.header.epoch,
                  .end_offset = segment.file_bytes,
                  .end_number = std::nullopt};
  if (!newest) {
    range.end_number = found.end_frame;
  }
  FrameScanner scanner(*file, range);
  for (bool more = true; more;) {
    switch (HW_TRY(scanner.next())) {
      case ScanItem::kFrame:
        walk_frame(scanner, &segment, report, walk);
        break;
      case ScanItem::kDamage:
        report->damage.push_back({found.name, scanner.damage_from(), scanner.damage_to(),
                                  scanner.damage_frames(), "frames lost: checksum mismatch",
                                  segment.generation});
        break;
      case ScanItem::kEnd:
        more = false;
        break;
    }
  }
  segment.end = scanner.offset();
  if (newest) {
    report->torn_bytes = scanner.torn_bytes();
  }
  report->segments.push_back(std::move(segment));
  return {};
}

// The process that writes may let a segment go between the look at its folder and at the file: then
// the look begins anew.
template <class Look>
auto look_again(Look look) -> decltype(look()) {
  constexpr int kMostLooks = 8;
  for (int left = kMostLooks;; --left) {
    auto seen = look();
    if (seen || seen.error().code() != Code::kNotFound || left == 1) {
      return seen;
    }
  }
}

}  // namespace

bool FsckReport::sound() const {
  const auto known = [](const Damage& one) { return one.on_record; };
  return std::all_of(damage.begin(), damage.end(), known) &&
         std::all_of(lanes.begin(), lanes.end(), [](const LaneReport& lane) {
           return lane.missing.empty() && lane.repeated == 0;
         });
}

namespace {

Result<FsckReport> read_whole(io::Files& files, std::string_view dir) {
  const RecoveredLog log = HW_TRY(recover_log(files, dir).with("read spool '{}'", dir));
  if (!log.exists) {
    return Error::not_found("no spool in '{}'", dir);
  }
  FsckReport report;
  report.spool_id = log.spool_id;
  report.spares = log.spares;
  for (const std::string& name : log.damaged) {
    report.damage.push_back({name, 0, 0, 0, "neither the header page nor the first frame reads",
                             format::parse_segment_name(name).value_or(0)});
  }
  Walk walk;
  walk.floors = log.state.floors;
  if (!log.segments.empty()) {
    walk.state.next = log.segments.front().header.next;
  }
  for (std::size_t i = 0; i < log.segments.size(); ++i) {
    HW_TRY(walk_segment(files, dir, log.segments[i], i + 1 == log.segments.size(), &report, &walk)
               .with("segment '{}'", log.segments[i].name));
  }
  for (const auto& [key, row] : walk.state.kept) {
    LaneReport& lane = report.lanes[key.first];
    // A row may be kept and still be in a segment that is about to go.
    lane.rows += walk.rows[key.first].add(key.second, key.second) == 0 ? 1 : 0;
  }
  report.gaps = walk.state.gaps.all();
  if (const auto found = walk.state.states.find(kRepairMark); found != walk.state.states.end()) {
    const RepairMark mark = decode_repair_mark(found->second);
    for (Damage& damage : report.damage) {
      damage.on_record = mark.covers(damage.generation, damage.from);
    }
  }
  for (const Lane lane : kAllLanes) {
    const std::size_t i = index_of(lane);
    LaneReport& out = report.lanes[i];
    out.first = walk.rows[i].first();
    out.next = walk.state.next[i];
    for (std::size_t reason = 0; reason < out.gap_rows.size(); ++reason) {
      out.gap_rows[reason] = walk.state.gaps.rows(lane, static_cast<GapReason>(reason));
    }
    // Below the oldest segment rows may be gone because all their consumers had them.
    const std::uint64_t oldest =
        std::max(log.segments.empty() ? 1 : log.segments.front().header.next[i], walk.floors[i]);
    out.floor = walk.floors[i];
    for (const auto& [first, last] : walk.rows[i].holes(oldest, out.next)) {
      for (const auto& part : walk.state.gaps.uncovered(lane, first, last)) {
        out.missing.push_back(part);
      }
    }
  }
  return report;
}

class FolderView final : public SpoolView, private SegmentSource {
 public:
  FolderView(io::Files& files, RecoveredLog log, std::string_view dir)
      : files_(files), state_(std::move(log.state)), id_(log.spool_id) {
    for (std::size_t i = 0; i < log.segments.size(); ++i) {
      const FoundSegment& found = log.segments[i];
      auto segment = std::make_shared<Segment>();
      segment->path = fmt::format("{}/{}", dir, found.name);
      segment->header = found.header;
      const bool newest = i + 1 == log.segments.size();
      segment->end = newest ? log.tail : found.header.file_bytes;
      segment->end_frame = found.end_frame;
      segment->end_next = found.end_next;
      segment->summary = found.summary;
      segment->end_wall = newest ? found.header.wall : log.segments[i + 1].header.wall;
      segment->closed = true;
      segments_.push_back(std::move(segment));
    }
  }

  std::unique_ptr<SpoolReader> read(Lane lane, std::uint64_t from_sequence,
                                    ReadOptions options) override {
    SegmentSource& source = *this;
    return std::make_unique<LaneReader>(source, lane, from_sequence, options);
  }
  Id128 id() const override { return id_; }
  std::uint64_t oldest_sequence(Lane lane) const override { return oldest(lane); }
  std::uint64_t next_sequence(Lane lane) const override { return state_.next[index_of(lane)]; }
  std::vector<Gap> gaps() const override { return state_.gaps.all(); }
  std::vector<ClockMap> clock_maps() const override {
    return {state_.clocks.all().begin(), state_.clocks.all().end()};
  }
  std::vector<Cursor> cursors() const override {
    std::vector<Cursor> out;
    for (const auto& [key, upto] : state_.cursors) {
      if (std::get<1>(key) < kLanes) {
        out.push_back(
            {std::get<0>(key), static_cast<Lane>(std::get<1>(key)), std::get<2>(key), upto});
      }
    }
    return out;
  }
  std::vector<std::pair<std::string, std::size_t>> states() const override {
    std::vector<std::pair<std::string, std::size_t>> out;
    for (const auto& [key, blob] : state_.states) {
      out.emplace_back(key, blob.size());
    }
    return out;
  }
  std::string state(std::string_view key) const override {
    const auto found = state_.states.find(key);
    return found == state_.states.end() ? std::string() : std::string(found->second);
  }

 private:
  Result<Opened> open_at(std::size_t at) const {
    for (; at < segments_.size(); ++at) {
      auto file = files_.open(segments_[at]->path, io::OpenMode::kRead);
      if (file) {
        return Opened{segments_[at], std::move(file).value()};
      }
      if (file.error().code() != Code::kNotFound) {
        return std::move(file).error();
      }
    }
    return Opened{};
  }
  Result<Opened> find(Lane lane, std::uint64_t sequence) const override {
    std::size_t at = segments_.empty() ? 0 : segments_.size() - 1;
    while (at > 0 && segments_[at]->header.next[index_of(lane)] > sequence) {
      --at;
    }
    return open_at(at);
  }
  Result<Opened> after(std::uint64_t generation) const override {
    std::size_t at = 0;
    while (at < segments_.size() && segments_[at]->header.generation <= generation) {
      ++at;
    }
    return open_at(at);
  }
  std::uint64_t oldest(Lane lane) const override {
    return std::max(segments_.empty() ? 1 : segments_.front()->header.next[index_of(lane)],
                    state_.floors[index_of(lane)]);
  }
  std::optional<Gap> gap_in(Lane lane, std::uint64_t first, std::uint64_t last) const override {
    return state_.gap_in(lane, first, last, oldest(lane));
  }
  std::optional<std::pair<std::uint64_t, KeptRow>> kept_in(Lane lane, std::uint64_t first,
                                                           std::uint64_t last) const override {
    return state_.kept_in(lane, first, last);
  }
  Result<std::string> devices_of(const Segment& segment) const override {
    const Opened behind = HW_TRY(after(segment.header.generation));
    return behind.segment ? read_devices(*behind.file, segment.header.generation) : std::string();
  }
  void report(const Gap& /*gap*/) override {}  // told by the reader; nothing is written

  io::Files& files_;
  LogState state_;
  Id128 id_;
  std::vector<std::shared_ptr<Segment>> segments_;
};

}  // namespace

Result<FsckReport> fsck_spool(io::Files& files, std::string_view dir) {
  return look_again([&] { return read_whole(files, dir); });
}

Result<std::unique_ptr<SpoolView>> SpoolView::open(io::Files& files, std::string_view dir) {
  auto log =
      HW_TRY(look_again([&] { return recover_log(files, dir).with("read spool '{}'", dir); }));
  if (!log.exists) {
    return Error::not_found("no spool in '{}'", dir);
  }
  return std::unique_ptr<SpoolView>(std::make_unique<FolderView>(files, std::move(log), dir));
}

}  // namespace headwater
