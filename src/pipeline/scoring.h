// Scoring: the way from an appended reading to its decision. Runs the stages, records scores and alerts, moves `decided`.
//
// One per pipeline and worker; all calls come from that worker's thread. Batches come in sequence order. While too much waits
// in memory, batches are let go and read back from the spool later (`behind`), so ingest stays bounded and nothing is lost;
// after a start the same path scores what a crash left between acknowledgement and score.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "data/batch.h"
#include "pipeline/batch_pool.h"
#include "pipeline/counts.h"
#include "pipeline/decode.h"
#include "pipeline/stage.h"
#include "store/spool.h"
#include "telemetry/metrics.h"

namespace headwater {

class Scoring final : private Outputs {
 public:
  struct Parts {
    std::string name;          // "<pipeline>/<worker>": prefix of its state, and with "decided/" in front its cursor
    std::string pipeline;      // as in the config
    std::uint16_t stream = 0;  // number of that name: alerts and decisions carry it
    std::vector<std::unique_ptr<Stage>> stages;
    std::vector<std::string> stage_keys;  // one per stage: changes when its options change, so that old state is not used
    std::string score_column = "score";
    std::string model_digest;
    std::uint64_t revision = 0;  // of the config
    Spool* spool = nullptr;
    std::size_t max_waiting_rows = 65'536;
    std::size_t max_waiting_bytes = 32U << 20;
    std::size_t replay_rows = 1024;  // rows of a batch that is read back
    Nanos checkpoint_every = std::chrono::seconds(30);
    // Seconds from a reading's arrival to its decision; shared by the workers of a pipeline.
    telemetry::Histogram* latency = nullptr;
  };
  // Told about decided batches: `alerts` are not committed yet.
  using Observer = std::function<void(const Batch& batch, std::span<const Alert> alerts)>;

  explicit Scoring(Parts parts);

  // Streams whose rows this pipeline scores, and how to decode them when they are read back.
  void add_stream(std::uint16_t stream, Decode& decode) { decoders_[stream] = &decode; }
  // Reads cursors and state; from then on catch_up() replays.
  Status restore();
  void observe(Observer observer) { observers_.push_back(std::move(observer)); }

  // Appended rows of one stream, with sequences. Takes the batch, or lets it go when too much waits.
  void enqueue(Batch batch, std::uint16_t stream, BatchPool& pool);

  // Scores one batch (waiting or read back). Returns true if there is more to do now.
  bool step(BatchPool& pool);

  void tick(WallTime now);
  // Rows up to this ticket are readable in the spool.
  void on_commit(Ticket upto) { committed_ = upto; }

  // Nothing waits, neither in memory nor behind.
  bool idle() const { return waiting_.empty() && !behind() && !blocked_; }
  // Writes the state of the stages with the next commit.
  void checkpoint();

  const ScoringCounts& counts() const { return counts_; }
  const telemetry::Histogram& latency() const { return *parts_.latency; }
  const std::string& name() const { return parts_.name; }
  const std::string& pipeline() const { return parts_.pipeline; }
  std::uint16_t stream() const { return parts_.stream; }
  const std::string& trouble() const { return trouble_; }

 private:
  Status emit(Batch batch) override;
  void alert(Alert alert) override { alerts_.push_back(std::move(alert)); }

  bool behind() const { return behind_from_ != 0; }
  bool read_back(Batch& batch, std::uint16_t& stream);
  Result<bool> next_stored();
  void run(Batch batch, std::uint16_t stream, BatchPool& pool);
  void record(const Batch& batch, std::uint16_t stream);
  bool submit();
  void save_state();
  std::string cursor_name() const { return "decided/" + parts_.name; }
  std::string checkpoint_name() const { return "checkpoint/" + parts_.name; }
  std::string state_prefix(std::size_t stage) const;

  Parts parts_;
  std::map<std::uint16_t, Decode*> decoders_;
  std::vector<Observer> observers_;
  ScoringCounts counts_;

  struct Waiting {
    Batch batch;
    std::uint16_t stream = 0;
    std::size_t rows = 0;
    std::size_t bytes = 0;
  };
  std::deque<Waiting> waiting_;
  std::size_t waiting_rows_ = 0;
  std::size_t waiting_bytes_ = 0;

  std::uint64_t decided_ = 0;       // sequence of the last row with a decision
  std::uint64_t last_appended_ = 0;  // sequence of the last row enqueue() saw
  std::uint64_t behind_from_ = 0;   // first sequence to read back; 0: not behind
  std::unique_ptr<SpoolReader> reader_;
  bool held_ = false;  // reader_->row() is a row that the next batch begins with
  Ticket committed_ = 0;

  // What the stages made of the current batch.
  Batch done_;
  bool emitted_ = false;
  std::vector<Alert> alerts_;

  Transaction transaction_;
  std::vector<double> scores_;        // reused
  std::vector<std::uint8_t> alerted_;  // reused
  std::vector<std::uint64_t> sequences_;
  bool blocked_ = false;
  bool checkpoint_due_ = false;
  MonoTime last_checkpoint_;
  std::string trouble_;
};

}  // namespace headwater
