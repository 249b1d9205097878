#include "store/spool.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "base/planted.h"
#include "io/loop.h"
#include "store/lane_reader.h"
#include "store/spool_core.h"

namespace headwater {

namespace format = spool_format;

namespace {

constexpr std::uint64_t kLeastSegment = 256 * 1024;
constexpr std::uint64_t kLeastTotal = 4 * kLeastSegment;
constexpr std::uint64_t kMostSegment = std::uint64_t{1} << 30;

Id128 random_id() {
  Id128 id;
  HW_CHECK(getrandom(&id, sizeof id, 0) == static_cast<ssize_t>(sizeof id),
           "the kernel gives 16 random bytes at once");
  return id;
}

Status check(const SpoolOptions& options) {
  for (const LaneLimits& limits : options.lanes) {
    if (limits.max_age.count() < 0) {
      return Error::invalid("spool: max_age is negative");
    }
  }
  if (options.dir.empty()) {
    return Error::invalid("spool: no folder given");
  }
  if (options.max_bytes < kLeastTotal) {
    return Error::invalid("spool: max_bytes {} is below 1MiB", options.max_bytes);
  }
  if (options.segment_bytes < kLeastSegment || options.segment_bytes > kMostSegment) {
    return Error::invalid("spool: segment size {} is outside 256KiB to 1GiB",
                          options.segment_bytes);
  }
  if (options.commit_delay && options.commit_delay->count() < 0) {
    return Error::invalid("spool: commit_delay is negative");
  }
  return {};
}

}  // namespace

std::string_view spool_health_name(SpoolHealth health) {
  switch (health) {
    case SpoolHealth::kOk:
      return "ok";
    case SpoolHealth::kDiskFull:
      return "disk_full";
    case SpoolHealth::kIoError:
      return "io_error";
  }
  return "?";
}

SpoolCore::SpoolCore(io::Files& files, SpoolOptions options)
    : files_(files),
      options_(std::move(options)),
      clock_(options_.clock != nullptr ? *options_.clock : machine_clock()),
      pacer_(options_.commit_delay, static_cast<double>(options_.write_budget) / 86'400) {
  // Four fit at least: the active one, two behind it, and the spare.
  const std::uint64_t quarter = options_.max_bytes / 4 / format::kPageBytes * format::kPageBytes;
  options_.segment_bytes =
      std::clamp(options_.segment_bytes, kLeastSegment, std::max(quarter, kLeastSegment));
  reserve_ = static_cast<std::size_t>(options_.segment_bytes / 16);
}

SpoolCore::~SpoolCore() {
  {
    const std::lock_guard guard(queue_mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (flusher_.joinable()) {
    flusher_.join();
  }
}

Status SpoolCore::open() {
  const MonoTime began = io::mono_now();
  HW_TRY(files_.make_dir(options_.dir));
  lock_ = HW_TRY(files_.lock(path_of("LOCK")));
  RecoveredLog log = HW_TRY(recover_log(files_, options_.dir));

  boot_id_ = clock_.boot_id();
  id_ = log.exists ? log.spool_id : random_id();
  epoch_ = std::max(log.highest_epoch, log.state.epoch) + 1;
  committed_frame_ = log.committed;
  highest_generation_ = log.highest_generation;
  // Names that a crash left on segments of no use; a file of another size than today's goes.
  for (std::vector<std::string>* names : {&log.released, &log.spares}) {
    for (const std::string& name : *names) {
      auto file = HW_TRY(files_.open(path_of(name), io::OpenMode::kRead));
      if (HW_TRY(file->size()) != options_.segment_bytes) {
        HW_TRY(files_.remove(path_of(name)));
        continue;
      }
      std::string spare = name;
      if (!format::parse_spare_name(name)) {
        spare = format::spare_name(++highest_generation_);
        HW_TRY(files_.rename(path_of(name), path_of(spare)));
      }
      spares_.push_back(std::move(spare));
    }
  }
  for (const std::string& name : log.damaged) {
    HW_TRY(files_.rename(path_of(name), path_of(name + ".damaged")));
  }

  state_ = std::move(log.state);
  recall_consumers();
  for (FoundSegment& found : log.segments) {
    auto segment = std::make_shared<Segment>();
    segment->path = path_of(found.name);
    segment->header = found.header;
    segment->end = found.header.file_bytes;
    segment->end_frame = found.end_frame;
    segment->end_next = found.end_next;
    segment->end_wall = segments_.empty() ? found.header.wall : segments_.back()->header.wall;
    segment->summary = found.summary;
    segment->closed = true;
    segments_.push_back(std::move(segment));
  }
  start_uptime(log);
  std::uint64_t later = uptime();
  for (std::size_t i = segments_.size(); i-- > 0;) {
    segments_[i]->end_uptime = later;
    later = segments_[i]->header.uptime != 0 ? std::min(later, segments_[i]->header.uptime) : later;
    if (i + 1 < segments_.size()) {
      segments_[i]->end_wall = segments_[i + 1]->header.wall;
    }
  }
  if (log.exists) {
    active_ = segments_.back();
    active_->closed = false;
    active_->end = log.tail;
    active_file_ = HW_TRY(files_.open(active_->path, io::OpenMode::kReadWrite));
    // What no frame says was synced is written again: after a sync that failed, the last process
    // may have left it in the cache alone. The header page may be as new as the first frame.
    std::string page(format::kPageBytes, '\0');
    page.resize(HW_TRY(active_file_->pread(0, page.data(), page.size())));
    if (!format::decode_segment_header(page)) {
      page = format::encode(active_->header);
    }
    HW_TRY(active_file_->pwrite(0, page));
    if (log.unsure_from < log.tail) {
      std::string bytes(static_cast<std::size_t>(log.tail - log.unsure_from), '\0');
      bytes.resize(HW_TRY(active_file_->pread(log.unsure_from, bytes.data(), bytes.size())));
      HW_TRY(active_file_->pwrite(log.unsure_from, bytes));
    }
    HW_TRY(active_file_->sync());
    HW_TRY(files_.sync_dir(options_.dir));
  }
  next_ = state_.next;
  if (planted(Bug::kSequenceAgain) && next_[index_of(Lane::kReadings)] > 1) {
    --next_[index_of(Lane::kReadings)];
  }
  stats_.cut_bytes = log.torn_bytes;
  stats_.recovered_frames = log.frames;

  // In the boot that the log knows of, its clocks go on; in another one there is nothing to
  // compare.
  const bool same_boot = log.exists && state_.told_boot == boot_id_;
  clock_watch_.start(same_boot ? state_.told_mono : clock_.mono(),
                     same_boot ? state_.told_wall : clock_.wall());

  // Each epoch begins with a frame that says so; in a new segment the checkpoint does.
  spare_count_ = spares_.size();
  if (log.exists) {
    std::string body;
    if (const auto clock = look_at_clock()) {
      format::put_clock(body, *clock);
    }
    format::put_opened(body, opened_entry());
    format::put_state(body, kUptimeState, encode_uptime_mark(uptime_mark_));
    format::put_next(body, state_.next);
    for (const Gap& gap : log.corrupt) {
      format::put_gap(body, gap);
    }
    enqueue_own(std::move(body));
  } else {
    std::string body;
    format::put_state(body, kUptimeState, encode_uptime_mark(uptime_mark_));
    state_.apply(body, false, clock_.wall());
    HW_TRY(roll());
  }
  count_live();
  update_room();
  stats_.open_time = io::mono_now() - began;
  flusher_ = std::thread([this] { run(); });
  return {};
}

Status SpoolCore::health_status() const {
  switch (health_) {
    case SpoolHealth::kOk:
      break;
    case SpoolHealth::kDiskFull:
      return Error::exhausted("spool: {}", health_text_);
    case SpoolHealth::kIoError:
      return Error::unavailable("spool: {}", health_text_);
  }
  return {};
}

// What must be left behind it: for alerts about what is stored, and for transactions without rows
// (cursors above all), which make room.
std::uint64_t SpoolCore::reserve_behind(const Transaction& transaction) const {
  if (transaction.makes_room_) {
    return 0;
  }
  if (!transaction.takes_sequences()) {
    return transaction.leaves_room_ ? options_.segment_bytes / 8 : 0;
  }
  const bool alerts_alone =
      transaction.rows() > 0 && transaction.rows() == transaction.rows(Lane::kAlerts);
  return alerts_alone ? options_.segment_bytes / 8 : row_reserve();
}

bool SpoolCore::has_room(std::size_t bytes, std::uint64_t kept_free) const {
  return options_.on_full == OnFull::kShedOldest || queued_bytes_ + bytes + kept_free <= room_;
}

Status SpoolCore::takes_rows() const {
  const std::lock_guard guard(queue_mutex_);
  HW_TRY(health_status());
  if (wanted_ > 0 && !has_room(wanted_, row_reserve())) {
    return Error::exhausted("spool is full: {} bytes and nothing to let go", options_.max_bytes);
  }
  return {};
}

void SpoolCore::start_uptime(const RecoveredLog& log) {
  uptime_mark_ = {.boot_id = boot_id_, .mono = clock_.mono(), .uptime = 1};
  const auto found = state_.states.find(kUptimeState);
  const auto last = found == state_.states.end() ? std::nullopt : decode_uptime_mark(found->second);
  if (!last) {
    return;
  }
  // In the same boot the time since counts, with this process or without; of another boot what its
  // frames tell. A version that keeps no mark may have written the last of them.
  MonoTime upto = last->mono;
  if (last->boot_id == boot_id_) {
    upto = uptime_mark_.mono;
  } else if (last->boot_id == state_.told_boot) {
    upto = log.last_mono;
  }
  uptime_mark_.uptime =
      last->uptime + static_cast<std::uint64_t>(std::max<std::int64_t>(0, upto.ns - last->mono.ns));
}

std::uint64_t SpoolCore::uptime() const {
  return uptime_mark_.uptime + static_cast<std::uint64_t>(std::max<std::int64_t>(
                                   0, clock_.mono().ns - uptime_mark_.mono.ns));
}

Status SpoolCore::admit(const Transaction& transaction, std::size_t bytes) {
  const bool rows = transaction.takes_sequences();
  if (rows) {
    HW_TRY(health_status());
  }
  if (queued_bytes_ + bytes > options_.max_queue_bytes) {
    return Error::exhausted("spool: {} bytes wait for the disk already", queued_bytes_);
  }
  // Cursors make room, so they never wait for it: where a receiver takes rows a few at a time,
  // their records may take a file or more beyond max_bytes before the oldest one is delivered.
  const bool cursors =
      !transaction.takes_sequences() && !transaction.leaves_room_ && bytes <= format::kPageBytes;
  if (!cursors && !has_room(bytes, reserve_behind(transaction))) {
    if (rows && std::exchange(wanted_, bytes) == 0) {
      prompt_ = prompt_.value_or(io::mono_now());  // what waits in memory may make room
      wake_.notify_one();                          // from here on there is a look for room
    }
    return Error::exhausted("spool is full: {} bytes and nothing to let go", options_.max_bytes);
  }
  if (transaction.kept_bytes_ > 0) {
    const std::lock_guard guard(state_mutex_);
    if (state_.given_bytes() + queued_checkpoint_bytes_ + transaction.kept_bytes_ >
        options_.segment_bytes / 4) {
      return Error::exhausted("spool: states and cursors exceed a quarter of a segment ({} bytes)",
                              options_.segment_bytes);
    }
  }
  return {};
}

Nanos SpoolCore::patience_of(const Transaction& transaction) const {
  // While rows wait for room, what makes some is in a hurry.
  if (hurry_ || (transaction.makes_room_ && wanted_ > 0)) {
    return Nanos{0};
  }
  if (!transaction.takes_sequences()) {
    return transaction.waits_with_ ? options_.lanes[index_of(*transaction.waits_with_)].patience
                                   : Nanos{0};
  }
  Nanos least = Nanos::max();
  for (const Lane lane : kAllLanes) {
    if (transaction.rows(lane) > 0 || transaction.skipped(lane) > 0) {
      least = std::min(least, options_.lanes[index_of(lane)].patience);
    }
  }
  return least;
}

std::size_t SpoolCore::enough_bytes() const {
  return prompt_ ? kEnoughBytes
                 : std::min(SpoolOptions::kPatientBytes, options_.max_queue_bytes / 2);
}

Result<Submitted> SpoolCore::submit(Transaction& transaction) {
  if (transaction.empty()) {
    const std::lock_guard guard(queue_mutex_);
    return Submitted{.ticket = last_ticket_, .first_sequence = {}};
  }
  const std::size_t bytes = transaction.bytes();
  if (bytes > max_transaction_bytes()) {
    return Error::invalid("a transaction of {} bytes is larger than {}: make it smaller", bytes,
                          max_transaction_bytes());
  }
  transaction.assemble();
  const MonoTime now = io::mono_now();
  Submitted submitted;
  bool wake = false;
  {
    const std::lock_guard guard(queue_mutex_);
    if (auto admitted = admit(transaction, bytes); !admitted) {
      ++refused_;
      return std::move(admitted).error();
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      submitted.first_sequence[lane] = transaction.lane_rows_[lane] > 0 ? next_[lane] : 0;
    }
    if (transaction.rows() > transaction.rows(Lane::kAlerts)) {
      wanted_ = 0;
    }
    transaction.number(next_);
    submitted.ticket = ++last_ticket_;
    Pending& pending = queue_.emplace_back();
    pending.ticket = submitted.ticket;
    pending.arrived = now;
    pending.bytes = bytes;
    pending.end = next_;
    if (!buffers_.empty()) {
      pending.body = std::move(buffers_.back());
      buffers_.pop_back();
      buffer_bytes_ -= pending.body.capacity();
    }
    pending.body.swap(transaction.body_);
    queue_facts_.add(transaction.facts_.facts());
    const Nanos patience = patience_of(transaction);
    const bool sooner = patience.count() > 0 && now + patience < patient_until_;
    if (sooner) {
      patient_until_ = now + patience;
    } else if (patience.count() == 0 && !prompt_) {
      prompt_ = now;
    }
    // Waiting for company, the flusher looks at the size only when told.
    const std::size_t enough = enough_bytes();
    wake = idle_ || (queued_bytes_ < enough && queued_bytes_ + bytes >= enough) ||
           (waits_patiently_ && (prompt_ || sooner));
    queued_bytes_ += bytes;
    queued_checkpoint_bytes_ += transaction.kept_bytes_;
  }
  if (wake) {
    wake_.notify_one();
  }
  transaction.clear();
  return submitted;
}

void SpoolCore::enqueue_own(std::string body) {
  {
    const std::lock_guard guard(queue_mutex_);
    Pending& pending = queue_.emplace_back();
    pending.ticket = last_ticket_;
    pending.arrived = io::mono_now();
    pending.bytes = format::padded(format::kFrameHeaderBytes + body.size());
    pending.end = next_;
    pending.body = std::move(body);
    pending.own = true;
    prompt_ = prompt_.value_or(pending.arrived);
    ++own_given_;
    queued_bytes_ += pending.bytes;
  }
  wake_.notify_one();
}

void SpoolCore::on_commit(std::function<void(Ticket, const Status&)> call) {
  const std::lock_guard guard(callbacks_mutex_);
  callbacks_.push_back(std::move(call));
}

Status SpoolCore::flush(Nanos timeout) {
  std::unique_lock lock(queue_mutex_);
  const Ticket target = last_ticket_;
  const std::uint64_t own = own_given_;
  flush_upto_ = std::max(flush_upto_, target);
  flush_own_ = own;
  wake_.notify_one();
  const bool in_time =
      done_.wait_for(lock, timeout, [&] { return committed() >= target && own_done_ >= own; });
  if (!in_time) {
    return Error::unavailable("flush the spool: not on disk after {}{}{}", format_duration(timeout),
                              health_text_.empty() ? "" : ": ", health_text_);
  }
  return {};
}

void SpoolCore::hurry() {
  const std::lock_guard guard(queue_mutex_);
  if (std::exchange(hurry_, true)) {
    return;
  }
  prompt_ = prompt_.value_or(io::mono_now());
  wake_.notify_one();
}

void SpoolCore::with_state(const std::function<void(const LogState&)>& use) const {
  const std::lock_guard guard(state_mutex_);
  use(state_);
}

SpoolStats SpoolCore::stats() const {
  SpoolStats out;
  {
    const std::lock_guard guard(queue_mutex_);
    const std::lock_guard state_guard(state_mutex_);
    out = stats_;
    out.spool_id = id_;
    out.health = health_;
    out.health_text = health_text_;
    out.queued_bytes = queued_bytes_;
    out.refused = refused_;
    out.segments = segments_.size();
    out.bytes = total_bytes();
    out.commit_p50 = pacer_.quantile(0.5);
    out.commit_p99 = pacer_.quantile(0.99);
    out.commit_window = pacer_.window(io::mono_now());
    for (const Lane lane : kAllLanes) {
      LaneStats& facts = out.lanes[index_of(lane)];
      facts.next_sequence = state_.next[index_of(lane)];
      facts.oldest_sequence = oldest_live(lane);
      facts.bytes = live_bytes_[index_of(lane)];
      facts.shed_rows = state_.gaps.rows(lane, GapReason::kShed);
      facts.expired_rows = state_.gaps.rows(lane, GapReason::kExpired);
      facts.corrupt_rows = state_.gaps.rows(lane, GapReason::kCorrupt);
    }
  }
  return out;
}

// ---- Spool ----

Spool::Spool(std::unique_ptr<SpoolCore> core) : core_(std::move(core)) {}
Spool::~Spool() = default;

Result<std::unique_ptr<Spool>> Spool::open(io::Files& files, SpoolOptions options) {
  HW_TRY(check(options));
  const std::string dir = options.dir;
  auto core = std::make_unique<SpoolCore>(files, std::move(options));
  if (auto opened = core->open(); !opened) {
    return std::move(opened).error().with("open spool '{}'", dir);
  }
  return std::unique_ptr<Spool>(new Spool(std::move(core)));
}

Result<Submitted> Spool::submit(Transaction& transaction) {
  return core_->submit(transaction);
}
std::size_t Spool::max_transaction_bytes() const {
  return core_->max_transaction_bytes();
}
Status Spool::takes_rows() const {
  return core_->takes_rows();
}
double Spool::fill() const {
  return core_->fill();
}
void Spool::on_commit(std::function<void(Ticket, const Status&)> call) {
  core_->on_commit(std::move(call));
}
Ticket Spool::committed() const {
  return core_->committed();
}
Status Spool::flush(Nanos timeout) {
  return core_->flush(timeout);
}
std::optional<std::uint64_t> Spool::cursor(std::string_view consumer, Lane lane,
                                           std::uint16_t stream) const {
  std::optional<std::uint64_t> found;
  core_->with_state([&](const LogState& state) { found = state.cursor(consumer, lane, stream); });
  return found;
}
std::string Spool::state(std::string_view key) const {
  std::string blob;
  core_->with_state([&](const LogState& state) {
    if (const auto found = state.states.find(key); found != state.states.end()) {
      blob = found->second;
    }
  });
  return blob;
}
void Spool::for_each_state(
    std::string_view prefix,
    const std::function<void(std::string_view, std::string_view)>& call) const {
  core_->with_state([&](const LogState& state) {
    for (auto it = state.states.lower_bound(prefix);
         it != state.states.end() && std::string_view(it->first).substr(0, prefix.size()) == prefix;
         ++it) {
      call(it->first, it->second);
    }
  });
}
std::vector<Gap> Spool::gaps() const {
  std::vector<Gap> out;
  core_->with_state([&](const LogState& state) { out = state.gaps.all(); });
  return out;
}
std::vector<ClockMap> Spool::clock_maps() const {
  std::vector<ClockMap> out;
  core_->with_state([&](const LogState& state) {
    out.assign(state.clocks.all().begin(), state.clocks.all().end());
  });
  return out;
}
void Spool::deliver_to(std::string_view consumer, Lane lane) {
  core_->add_consumer(consumer, lane, true);
}
void Spool::hurry() {
  core_->hurry();
}
Status Spool::consumers_known() {
  const std::optional<std::string> blob = core_->confirm_consumers();
  if (!blob) {
    return {};
  }
  Transaction transaction;
  transaction.state(kConsumersState, *blob);
  HW_TRY(core_->submit(transaction));
  return {};
}
void Spool::hold_for(std::string_view consumer, Lane lane, bool hold) {
  if (hold) {
    core_->add_consumer(consumer, lane, false);
  } else {
    core_->remove_consumer(consumer, lane);
  }
}
std::unique_ptr<SpoolReader> Spool::read(Lane lane, std::uint64_t from_sequence,
                                         ReadOptions options) const {
  return std::make_unique<LaneReader>(*core_, lane, from_sequence, options);
}
Id128 Spool::id() const {
  return core_->id();
}
Id128 Spool::boot_id() const {
  return core_->boot_id();
}
std::uint32_t Spool::epoch() const {
  return core_->epoch();
}
SpoolStats Spool::stats() const {
  return core_->stats();
}

}  // namespace headwater
