// The flusher thread: takes what has been submitted, writes it as frames, syncs once, tells.
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/crc32c.h"
#include "base/planted.h"
#include "io/loop.h"
#include "store/spool_core.h"

namespace headwater {

namespace format = spool_format;

namespace {

// Frame buffers kept for the next submits, all together.
constexpr std::size_t kMostBufferBytes = 4 * 1024 * 1024;
// Waits of tens of microseconds: the default slack of 50 us would double them.
constexpr unsigned long kTimerSlackNanos = 2000;

// Bytes of the 4 KiB blocks that [at, at + bytes) touches.
std::uint64_t blocks(std::uint64_t at, std::uint64_t bytes) {
  constexpr std::uint64_t kBlock = 4096;
  return bytes == 0 ? 0 : ((at + bytes - 1) / kBlock - at / kBlock + 1) * kBlock;
}

std::chrono::steady_clock::time_point to_steady(MonoTime at) {
  return std::chrono::steady_clock::time_point(Nanos{at.ns});
}

}  // namespace

void SpoolCore::run() {
  prctl(PR_SET_TIMERSLACK, kTimerSlackNanos, 0, 0, 0);
  prctl(PR_SET_NAME, "hw-spool", 0, 0, 0);
  while (wait_for_frames()) {
    commit_pending();
    const std::lock_guard guard(queue_mutex_);
    if (!pending_.empty()) {
      return;  // stopped while the disk refuses
    }
  }
}

bool SpoolCore::wait_for_frames() {
  std::unique_lock lock(queue_mutex_);
  idle_ = true;
  const bool ages =
      std::any_of(options_.lanes.begin(), options_.lanes.end(),
                  [](const LaneLimits& limits) { return limits.max_age.count() > 0; });
  while (!stop_ && queue_.empty()) {
    // Others may give the disk space back, and rows grow old, also while nothing comes.
    std::optional<Nanos> wait = wanted_ > 0 ? std::optional(options_.retry_delay) : std::nullopt;
    if (ages) {
      wait = std::min(wait.value_or(Nanos::max()), until_limits_due());
    }
    if (!wait) {
      wake_.wait(lock);
    } else if (wake_.wait_for(lock, *wait) == std::cv_status::timeout) {
      lock.unlock();
      if (ages) {
        keep_limits();
      }
      look_for_room();
      lock.lock();
    }
  }
  idle_ = false;
  if (queue_.empty()) {
    return false;
  }
  wait_for_company(lock);
  prompt_.reset();
  patient_until_ = MonoTime{std::numeric_limits<std::int64_t>::max()};
  pending_.swap(queue_);
  pending_facts_.clear();
  std::swap(pending_facts_, queue_facts_);
  return true;
}

void SpoolCore::wait_for_company(std::unique_lock<std::mutex>& lock) {
  const auto enough = [&] {
    return stop_ || flush_upto_ > committed() || flush_own_ > own_done_ ||
           queued_bytes_ >= enough_bytes();
  };
  waits_patiently_ = true;
  while (!prompt_ && !enough()) {
    // A later frame may be less patient.
    if (wake_.wait_until(lock, to_steady(patient_until_)) == std::cv_status::timeout &&
        io::mono_now() >= patient_until_) {
      break;
    }
  }
  waits_patiently_ = false;
  if (!prompt_) {
    return;
  }
  Nanos window{};
  {
    const std::lock_guard guard(state_mutex_);
    window = pacer_.window(*prompt_);
  }
  wake_.wait_until(lock, to_steady(std::min(*prompt_ + window, patient_until_)), enough);
}

// Others may have given the disk space back. Who waits for it is woken as by a commit.
void SpoolCore::look_for_room() {
  update_room();
  {
    const std::lock_guard guard(queue_mutex_);
    if (wanted_ == 0 || !has_room(wanted_, row_reserve())) {
      return;
    }
    wanted_ = 0;
  }
  notify({});
}

void SpoolCore::commit_pending() {
  // The first retry is at once: it goes to a fresh segment.
  for (std::size_t attempt = 0;; ++attempt) {
    Status written = write_pending();
    if (written) {
      set_health(SpoolHealth::kOk, {});
      keep_limits();
      return;
    }
    const Error& error = written.error();
    set_health(error.code() == Code::kExhausted ? SpoolHealth::kDiskFull : SpoolHealth::kIoError,
               error.text());
    if (attempt == 0) {
      notify(written);
      if (error.code() != Code::kExhausted) {
        continue;
      }
    }
    std::unique_lock lock(queue_mutex_);
    wake_.wait_for(lock, options_.retry_delay, [&] { return stop_; });
    if (stop_) {
      return;
    }
  }
}

// Writes and syncs all of pending_, segment by segment. What was committed is gone from pending_
// also when an error comes back.
Status SpoolCore::write_pending() {
  while (!pending_.empty()) {
    if (!active_) {
      HW_TRY(roll());
      continue;  // making the spare behind it may have cost it already
    }
    const std::uint64_t limit = active_->header.file_bytes - reserve_;
    std::uint64_t at = active_->end;
    std::size_t count = 0;
    while (count < pending_.size()) {
      const std::size_t bytes =
          format::padded(format::kFrameHeaderBytes + pending_[count].body.size());
      if (at + bytes > limit) {
        break;
      }
      at += bytes;
      ++count;
    }
    if (count == 0) {
      HW_TRY(roll());
      continue;
    }
    HW_TRY(write_frames(0, count));
    applied(0, count);
    notify({});
  }
  return {};
}

format::FrameHeader SpoolCore::frame_header(std::string_view body, std::uint64_t number,
                                            std::uint32_t tag) const {
  format::FrameHeader header;
  header.body_bytes = static_cast<std::uint32_t>(body.size());
  header.body_crc = crc32c(body);
  header.number = number;
  header.committed = committed_frame_;
  header.tag = tag;
  header.epoch = epoch_;
  header.wall = clock_.wall();
  header.mono = clock_.mono();
  return header;
}

// A sync that failed is never tried again: the segment ends where it was committed, and the frames,
// still in pending_, go to a new one. After a write that found the disk full the place stays.
Status SpoolCore::write_frames(std::size_t from, std::size_t to) {
  static constexpr std::array<char, 8> kPadding{};
  // Once a commit, so that damage to it is told apart exactly from rows that never were.
  Pending& last = pending_[to - 1];
  if (const auto clock = last.ticket != 0 ? look_at_clock() : std::nullopt) {
    format::put_clock(last.body, *clock);  // not in a frame of our own: it may fail and be dropped
  }
  if (!last.tells_next) {
    format::put_next(last.body, last.end);
    last.tells_next = true;
  }
  std::vector<std::array<char, format::kFrameHeaderBytes>> headers(to - from);
  std::vector<std::string_view> parts;
  parts.reserve(3 * headers.size());
  const std::uint32_t tag = active_->tag();
  std::uint64_t bytes = 0;
  const bool compress = options_.compression == Compression::kZstd;
  if (compress) {
    std::size_t most = 0;
    for (std::size_t i = from; i < to; ++i) {
      most += pending_[i].body.size();
    }
    compressor_.begin(most);
  }
  for (std::size_t i = from; i < to; ++i) {
    const std::string& plain = pending_[i].body;
    const auto stored = compress ? compressor_.compress(plain) : std::nullopt;
    const std::string_view body = stored.value_or(plain);
    auto& header = headers[i - from];
    auto fields = frame_header(body, committed_frame_ + 1 + (i - from), tag);
    if (stored) {
      fields.flags = format::kFlagCompressed;
      fields.plain_bytes = static_cast<std::uint32_t>(plain.size());
    }
    format::encode(fields, header.data());
    parts.emplace_back(header.data(), header.size());
    parts.emplace_back(body);
    const std::size_t size = format::kFrameHeaderBytes + body.size();
    if (format::padded(size) > size) {
      parts.emplace_back(kPadding.data(), format::padded(size) - size);
    }
    bytes += format::padded(size);
  }
  const MonoTime began = io::mono_now();
  Status status = active_file_->pwrite(active_->end, parts);
  const bool full = !status && status.error().code() == Code::kExhausted;
  if (status && !planted(Bug::kCommitWithoutSync)) {
    status = active_file_->sync();
    if (planted(Bug::kSyncAgain) && !status) {
      status = active_file_->sync();
    }
  }
  if (!status) {
    {
      const std::lock_guard guard(state_mutex_);
      ++stats_.failed_writes;
    }
    if (!full) {
      close_active();
    }
    return status;
  }
  const MonoTime ended = io::mono_now();
  committed_frame_ += headers.size();
  {
    const std::lock_guard guard(state_mutex_);
    const std::uint64_t device = blocks(active_->end, bytes);
    active_->end.store(active_->end + bytes, std::memory_order_release);
    stats_.written_bytes += bytes;
    stats_.device_bytes += device;
    ++stats_.commits;
    stats_.frames += headers.size();
    pacer_.record(began, ended, device);
  }
  return {};
}

// Times and devices are those of the whole batch, though some of its frames may lie in another
// segment: a summary may say more than is there, never less.
void SpoolCore::add_facts(const std::array<std::uint64_t, kLanes>& row_bytes) {
  if (!active_->summary) {
    return;
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    format::LaneSummary& summary = active_->summary->lanes[lane];
    summary.bytes += row_bytes[lane];
    summary.first.ns = std::min(summary.first.ns, pending_facts_.spans[lane].first);
    summary.last.ns = std::max(summary.last.ns, pending_facts_.spans[lane].last);
  }
  for (const std::uint64_t key : pending_facts_.devices) {
    active_devices_.add(key);
  }
}

// The frames are on disk: their content becomes the committed state.
void SpoolCore::applied(std::size_t from, std::size_t to) {
  std::size_t bytes = 0;
  const Ticket upto = pending_[to - 1].ticket;
  {
    const std::lock_guard guard(state_mutex_);
    const WallTime now = clock_.wall();
    std::array<std::uint64_t, kLanes> row_bytes{};
    for (std::size_t i = from; i < to; ++i) {
      const auto facts = state_.apply(pending_[i].body, false, now);
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        stats_.lanes[lane].rows += facts.rows[lane];
        live_bytes_[lane] += facts.row_bytes[lane];
        row_bytes[lane] += facts.row_bytes[lane];
      }
      bytes += pending_[i].bytes;
    }
    add_facts(row_bytes);
  }
  update_room();
  {
    const std::lock_guard guard(queue_mutex_);
    queued_bytes_ -= bytes;
    for (std::size_t i = from; i < to; ++i) {
      own_done_ += pending_[i].own ? 1 : 0;
      std::string& body = pending_[i].body;
      if (buffer_bytes_ + body.capacity() <= kMostBufferBytes) {
        buffer_bytes_ += body.capacity();
        body.clear();
        buffers_.push_back(std::move(body));
      }
    }
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(from),
                   pending_.begin() + static_cast<std::ptrdiff_t>(to));
    if (pending_.empty() && queue_.empty()) {
      queued_checkpoint_bytes_ = 0;
    }
    committed_ticket_.store(upto, std::memory_order_release);
  }
  done_.notify_all();
}

