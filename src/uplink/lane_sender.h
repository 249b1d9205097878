// LaneSender: batches of a lane, one after the other and one at a time, from a sequence on.
//
// A batch is closed by rows, bytes or age; its first and last sequence are committed to the spool
// before the first attempt; it is sent until the target has stored it. 413 halves the batch: its
// first part gets boundaries of its own. A row that is too large alone is copied to the dead-letter
// lane and sent as a gap, so that the receiver's ranges have no hole.
//
// A LaneStream has one, or two while live rows go in front of a backlog. What they share is the
// LaneContext. Pure but for spool and target: time is an argument of pump(). One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "columnar/batch_writer.h"
#include "pipeline/counts.h"
#include "pipeline/trouble.h"
#include "store/spool.h"
#include "uplink/lane_plan.h"
#include "uplink/pacing.h"
#include "uplink/target.h"

namespace headwater {

// Of one lane. One writer: the uplink's loop; any thread reads.
struct LaneStreamCounts {
  Count rows;        // that the target stored
  Count bytes;       // of batches that the target stored, compressed
  Count sent_bytes;  // of all attempts
  Count batches;     // that the target stored
  Count retries;     // attempts that were not the first of their batch
  Count refused;     // rows that the receiver takes in no batch
  Count underway;    // of rows: let go while on their way, so a gap record has them too
  Count live_rows;   // of rows: those that went in front of a backlog
  Count silences;    // attempts that were given up because the receiver fell silent
};

enum class LaneState : std::uint8_t {
  kIdle,     // nothing to send, or the batch is not full yet
  kSending,  // a batch is on its way
  kWaiting,  // for the next attempt
  kParked,   // the same, and a person has to look
};
std::string_view lane_state_name(LaneState state);

// First and last sequence of a batch that is closed.
struct LaneBoundary {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  bool refused = false;  // one row that no receiver takes: goes as a gap
  friend bool operator==(const LaneBoundary&, const LaneBoundary&) = default;
};

struct LaneParts {
  Spool* spool = nullptr;
  UplinkTarget* target = nullptr;
  Pacer* pacer = nullptr;  // null: no limit
  Lane lane = Lane::kReadings;
  bool live_first = false;  // live rows go in front of a backlog; alerts never do
  std::string edge_id;
  LanePlan::Limits limits;
  ScoredStreams scored;
  int compression_level = 3;
  Backoff::Options backoff;
  Nanos park_every = std::chrono::minutes(5);
  std::uint64_t seed = 0;
  std::function<void()> wake;             // asks for a pump() soon
  std::function<void()> restart = [] {};  // asks for the target to be started anew
};

// What the senders of a lane share.
struct LaneContext {
  explicit LaneContext(LaneParts given)
      : parts(std::move(given)), trouble("uplink", std::string(lane_name(parts.lane))) {}

  const LaneParts parts;
  LaneStreamCounts counts;
  Trouble trouble;
  BatchWriter writer;
  // The receiver's own limit, as far as 413 tells; grows back slowly. 0: none.
  std::uint64_t learned_bytes = 0;
  // Whether the receiver has ever stored rows of this lane, and how many single rows in succession
  // it refused since. One that refuses everything is set up wrong: rows are kept for it.
  bool accepted = false;
  std::size_t refused_in_a_row = 0;
  std::optional<Nanos> pause;  // of all attempts, from the next pump on: the receiver asked for it
  MonoTime not_before;
  bool held = false;   // closes no further batch but those of alerts, and makes no further attempt
  bool flush = false;  // closes batches as soon as there is something
  // Commits the transaction with the boundaries of all senders.
  std::function<Result<Ticket>(Transaction)> save;
  // The target has stored first..last of a sender, whose boundary is forgotten already.
  std::function<void(std::uint64_t first, std::uint64_t last)> delivered;
};

class LaneSender {
 public:
  // Items of the log that one pump looks at, so that others have their turn.
  static constexpr std::size_t kLooks = 4096;

