// Segments: begun, closed, let go. On the flusher thread (and in open(), before it runs).
#include <fmt/format.h>

#include <algorithm>

#include "base/crc32c.h"
#include "base/planted.h"
#include "io/loop.h"
#include "store/frame_scanner.h"
#include "store/spool_core.h"

namespace headwater {

namespace format = spool_format;

namespace {

constexpr std::string_view kProgram = "headwater 0.1.0";
constexpr std::size_t kZeroChunk = 1024 * 1024;
constexpr int kMostReleases = 3;

}  // namespace

format::OpenedEntry SpoolCore::opened_entry() const {
  return {.epoch = epoch_,
          .boot_id = boot_id_,
          .wall = clock_.wall(),
          .mono = clock_.mono(),
          .program = kProgram};
}

std::uint64_t SpoolCore::total_bytes() const {
  std::uint64_t sum = spare_count_ * options_.segment_bytes;
  for (const auto& segment : segments_) {
    sum += segment->header.file_bytes;
  }
  return sum;
}

// Everything up to active_->end is committed, nothing behind it will be.
void SpoolCore::close_active() {
  const std::lock_guard guard(state_mutex_);
  active_->end_frame = committed_frame_ + 1;
  active_->end_next = state_.next;
  active_->end_wall = clock_.wall();
  active_->end_uptime = uptime();
  active_->closed.store(true, std::memory_order_release);
  active_.reset();
  active_file_.reset();
  count_live();
  next_expiry_ = 0;  // its rows count from now on
}

std::optional<ClockMap> SpoolCore::look_at_clock() {
  std::optional<ClockMap> map = clock_watch_.look(clock_);
  if (map) {
    const std::lock_guard guard(state_mutex_);
    map->boot = boot_id_;
    map->next = state_.next;
  }
  return map;
}

// Begins the next segment: a spare gets a header page and the checkpoint, is synced, then named.
// A generation is never used twice, so what a failed attempt leaves behind is void.
Status SpoolCore::roll() {
  if (spares_.empty()) {
    HW_TRY(ensure_spare(true));
  }
  if (active_) {
    close_active();
  }
  const std::string spare = path_of(spares_.back());
  spares_.pop_back();
  auto segment = std::make_shared<Segment>();
  format::SegmentHeader& header = segment->header;
  header.spool_id = id_;
  header.generation = ++highest_generation_;
  header.file_bytes = options_.segment_bytes;
  header.first_frame = committed_frame_ + 1;
  header.epoch = epoch_;
  header.boot_id = boot_id_;
  header.wall = clock_.wall();
  header.mono = clock_.mono();
  header.uptime = uptime();
  segment->path = path_of(format::segment_name(header.generation));
  std::string body;
  const std::optional<ClockMap> clock = look_at_clock();
  {
    const std::lock_guard guard(state_mutex_);
    spare_count_ = spares_.size();
    drop_delivered_kept();
    if (clock) {
      state_.clocks.add(*clock);
    }
    header.next = state_.next;
    if (!segments_.empty() && segments_.back()->summary) {
      header.before = *segments_.back()->summary;
    }
    state_.put_checkpoint(body, opened_entry());
    state_.begin_segment();
  }
  format::FrameHeader frame = frame_header(body, header.first_frame, segment->tag());
  frame.flags = format::kFlagCheckpoint;
  std::string bytes = format::encode(header, active_devices_.bytes());
  bytes.resize(format::kPageBytes + frame.frame_bytes(), '\0');
  format::encode(frame, bytes.data() + format::kPageBytes);
  std::copy(body.begin(), body.end(),
            bytes.begin() + format::kPageBytes + format::kFrameHeaderBytes);

  std::string path = spare;
  const auto begin = [&]() -> Result<std::unique_ptr<io::File>> {
    {
      auto file = HW_TRY(files_.open(spare, io::OpenMode::kReadWrite));
      HW_TRY(file->pwrite(0, bytes));
      HW_TRY(file->sync());
    }
    // Only now: under a segment's name nothing older than this is ever seen, whatever a crash
    // keeps.
    HW_TRY(files_.rename(spare, segment->path));
    path = segment->path;
    if (!planted(Bug::kNoFolderSync)) {
      HW_TRY(files_.sync_dir(options_.dir));
    }
    return files_.open(path, io::OpenMode::kReadWrite);
  };
  auto file = begin();
  if (!file) {
    // The file may be the reason: not used again.
    (void)files_.remove(path);
    return std::move(file).error().with("begin segment {}", header.generation);
  }
  active_file_ = std::move(file).value();
  active_ = segment;
  active_devices_.clear();
  ++committed_frame_;
  {
    const std::lock_guard guard(state_mutex_);
    active_->end = bytes.size();
    active_->summary.emplace().generation = header.generation;
    segments_.push_back(segment);
    stats_.written_bytes += bytes.size();
  }
  // The next one is made ready now: the release of old rows then finds room for its records here.
  if (spares_.empty()) {
    (void)ensure_spare(false);  // tried again when it is needed
  }
  return {};
}

Status SpoolCore::make_spare() {
  const std::string name = format::spare_name(++highest_generation_);
  const std::string path = path_of(name);
  const auto make = [&]() -> Status {
    auto file = HW_TRY(files_.open(path, io::OpenMode::kCreate));
    HW_TRY(file->allocate(options_.segment_bytes));
    if (options_.zero_fill) {
      const std::string zeros(kZeroChunk, '\0');
      for (std::uint64_t at = 0; at < options_.segment_bytes; at += zeros.size()) {
        HW_TRY(file->pwrite(at, std::string_view(zeros).substr(
                                    0, static_cast<std::size_t>(std::min<std::uint64_t>(
                                           zeros.size(), options_.segment_bytes - at)))));
      }
    }
    return file->sync();
  };
  if (Status made = make(); !made) {
    (void)files_.remove(path);
    return made;
  }
  spares_.push_back(name);
  const std::lock_guard guard(state_mutex_);
  spare_count_ = spares_.size();
  return {};
}

Status SpoolCore::ensure_spare(bool beyond) {
  Status made;
  bool disk_has_room = false;
  // A released segment is not always the space of a new one (a reader has it open, or the store was
  // above its limit): up to a few are let go.
  for (int attempt = 0; attempt <= kMostReleases; ++attempt) {
    if (!unsynced_spares_.empty()) {
      (void)sync_spares();
    }
    if (!spares_.empty()) {
      return {};
    }
    std::uint64_t total = 0;
    {
      const std::lock_guard guard(state_mutex_);
      total = total_bytes();
    }
    auto free = files_.free_bytes(options_.dir);
    disk_has_room = free && *free >= options_.min_free + options_.segment_bytes;
    made = Error::exhausted("store is full: {} bytes of {}", total, options_.max_bytes);
    if (!free) {
      made = std::move(free).error();
    } else if (!disk_has_room) {
      made = Error::exhausted("disk is full: less than {} bytes would be left to others",
                              options_.min_free);
    } else if (total + options_.segment_bytes <= options_.max_bytes) {
      made = make_spare();
      if (made) {
        return made;
      }
    }
    if (made.error().code() != Code::kExhausted) {
      return made;  // letting rows go would not mend the disk
    }
    // Delivered segments first, they cost nothing; then by policy.
    const auto shed = [&] {
      return (active_ && shed_debug() && release_oldest(false)) ||
             (active_ && release_oldest(true));  // a failed record takes the active segment
    };
    if (attempt == kMostReleases ||
        !(release_oldest(false) || (options_.on_full == OnFull::kShedOldest && shed()))) {
      break;
    }
  }
  // Admission keeps refuse and block within max_bytes; a frame that was accepted, and one that lost
  // its segment to a failed sync, may take one segment more.
  return beyond && disk_has_room ? make_spare() : std::move(made);
}

// One frame of the spool's own, committed at once; it may use the reserve.
Status SpoolCore::write_own(std::string_view body) {
  Pending own;
  own.body = std::string(body);
  own.tells_next = true;  // a release has no rows
  if (active_->end + format::padded(format::kFrameHeaderBytes + body.size()) >
      active_->header.file_bytes) {
    return Error::exhausted("no room for gap records in this segment");
  }
  pending_.insert(pending_.begin(), std::move(own));
  Status status = write_frames(0, 1);
  if (status) {
    const std::lock_guard guard(state_mutex_);
    state_.apply(pending_.front().body, false, clock_.wall());
  }
  pending_.erase(pending_.begin());
  return status;
}

Status SpoolCore::release_oldest(bool shed) {
  std::shared_ptr<Segment> oldest;
  {
    const std::lock_guard guard(state_mutex_);
    if (segments_.empty() || segments_.front() == active_ || segments_.size() < 2) {
      return Error::exhausted("store is full with one segment");
    }
    oldest = segments_.front();
    if (!shed && !nothing_needed(*oldest)) {
      return Error::exhausted("store is full: {} bytes, and all rows are needed",
                              options_.max_bytes);
    }
  }
  std::string body;
  if (shed) {
    body = HW_TRY(last_will(*oldest));
  }
  if (shed && !planted(Bug::kGapAfterRelease)) {
    HW_TRY(write_own(body));
  }
  bool pinned = false;
  bool keep = false;
  {
    const std::lock_guard guard(state_mutex_);
    segments_.pop_front();
    count_live();
    pinned = oldest.use_count() > 1;
    keep = !pinned && oldest->header.file_bytes == options_.segment_bytes &&
           total_bytes() + options_.segment_bytes <= options_.max_bytes;
  }
  const std::string spare = format::spare_name(++highest_generation_);
  if (keep && files_.rename(oldest->path, path_of(spare))) {
    unsynced_spares_.push_back(spare);
  } else if (Status removed = files_.remove(oldest->path); !removed) {
    // The file is still there: without those behind it, it would look like a log with a hole.
    const std::lock_guard guard(state_mutex_);
    segments_.push_front(std::move(oldest));
    count_live();
    return removed;
  }
  HW_TRY(sync_spares());
  return shed && planted(Bug::kGapAfterRelease) ? write_own(body) : Status();
}

// A file is written to as a spare only once its old name cannot come back.
Status SpoolCore::sync_spares() {
  HW_TRY(files_.sync_dir(options_.dir));
  spares_.insert(spares_.end(), unsynced_spares_.begin(), unsynced_spares_.end());
  unsynced_spares_.clear();
  const std::lock_guard guard(state_mutex_);
  spare_count_ = spares_.size();
  return {};
}

}  // namespace headwater
