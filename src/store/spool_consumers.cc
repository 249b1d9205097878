// Who takes rows off the spool: consumers, whose cursors say what is delivered, and readers, which
// go by segments, gap records and kept rows.
#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "store/lane_reader.h"
#include "store/spool_core.h"

namespace headwater {

namespace format = spool_format;

void SpoolCore::add_consumer(std::string_view consumer, Lane lane, bool receives) {
  const std::lock_guard guard(state_mutex_);
  for (Consumer& known : consumers_) {
    if (known.name == consumer && known.lane == lane) {
      known.receives = (known.receives && !known.recalled) || receives;
      known.recalled = false;
      return;
    }
  }
  consumers_.push_back({std::string(consumer), lane, receives, false});
}

void SpoolCore::recall_consumers() {
  const auto blob = state_.states.find(kConsumersState);
  ByteReader in(blob == state_.states.end() ? std::string_view() : std::string_view(blob->second));
  while (in.left() > 0) {
    const std::uint64_t lane = in.get_varint();
    const bool receives = in.get_varint() != 0;
    const std::string_view name = in.get_bytes(static_cast<std::size_t>(in.get_varint()));
    if (!in.ok() || lane >= kLanes) {
      return;
    }
    consumers_.push_back({std::string(name), static_cast<Lane>(lane), receives, true});
  }
}

std::optional<std::string> SpoolCore::confirm_consumers() {
  const std::lock_guard guard(state_mutex_);
  std::erase_if(consumers_, [](const Consumer& known) { return known.recalled; });
  std::string blob;
  ByteWriter out(blob);
  for (const Consumer& known : consumers_) {
    out.put_varint(static_cast<std::uint64_t>(known.lane));
    out.put_varint(known.receives ? 1 : 0);
    out.put_varint(known.name.size());
    out.put_bytes(known.name);
  }
  const auto before = state_.states.find(kConsumersState);
  const bool same = before == state_.states.end() ? blob.empty() : before->second == blob;
  return same ? std::nullopt : std::optional(std::move(blob));
}

void SpoolCore::remove_consumer(std::string_view consumer, Lane lane) {
  const std::lock_guard guard(state_mutex_);
  std::erase_if(consumers_, [&](const Consumer& known) {
    return known.name == consumer && known.lane == lane;
  });
}

// ---- SegmentSource ----

Result<SegmentSource::Opened> SpoolCore::find(Lane lane, std::uint64_t sequence) const {
  const std::lock_guard guard(state_mutex_);
  if (segments_.empty()) {
    return Opened{};
  }
  std::size_t at = segments_.size() - 1;
  while (at > 0 && segments_[at]->header.next[index_of(lane)] > sequence) {
    --at;
  }
  Opened opened;
  opened.segment = segments_[at];
  opened.file = HW_TRY(files_.open(segments_[at]->path, io::OpenMode::kRead));
  return opened;
}

Result<SegmentSource::Opened> SpoolCore::after(std::uint64_t generation) const {
  const std::lock_guard guard(state_mutex_);
  for (const auto& segment : segments_) {
    if (segment->header.generation > generation) {
      Opened opened;
      opened.segment = segment;
      opened.file = HW_TRY(files_.open(segment->path, io::OpenMode::kRead));
      return opened;
    }
  }
  return Opened{};
}

std::uint64_t SpoolCore::oldest(Lane lane) const {
  const std::lock_guard guard(state_mutex_);
  return oldest_live(lane);
}

std::uint64_t SpoolCore::oldest_live(Lane lane) const {
  const std::size_t i = index_of(lane);
  return std::max(segments_.empty() ? 1 : segments_.front()->header.next[i], state_.floors[i]);
}

std::optional<Gap> SpoolCore::gap_in(Lane lane, std::uint64_t first, std::uint64_t last) const {
  const std::lock_guard guard(state_mutex_);
  return state_.gap_in(lane, first, last, oldest_live(lane));
}

std::optional<std::pair<std::uint64_t, KeptRow>> SpoolCore::kept_in(Lane lane, std::uint64_t first,
                                                                    std::uint64_t last) const {
  const std::lock_guard guard(state_mutex_);
  return state_.kept_in(lane, first, last);
}

Result<std::string> SpoolCore::devices_of(const Segment& segment) const {
  const Opened behind = HW_TRY(after(segment.header.generation));
  return behind.segment ? read_devices(*behind.file, segment.header.generation) : std::string();
}

void SpoolCore::report(const Gap& gap) {
  std::string body;
  format::put_gap(body, gap);
  enqueue_own(std::move(body));
}

}  // namespace headwater
