#include "store/clock_map.h"

#include "store/format.h"

namespace headwater {
namespace {

// Two readings of the monotonic clock around one of the wall clock lie closer together than this.
constexpr Nanos kOneMoment = std::chrono::milliseconds(100);

}  // namespace

std::optional<ClockMap> ClockWatch::look(MonoTime mono, WallTime wall) {
  const std::int64_t offset = wall.ns - mono.ns;
  const std::int64_t change = offset - offset_;
  if (change <= kLeast.count() && change >= -kLeast.count()) {
    return std::nullopt;
  }
  ClockMap map;
  map.mono = mono;
  map.before = WallTime{mono.ns + offset_};
  map.after = wall;
  offset_ = offset;
  return map;
}

std::optional<ClockMap> ClockWatch::look(const SpoolClock& clock) {
  const MonoTime mono = clock.mono();
  const WallTime wall = clock.wall();
  return clock.mono() - mono > kOneMoment ? std::nullopt : look(mono, wall);
}

void ClockMaps::add(const ClockMap& map) {
  maps_.push_back(map);
  if (maps_.size() > kMost) {
    maps_.pop_front();
  }
}

namespace spool_format {

void put_clock(std::string& out, const ClockMap& map) {
  const std::size_t begun = begin_entry(out, EntryType::kClock, 0, 0);
  ByteWriter writer(out);
  writer.put(map.boot.high);
  writer.put(map.boot.low);
  writer.put(map.mono.ns);
  writer.put(map.before.ns);
  writer.put(map.after.ns);
  writer.put(static_cast<std::uint8_t>(map.next.size()));
  for (const std::uint64_t sequence : map.next) {
    writer.put_varint(sequence);
  }
  end_entry(out, begun);
}

std::optional<ClockMap> decode_clock(std::string_view content) {
  ByteReader in(content);
  ClockMap map;
  map.boot.high = in.get<std::uint64_t>();
  map.boot.low = in.get<std::uint64_t>();
  map.mono.ns = in.get<std::int64_t>();
  map.before.ns = in.get<std::int64_t>();
  map.after.ns = in.get<std::int64_t>();
  map.next.fill(1);
  const std::size_t count = in.get<std::uint8_t>();
  for (std::size_t lane = 0; lane < count; ++lane) {
    const std::uint64_t sequence = in.get_varint();
    if (lane < map.next.size()) {
      map.next[lane] = sequence;
    }
  }
  return in.ok() ? std::optional(map) : std::nullopt;
}

}  // namespace spool_format
}  // namespace headwater
