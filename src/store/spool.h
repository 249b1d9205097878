// Spool: the durable local log. Acknowledged means committed here.
//
//   auto spool = HW_TRY(Spool::open(io::real_files(), {.dir = "data/spool"}));
//   spool->on_commit([&](Ticket upto, const Status&) { loop.post([=] { acknowledge(upto); }); });
//   auto submitted = spool->submit(txn);          // never waits for the disk
//
// A transaction is one frame: after a crash all of it is there or none. One fdatasync covers every
// frame that has arrived (group commit, on the flusher thread that the spool owns). Sequences are
// given at submit and must not leave the process before their ticket is committed: after a crash an
// uncommitted sequence is given again.
//
// Thread rule: every method may be called from any thread, except that on_commit() callbacks run on
// the flusher thread and must only hand over (Loop::post). Spool::open() takes a lock on the
// folder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/files.h"
#include "store/clock_map.h"
#include "store/lane.h"
#include "store/records.h"
#include "store/spool_clock.h"
#include "store/spool_reader.h"
#include "store/transaction.h"

namespace headwater {

enum class OnFull : std::uint8_t {
  kShedOldest,  // lets the oldest segment go, behind a committed gap record
  kRefuse,      // submit() answers kExhausted; the source refuses
  kBlock,       // submit() answers kExhausted; the source withholds
};

enum class Compression : std::uint8_t { kNone, kZstd };

// What a lane may hold, beyond which its oldest rows are let go, delivered or not, by whole
// segments: what the active one holds stays. Rows that were not delivered leave a gap record. 0: no
// limit.
struct LaneLimits {
  std::uint64_t max_bytes = 0;  // of its rows, before compression; reason shed
  Nanos max_age{};              // in uptime, see SpoolClock; reason expired
  // How long a row may wait in memory for its commit, in which a crash loses it: for sources that
  // acknowledge nothing. Zero: commits as `commit_delay` says. A transaction is as patient as its
  // least patient row (without rows: not at all, but for may_wait_with()), commits at once with
  // one that is not, or when kPatientBytes (at most half of max_queue_bytes) wait. Nothing leaves
  // before its commit, whatever the lane: a sequence is never given twice.
  Nanos patience{};
};

struct SpoolOptions {
  std::string dir;  // made when it does not exist
  // All segments with the spare. At least 1 MiB.
  std::uint64_t max_bytes = std::uint64_t{2} << 30;
  // At least 256 KiB; lowered so that max_bytes holds four. Fixed per file, so it may change
  // between runs.
  std::uint64_t segment_bytes = std::uint64_t{64} << 20;
  OnFull on_full = OnFull::kShedOldest;
  // Disk space that is left to others: below it the spool acts as if max_bytes were reached.
  std::uint64_t min_free = std::uint64_t{64} << 20;
  // How long the first frame of a commit waits for others. Unset: adapts to the measured commit
  // time (never above 20 ms). Zero: at once; what arrives while a sync runs joins the next.
  std::optional<Nanos> commit_delay;
  // Bytes of the device that commits may write in a day: they wait for it, and for each other, up
  // to 20 ms. 0: no limit.
  std::uint64_t write_budget = 0;
  // Frames that wait for the disk, in memory. Beyond it submit() answers kExhausted.
  std::size_t max_queue_bytes = std::size_t{32} << 20;
  static constexpr std::size_t kPatientBytes = std::size_t{1} << 20;
  // Writes zeros through a new segment ahead of use: commits are then as fast as in a recycled
  // one, at the price of writing each new block twice.
  bool zero_fill = false;
  std::array<LaneLimits, kLanes> lanes{};
  // Limits of lanes are looked at so long after open: by then deliver_to() and hold_for() have told
  // what is delivered.
  Nanos limits_after = std::chrono::seconds(60);
  // Of frames of 512 bytes or more, on the flusher thread: larger transactions shrink more.
  Compression compression = Compression::kNone;
  // Null: the machine's. Must outlive the spool.
  const SpoolClock* clock = nullptr;
  // Waits between attempts while the disk refuses.
  Nanos retry_delay = std::chrono::milliseconds(200);
};

// A promise: ticket t is kept once on_commit() said `upto >= t`. Tickets rise in submit order.
using Ticket = std::uint64_t;

struct Submitted {
  Ticket ticket = 0;
  // Sequence of the first row of each lane in this transaction; 0 where it has none. Within a lane
  // the rows of one stream are consecutive, streams in the order of their first append.
  std::array<std::uint64_t, kLanes> first_sequence{};
};

enum class SpoolHealth : std::uint8_t { kOk, kDiskFull, kIoError };
std::string_view spool_health_name(SpoolHealth health);

struct LaneStats {
  std::uint64_t next_sequence = 1;    // the next committed row gets this or more
  std::uint64_t oldest_sequence = 1;  // of the rows that are still there
  std::uint64_t rows = 0;             // committed by this process
  std::uint64_t bytes = 0;            // of the rows that are still there, about
  std::uint64_t shed_rows = 0;        // let go since the spool was made, by gap records
  std::uint64_t expired_rows = 0;     // the same, reason expired
  std::uint64_t corrupt_rows = 0;     // the same, reason corrupt
};

struct SpoolStats {
  Id128 spool_id;
  SpoolHealth health = SpoolHealth::kOk;
  std::string health_text;  // what the disk said; empty when ok
  std::uint64_t bytes = 0;  // of the files, with the spare
  std::uint64_t segments = 0;
  std::uint64_t written_bytes = 0;  // to the disk by this process, headers and checkpoints included
  std::uint64_t device_bytes = 0;   // blocks of 4 KiB that this touched, counted at each sync
  std::uint64_t commits = 0;
  std::uint64_t frames = 0;
  std::uint64_t queued_bytes = 0;
  std::uint64_t refused = 0;        // submits answered with an error
  std::uint64_t failed_writes = 0;  // and syncs; the frames were kept and written again
  Nanos commit_p50{};               // of the last 1,024 syncs
  Nanos commit_p99{};
  Nanos commit_window{};  // current wait for others
  std::array<LaneStats, kLanes> lanes;
  // What recovery did at open.
  std::uint64_t cut_bytes = 0;  // behind the last whole frame: never committed
  std::uint64_t recovered_frames = 0;
  Nanos open_time{};
};

class SpoolCore;

class Spool {
 public:
  // Opens or makes the spool and recovers it: time does not grow with what is stored. kUnavailable
  // when another process has it (the text names its process id), kInvalid for a format that this
  // version does not know, kCorrupt when no segment can be read.
  static Result<std::unique_ptr<Spool>> open(io::Files& files, SpoolOptions options);
  // Commits what was submitted (unless the disk refuses) and stops the flusher.
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // Hands the transaction over and empties it; never waits for the disk. An empty transaction gets
  // the ticket of the last one. On an error the transaction stays as it was: kExhausted when the
  // store is full (refuse, block, or alerts that were not delivered fill it), kUnavailable while
  // the disk fails, kInvalid when it is larger than max_transaction_bytes().
  Result<Submitted> submit(Transaction& transaction);
  std::size_t max_transaction_bytes() const;
  // Whether rows are taken at present. kExhausted while the store is full (refuse, block: since a
  // submit of rows was answered so, until there is room for them) or the disk is, kUnavailable
  // while the disk fails. A queue that is full for the moment is no reason.
  Status takes_rows() const;
  // What is needed (not delivered to all consumers, or of a lane without any) as a part of
  // max_bytes, by whole segments; as of the last commit. It may be above 1.
  double fill() const;

