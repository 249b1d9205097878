// EdgeBox: one life of the edge under torture: the real spool, intake, scoring and delivery over a
// disk that fails, driven step by step. With every commit awaited, one thread at a time is at work:
// a seed does the same each time, the flusher thread of the spool included.
//
// One thread, which is not the flusher.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "io/fault_files.h"
#include "io/loop.h"
#include "pipeline/delivery.h"
#include "pipeline/intake.h"
#include "pipeline/scoring.h"
#include "torture/batch_receiver.h"
#include "torture/blueprint.h"
#include "torture/fleet.h"
#include "torture/ledger.h"
#include "uplink/lane_stream.h"

namespace headwater::torture {

// Where alerts and rows go: it survives the edge.
struct Receiver {
  Receiver(std::uint64_t seed, const Fleet& fleet, Verdict& verdict)
      : batches(seed, fleet, ledger, verdict) {}
  Ledger ledger;
  BatchReceiver batches;
  bool stalled = false;        // takes nothing
  std::uint32_t refusals = 0;  // of alerts, to come
  // A restart found rows let go that it needs to rebuild the state of the steps: a full disk takes
  // them before everything else stops. Told by a gap record; decisions may differ from there on.
  bool replay_cut = false;
};

enum class Commit : std::uint8_t { kDone, kRefused, kOff, kStuck };

class EdgeBox {
 public:
  struct Parts {
    const Blueprint* blueprint = nullptr;
    io::Files* files = nullptr;
    const io::FaultFiles* disk = nullptr;  // to ask whether the power is off
    SpoolOptions spool;
    Fleet* fleet = nullptr;
    Receiver* receiver = nullptr;
    std::size_t batch_rows = 100;  // of the uplink at most
    std::uint64_t seed = 0;
    Verdict* verdict = nullptr;
    io::Loop* loop = nullptr;
  };
  explicit EdgeBox(Parts parts) : parts_(std::move(parts)) {}
  ~EdgeBox();
  EdgeBox(const EdgeBox&) = delete;
  EdgeBox& operator=(const EdgeBox&) = delete;

  // Opens the store, restores and begins as the agent does.
  Status start();

  void pump(std::size_t room);
  bool step() { return scoring_->step(pool_); }
  std::uint64_t undecided() const {
    return scoring_->counts().pending_rows.get() + scoring_->counts().behind_rows.get();
  }
  // The state of the steps, if rows went through them since the last one: written again and again
  // it would use up the room that a full store keeps for cursors.
  void checkpoint();
  void deliver() { delivery_->pump(); }
  // The uplink does what it can, `batches` times, and each time what is on its way is answered.
  void uplink(std::size_t batches);
  // What was submitted is on disk, and the sources know. kRefused, once per trouble: the disk
  // refuses, and the flusher waits for the next commit() before it tries again.
  Commit commit();
  // Payload bytes taken since the last commit.
  std::size_t uncommitted() const { return intake_->counts().bytes.get() - committed_bytes_; }
  // The receiver has all that is committed, and the log says so.
  bool drained() const;
  // Nothing is unscored, uncommitted or unanswered.
  bool settled();
  // The intake's rows add up; else a finding.
  void check_conservation();

  Spool& spool() { return *spool_; }
  std::uint64_t sequences() const;

 private:
  class Alerts;
  // The flusher's callbacks; it waits here while the disk refuses.
  struct Watch {
    std::mutex mutex;
    std::condition_variable changed;
    Ticket upto = 0;
    bool failed = false;
    bool go = false;
    bool closing = false;
  };
  void on_flusher(Ticket upto, const Status& status);
  Status remember_ids();
  void start_uplink();

  Parts parts_;
  Watch watch_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Scoring> scoring_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Sink> sink_;
  std::unique_ptr<Delivery> delivery_;
  std::unique_ptr<BatchTarget> target_;
  std::vector<std::unique_ptr<LaneStream>> streams_;
  MonoTime clock_;  // the uplink's: a wait ends after some calls
  BatchPool pool_;
  std::uint64_t committed_bytes_ = 0;
  std::uint64_t saved_after_ = 0;  // rows that had been through at the last checkpoint
};

}  // namespace headwater::torture
