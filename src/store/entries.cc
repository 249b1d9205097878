#include <cmath>
#include <limits>

#include "store/format.h"

namespace headwater::spool_format {
namespace {

// Bits of a decisions entry's form.
constexpr unsigned kList = 1U << 0;
constexpr unsigned kScores = 1U << 1;
constexpr unsigned kAlerted = 1U << 2;
constexpr unsigned kKnownForm = kList | kScores | kAlerted;
// A bitmap of the rows and 0 to 9 bytes a row follow; a count beyond this is damage.
constexpr std::uint32_t kMostDecisions = 1U << 28;

std::size_t bitmap_bytes(std::size_t count) {
  return (count + 7) / 8;
}
bool bit(std::string_view bitmap, std::size_t index) {
  return (static_cast<unsigned char>(bitmap[index / 8]) >> (index % 8) & 1U) != 0;
}
void put_bitmap(std::string& out, std::size_t count, auto is_set) {
  const std::size_t from = out.size();
  out.append(bitmap_bytes(count), '\0');
  for (std::size_t i = 0; i < count; ++i) {
    if (is_set(i)) {
      out[from + i / 8] =
          static_cast<char>(static_cast<unsigned char>(out[from + i / 8]) | (1U << (i % 8)));
    }
  }
}

void put_id(ByteWriter& out, Id128 id) {
  out.put(id.high);
  out.put(id.low);
}
Id128 get_id(ByteReader& in) {
  Id128 id;
  id.high = in.get<std::uint64_t>();
  id.low = in.get<std::uint64_t>();
  return id;
}

}  // namespace

bool EntryReader::next(Entry* entry) {
  if (rest_.empty()) {
    return false;
  }
  if (rest_.size() < kEntryHeaderBytes) {
    ok_ = false;
    return false;
  }
  const auto length = load<std::uint32_t>(rest_.data());
  if (length > rest_.size() - kEntryHeaderBytes) {
    ok_ = false;
    return false;
  }
  entry->type = load<EntryType>(rest_.data() + 4);
  entry->lane = load<std::uint8_t>(rest_.data() + 5);
  entry->stream = load<std::uint16_t>(rest_.data() + 6);
  entry->content = rest_.substr(kEntryHeaderBytes, length);
  rest_.remove_prefix(kEntryHeaderBytes + length);
  return true;
}

std::size_t begin_entry(std::string& out, EntryType type, std::uint8_t lane, std::uint16_t stream) {
  const std::size_t begun = out.size();
  ByteWriter writer(out);
  writer.put(std::uint32_t{0});
  writer.put(type);
  writer.put(lane);
  writer.put(stream);
  return begun;
}

void end_entry(std::string& out, std::size_t begun) {
  headwater::store(out.data() + begun,
                   static_cast<std::uint32_t>(out.size() - begun - kEntryHeaderBytes));
}

std::optional<RowsEntry> decode_rows(std::string_view content) {
  ByteReader in(content);
  RowsEntry rows;
  rows.first = in.get<std::uint64_t>();
  rows.count = in.get<std::uint32_t>();
  if (!in.ok()) {
    return std::nullopt;
  }
  rows.rows = in.rest();
  return rows;
}

void put_cursor(std::string& out, std::string_view consumer, std::uint8_t lane,
                std::uint16_t stream, std::uint64_t upto) {
  const std::size_t begun = begin_entry(out, EntryType::kCursor, lane, stream);
  ByteWriter writer(out);
  writer.put(upto);
  writer.put_string(consumer);
  end_entry(out, begun);
}

std::optional<CursorEntry> decode_cursor(std::string_view content) {
  ByteReader in(content);
  CursorEntry cursor;
  cursor.upto = in.get<std::uint64_t>();
  cursor.consumer = in.get_string();
  return in.ok() ? std::optional(cursor) : std::nullopt;
}

void put_state(std::string& out, std::string_view key, std::string_view blob) {
  const std::size_t begun = begin_entry(out, EntryType::kState, 0, 0);
  ByteWriter writer(out);
  writer.put_string(key);
  writer.put_string(blob);
  end_entry(out, begun);
}

std::optional<StateEntry> decode_state(std::string_view content) {
  ByteReader in(content);
  StateEntry state;
  state.key = in.get_string();
  state.blob = in.get_string();
  return in.ok() ? std::optional(state) : std::nullopt;
}

void put_gap(std::string& out, const Gap& gap) {
  const std::size_t begun =
      begin_entry(out, EntryType::kGap, static_cast<std::uint8_t>(gap.lane), 0);
  ByteWriter writer(out);
  writer.put(gap.first);
  writer.put(gap.last);
  writer.put(gap.count);
  writer.put(gap.from.ns);
  writer.put(gap.to.ns);
  writer.put(gap.reason);
  end_entry(out, begun);
}

std::optional<Gap> decode_gap(const Entry& entry) {
  ByteReader in(entry.content);
  Gap gap;
  gap.first = in.get<std::uint64_t>();
  gap.last = in.get<std::uint64_t>();
  gap.count = in.get<std::uint64_t>();
  gap.from.ns = in.get<std::int64_t>();
  gap.to.ns = in.get<std::int64_t>();
  gap.reason = in.get<GapReason>();
  if (!in.ok() || entry.lane >= kLanes || gap.reason > GapReason::kOperator || gap.first == 0 ||
      gap.first > gap.last) {
    return std::nullopt;
  }
  gap.lane = static_cast<Lane>(entry.lane);
  return gap;
}

void put_next(std::string& out, const Sequences& next) {
  const std::size_t begun = begin_entry(out, EntryType::kNext, 0, 0);
  ByteWriter writer(out);
  writer.put(static_cast<std::uint8_t>(next.size()));
  for (const std::uint64_t sequence : next) {
    writer.put_varint(sequence);
  }
  end_entry(out, begun);
}

std::optional<Sequences> decode_next(std::string_view content) {
  ByteReader in(content);
  Sequences next;
  next.fill(1);
  const std::size_t count = in.get<std::uint8_t>();
  for (std::size_t lane = 0; lane < count; ++lane) {
    const std::uint64_t sequence = in.get_varint();
    if (lane < next.size()) {
      next[lane] = sequence;
    }
  }
  return in.ok() ? std::optional(next) : std::nullopt;
}

void put_opened(std::string& out, const OpenedEntry& opened) {
  const std::size_t begun = begin_entry(out, EntryType::kOpened, 0, 0);
  ByteWriter writer(out);
  writer.put(opened.epoch);
  writer.put(std::uint32_t{0});
  put_id(writer, opened.boot_id);
  writer.put(opened.wall.ns);
  writer.put(opened.mono.ns);
  writer.put_string(opened.program);
  end_entry(out, begun);
}

std::optional<OpenedEntry> decode_opened(std::string_view content) {
  ByteReader in(content);
  OpenedEntry opened;
  opened.epoch = in.get<std::uint32_t>();
  (void)in.get<std::uint32_t>();
  opened.boot_id = get_id(in);
  opened.wall.ns = in.get<std::int64_t>();
  opened.mono.ns = in.get<std::int64_t>();
  opened.program = in.get_string();
  return in.ok() ? std::optional(opened) : std::nullopt;
}

void put_kept(std::string& out, std::uint8_t lane, std::uint16_t stream, const KeptEntry& kept) {
  const std::size_t begun = begin_entry(out, EntryType::kKept, lane, stream);
  ByteWriter writer(out);
  writer.put(kept.sequence);
  writer.put(kept.stored.ns);
  writer.put_bytes(kept.row);
  end_entry(out, begun);
}

void put_released(std::string& out, std::uint64_t generation) {
  const std::size_t begun = begin_entry(out, EntryType::kReleased, 0, 0);
  ByteWriter(out).put(generation);
  end_entry(out, begun);
}

std::optional<std::uint64_t> decode_released(std::string_view content) {
  ByteReader in(content);
  const auto generation = in.get<std::uint64_t>();
  return in.ok() ? std::optional(generation) : std::nullopt;
}

void put_floor(std::string& out, std::uint8_t lane, std::uint64_t floor) {
  const std::size_t begun = begin_entry(out, EntryType::kFloor, lane, 0);
  ByteWriter(out).put(floor);
  end_entry(out, begun);
}

std::optional<std::uint64_t> decode_floor(std::string_view content) {
  return decode_released(content);  // the same bytes
}

std::optional<KeptEntry> decode_kept(std::string_view content) {
  ByteReader in(content);
  KeptEntry kept;
  kept.sequence = in.get<std::uint64_t>();
  kept.stored.ns = in.get<std::int64_t>();
  if (!in.ok()) {
    return std::nullopt;
  }
  kept.row = in.rest();
  return kept;
}

std::size_t put_decisions(std::string& out, const Decisions& decisions) {
  const bool list = !decisions.sequences.empty();
  const std::size_t count = list ? decisions.sequences.size() : decisions.count;
  const bool scores = decisions.scores.size() >= count && count > 0;
  const bool alerted = decisions.alerted.size() >= count && count > 0;
  const std::size_t begun = begin_entry(
      out, EntryType::kDecisions, static_cast<std::uint8_t>(decisions.lane), decisions.stream);
  ByteWriter writer(out);
  const std::size_t first_at = out.size();
  writer.put(list ? decisions.sequences.front() : decisions.first);
  writer.put(static_cast<std::uint32_t>(count));
  writer.put(static_cast<std::uint8_t>((list ? kList : 0U) | (scores ? kScores : 0U) |
                                       (alerted ? kAlerted : 0U)));
  writer.put_string(decisions.pipeline);
  writer.put_string(decisions.model_digest);
  writer.put_varint(decisions.revision);
  if (list) {
    for (std::size_t i = 1; i < count; ++i) {
      HW_CHECK(decisions.sequences[i] > decisions.sequences[i - 1],
               "decided sequences ascend: differences are stored");
      writer.put_varint(decisions.sequences[i] - decisions.sequences[i - 1] - 1);
    }
  }
  if (scores) {
    put_bitmap(out, count, [&](std::size_t i) { return !std::isnan(decisions.scores[i]); });
    for (std::size_t i = 0; i < count; ++i) {
      if (!std::isnan(decisions.scores[i])) {
        writer.put(decisions.scores[i]);
      }
    }
  }
  if (alerted) {
    put_bitmap(out, count, [&](std::size_t i) { return decisions.alerted[i] != 0; });
  }
  end_entry(out, begun);
  return first_at;
}

bool decode_decisions(const Entry& entry, DecodedDecisions* out) {
  ByteReader in(entry.content);
  Decisions& view = out->view;
  view = {};
  const auto first = in.get<std::uint64_t>();
  const auto count = in.get<std::uint32_t>();
  const unsigned form = in.get<std::uint8_t>();
  view.pipeline = in.get_string();
  view.model_digest = in.get_string();
  view.revision = in.get_varint();
  // Each row of a list takes a byte at least; scores and alerts a bit: no count can make us
  // allocate much more than is there. A range without either has no bytes a row and no lists.
  const std::size_t least = (form & kList) != 0
                                ? (count == 0 ? 0 : count - 1)
                                : ((form & (kScores | kAlerted)) != 0 ? bitmap_bytes(count) : 0);
  if (!in.ok() || (form & ~kKnownForm) != 0 || entry.lane >= kLanes || count > kMostDecisions ||
      in.left() < least) {
    return false;
  }
  view.lane = static_cast<Lane>(entry.lane);
  view.stream = entry.stream;
  view.first = first;
  view.count = count;
  out->sequences.clear();
  out->scores.clear();
  out->alerted.clear();
  if ((form & kList) != 0 && count > 0) {
    std::uint64_t sequence = first;
    out->sequences.push_back(sequence);
    for (std::uint32_t i = 1; i < count; ++i) {
      sequence += in.get_varint() + 1;
      out->sequences.push_back(sequence);
    }
    view.sequences = out->sequences;
  }
  if ((form & kScores) != 0) {
    const std::string_view bitmap = in.get_bytes(bitmap_bytes(count));
    if (!in.ok()) {
      return false;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      out->scores.push_back(bit(bitmap, i) ? in.get<double>()
                                           : std::numeric_limits<double>::quiet_NaN());
    }
    view.scores = out->scores;
  }
  if ((form & kAlerted) != 0) {
    const std::string_view bitmap = in.get_bytes(bitmap_bytes(count));
    if (!in.ok()) {
      return false;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      out->alerted.push_back(bit(bitmap, i) ? 1 : 0);
    }
    view.alerted = out->alerted;
  }
  return in.ok();
}

}  // namespace headwater::spool_format
