// LanePlan: what of a lane is next to be sent, and with which decisions.
//
// Reads the lane ahead of what is sent, keeps for each row its size and what was decided on it, and
// says where a batch may end. Payloads are not kept: a batch is built by reading its rows again, so
// it can be built at any time, after a restart too.
//
// A reading waits until its decision is in the log, if a pipeline with a model or a rule has it
// (`ScoredStreams`): at most `score_wait`. Where decisions lie so far behind their rows that what
// is between does not fit in memory (kMost rows), the log is read more than once.
//
// Pure but for the spool: time is an argument. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "columnar/batch_writer.h"
#include "store/spool.h"

namespace headwater {

// Of each stream whose rows are decided on: the cursor that moves behind the decisions
// ("decided/main/0").
using ScoredStreams = std::map<std::uint16_t, std::string>;

class LanePlan {
 public:
  static constexpr std::size_t kMost = 65'536;

  struct Limits {
    std::size_t rows = 10'000;
    std::uint64_t bytes = std::uint64_t{4} << 20;  // of lines, as estimated
    Nanos every{};                                 // since the first row was stored
    Nanos score_wait{};
    // What lies beyond goes by another way: a batch that reaches it waits for nothing more.
    std::uint64_t upto = std::numeric_limits<std::uint64_t>::max();
  };
  struct Clock {
    MonoTime mono;
    WallTime wall;
  };

  LanePlan(const Spool& spool, Lane lane, ScoredStreams scored);

  // What is sent next is the sequence behind `upto`; begins reading anew if it must.
  void sent(std::uint64_t upto);
  // Reads on, at most `looks` items. False: nothing more is committed.
  Result<bool> read(std::size_t looks, MonoTime now);

  // Where the next batch ends. Nothing: not yet; then `*at` is lowered to when to ask again without
  // more having been read. With `flush`, a batch of whatever is there.
  std::optional<std::uint64_t> close(const Limits& limits, const Clock& now, bool flush,
                                     MonoTime* at) const;
  // Whether everything up to `last` is read and has its decision, or waited too long for it.
  bool is_ready(std::uint64_t last, Nanos score_wait, MonoTime now, MonoTime* at) const;

  // When the first row from `sequence` on that has been read was stored, by the monotonic clock;
  // the beginning of this boot for one of an earlier boot. The wall clock may be set: it says
  // nothing.
  std::optional<MonoTime> stored_since(std::uint64_t sequence) const;
  std::uint64_t next() const { return next_; }
  // The same of the first that is not sent, by the wall clock: to show, not to reckon with.
  std::optional<WallTime> oldest() const;

  // Adds first..last to the writer: rows with their decisions, and gaps. kUnavailable when the disk
  // fails, or the rows are not there yet. Cheap when it goes on where the last one ended.
  Status build(std::uint64_t first, std::uint64_t last, BatchWriter& writer);

 private:
  struct Item {
    std::uint64_t first = 0;
    std::uint64_t last = 0;  // a row: equal to first
    WallTime stored;
    MonoTime since;  // the same by the monotonic clock; zero: before this boot
    MonoTime seen;
    double score = 0;
    std::uint32_t bytes = 0;
    std::uint16_t stream = 0;
    std::uint16_t decided_by = 0;  // of deciders_, from 1; 0: not decided
    bool is_gap = false;
    bool alerted = false;
  };
  struct Decider {
    std::string pipeline;
    std::string model;
    friend bool operator==(const Decider&, const Decider&) = default;
  };

  void add(Item item);
  void apply(const Decisions& decisions);
  std::uint16_t decider(const Decisions& decisions);
  const Item* find(std::uint64_t sequence) const;
  // Nothing: ready. Else when its wait ends.
  std::optional<MonoTime> not_ready_until(const Item& item, Nanos score_wait, MonoTime now) const;

  const Spool& spool_;
  const Lane lane_;
  const ScoredStreams scored_;
  const Id128 boot_;
  std::unique_ptr<SpoolReader> reader_;
  std::unique_ptr<SpoolReader> builder_;  // of build(); stands before builder_next_
  std::uint64_t builder_next_ = 0;
  std::deque<Item> items_;          // without a hole, from next_
  std::uint64_t next_ = 1;          // the first that is not sent
  std::uint64_t read_upto_ = 0;     // of items_
  std::uint64_t skipped_from_ = 0;  // the first that was read and did not fit; 0: none
  std::map<std::string, std::uint64_t> settled_;  // decided cursors that the reader has come past
  std::vector<Decider> deciders_;
};

}  // namespace headwater
