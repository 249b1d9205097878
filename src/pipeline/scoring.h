// Scoring: the way from an appended reading to its decision. Runs the stages, records scores and
// alerts, moves `decided`.
//
// One per pipeline and worker; all calls come from that worker's thread. Batches come in sequence
// order. While too much waits in memory, batches are let go and read back from the spool later
// (`behind`), so ingest stays bounded and nothing is lost; after a start the same path scores what
// a crash left between acknowledgement and score.
//
// Two cursors of the readings lane make a restart exact. `decided/NAME`: every row of ours up to
// here has its decision; it moves in the frame that holds the decisions and alerts of those rows.
// `checkpoint/NAME`: the stored state of the stages is the one after the row here; it moves in the
// frame that holds the state. At start the rows behind the lower one go through the stages again,
// and those behind `decided` are recorded.
//
// A step takes no more rows than a latency objective allows (pace.h). A batch that is larger is
// cut: rows are copied out and decoded again, as when they are read back, because the steps replace
// columns.
//
// A row that tells of a device that has gone (kRowOffline) passes the stages by and is an alert of
// the event "offline", in its place among the alerts. Its id comes from the row's identity.
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
#include "pipeline/pace.h"
#include "pipeline/stage.h"
#include "pipeline/stage_clock.h"
#include "pipeline/trouble.h"
#include "store/spool.h"
#include "telemetry/metrics.h"

namespace headwater {

class Scoring final : private Outputs {
 public:
  // What a changed config replaces while rows flow.
  struct Steps {
    std::vector<std::unique_ptr<Stage>> stages;
    // One per stage: place, kind and a hash of its options, "2.decide.9f…". State is kept under it;
    // where only the hash differs, the new stage is offered the state of the old one.
    std::vector<std::string> stage_keys;
    std::string score_column = "score";
    std::string model_digest;
    std::uint64_t revision = 0;  // of the config
    std::size_t max_waiting_bytes = 32U << 20;
    Nanos objective{};    // from arrival to the decision's commit; 0: none
    double weight = 1;    // of the worker's CPU time, against its other pipelines
    CostLine start_cost;  // of a step, as far as it was measured when the steps were made
    Nanos checkpoint_every = std::chrono::seconds(30);
  };
  struct Parts {
    // "<pipeline>/<worker>": prefix of its state, and with "decided/" in front its cursor.
    std::string name;
    std::string pipeline;      // as in the config
    std::uint16_t stream = 0;  // number of that name: alerts and decisions carry it
    Steps steps;
    Spool* spool = nullptr;
    std::size_t max_waiting_rows = 65'536;
    std::size_t replay_rows = 1024;  // rows of a batch that is read back
    // The JSON of an offline alert; without it there are none.
    std::function<std::string(const Row& row, std::string_view alert_id)> offline_json;
    // Seconds from a reading's arrival to its decision; shared by the workers of a pipeline.
    telemetry::Histogram* latency = nullptr;
    // Rows of the batches that went through the steps; shared likewise; may be null.
    telemetry::Histogram* batch_rows = nullptr;
  };
  // Told about decided batches: `alerts` are not committed yet. Alerts of timers come with an empty
  // batch.
  using Observer = std::function<void(const Batch& batch, std::span<const Alert> alerts)>;

  explicit Scoring(Parts parts);

  // Streams whose rows this pipeline scores, and how to decode them when they are read back.
  void add_stream(std::uint16_t stream, Decode& decode) { decoders_[stream] = &decode; }
  // The same for a stream without a source, such as that of a worker there is no more.
  void add_stream(std::uint16_t stream, std::unique_ptr<Decode> decode);
  // Reads cursors and state; from then on step() replays. A stage whose state cannot be read begins
  // anew: that is trouble, not an error.
  Status restore();
  // Between two batches: from the next one on these steps decide. Each gets the state of the step
  // in the same place if that is of the same kind and the state fits it; else it begins anew. The
  // state is written at once, so that a restart with the new config goes on from here. Gives back
  // the old steps: freeing a model takes time that the worker does not have.
  Steps replace(Steps steps);
  void observe(Observer observer) { observers_.push_back(std::move(observer)); }

  // Appended rows of one stream, with sequences. Takes the batch, or lets it go when too much
  // waits.
  void enqueue(Batch batch, std::uint16_t stream, BatchPool& pool);

  // Between these, rows of ours are in the spool that enqueue() has yet to bring: no cursor passes
  // them by.
  void hold();
  void release();

  // Scores one batch (waiting or read back). Returns true if there is more to do now.
  bool step(BatchPool& pool);

  void tick(WallTime now);

  // Everything up to `upto` is durable: how old decisions were by then.
  void on_commit(Ticket upto);

  // Nothing waits: not in memory, not behind, not for its commit.
  bool idle() const;
  // Writes the state of the stages now, or as soon as the spool takes the decisions before it.
  void checkpoint();

