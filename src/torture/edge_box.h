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

#include "io/fault_files.h"
#include "io/loop.h"
#include "pipeline/delivery.h"
#include "pipeline/intake.h"
#include "pipeline/scoring.h"
#include "torture/blueprint.h"
#include "torture/fleet.h"
#include "torture/ledger.h"

namespace headwater::torture {

// Where alerts and rows go: it survives the edge.
struct Receiver {
  Ledger ledger;
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
  void checkpoint() { scoring_->checkpoint(); }
  void deliver() { delivery_->pump(); }
  // The receiver takes up to this many rows and decisions, and says so to the store.
  void receive(std::size_t items);
  // What was submitted is on disk, and the sources know. kRefused, once per trouble: the disk
  // refuses, and the flusher waits for the next commit() before it tries again.
  Commit commit();
  // Payload bytes taken since the last commit.
  std::size_t uncommitted() const { return intake_->counts().bytes.get() - committed_bytes_; }
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

  Parts parts_;
  Watch watch_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Scoring> scoring_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Sink> sink_;
  std::unique_ptr<Delivery> delivery_;
  std::unique_ptr<SpoolReader> reader_;
  BatchPool pool_;
  Transaction received_;
  std::uint64_t received_upto_ = 0;
  std::uint64_t committed_bytes_ = 0;
};

}  // namespace headwater::torture
