// SpoolCore: what is behind Spool. Three groups of members, by who touches them:
//
//   queue_mutex_   submitters and the flusher: frames that wait, sequences given, health
//   state_mutex_   readers and the flusher: committed state and the list of segments
//   no mutex       the flusher only (and open(), before it starts)
//
// Order where both are held: queue_mutex_ before state_mutex_. Neither is held during disk calls of
// the flusher.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "store/ahead.h"
#include "store/body_codec.h"
#include "store/commit_pacer.h"
#include "store/log_state.h"
#include "store/recovery.h"
#include "store/segment.h"
#include "store/spool.h"

namespace headwater {

class SpoolCore final : public SegmentSource {
 public:
  SpoolCore(io::Files& files, SpoolOptions options);
  ~SpoolCore() override;
  SpoolCore(const SpoolCore&) = delete;
  SpoolCore& operator=(const SpoolCore&) = delete;

  Status open();

  Result<Submitted> submit(Transaction& transaction);
  std::size_t max_transaction_bytes() const { return options_.segment_bytes / 2; }
  Status takes_rows() const;
  void on_commit(std::function<void(Ticket, const Status&)> call);
  double fill() const { return fill_.load(std::memory_order_relaxed); }
  Ticket committed() const { return committed_ticket_.load(std::memory_order_acquire); }
  Status flush(Nanos timeout);
  void hurry();
  void add_consumer(std::string_view consumer, Lane lane, bool receives);
  void recall_consumers();
  std::optional<std::string> confirm_consumers();  // their blob, when it is another than before
  void remove_consumer(std::string_view consumer, Lane lane);
  SpoolStats stats() const;
  Id128 id() const { return id_; }
  Id128 boot_id() const { return boot_id_; }
  std::uint32_t epoch() const { return epoch_; }
  // Runs `use` on the committed state, under its lock.
  void with_state(const std::function<void(const LogState&)>& use) const;

  // SegmentSource
  Result<Opened> find(Lane lane, std::uint64_t sequence) const override;
  Result<Opened> after(std::uint64_t generation) const override;
  std::uint64_t oldest(Lane lane) const override;
  std::optional<Gap> gap_in(Lane lane, std::uint64_t first, std::uint64_t last) const override;
  std::optional<std::pair<std::uint64_t, KeptRow>> kept_in(Lane lane, std::uint64_t first,
                                                           std::uint64_t last) const override;
  Result<std::string> devices_of(const Segment& segment) const override;
  void report(const Gap& gap) override;

 private:
  // With this much waiting a commit begins at once: company would not make it much cheaper.
  static constexpr std::size_t kEnoughBytes = 256 * 1024;

  struct Pending {
    Ticket ticket = 0;
    std::string body;
    MonoTime arrived;
    std::size_t bytes = 0;          // counted in queued_bytes_
    spool_format::Sequences end{};  // next sequences behind this frame
    bool tells_next = false;        // its body ends with a next entry
    bool own = false;               // no submit's: a gap that a reader found
  };
  // A frame for the next commit, made by the spool itself.
  void enqueue_own(std::string body);
  Status admit(const Transaction& transaction, std::size_t bytes);  // under queue_mutex_
  Status health_status() const;                                     // under queue_mutex_
  std::uint64_t row_reserve() const { return options_.segment_bytes / 4; }
  std::uint64_t reserve_behind(const Transaction& transaction) const;
  bool has_room(std::size_t bytes, std::uint64_t kept_free) const;  // under queue_mutex_
  Nanos patience_of(const Transaction& transaction) const;
  std::size_t enough_bytes() const;  // under queue_mutex_

  // ---- flusher: spool_flusher.cc ----
  void run();
  void wait_for_company(std::unique_lock<std::mutex>& lock);
  bool wait_for_frames();  // false: stopped, and nothing waits
  void look_for_room();
  void commit_pending();
  Status write_pending();
  Status write_frames(std::size_t from, std::size_t to);
  void applied(std::size_t from, std::size_t to);
  void add_facts(const std::array<std::uint64_t, kLanes>& row_bytes);
  void set_health(SpoolHealth health, std::string text);
  void notify(const Status& status);
  void update_room();

  // ---- flusher: spool_segments.cc ----
  std::string path_of(std::string_view name) const {
    return options_.dir + "/" + std::string(name);
  }
  Status roll();
  // A clock map when the wall clock was set since the last look.
  std::optional<ClockMap> look_at_clock();
  void close_active();
  // With `beyond`, max_bytes may be exceeded by a segment rather than fail.
  Status ensure_spare(bool beyond);
  Status make_spare();
  Status sync_spares();
  // Lets the oldest segment go. kExhausted when `shed` is false and it has rows that somebody
  // still needs, or when it is the only one.
  Status release_oldest(bool shed);
  Status write_own(std::string_view body);

