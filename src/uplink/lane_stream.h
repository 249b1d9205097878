// LaneStream: one lane on its way to the target.
//
// Oldest first, one batch at a time (LaneSender); the cursor "uplink" of the lane moves behind each
// batch that is stored. With `live_first`, when rows stay behind while the target answers, a second
// sender begins near the end of the lane: live rows go on time, and the backlog behind them. What
// went ahead is in the state `store/ahead/LANE/uplink` (store/ahead.h); when the backlog comes to
// it, it is jumped over, and the two become one again.
//
// After a restart the same sequences are sent again: the boundaries of closed batches are in the
// state "uplink/batch/LANE": varints 2, number of batches, and of each first, last and 1 where it
// is one row that no receiver takes. (1, first, last, refused is that of versions before.)
//
// Pure but for spool and target: time is an argument of pump(). All calls come from the uplink's
// loop, but those marked "any thread".
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "uplink/lane_progress.h"
#include "uplink/lane_sender.h"

namespace headwater {

// The cursor and `deliver_to` of the uplink.
inline constexpr std::string_view kUplinkConsumer = "uplink";

class LaneStream {
 public:
  using Parts = LaneParts;
  using Next = LaneSender::Next;

  // Reads cursor and boundaries from the spool.
  explicit LaneStream(Parts parts);
  LaneStream(const LaneStream&) = delete;
  LaneStream& operator=(const LaneStream&) = delete;

  Next pump(const LanePlan::Clock& now);
  // Closes no further batch but those of alerts, and makes no further attempt.
  void hold() { context_.held = true; }
  // Closes batches as soon as there is something.
  void flush() { context_.flush = true; }
  // The target was closed: what was on its way goes again.
  void give_up();
  // Nothing is on its way, and nothing will be without a hold() being lifted or a wait.
  bool quiet() const;

  Lane lane() const { return context_.parts.lane; }
  const LaneStreamCounts& counts() const { return context_.counts; }

  // Any thread.
  LaneState state() const { return state_.load(std::memory_order_relaxed); }
  // Rows and gaps committed and not stored by the target.
  std::uint64_t pending() const;
  // Sequence up to which the target has everything.
  std::uint64_t cursor() const { return cursor_.get(); }
  // Rows beyond the cursor that it has.
  std::uint64_t ahead() const { return ahead_.get(); }
  // Live rows go in front of a backlog now.
  bool is_split() const { return split_.load(std::memory_order_relaxed); }
  // The target has everything that is committed, and the log says so.
  bool settled() const;
  // When the first of them was stored, by the monotonic clock (zero: in an earlier boot); nothing:
  // none, or it is not known yet.
  std::optional<MonoTime> oldest() const;
  std::string trouble() const { return context_.trouble.text(); }

 private:
  static constexpr Ticket kUnsaved = ~Ticket{0};
  static constexpr std::int64_t kNone = -1;
  static constexpr int kMarks = 8;

  void restore();
  std::vector<LaneBoundary> saved_boundaries() const;
  // The two senders become one where the backlog has come to the live rows.
  void join();
  // Begins to send near the end of the lane if rows stay behind. Lowers next->at to when to look
  // again.
  void split(const LanePlan::Clock& now, Next* next);
  // Rows behind this sequence came within about `bound`: they are live.
  std::uint64_t live_from(MonoTime now, std::uint64_t end, Nanos bound);
  LanePlan::Limits main_limits() const;
  Result<Ticket> save(Transaction transaction);
  void delivered(std::uint64_t first, std::uint64_t last);
  void publish();
  std::string state_key() const;

  LaneContext context_;
  LaneProgress progress_;
  std::unique_ptr<LaneSender> main_;  // from the cursor on
  std::unique_ptr<LaneSender> live_;  // behind all that went ahead; null: nothing stays behind
  // Where the lane ended, some times within the last while.
  struct Mark {
    MonoTime at;
    std::uint64_t end = 0;
  };
  std::deque<Mark> marks_;
  bool progress_open_ = false;  // progress_ is not in the log yet
  bool ahead_in_log_ = false;   // the log has ranges that went ahead

  Count cursor_;
  Count ahead_;
  std::atomic<bool> split_{false};
  std::atomic<Ticket> saved_with_{0};  // of the progress; kUnsaved: not submitted yet
  std::atomic<LaneState> state_{LaneState::kIdle};
  std::atomic<std::int64_t> oldest_{kNone};
};

}  // namespace headwater