void SpoolCore::set_health(SpoolHealth health, std::string text) {
  const std::lock_guard guard(queue_mutex_);
  health_ = health;
  health_text_ = std::move(text);
}

void SpoolCore::notify(const Status& status) {
  // A copy: a callback may register another.
  std::vector<std::function<void(Ticket, const Status&)>> calls;
  {
    const std::lock_guard guard(callbacks_mutex_);
    calls = callbacks_;
  }
  for (const auto& call : calls) {
    call(committed(), status);
  }
}

// What may be accepted without letting anything go (refuse, block), and how much is needed.
void SpoolCore::update_room() {
  std::uint64_t delivered_segments = 0;
  std::uint64_t total = 0;
  std::size_t checkpoint = 0;
  {
    const std::lock_guard guard(state_mutex_);
    total = total_bytes();
    checkpoint = state_.checkpoint_bytes();
    for (const auto& segment : segments_) {
      if (segment == active_ || !nothing_needed(*segment)) {
        break;
      }
      ++delivered_segments;
    }
    std::uint64_t needed = 0;
    for (auto it = segments_.begin() + static_cast<std::ptrdiff_t>(delivered_segments);
         it != segments_.end(); ++it) {
      needed += *it == active_ ? (*it)->end.load() : (*it)->header.file_bytes;
    }
    fill_.store(static_cast<double>(needed) / static_cast<double>(options_.max_bytes),
                std::memory_order_relaxed);
  }
  if (options_.on_full == OnFull::kShedOldest) {
    return;
  }
  const std::uint64_t size = options_.segment_bytes;
  std::uint64_t fresh = total < options_.max_bytes ? (options_.max_bytes - total) / size : 0;
  if (fresh > 0) {
    const auto free = files_.free_bytes(options_.dir);
    const std::uint64_t usable =
        free && *free > options_.min_free ? (*free - options_.min_free) / size : 0;
    fresh = std::min(fresh, usable);
  }
  // At the end of each segment a frame may not fit: half of one is what a frame may be.
  const std::uint64_t per_segment =
      size / 2 - reserve_ - format::kPageBytes - std::min<std::uint64_t>(checkpoint, size / 4);
  std::uint64_t room = (spares_.size() + fresh + delivered_segments) * per_segment;
  if (active_) {
    const std::uint64_t limit = active_->header.file_bytes - reserve_;
    room += limit > active_->end ? limit - active_->end : 0;
  }
  const std::lock_guard guard(queue_mutex_);
  room_ = room;
}

}  // namespace headwater
