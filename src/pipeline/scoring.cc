#include "pipeline/scoring.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "io/loop.h"
#include "pipeline/state.h"

namespace headwater {

Scoring::Scoring(Parts parts) : parts_(std::move(parts)), last_checkpoint_(io::mono_now()) {
  HW_CHECK(parts_.latency != nullptr && parts_.spool != nullptr, "the owner gives both");
  HW_CHECK(parts_.stages.size() == parts_.stage_keys.size(), "one key per stage");
}

std::string Scoring::state_prefix(std::size_t stage) const {
  return "stage/" + parts_.name + "/" + parts_.stage_keys[stage] + "/";
}

Status Scoring::restore() {
  decided_ = parts_.spool->cursor(cursor_name(), Lane::kReadings, kAllStreams).value_or(0);
  const std::uint64_t checkpoint =
      parts_.spool->cursor(checkpoint_name(), Lane::kReadings, kAllStreams).value_or(0);
  for (std::size_t i = 0; i < parts_.stages.size(); ++i) {
    HW_TRY(parts_.stages[i]
               ->restore(SpoolState(*parts_.spool, state_prefix(i)))
               .with("restore the state of step '{}'", parts_.stage_keys[i]));
  }
  last_appended_ = parts_.spool->stats().lanes[index_of(Lane::kReadings)].next_sequence - 1;
  committed_ = parts_.spool->committed();
  const std::uint64_t from = std::min(decided_, checkpoint) + 1;
  if (from <= last_appended_) {
    behind_from_ = from;
  }
  return {};
}

void Scoring::enqueue(Batch batch, std::uint16_t stream, BatchPool& pool) {
  const std::span<const std::uint32_t> selection = batch.selection();
  const std::uint64_t first = batch.row(selection.front()).sequence;
  last_appended_ = batch.row(selection.back()).sequence;
  const std::size_t rows = selection.size();
  const std::size_t bytes = batch.arena().held();
  if (behind() || (waiting_rows_ != 0 && (waiting_rows_ + rows > parts_.max_waiting_rows ||
                                          waiting_bytes_ + bytes > parts_.max_waiting_bytes))) {
    if (!behind()) {
      behind_from_ = first;
    }
    pool.give(std::move(batch));
    return;
  }
  waiting_rows_ += rows;
  waiting_bytes_ += bytes;
  waiting_.push_back({std::move(batch), stream, rows, bytes});
  counts_.pending_rows.set(waiting_rows_);
}

bool Scoring::step(BatchPool& pool) {
  if (blocked_ && !submit()) {
    return false;
  }
  if (!waiting_.empty()) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_rows_ -= next.rows;
    waiting_bytes_ -= next.bytes;
    counts_.pending_rows.set(waiting_rows_);
    run(std::move(next.batch), next.stream, pool);
    return !waiting_.empty() || behind();
  }
  if (behind()) {
    Batch batch = pool.take();
    std::uint16_t stream = 0;
    if (!read_back(batch, stream)) {
      pool.give(std::move(batch));
      return false;  // the next commit makes more readable
    }
    run(std::move(batch), stream, pool);
    return true;
  }
  return false;
}

// True: reader_->row() is the next stored row. Gaps are passed by: they are told by the spool's own records.
Result<bool> Scoring::next_stored() {
  if (held_) {
    return true;
  }
  for (;;) {
    switch (HW_TRY(reader_->next())) {
      case ReadItem::kEnd:
        return false;
      case ReadItem::kRow:
        held_ = true;
        return true;
      case ReadItem::kGap:
        behind_from_ = std::max(behind_from_, reader_->gap().last + 1);
        break;
      case ReadItem::kDecisions:
        break;
    }
  }
}

// Fills `batch` with the next stored rows of one stream. False: nothing is readable now.
bool Scoring::read_back(Batch& batch, std::uint16_t& stream) {
  if (reader_ == nullptr) {
    reader_ = parts_.spool->read(Lane::kReadings, behind_from_);
    held_ = false;
  }
  std::uint64_t last = 0;
  while (batch.rows() < parts_.replay_rows) {
    const Result<bool> found = next_stored();
    if (!found) {
      trouble_ = found.error().text();
      break;
    }
    if (!*found) {
      break;
    }
    const ReadRow& stored = reader_->row();
    // Rows up to `decided` only rebuild state; a batch lies on one side of that line.
    const bool crosses = last != 0 && (last <= decided_) != (stored.sequence <= decided_);
    // Decisions name rows by first sequence and count, so a batch has no gap either.
    const bool gap = last != 0 && stored.sequence != last + 1;
    if (batch.rows() != 0 && (stored.stream != stream || crosses || gap)) {
      break;
    }
    last = stored.sequence;
    held_ = false;
    behind_from_ = last + 1;
    if (!decoders_.contains(stored.stream)) {
      continue;  // another pipeline's
    }
    stream = stored.stream;
    Arena& arena = batch.arena();
    Row row;
    row.payload = arena.copy(stored.row.payload);
    row.topic = arena.copy(stored.row.topic);
    row.sender = arena.copy(stored.row.sender);
    row.device = arena.copy(stored.row.device);
    row.time = stored.row.time;
    row.received = stored.row.received;
    row.arrived = io::mono_now();
    row.identity = stored.row.identity;
    row.position = stored.row.position;
    row.partition = stored.row.partition;
    row.sequence = stored.sequence;
    row.flags = stored.row.flags | kRowReplayed;
    batch.add_row(row);
  }
  counts_.behind_rows.set(last_appended_ >= behind_from_ ? last_appended_ - behind_from_ + 1 : 0);
  if (behind_from_ > last_appended_) {  // caught up: new rows come through memory again
    behind_from_ = 0;
    reader_.reset();
  }
  if (batch.rows() == 0) {
    return false;
  }
  std::vector<Undecoded> failed;
  std::uint64_t unfit = 0;
  if (Status decoded = decoders_[stream]->decode(batch, failed, unfit); !decoded) {
    trouble_ = decoded.error().text();
  }
  return true;
}

