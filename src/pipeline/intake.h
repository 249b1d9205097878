// Intake: the way from a source to the disk. Decodes, filters, finds repeats, appends, and
// acknowledges what is committed.
//
// One per source and worker; all calls come from that worker's thread. A source never waits for a
// model: rows are in the spool's hands before they are scored. A row is acknowledged when
// everything taken before it in its partition is durable or was dropped for a reason that is
// counted.
//
// While the store is full it waits and holds its senders up, or, with `refuse`, tells them no
// (Declining): the rows are dropped and counted, what the batch changed of states is committed
// without them, and answers keep their order.
//
// Past a high-water mark of the store it keeps a part of the readings only (admission_thinning.h):
// the others are skipped in the frame of those that are kept, neither stored nor scored.
//
// What is taken at once becomes one frame of the log, unless it is larger than the spool takes:
// then several, of which the last carries the state of source and decoder. A row that is too large
// by itself becomes a dead letter of its first bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "data/batch.h"
#include "pipeline/admission_thinning.h"
#include "pipeline/batch_pool.h"
#include "pipeline/counts.h"
#include "pipeline/decode.h"
#include "pipeline/dedupe.h"
#include "pipeline/source.h"
#include "pipeline/stage.h"
#include "pipeline/stage_clock.h"
#include "pipeline/trouble.h"
#include "store/spool.h"

namespace headwater {

class Scoring;

class Intake {
 public:
  struct Parts {
    std::string name;          // "<pipeline>/<source>": prefix of its state in the spool
    std::uint16_t stream = 0;  // the spool's number for that name
    std::size_t room = 4096;   // rows a batch may have
    AdmissionThinning::Options thin;
    // Acknowledges what is in the spool's hands, not on disk.
    bool acknowledge_on_receipt = false;
    bool refuse = false;  // rows that the full store does not take, where the source can
    std::unique_ptr<Source> source;
    std::unique_ptr<Decode> decode;
    std::vector<std::unique_ptr<Stage>> filters;  // in front of the append; without state
    Spool* spool = nullptr;
    Scoring* scoring = nullptr;
  };

  explicit Intake(Parts parts);

  Status start(io::Loop& loop);

  // Takes what has arrived and appends it. Returns true if more is waiting.
  bool pump(BatchPool& pool);

  // Everything up to `upto` is durable: acknowledges, counts.
  void on_commit(Ticket upto);

  // Filters for what is taken from now on; between two rounds.
  void replace_filters(std::vector<std::unique_ptr<Stage>> filters) {
    parts_.filters = std::move(filters);
  }

  // A declared message id that is stored already: called at start, oldest first.
  void remember(const Id128& id) { dedupe_.insert(id); }

  // No more rows are taken; what was taken goes on.
  void stop_taking();
  // True when nothing taken waits for its commit.
  bool settled() const { return pending_.empty() && !blocked_; }
  void close();

  const IntakeCounts& counts() const { return counts_; }
  // CPU time by stage, measured by the clock of its worker.
  void measure(StageClock& clock) { timer_.use(clock); }
  const StageTimes& times() const { return timer_.times(); }
  // By the source itself: not among `taken`, nor among counts().refused.
  std::uint64_t refused_by_source() const;
  const std::string& name() const { return parts_.name; }
  std::uint16_t stream() const { return parts_.stream; }
  Source& source() { return *parts_.source; }
  const Source& source() const { return *parts_.source; }
  Decode& decode() { return *parts_.decode; }
  // True once the source said that nothing will ever come again.
  bool ended() const { return ended_; }
  // What went wrong in the last round that took rows: source, decoder, filter or spool. Any thread.
  std::string trouble() const { return trouble_.text(); }

 private:
  struct Pending {
    Ticket ticket = 0;
    std::uint64_t rows = 0;
    std::uint64_t stored = 0;
    std::uint64_t thinned = 0;
    std::uint64_t dead_letter = 0;
    std::uint64_t duplicate = 0;  // counted once the batch is submitted
    std::vector<std::pair<Partition, Position>> upto;
  };
  struct Frame {
    Transaction transaction;
    // Its rows, as a range of the batch's selection.
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t letters_begin = 0;  // its dead letters, from here of failed_
  };

  void treat(Batch& batch);
  void note_frontier(const Batch& batch);
  void name_rows(Batch& batch);
  void decode(Batch& batch);
  void fail_large_rows(Batch& batch);
  void drop_undecoded(Batch& batch);
  void filter(Batch& batch);
  void drop_repeats(Batch& batch);
  void thin(Batch& batch);
  void tell_fates(const Batch& batch) const;
  void build(const Batch& batch);
  void append_dead_letter(const Row& row, std::string_view reason);
  Frame& next_frame(std::size_t begin);
  bool submit(BatchPool& pool);
  bool may_refuse(const Frame& frame, const Error& error) const;
  void refuse_rest();
  void tell_declined(const Batch& batch);
  void clear_trouble();
  void complain(std::string_view text);
  void acknowledge(std::vector<std::pair<Partition, Position>>& upto);

  Parts parts_;
  IntakeCounts counts_;
  StageTimer timer_;
  DedupeSet dedupe_;
  AdmissionThinning thinning_;
  std::uint64_t process_nonce_;
  std::uint64_t next_arrival_ = 1;

  // The batch that is on its way into the spool; kept while the spool refuses it (`blocked_`).
  Batch batch_;
  Batch idle_;                 // for take(0)
  std::vector<Frame> frames_;  // of batch_; the first frames_used_ are in use, sent_ submitted
  std::size_t frames_used_ = 0;
  std::size_t sent_ = 0;
  Pending next_;
  bool blocked_ = false;
  bool held_ = false;      // a part of the batch is stored, not all: scoring knows
  bool refusing_ = false;  // rows were refused, and the store takes none since
  bool stopping_ = false;
  bool ended_ = false;
  bool complained_ = false;  // in this round
  Trouble trouble_;

  Ticket last_ticket_ = 0;
  std::deque<Pending> pending_;
  std::vector<Undecoded> failed_;       // of batch_; reused
  std::vector<std::uint8_t> flags_;     // reused
  std::size_t readings_a_message_ = 1;  // of the last batch, at most: makes the next one smaller
  Checkpointed* checkpointed_ = nullptr;
  Accounting* accounting_ = nullptr;
  Declining* declining_ = nullptr;  // null: rows wait
};

}  // namespace headwater