  // `call(upto, ok)` after each commit; `call(upto, error)`, with the last committed ticket, when
  // the disk starts to refuse (the frames are kept and tried again). Callbacks are never removed:
  // what they touch must outlive the spool, or post through something that does.
  void on_commit(std::function<void(Ticket, const Status&)> call);
  Ticket committed() const;
  // Commits what has been submitted, and gaps that readers have found, without waiting for the
  // window; returns when it is on disk. kUnavailable after `timeout`.
  Status flush(Nanos timeout);

  // Committed values only; at start, what recovery found.
  std::optional<std::uint64_t> cursor(std::string_view consumer, Lane lane,
                                      std::uint16_t stream) const;
  std::string state(std::string_view key) const;  // empty: none
  // In the order of keys, under a lock: `call` must not use the spool.
  void for_each_state(
      std::string_view prefix,
      const std::function<void(std::string_view key, std::string_view blob)>& call) const;
  // Gap records, merged where they touch, in the order of lane and sequence.
  std::vector<Gap> gaps() const;
  // The newest moments at which the wall clock was set, ClockMaps::kMost of them, oldest first.
  std::vector<ClockMap> clock_maps() const;

  // This consumer's cursors say what was delivered of `lane`: delivered rows are let go without a
  // gap record; alerts that one of their consumers has not had are carried forward. A lane without
  // consumers holds history: letting it go always leaves a gap record.
  void deliver_to(std::string_view consumer, Lane lane);
  // Rows of `lane` that this consumer's cursors have not passed are needed by it also where they
  // were delivered: letting them go leaves a gap record. It is no receiver: alone it makes nothing
  // delivered. Until it is told otherwise.
  void hold_for(std::string_view consumer, Lane lane, bool hold = true);
  // From now on nothing is patient: what waits in memory is committed, and so is what comes.
  void hurry();
  // All consumers have been told of. They are written down: until the next process says so too,
  // what is full lets rows go by these. Call it again when some came or went for good.
  Status consumers_known();

  // Committed rows of a lane from a sequence on, in order; see spool_reader.h. The reader must not
  // outlive the spool; each has one thread.
  std::unique_ptr<SpoolReader> read(Lane lane, std::uint64_t from_sequence,
                                    ReadOptions options = {}) const;

  Id128 id() const;
  // Of this boot of the machine: what ReadRow::boot is compared with.
  Id128 boot_id() const;
  // The folder's epoch: how often it has been opened for writing.
  std::uint32_t epoch() const;
  SpoolStats stats() const;

 private:
  explicit Spool(std::unique_ptr<SpoolCore> core);
  std::unique_ptr<SpoolCore> core_;
};

}  // namespace headwater