void Scoring::run(Batch batch, std::uint16_t stream, BatchPool& pool) {
  const std::size_t rows = batch.rows();
  const bool replayed = (batch.row(batch.selection().front()).flags & kRowReplayed) != 0;
  alerts_.clear();
  // The rows that were appended, before any stage narrows the selection.
  sequences_.clear();
  for (const std::uint32_t row : batch.selection()) {
    sequences_.push_back(batch.row(row).sequence);
  }
  done_ = std::move(batch);
  for (std::size_t i = 0; i < parts_.stages.size(); ++i) {
    emitted_ = false;
    Status treated = parts_.stages[i]->process(std::move(done_), *this);
    if (!treated) {
      counts_.failed.add(1);
      trouble_ = treated.error().text();
    }
    HW_CHECK(emitted_ && done_.rows() == rows, "a stage hands on the batch it got, exactly once");
  }
  if (sequences_.back() > decided_) {
    record(done_, stream);
    for (const Observer& observer : observers_) {
      observer(done_, alerts_);
    }
  }
  counts_.rows.add(sequences_.size());
  if (replayed) {
    counts_.replayed.add(sequences_.size());
  }
  pool.give(std::move(done_));
  done_ = Batch();
}

Status Scoring::emit(Batch batch) {
  done_ = std::move(batch);
  emitted_ = true;
  return {};
}

void Scoring::record(const Batch& batch, std::uint16_t stream) {
  const Column* score = batch.find(parts_.score_column);
  scores_.assign(sequences_.size(), std::numeric_limits<double>::quiet_NaN());
  alerted_.assign(sequences_.size(), 0);
  const auto index_of = [&](std::uint64_t sequence) {
    return static_cast<std::size_t>(sequence - sequences_.front());
  };
  std::uint64_t scored = 0;
  const MonoTime now = io::mono_now();
  for (const std::uint32_t row : batch.selection()) {
    if (score != nullptr && score->valid(row)) {
      scores_[index_of(batch.row(row).sequence)] = score->as_double(row);
      ++scored;
    }
    parts_.latency->record(static_cast<double>((now - batch.row(row).arrived).count()) * 1e-9);
  }
  for (const Alert& alert : alerts_) {
    const Row& row = batch.row(alert.row);
    if (row.sequence != 0) {
      alerted_[index_of(row.sequence)] = 1;
    }
    transaction_.append(Lane::kAlerts, parts_.stream,
                        {.device = alert.device,
                         .topic = row.topic,
                         .sender = {},
                         .payload = alert.json,
                         .time = alert.time,
                         .received = row.received,
                         .flags = 0,
                         .identity = alert.identity,
                         .partition = row.partition,
                         .position = row.position,
                         .note = alert.event});
    (alert.event == "cleared" ? counts_.cleared : counts_.alerts).add(1);
  }
  counts_.scored.add(scored);
  counts_.unscored.add(sequences_.size() - scored);
  Decisions decisions;
  decisions.pipeline = parts_.pipeline;
  decisions.lane = Lane::kReadings;
  decisions.stream = stream;
  decisions.first = sequences_.front();
  decisions.count = static_cast<std::uint32_t>(sequences_.size());
  decisions.model_digest = parts_.model_digest;
  decisions.revision = parts_.revision;
  if (score != nullptr) {
    decisions.scores = scores_;
  }
  if (!alerts_.empty()) {
    decisions.alerted = alerted_;
  }
  transaction_.decide(decisions);
  decided_ = sequences_.back();
  transaction_.cursor(cursor_name(), Lane::kReadings, kAllStreams, decided_);
  if (checkpoint_due_ || io::mono_now() - last_checkpoint_ >= parts_.checkpoint_every) {
    save_state();
  }
  submit();
}

void Scoring::save_state() {
  checkpoint_due_ = false;
  last_checkpoint_ = io::mono_now();
  for (std::size_t i = 0; i < parts_.stages.size(); ++i) {
    TransactionState state(transaction_, state_prefix(i));
    parts_.stages[i]->save(state);
  }
  transaction_.cursor(checkpoint_name(), Lane::kReadings, kAllStreams, decided_);
}

bool Scoring::submit() {
  Result<Submitted> submitted = parts_.spool->submit(transaction_);
  blocked_ = !submitted;
  if (!submitted) {
    trouble_ = submitted.error().text();
    return false;
  }
  return true;
}

void Scoring::checkpoint() {
  if (blocked_) {
    checkpoint_due_ = true;
    return;
  }
  save_state();
  submit();
}

void Scoring::tick(WallTime now) {
  if (blocked_) {
    return;
  }
  for (const std::unique_ptr<Stage>& stage : parts_.stages) {
    if (Status ticked = stage->tick(now, *this); !ticked) {
      trouble_ = ticked.error().text();
    }
  }
}

}  // namespace headwater
