#include "pipeline/intake.h"

#include <sys/random.h>

#include <algorithm>

#include "pipeline/scoring.h"
#include "pipeline/state.h"

namespace headwater {
namespace {

// Takes what a stage of the intake emits: intake filters see no alerts.
class Collect final : public Outputs {
 public:
  explicit Collect(Batch& into) : into_(into) {}
  Status emit(Batch batch) override {
    into_ = std::move(batch);
    return {};
  }
  void alert(Alert) override {}

 private:
  Batch& into_;
};

std::uint64_t random_nonce() {
  std::uint64_t nonce = 0;
  HW_CHECK(getrandom(&nonce, sizeof nonce, 0) == sizeof nonce,
           "reading identities of two processes must not meet");
  return nonce;
}

}  // namespace

Intake::Intake(Parts parts) : parts_(std::move(parts)), process_nonce_(random_nonce()) {
  checkpointed_ = dynamic_cast<Checkpointed*>(parts_.source.get());
}

Status Intake::start(io::Loop& loop) {
  HW_TRY(parts_.decode->restore(SpoolState(*parts_.spool, "decode/" + parts_.name + "/")));
  if (checkpointed_ != nullptr) {
    HW_TRY(checkpointed_->restore(SpoolState(*parts_.spool, "source/" + parts_.name + "/")));
  }
  return parts_.source->start(loop);
}

bool Intake::pump(BatchPool& pool) {
  if (ended_ || (blocked_ && !submit(pool)) || stopping_) {
    idle_.clear();
    if (!ended_) {
      (void)parts_.source->take(0, idle_);
    }
    return false;
  }
  batch_ = pool.take();
  Result<More> more = parts_.source->take(parts_.room, batch_);
  if (!more) {
    trouble_ = more.error().text();
  } else if (!trouble_.empty() && batch_.rows() != 0) {
    trouble_.clear();
  }
  ended_ = more && *more == More::kEnd;
  treat(batch_);
  submit(pool);
  return more && *more == More::kYes && !blocked_;
}

void Intake::treat(Batch& batch) {
  const std::size_t rows = batch.rows();
  next_ = Pending{};
  next_.rows = rows;
  counts_.taken.add(rows);
  counts_.in_flight.add(rows);
  if (rows == 0) {
    build(batch);  // sessions may have changed without a row
    return;
  }
  note_frontier(batch);
  std::uint64_t bytes = 0;
  for (Row& row : batch.all_rows()) {
    bytes += row.payload.size();
    if (row.identity == Id128{}) {
      row.identity = {process_nonce_ + parts_.stream, next_arrival_++};
    }
  }
  counts_.bytes.add(bytes);
  failed_.clear();
  std::uint64_t unfit = 0;
  if (Status decoded = parts_.decode->decode(batch, failed_, unfit); !decoded) {
    trouble_ = decoded.error().text();
    failed_.clear();
    for (std::uint32_t row = 0; row < rows; ++row) {
      batch.row(row).flags |= kRowUndecoded;
      failed_.push_back({row, decoded.error().text()});
    }
  }
  counts_.values_unfit.add(unfit);
  drop_undecoded(batch);
  if (Status filtered = filter(batch); !filtered) {
    // A filter that fails drops nothing: rather store too much than lose a reading.
    trouble_ = filtered.error().text();
  }
  drop_repeats(batch);
  build(batch);
}

void Intake::note_frontier(const Batch& batch) {
  for (const Row& row : batch.all_rows()) {
    if (next_.upto.empty() || next_.upto.back().first != row.partition) {
      next_.upto.emplace_back(row.partition, row.position);
    } else {
      next_.upto.back().second = row.position;
    }
  }
}

void Intake::drop_undecoded(Batch& batch) {
  if (failed_.empty()) {
    return;
  }
  flags_.assign(batch.rows(), 1);
  for (const Undecoded& failure : failed_) {
    flags_[failure.row] = 0;
  }
  batch.keep(flags_);
}

Status Intake::filter(Batch& batch) {
  Collect collect(batch);
  for (const std::unique_ptr<Stage>& stage : parts_.filters) {
    const std::size_t before = batch.selected();
    HW_TRY(stage->process(std::move(batch), collect));
    counts_.filtered.add(before - batch.selected());
    counts_.in_flight.set(counts_.in_flight.get() - (before - batch.selected()));
  }
  return {};
}

void Intake::drop_repeats(Batch& batch) {
  std::uint64_t repeats = 0;
  for (const std::uint32_t index : batch.selection()) {
    Row& row = batch.row(index);
    if ((row.flags & kRowDeclaredId) != 0 && !dedupe_.insert(row.identity)) {
      row.flags |= kRowDuplicate;
      ++repeats;
    }
  }
  if (repeats == 0) {
    return;
  }
  flags_.assign(batch.rows(), 1);
  for (std::size_t row = 0; row < batch.rows(); ++row) {
    flags_[row] = (batch.row(row).flags & kRowDuplicate) == 0 ? 1 : 0;
  }
  batch.keep(flags_);
  counts_.duplicate.add(repeats);
  counts_.in_flight.set(counts_.in_flight.get() - repeats);
}

void Intake::build(const Batch& batch) {
  for (const std::uint32_t index : batch.selection()) {
    const Row& row = batch.row(index);
    transaction_.append(Lane::kReadings, parts_.stream,
                        {.device = row.device,
                         .topic = row.topic,
                         .sender = row.sender,
                         .payload = row.payload,
                         .time = row.time,
                         .received = row.received,
                         .flags = row.flags,
                         .identity = row.identity,
                         .partition = row.partition,
                         .position = row.position});
  }
  next_.stored = batch.selected();
  for (const Undecoded& failure : failed_) {
    const Row& row = batch.row(failure.row);
    transaction_.append(Lane::kDeadLetter, parts_.stream,
                        {.device = row.device,
                         .topic = row.topic,
                         .sender = row.sender,
                         .payload = row.payload,
                         .time = row.received,
                         .received = row.received,
                         .flags = row.flags,
                         .identity = row.identity,
                         .partition = row.partition,
                         .position = row.position,
                         .note = failure.reason});
  }
  next_.dead_letter = failed_.size();
  failed_.clear();
  if (parts_.decode->changed()) {
    TransactionState state(transaction_, "decode/" + parts_.name + "/");
    parts_.decode->save(state);
  }
  if (checkpointed_ != nullptr) {
    TransactionState state(transaction_, "source/" + parts_.name + "/");
    checkpointed_->save(state, next_.upto);
  }
}

bool Intake::submit(BatchPool& pool) {
  if (!transaction_.empty()) {
    Result<Submitted> submitted = parts_.spool->submit(transaction_);
    if (!submitted) {
      if (!blocked_) {
        blocked_ = true;
        trouble_ = submitted.error().text();
        parts_.source->pause(true);
      }
      return false;
    }
    last_ticket_ = submitted->ticket;
    std::uint64_t sequence =
        submitted->first_sequence[index_of(Lane::kReadings)];
    for (const std::uint32_t index : batch_.selection()) {
      batch_.row(index).sequence = sequence++;
    }
  }
  if (blocked_) {
    blocked_ = false;
    trouble_.clear();
    parts_.source->pause(stopping_);
  }
  if (!next_.upto.empty()) {
    next_.ticket = last_ticket_;
    pending_.push_back(std::move(next_));
    next_ = Pending{};
  }
  if (batch_.selected() != 0) {
    parts_.scoring->enqueue(std::move(batch_), parts_.stream, pool);
  } else {
    pool.give(std::move(batch_));
  }
  batch_ = Batch();
  if (pending_.empty()) {
    return true;
  }
  // Rows that left nothing to commit wait only for what was taken before them.
  on_commit(parts_.spool->committed());
  return true;
}

void Intake::on_commit(Ticket upto) {
  while (!pending_.empty() && pending_.front().ticket <= upto) {
    const Pending& done = pending_.front();
    counts_.stored.add(done.stored);
    counts_.dead_letter.add(done.dead_letter);
    counts_.in_flight.set(counts_.in_flight.get() - done.stored - done.dead_letter);
    counts_.acknowledged.add(done.rows);
    for (const auto& [partition, position] : done.upto) {
      if (Status told = parts_.source->acknowledge(partition, position); !told) {
        trouble_ = told.error().text();
      }
    }
    pending_.pop_front();
  }
}

void Intake::stop_taking() {
  stopping_ = true;
  parts_.source->pause(true);
}

void Intake::close() { parts_.source->close(); }

std::uint64_t Intake::refused() const {
  const auto* refusing = dynamic_cast<const Refusing*>(parts_.source.get());
  return refusing == nullptr ? 0 : refusing->refused();
}

}  // namespace headwater
