#include "store/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>

#include "base/crc32c.h"
#include "store/frame_scanner.h"

namespace headwater {

namespace format = spool_format;

namespace {

struct Candidate {
  std::uint64_t generation = 0;
  std::string name;
  std::unique_ptr<io::File> file;
  std::optional<format::SegmentHeader> header;
};

Result<std::string> read_bytes(const io::File& file, std::uint64_t offset, std::size_t count) {
  std::string bytes(count, '\0');
  bytes.resize(HW_TRY(file.pread(offset, bytes.data(), count)));
  return bytes;
}

// The first frame, whole, whatever its number; its body in `body`.
Result<std::optional<format::FrameHeader>> read_first_frame(const io::File& file,
                                                            std::string* body) {
  const std::string head = HW_TRY(read_bytes(file, format::kPageBytes, format::kFrameHeaderBytes));
  const auto frame = format::decode_frame_header(head);
  if (!frame || frame->compressed()) {  // a checkpoint is plain
    return std::optional<format::FrameHeader>();
  }
  if (format::kPageBytes + frame->frame_bytes() > HW_TRY(file.size())) {
    return std::optional<format::FrameHeader>();
  }
  *body =
      HW_TRY(read_bytes(file, format::kPageBytes + format::kFrameHeaderBytes, frame->body_bytes));
  if (body->size() != frame->body_bytes || crc32c(*body) != frame->body_crc) {
    return std::optional<format::FrameHeader>();
  }
  return std::optional(*frame);
}

ScanRange range_of(const format::SegmentHeader& header, std::uint64_t file_bytes) {
  return {.tag = format::segment_tag(header.spool_id, header.generation),
          .first_number = header.first_frame,
          .epoch = header.epoch,
          .end_offset = file_bytes,
          .end_number = std::nullopt};
}

// Whether anything in the segment was ever committed: its first frame is whole, or a later frame
// says that the first was synced.
Result<bool> was_begun(const io::File& file, const format::SegmentHeader& header) {
  FrameScanner scanner(file, range_of(header, HW_TRY(file.size())));
  return HW_TRY(scanner.next()) != ScanItem::kEnd;
}

// What a segment without a readable header still tells.
struct Salvage {
  bool has_data = false;  // a frame behind the checkpoint: it had been begun
  format::Sequences next{};
};

Result<Salvage> salvage(const io::File& file, std::uint32_t tag) {
  const ScanRange range{.tag = tag,
                        .first_number = 0,
                        .epoch = 0,
                        .end_offset = HW_TRY(file.size()),
                        .end_number = ~std::uint64_t{0}};
  FrameScanner scanner(file, range);
  LogState state;
  Salvage found;
  while (true) {
    const ScanItem item = HW_TRY(scanner.next());
    if (item == ScanItem::kEnd) {
      break;
    }
    if (item == ScanItem::kFrame) {
      state.apply(scanner.body(), scanner.header().checkpoint(), scanner.header().wall);
      found.has_data = found.has_data || !scanner.header().checkpoint();
    }
  }
  found.next = state.next;
  return found;
}

// Of a spool with one segment whose header page is damaged: was it ever more than being made?
Result<bool> only_being_made(const io::File& file) {
  std::string body;
  const auto first = HW_TRY(read_first_frame(file, &body));
  return first && first->number == 1 && !HW_TRY(salvage(file, first->tag)).has_data;
}

// Whether a frame of whatever segment lies in the file behind one that was committed. Looked for
// where neither the header page nor the first frame reads and no other segment tells the id.
Result<bool> holds_committed_frames(const io::File& file) {
  constexpr std::size_t kChunk = std::size_t{1} << 20;
  const std::uint64_t size = HW_TRY(file.size());
  for (std::uint64_t at = format::kPageBytes; at < size; at += kChunk) {
    const std::string bytes = HW_TRY(read_bytes(file, at, kChunk + format::kFrameHeaderBytes));
    for (std::size_t i = 0; i < kChunk && i + format::kFrameHeaderBytes <= bytes.size(); i += 8) {
      const auto frame =
          format::decode_frame_header(std::string_view(bytes).substr(i, format::kFrameHeaderBytes));
      if (frame && frame->number > 1 && frame->committed > 0) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

Result<format::SegmentHeader> read_segment_header(const io::File& file, std::uint64_t generation,
                                                  const Id128* spool_id) {
  const std::string page = HW_TRY(read_bytes(file, 0, format::kPageBytes));
  auto header = format::decode_segment_header(page);
  if (header) {
    if (header->generation == generation) {
      return header;
    }
    return Error::not_found("it holds generation {}", header->generation);
  }
  if (header.error().code() != Code::kCorrupt) {
    return header;
  }
  // A page that was never written, or one that is damaged: the first frame tells.
  std::string body;
  const auto frame = HW_TRY(read_first_frame(file, &body));
  if (!frame || !frame->checkpoint()) {
    return Error::not_found("neither a header page nor a first frame");
  }
  if (spool_id == nullptr) {
    return Error::corrupt("the header page is damaged and no other segment tells the spool's id");
  }
  if (frame->tag != format::segment_tag(*spool_id, generation)) {
    return Error::not_found("the first frame is of another segment");
  }
  LogState state;
  state.apply(body, true, frame->wall);
  format::SegmentHeader rebuilt;
  rebuilt.spool_id = *spool_id;
  rebuilt.generation = generation;
  rebuilt.file_bytes = HW_TRY(file.size());
  rebuilt.first_frame = frame->number;
  rebuilt.epoch = frame->epoch;
  rebuilt.wall = frame->wall;
  rebuilt.mono = frame->mono;
  rebuilt.next = state.next;
  return rebuilt;
}

Result<std::string> read_devices(const io::File& behind, std::uint64_t generation) {
  const std::string page = HW_TRY(read_bytes(behind, 0, format::kPageBytes));
  const auto header = format::decode_segment_header(page);
  return header && header->before.generation == generation
             ? std::string(format::device_filter_of(page))
             : std::string();
}

Result<RecoveredLog> recover_log(io::Files& files, std::string_view dir) {
  RecoveredLog log;
  std::vector<Candidate> found;
  for (const std::string& name : HW_TRY(files.list(dir))) {
    if (const auto spare = format::parse_spare_name(name)) {
      log.spares.push_back(name);
      log.highest_generation = std::max(log.highest_generation, *spare);
    } else if (const auto generation = format::parse_segment_name(name)) {
      auto file = HW_TRY(files.open(fmt::format("{}/{}", dir, name), io::OpenMode::kRead));
      found.push_back({*generation, name, std::move(file), std::nullopt});
      log.highest_generation = std::max(log.highest_generation, *generation);
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Candidate& a, const Candidate& b) { return a.generation < b.generation; });

  // Twice: pages that are whole tell the spool's id, with which the others may be rebuilt.
  std::optional<Id128> id;
  for (const bool rebuild : {false, true}) {
    for (Candidate& candidate : found) {
      if (candidate.header) {
        continue;
      }
      auto header = read_segment_header(*candidate.file, candidate.generation,
                                        rebuild && id ? &*id : nullptr);
      if (header) {
        if (id && *id != header->spool_id) {
          return Error::invalid(
              "segment '{}' is of spool {}, others are of {}: move the strangers away",
              candidate.name, header->spool_id.hex(), id->hex());
        }
        id = header->spool_id;
        candidate.header = std::move(header).value();
      } else if (header.error().code() == Code::kInvalid ||
                 header.error().code() == Code::kUnavailable ||
                 (rebuild && !id && header.error().code() == Code::kCorrupt &&
                  !HW_TRY(only_being_made(*candidate.file)))) {
        return std::move(header).error().with("segment '{}'", candidate.name);
      }
    }
  }
  if (!id) {
    for (Candidate& candidate : found) {
      if (HW_TRY(holds_committed_frames(*candidate.file))) {
        return Error::corrupt(
            "segment '{}': header page and first frame are damaged, and no other segment tells the "
            "spool's id",
            candidate.name);
      }
      log.spares.push_back(std::move(candidate.name));
    }
    return log;
  }
  log.spool_id = *id;

  // The newest segments may not have been begun. A segment that was and has no header that can be
  // read is kept as a file; the sequences that it tells are not given again.
  format::Sequences salvaged{};
  const auto set_aside = [&](Candidate& candidate) -> Status {
    const auto rest =
        HW_TRY(salvage(*candidate.file, format::segment_tag(*id, candidate.generation)));
    (rest.has_data ? log.damaged : log.spares).push_back(candidate.name);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      salvaged[lane] = std::max(salvaged[lane], rest.has_data ? rest.next[lane] : 0);
    }
    return {};
  };
  while (!found.empty()) {
    Candidate& last = found.back();
    if (!last.header) {
      HW_TRY(set_aside(last));
    } else if (HW_TRY(was_begun(*last.file, *last.header))) {
      break;
    } else {
      log.spares.push_back(last.name);
    }
    found.pop_back();
  }
  std::vector<Candidate> headless;
  for (auto it = found.begin(); it != found.end();) {
    if (it->header) {
      ++it;
      continue;
    }
    headless.push_back(std::move(*it));
    it = found.erase(it);
  }
  if (found.empty()) {
    return log;
  }
  log.exists = true;
  // A segment whose frames are all void (an attempt to begin one that failed) is no part of it.
  for (std::size_t i = found.size() - 1; i-- > 0;) {
    if (found[i].header->first_frame >= found[i + 1].header->first_frame) {
      log.spares.push_back(std::move(found[i].name));
      found.erase(found.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  // State: from the newest segment that begins with a whole checkpoint, then every frame behind.
  std::size_t from = found.size() - 1;
  for (;; --from) {
    std::string body;
    const auto frame = HW_TRY(read_first_frame(*found[from].file, &body));
    const bool whole = frame && frame->checkpoint() &&
                       frame->number == found[from].header->first_frame &&
                       frame->tag == format::segment_tag(*id, found[from].header->generation);
    if (whole || from == 0) {
      break;
    }
  }
  log.state.next = found[from].header->next;
  for (std::size_t i = from; i < found.size(); ++i) {
    const Candidate& segment = found[i];
    const bool newest = i + 1 == found.size();
    const std::uint64_t file_bytes = HW_TRY(segment.file->size());
    ScanRange range = range_of(*segment.header, file_bytes);
    if (!newest) {
      range.end_number = found[i + 1].header->first_frame;
    }
    FrameScanner scanner(*segment.file, range);
    // Bytes of lost frames that may have held rows of a lane behind the last that we saw.
    std::array<std::uint64_t, kLanes> bytes_lost{};
    // Frames (number, offset) that no later frame says were synced.
    std::deque<std::pair<std::uint64_t, std::uint64_t>> unsure;
    for (bool more = true; more;) {
      auto item = scanner.next();
      if (!item) {
        return std::move(item).error().with("segment '{}'", segment.name);
      }
      switch (*item) {
        case ScanItem::kFrame: {
          const auto applied =
              log.state.apply(scanner.body(), scanner.header().checkpoint(), scanner.header().wall);
          for (const Gap& gap : applied.missing) {
            log.corrupt.push_back(gap);
          }
          for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const bool known = applied.told_next || applied.rows[lane] > 0;
            bytes_lost[lane] = known ? 0 : bytes_lost[lane];
          }
          ++log.frames;
          log.last_mono = scanner.header().mono;
          unsure.emplace_back(scanner.header().number, scanner.frame_offset());
          while (!unsure.empty() && unsure.front().first <= scanner.highest_committed()) {
            unsure.pop_front();
          }
          break;
        }
        case ScanItem::kDamage:
          log.damaged_frames += scanner.damage_frames();
          for (std::uint64_t& lost : bytes_lost) {
            lost += scanner.damage_to() - scanner.damage_from();
          }
          break;
        case ScanItem::kEnd:
          more = false;
          break;
      }
    }
    log.highest_epoch =
        std::max({log.highest_epoch, scanner.highest_epoch(), segment.header->epoch});
    if (!newest) {
      // The next page knows which sequences this one ended with.
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const std::uint64_t next = found[i + 1].header->next[lane];
        if (next > log.state.next[lane]) {
          log.corrupt.push_back({.lane = static_cast<Lane>(lane),
                                 .reason = GapReason::kCorrupt,
                                 .first = log.state.next[lane],
                                 .last = next - 1,
                                 .count = next - log.state.next[lane],
                                 .from = segment.header->wall,
                                 .to = found[i + 1].header->wall});
          log.state.next[lane] = next;
        }
      }
      continue;
    }
    log.committed = scanner.expected() - 1;
    log.tail = scanner.offset();
    log.torn_bytes = scanner.torn_bytes();
    log.unsure_from = unsure.empty() ? log.tail : unsure.front().second;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (bytes_lost[lane] == 0) {
        continue;
      }
      // The last rows of the lane may have been in the lost frames. A row has six bytes at least:
      // no sequence that may have been given is given again.
      const std::uint64_t margin = bytes_lost[lane] / 6 + 1;
      log.corrupt.push_back({.lane = static_cast<Lane>(lane),
                             .reason = GapReason::kCorrupt,
                             .first = log.state.next[lane],
                             .last = log.state.next[lane] + margin - 1,
                             .count = margin,
                             .from = segment.header->wall,
                             .to = segment.header->wall});
      log.state.next[lane] += margin;
    }
  }
  for (Candidate& candidate : headless) {
    if (candidate.generation <= log.state.released) {
      log.released.push_back(candidate.name);
    } else {
      HW_TRY(set_aside(candidate));
    }
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    if (salvaged[lane] > log.state.next[lane]) {
      log.corrupt.push_back({.lane = static_cast<Lane>(lane),
                             .reason = GapReason::kCorrupt,
                             .first = log.state.next[lane],
                             .last = salvaged[lane] - 1,
                             .count = salvaged[lane] - log.state.next[lane],
                             .from = found.back().header->wall,
                             .to = found.back().header->wall});
      log.state.next[lane] = salvaged[lane];
    }
  }
  std::erase_if(log.corrupt, [&](const Gap& gap) {
    return log.state.gaps.explained(gap.lane, gap.first, gap.last);
  });

  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i].generation <= log.state.released) {
      log.released.push_back(found[i].name);
      continue;
    }
    FoundSegment segment{found[i].name, *found[i].header, log.committed + 1, log.state.next,
                         std::nullopt};
    if (i + 1 < found.size()) {
      segment.end_frame = found[i + 1].header->first_frame;
      segment.end_next = found[i + 1].header->next;
      if (found[i + 1].header->before.generation == found[i].generation) {
        segment.summary = found[i + 1].header->before;
      }
    }
    log.segments.push_back(std::move(segment));
  }
  return log;
}

}  // namespace headwater
