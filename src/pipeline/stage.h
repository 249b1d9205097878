// Stage: one step of a pipeline (filter, enrich, window, detect, decide).
//
// Thread rule: a stage belongs to one worker and holds no lock. It gets batches in sequence order
// and hands each on with exactly one emit(): a stage narrows the selection or adds columns, it does
// not hold rows back. Results must not depend on where batches are cut, because a restart replays
// stored rows in other batches.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "data/batch.h"
#include "pipeline/source.h"

namespace headwater {

// A decision to tell about, with its lineage.
struct Alert {
  std::string
      id;  // 32 hex digits, derived from the reading's identity, rule, model digest and onset
  std::string event;  // "alert" (one per row), "raised" or "cleared"
  std::string device;
  std::string json;  // the message as it goes out and into the alerts lane
  WallTime time;     // event time of the row that decided
  MonoTime arrived;  // of that row: latency is measured from here
  Id128 identity;    // of that row's reading
  // Its index in the batch; kNoRow where no row brought the event (a timer, an episode put out by
  // others).
  static constexpr std::uint32_t kNoRow = 0xFFFFFFFF;
  std::uint32_t row = kNoRow;
};

class Outputs {
 public:
  virtual ~Outputs() = default;
  virtual Status emit(Batch batch) = 0;
  // Before the emit() of the batch that caused it.
  virtual void alert(Alert alert) = 0;
};

class Stage {
 public:
  virtual ~Stage() = default;

  // Hands the batch on with out.emit() also when it could not treat it; an error is returned after
  // that: the rows pass on without what this stage would have added, and the failure is counted. So
  // no HW_TRY before the emit(). A stage that keeps a batch or hands on another one is a bug: its
  // rows stay stored and unscored, and the failure is counted.
  virtual Status process(Batch batch, Outputs& out) = 0;

  // About once a second of wall time, while no row waits: everything stored so far has been
  // processed. Alerts have no row (kNoRow), emit() is refused. Their commit is followed at once by
  // one of the state, so that a restart does not repeat them.
  virtual Status tick(WallTime now, Outputs& out) {
    (void)now;
    (void)out;
    return {};
  }

  // Whether it may be one of the first steps, in front of the append, if its kind may
  // (StageKind::filters): what it does with a row must depend on that row alone, because no state
  // is kept there across a restart.
  virtual bool may_lead() const { return false; }

  // State that decisions depend on, whole. Called between batches. restore() leaves everything as
  // it was on an error; the stage then begins anew, which is told and counted as trouble.
  virtual void save(StateWriter& state) { (void)state; }
  virtual Status restore(const StateReader& state) {
    (void)state;
    return {};
  }
};

}  // namespace headwater