  // ---- flusher: spool_retention.cc ----
  // The highest sequence of a lane that all its consumers have had; nothing without consumers.
  std::optional<std::uint64_t> delivered(Lane lane) const;  // under state_mutex_
  // The parts of first..last that were not let go and that not all consumers of a lane have had.
  std::vector<SequenceRange> undelivered(Lane lane, std::uint64_t first,
                                         std::uint64_t last) const;  // under state_mutex_
  bool needed(const Segment& segment, Lane lane) const;              // under state_mutex_, closed
  void drop_delivered_kept();                                        // under state_mutex_
  void count_live();                                                 // under state_mutex_
  // What a release has to put on record first: gap records and kept rows.
  Result<std::string> last_will(const Segment& oldest);
  Status keep_rows(const Gap& rows, std::size_t* budget, std::string* body, std::vector<Gap>* gaps);
  // The gap records and the entry that let the rows of a lane below `floor` go. Under state_mutex_.
  void put_let_go(Lane lane, std::uint64_t floor, GapReason reason, std::vector<Gap>* gaps,
                  std::string* floors) const;
  // The entries of these records, of which each counts its whole range, and anew those of records
  // that they leave a part of.
  Status put_gaps(const std::vector<Gap>& gaps, std::string* body);
  // Rows of first..last that were skipped at admission, by reading.
  Result<std::uint64_t> skipped_in(Lane lane, std::uint64_t first, std::uint64_t last);
  Status shed_debug();
  Result<std::string> limit_records();
  bool limits_due() const;
  // Lets go what the lane limits ask for. A failure is tried again later.
  void keep_limits();
  Nanos until_limits_due() const;
  // Every row of a closed segment was delivered to all its consumers.
  bool nothing_needed(const Segment& segment) const;  // under state_mutex_
  std::uint64_t total_bytes() const;                  // under state_mutex_
  spool_format::OpenedEntry opened_entry() const;
  spool_format::FrameHeader frame_header(std::string_view body, std::uint64_t number,
                                         std::uint32_t tag) const;

  void start_uptime(const RecoveredLog& log);
  std::uint64_t uptime() const;
  std::uint64_t oldest_live(Lane lane) const;  // under state_mutex_

  io::Files& files_;
  SpoolOptions options_;
  const SpoolClock& clock_;
  std::unique_ptr<io::FileLock> lock_;
  Id128 id_;
  Id128 boot_id_;
  UptimeMark uptime_mark_;  // of this process
  std::uint32_t epoch_ = 1;
  std::size_t reserve_ = 0;  // at the end of each segment: for gap records

  mutable std::mutex queue_mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::vector<Pending> queue_;
  std::vector<std::string> buffers_;  // bodies to use again
  std::size_t buffer_bytes_ = 0;      // their capacity
  // When the frames in queue_ want their commit: the arrival of the first that is not patient, and
  // the end of the others' patience.
  std::optional<MonoTime> prompt_;
  MonoTime patient_until_{std::numeric_limits<std::int64_t>::max()};
  bool hurry_ = false;              // nothing is patient any more
  bool waits_patiently_ = false;    // the flusher, for patient_until_
  RowFacts queue_facts_;            // of all rows in queue_
  spool_format::Sequences next_{};  // sequences to give
  Ticket last_ticket_ = 0;
  Ticket flush_upto_ = 0;
  std::uint64_t own_given_ = 0;  // frames of enqueue_own(), and those that are committed
  std::uint64_t own_done_ = 0;
  std::uint64_t flush_own_ = 0;
  std::size_t queued_bytes_ = 0;  // in queue_ and pending_
  std::size_t queued_checkpoint_bytes_ = 0;
  std::uint64_t room_ = 0;  // bytes that fit without letting anything go
  // Bytes of rows that did not fit and that nothing was taken behind: there is a look for room now
  // and then, since the disk may have it back without a commit of ours. 0: nothing waits for room.
  std::size_t wanted_ = 0;
  std::uint64_t refused_ = 0;
  bool stop_ = false;
  bool idle_ = false;
  SpoolHealth health_ = SpoolHealth::kOk;
  std::string health_text_;

  mutable std::mutex state_mutex_;
  LogState state_;
  std::deque<std::shared_ptr<Segment>> segments_;  // oldest first; the last is the active one
  std::size_t spare_count_ = 0;
  std::array<std::uint64_t, kLanes> live_bytes_{};  // of rows that are not let go
  std::array<bool, kLanes> live_closed_{};          // such rows are in closed segments
  struct Consumer {
    std::string name;
    Lane lane = Lane::kReadings;
    bool receives = true;   // false: it only holds rows
    bool recalled = false;  // of the last process; not told of in this one
  };
  std::vector<Consumer> consumers_;
  SpoolStats stats_;
  CommitPacer pacer_;

  std::mutex callbacks_mutex_;
  std::vector<std::function<void(Ticket, const Status&)>> callbacks_;
  std::atomic<Ticket> committed_ticket_{0};
  std::atomic<double> fill_{0};

  std::vector<Pending> pending_;  // taken from the queue, not committed yet
  RowFacts pending_facts_;        // of its rows, and of those of the batch that are committed
  ClockWatch clock_watch_;
  std::shared_ptr<Segment> active_;
  std::unique_ptr<io::File> active_file_;
  BodyCompressor compressor_;
  DeviceFilter active_devices_;    // of the active segment
  std::uint64_t next_expiry_ = 0;  // uptime at which age limits may let go more
  std::uint64_t committed_frame_ = 0;
  std::uint64_t highest_generation_ = 0;
  std::vector<std::string> spares_;           // names
  std::vector<std::string> unsynced_spares_;  // renamed, but the folder is not synced
  std::thread flusher_;
};

}  // namespace headwater