  const ScoringCounts& counts() const { return counts_; }
  // CPU time by stage, measured by the clock of its worker.
  void measure(StageClock& clock) { timer_.use(clock); }
  const StageTimes& times() const { return timer_.times(); }
  const telemetry::Histogram& latency() const { return *parts_.latency; }
  const std::string& name() const { return parts_.name; }
  const std::string& pipeline() const { return parts_.pipeline; }
  double weight() const { return parts_.steps.weight; }
  // Readings with a lower sequence were stored by an earlier process.
  std::uint64_t first_own() const { return first_own_; }
  // Where steps leave scores. The worker's thread.
  const std::string& score_column() const { return parts_.steps.score_column; }
  std::uint16_t stream() const { return parts_.stream; }
  // What went wrong with the last batch, checkpoint or commit. Any thread.
  std::string trouble() const;

 private:
  Status emit(Batch batch) override;
  void alert(Alert alert) override { alerts_.push_back(std::move(alert)); }

  bool behind() const { return behind_from_ != 0; }
  bool blocked() const { return !outbox_.empty(); }
  bool read_back(Batch& batch, std::uint16_t& stream);
  void add_stored(Batch& batch);
  Result<bool> next_stored();
  void run(Batch batch, std::uint16_t stream, BatchPool& pool);
  void run_waiting(BatchPool& pool);
  void decode_again(Batch& batch, std::uint16_t stream);
  void measure(std::size_t rows, Nanos took);
  void expect_commit(MonoTime arrived, bool replayed);
  void judge_objective();
  bool run_stages();
  void name_stages();
  std::vector<Alert> departures(const Batch& batch, std::span<const std::uint32_t> rows) const;
  void record(const Batch& batch, std::uint16_t stream);
  void record_rows(const Batch& batch, std::uint16_t stream, std::size_t begin, std::size_t end);
  void append_alert(const Alert& alert, const Batch& batch);
  void append_decisions(std::uint16_t stream, std::size_t begin, std::size_t end);
  void hand_over();
  bool empty_outbox();
  void save_state();
  void complain(std::string_view text);
  std::string cursor_name() const { return "decided/" + parts_.name; }
  std::string checkpoint_name() const { return "checkpoint/" + parts_.name; }
  std::string state_prefix() const { return "stage/" + parts_.name + "/"; }
  std::string state_prefix(std::size_t stage) const;
  Status restore_stage(std::size_t stage);
  void find_stale_state();
  void keep_rows(bool keep);
  void pass_rows_of_others();

  Parts parts_;
  std::map<std::uint16_t, Decode*> decoders_;
  std::vector<std::unique_ptr<Decode>> own_decoders_;
  std::vector<Observer> observers_;
  ScoringCounts counts_;
  StageTimer timer_;
  std::vector<CpuStage> cpu_stages_;  // one per step

  struct Waiting {
    Batch batch;
    std::uint16_t stream = 0;
    std::size_t rows = 0;   // that wait yet
    std::size_t taken = 0;  // of its selection, before them
    std::size_t bytes = 0;
  };
  std::deque<Waiting> waiting_;
  std::size_t waiting_rows_ = 0;
  std::size_t waiting_bytes_ = 0;

  std::uint64_t decided_ = 0;  // sequence of the last row with a decision
  std::uint64_t through_ = 0;  // of the last row that the stages' state has seen
  std::uint64_t first_own_ = 1;
  std::uint64_t last_appended_ = 0;  // of the last row enqueue() saw
  std::uint64_t behind_from_ = 0;    // first sequence to read back; 0: not behind
  std::unique_ptr<SpoolReader> reader_;
  bool held_ = false;  // reader_->row() is a row that the next batch begins with

  // What the stages made of the current batch.
  Batch done_;
  std::size_t emitted_ = 0;
  bool ticking_ = false;
  std::vector<Alert> alerts_;
  std::vector<std::size_t> alert_at_;     // which of sequences_ each is about
  std::vector<std::uint64_t> sequences_;  // of the rows that were appended
  std::vector<double> scores_;            // one per sequence; NaN: none
  std::vector<std::uint8_t> alerted_;     // one per sequence
  bool has_scores_ = false;

  Transaction transaction_;         // the frame that is being built
  std::deque<Transaction> outbox_;  // frames that the spool has not taken, in order
  Ticket last_ticket_ = 0;

  Pace pace_;
  // Decisions whose commit is not known yet, a step each.
  struct Decided {
    Ticket ticket = 0;  // 0: not submitted yet
    MonoTime arrived;
    MonoTime at;
    std::uint64_t rows = 0;
    bool late = false;  // whatever the age: they were let go from memory on their way
  };
  std::deque<Decided> undurable_;
  bool told_out_of_reach_ = false;
  std::size_t holds_ = 0;
  bool checkpoint_due_ = false;
  MonoTime step_began_{};  // with what it takes to read, copy and decode rows again
  MonoTime last_checkpoint_;
  std::uint64_t saved_through_ = 0;       // through_ of the last state handed over
  std::size_t run_bytes_ = 0;             // of payloads, since then
  std::vector<std::string> stale_state_;  // keys of stages that are no more
  bool complained_ = false;               // since the last step began
  Trouble trouble_;
  Trouble state_trouble_;
  Trouble objective_trouble_;
};

}  // namespace headwater