  struct Next {
    bool again = false;  // there is more to do at once
    MonoTime at;         // else call at this time, or after a commit
  };

  // Begins behind `upto`. `lane` outlives it.
  LaneSender(LaneContext& lane, std::uint64_t upto, bool live);
  LaneSender(const LaneSender&) = delete;
  LaneSender& operator=(const LaneSender&) = delete;

  // A batch that was closed before a restart; its answer may have been lost.
  void restore(const LaneBoundary& boundary);
  // Live rows may use the budget before the others.
  void set_live(bool live) { live_ = live; }
  // Goes on behind `upto`: what lies before went by another way. Only while open.
  void move_to(std::uint64_t upto) { plan_.sent(upto); }

  // Does what can be done now; lowers next->at or sets next->again. Batches end at `limits.upto`.
  void pump(const LanePlan::Clock& now, const LanePlan::Limits& limits, Next* next);
  // The target was closed: what was on its way goes again.
  void give_up();

  // No batch is closed. (Else `boundary` is that of one.)
  bool is_open() const { return phase_ == Phase::kOpen; }
  const LaneBoundary& boundary() const { return boundary_; }
  // The first sequence that the target does not have, and the first that is in no closed batch.
  std::uint64_t first() const { return plan_.next(); }
  std::uint64_t behind() const { return is_open() ? first() : boundary_.last + 1; }
  // When row `sequence` or the first one behind it was stored. Reads on a little if it must.
  std::optional<MonoTime> stored_since(std::uint64_t sequence, MonoTime now);
  bool answered() const { return answered_; }  // the last attempt was stored
  bool failing() const { return failing_; }    // the last attempt was not
  LaneState state() const { return state_; }
  // Nothing is on its way, and nothing will be without a wait.
  bool quiet() const;

 private:
  static constexpr std::size_t kMostRefusedInARow = 16;
  // Attempts in succession on which the receiver falls silent, each on a new connection, before the
  // target is started anew.
  static constexpr std::size_t kMostReconnects = 2;
  enum class Phase : std::uint8_t {
    kOpen,        // no batch is closed
    kCommitting,  // its boundaries are on their way to the disk
    kClosed,      // they are there
    kSending,
  };

  // Each does what can be done now; true: the next phase may go on at once.
  bool close_batch(const LanePlan::Clock& now, const LanePlan::Limits& limits, Next* next);
  bool send_batch(const LanePlan::Clock& now, Next* next);
  bool read_more(MonoTime now, Next* next);
  bool may_act(const LanePlan::Clock& now, Next* next) const;
  Status build(WallTime now);
  void take(const TargetAnswer& answer);
  void stored();
  void wait(Nanos time, LaneState state, std::string_view text);
  enum class Cause : std::uint8_t { kSize, kContent };
  void retry(const TargetAnswer& answer);
  void park(std::string_view text, Nanos retry_after = {});
  void halve(Cause cause, const std::string& text);
  bool commit_boundary(Transaction transaction, const LaneBoundary& boundary);
  Result<Transaction> dead_letter(std::uint64_t sequence, std::string_view why) const;

  LaneContext& lane_;
  LanePlan plan_;
  Backoff backoff_;
  bool live_;
  Phase phase_ = Phase::kOpen;
  LaneState state_ = LaneState::kIdle;
  LaneBoundary boundary_;
  Ticket ticket_ = 0;  // of the boundary
  std::uint64_t let_go(const LaneBoundary& rows) const;

  std::optional<EncodedBatch> built_;
  std::uint64_t let_go_before_ = 0;  // of the rows of built_, in gap records when it was built
  bool tried_ = false;               // the batch has been sent before
  bool answered_ = false;
  bool failing_ = false;
  std::size_t silences_ = 0;  // attempts in succession
  std::uint64_t attempt_ = 0;
  MonoTime now_;  // of the last pump
  MonoTime not_before_;
  std::optional<Nanos> wait_;  // from the next pump() on
  std::size_t looks_ = 0;      // left in this pump
};

}  // namespace headwater
