// LaneStream: one lane on its way to the target, oldest first, one batch at a time.
//
// A batch is closed by rows, bytes or age; its first and last sequence are committed to the spool
// (state "uplink/batch/LANE") before the first attempt; it is sent until the target has stored it;
// then the cursor "uplink" of the lane moves behind it. After a restart the same sequences are sent
// again. 413 halves the batch: its first part gets boundaries of its own. A row that is too large
// alone is copied to the dead-letter lane and sent as a gap, so that the receiver's ranges have no
// hole.
//
// Pure but for spool and target: time is an argument of pump(). All calls come from the uplink's
// loop, but those marked "any thread".
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "columnar/batch_writer.h"
#include "pipeline/counts.h"
#include "pipeline/trouble.h"
#include "store/spool.h"
#include "uplink/lane_plan.h"
#include "uplink/pacing.h"
#include "uplink/target.h"

namespace headwater {

// The cursor and `deliver_to` of the uplink.
inline constexpr std::string_view kUplinkConsumer = "uplink";

// Of one lane. One writer: the uplink's loop; any thread reads.
struct LaneStreamCounts {
  Count rows;        // that the target stored
  Count bytes;       // of batches that the target stored, compressed
  Count sent_bytes;  // of all attempts
  Count batches;     // that the target stored
  Count retries;     // attempts that were not the first of their batch
  Count refused;     // rows that were too large for the receiver
};

enum class LaneState : std::uint8_t {
  kIdle,     // nothing to send, or the batch is not full yet
  kSending,  // a batch is on its way
  kWaiting,  // for the next attempt
  kParked,   // the same, and a person has to look
};
std::string_view lane_state_name(LaneState state);

class LaneStream {
 public:
  struct Parts {
    Spool* spool = nullptr;
    UplinkTarget* target = nullptr;
    Pacer* pacer = nullptr;  // null: no limit
    Lane lane = Lane::kReadings;
    std::string edge_id;
    LanePlan::Limits limits;
    ScoredStreams scored;
    int compression_level = 3;
    Backoff::Options backoff;
    Nanos park_every = std::chrono::minutes(5);
    std::uint64_t seed = 0;
    std::function<void()> wake;  // asks for a pump() soon
  };

  // Reads cursor and boundaries from the spool.
  explicit LaneStream(Parts parts);
  LaneStream(const LaneStream&) = delete;
  LaneStream& operator=(const LaneStream&) = delete;

  struct Next {
    bool again = false;  // there is more to do at once
    MonoTime at;         // else call at this time, or after a commit
  };
  Next pump(const LanePlan::Clock& now);

  // Closes no further batch but those of alerts, and makes no further attempt.
  void hold() { held_ = true; }
  // Closes batches as soon as there is something.
  void flush() { flush_ = true; }
  // Nothing is on its way, and nothing will be without a hold() being lifted or a wait.
  bool quiet() const;

  Lane lane() const { return parts_.lane; }
  const LaneStreamCounts& counts() const { return counts_; }

  // Any thread.
  LaneState state() const { return state_.load(std::memory_order_relaxed); }
  // Rows and gaps committed and not stored by the target.
  std::uint64_t pending() const;
  // Sequence up to which the target has everything.
  std::uint64_t cursor() const { return cursor_.get(); }
  // The target has everything that is committed, and the log says so.
  bool settled() const;
  // When the first of them was stored; nothing: none, or it is not known yet.
  std::optional<WallTime> oldest() const;
  std::string trouble() const { return trouble_.text(); }

 private:
  static constexpr Ticket kUnsaved = ~Ticket{0};
  static constexpr std::size_t kMostRefusedInARow = 16;
  struct Boundary {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    bool refused = false;  // one row that no receiver takes: goes as a gap
  };
  enum class Phase : std::uint8_t {
    kOpen,        // no batch is closed
    kCommitting,  // its boundaries are on their way to the disk
    kClosed,      // they are there
    kSending,
  };

  void restore();
  // Each does what can be done now; true: the next phase may go on at once.
  bool close_batch(const LanePlan::Clock& now, Next& next);
  bool send_batch(const LanePlan::Clock& now, Next& next);
  bool read_more(MonoTime now, Next& next);
  Status build(WallTime now);
  void take(const TargetAnswer& answer);
  void stored();
  void wait(Nanos time, LaneState state, std::string_view text);
  enum class Cause : std::uint8_t { kSize, kContent };
  void park(std::string_view text, Nanos retry_after = {});
  void halve(Cause cause, const std::string& text);
  bool save_cursor();
  bool commit_boundary(Transaction transaction, const Boundary& boundary);
  Result<Transaction> dead_letter(std::uint64_t sequence, std::string_view why) const;
  std::string state_key() const;
  LanePlan::Limits limits() const;

  Parts parts_;
  LanePlan plan_;
  Backoff backoff_;
  BatchWriter writer_;
  LaneStreamCounts counts_;
  Trouble trouble_;

  Phase phase_ = Phase::kOpen;
  Boundary boundary_;
  Ticket ticket_ = 0;  // of the boundary
  std::optional<EncodedBatch> built_;
  bool tried_ = false;  // the batch has been sent before
  MonoTime now_;        // of the last pump
  MonoTime not_before_;
  std::optional<Nanos> wait_;  // from the next pump() on
  // The receiver's own limit, as far as 413 tells; grows back slowly.
  std::uint64_t learned_bytes_ = 0;  // 0: none
  // Whether the receiver has ever stored rows of this lane, and how many single rows in succession
  // it refused since. One that refuses everything is set up wrong: rows are kept for it.
  bool accepted_ = false;
  std::size_t refused_in_a_row_ = 0;
  bool cursor_open_ = false;  // cursor_ is not in the log yet
  std::size_t looks_ = 0;     // left in this pump

  bool held_ = false;
  bool flush_ = false;
  Count cursor_;
  std::atomic<Ticket> saved_with_{0};  // of the cursor; kUnsaved: not submitted yet
  std::atomic<LaneState> state_{LaneState::kIdle};
  std::atomic<std::int64_t> oldest_{0};  // 0: none
};

}  // namespace headwater
