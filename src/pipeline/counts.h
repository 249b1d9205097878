// What became of the readings, by outcome: the numbers of the conservation law (received =
// duplicate
// + filtered + dead_letter + stored + thinned + refused + in_flight).
//
// Each Count has one writer (the worker that owns it); any thread may read. A reader that wants a
// consistent sum stops the worker's intake first; on the fly the sum may be off by what is between
// two steps.
#pragma once

#include <atomic>
#include <cstdint>

namespace headwater {

// A counter with one writing thread: no locked instruction on the hot path.
class Count {
 public:
  void add(std::uint64_t by) {
    value_.store(value_.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  void set(std::uint64_t to) { value_.store(to, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Of one source on one worker.
struct IntakeCounts {
  Count taken;         // readings the source handed over, each element of an array one (received =
                       // taken + what the source refused)
  Count duplicate;     // declared message id already stored
  Count filtered;      // dropped by a filter in front of the append
  Count dead_letter;   // could not be decoded, or too large for the store; committed in the
                       // dead-letter lane
  Count stored;        // committed in the readings lane
  Count thinned;       // let go at admission, counted by a committed gap record of that lane
  Count refused;       // declined: the store was full (on_full: refuse)
  Count in_flight;     // taken, not yet one of the above
  Count acknowledged;  // rows told to the source as durable
  Count values_unfit;  // values that did not fit their column and became null
  Count bytes;         // payload bytes taken
  Count errors;        // takes that failed; the source stays in service
};

// Of one pipeline on one worker.
struct ScoringCounts {
  Count rows;      // rows that went through the scoring half: scored, unscored, or replayed for the
                   // state only
  Count replayed;  // of these, read back from the spool: after a restart, or after too much waited
  Count scored;    // rows that got a score
  Count unscored;  // rows that did not: dropped behind the append, missing inputs, failed stage
  Count failed;    // batches a stage could not treat, and alerts too large for the store
  Count alerts;    // alerts, and alarm episodes raised
  Count cleared;   // alarm episodes cleared
  Count offline;   // alerts of devices that have gone; their rows are among the unscored
  Count pending_rows;  // appended, waiting for their score in memory
  Count behind_rows;   // appended, to be read back from the spool for their score
  // The latency objective; all zero without one.
  Count objective_ns;
  Count within;         // decisions that were durable within it
  Count late;           // and that were not
  Count met_ppm;        // the part of `within` in the last 10 s or so, in millionths
  Count step_rows;      // rows of a step at most, as chosen for it
  Count step_fixed_ns;  // what a step costs: fixed, and a thousand rows more
  Count step_kilorow_ns;
  Count step_tail_ns;  // what 1 in 100 steps takes more than that
  Count commit_ns;     // what 95 of 100 commits took at most, the worker's waking included
};

}  // namespace headwater
