// Intake: the way from a source to the disk. Decodes, filters, finds repeats, appends, and acknowledges what is committed.
//
// One per source and worker; all calls come from that worker's thread. A source never waits for a model: rows are in the
// spool's hands before they are scored. A row is acknowledged when everything taken before it in its partition is durable
// or was dropped for a reason that is counted.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "data/batch.h"
#include "pipeline/batch_pool.h"
#include "pipeline/counts.h"
#include "pipeline/decode.h"
#include "pipeline/dedupe.h"
#include "pipeline/source.h"
#include "pipeline/stage.h"
#include "store/spool.h"

namespace headwater {

class Scoring;

class Intake {
 public:
  struct Parts {
    std::string name;          // "<pipeline>/<source>": prefix of its state in the spool
    std::uint16_t stream = 0;  // the spool's number for that name
    std::size_t room = 4096;   // rows a batch may have
    std::unique_ptr<Source> source;
    std::unique_ptr<Decode> decode;
    std::vector<std::unique_ptr<Stage>> filters;  // in front of the append
    Spool* spool = nullptr;
    Scoring* scoring = nullptr;
  };

  explicit Intake(Parts parts);

  Status start(io::Loop& loop);

  // Takes what has arrived and appends it. Returns true if more is waiting.
  bool pump(BatchPool& pool);

  // Everything up to `upto` is durable: acknowledges, counts.
  void on_commit(Ticket upto);

  // The last rows of a declared message id that are already stored, oldest first: called at start.
  void remember(const Id128& id) { dedupe_.insert(id); }

  // No more rows are taken; what was taken goes on.
  void stop_taking();
  // True when nothing taken waits for its commit.
  bool settled() const { return pending_.empty() && !blocked_; }
  void close();

  const IntakeCounts& counts() const { return counts_; }
  std::uint64_t refused() const;
  const std::string& name() const { return parts_.name; }
  std::uint16_t stream() const { return parts_.stream; }
  Source& source() { return *parts_.source; }
  const Source& source() const { return *parts_.source; }
  Decode& decode() { return *parts_.decode; }
  // True once the source said that nothing will ever come again.
  bool ended() const { return ended_; }
  // The last error of the source, "" if the last take went well.
  const std::string& trouble() const { return trouble_; }

 private:
  struct Pending {
    Ticket ticket = 0;
    std::uint64_t rows = 0;
    std::uint64_t stored = 0;
    std::uint64_t dead_letter = 0;
    std::vector<std::pair<Partition, Position>> upto;
  };

  void treat(Batch& batch);
  void drop_undecoded(Batch& batch);
  void drop_repeats(Batch& batch);
  Status filter(Batch& batch);
  void build(const Batch& batch);
  void note_frontier(const Batch& batch);
  bool submit(BatchPool& pool);

  Parts parts_;
  IntakeCounts counts_;
  DedupeSet dedupe_;
  std::uint64_t process_nonce_;
  std::uint64_t next_arrival_ = 1;

  // The batch that is on its way into the spool; kept while the spool refuses it (`blocked_`).
  Batch batch_;
  Batch idle_;  // for take(0)
  Transaction transaction_;
  Pending next_;
  bool blocked_ = false;
  bool stopping_ = false;
  bool ended_ = false;
  std::string trouble_;

  Ticket last_ticket_ = 0;
  std::deque<Pending> pending_;
  std::vector<Undecoded> failed_;       // reused
  std::vector<std::uint8_t> flags_;     // reused
  Checkpointed* checkpointed_ = nullptr;
};

}  // namespace headwater
