#include "pipeline/intake.h"

#include <sys/random.h>

#include <algorithm>

#include "base/planted.h"
#include "pipeline/departures.h"
#include "pipeline/scoring.h"
#include "pipeline/state.h"

namespace headwater {
namespace {

// What a row takes in a frame beside its texts, at most.
constexpr std::size_t kRowSlack = 64;

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

std::size_t frame_bytes(const Row& row) {
  return row.payload.size() + row.topic.size() + row.sender.size() + row.device.size() + kRowSlack;
}

StoredRow stored_row(const Row& row) {
  return {.device = row.device,
          .topic = row.topic,
          .sender = row.sender,
          .payload = row.payload,
          .time = row.time,
          .received = row.received,
          .flags = row.flags,
          .identity = row.identity,
          .partition = row.partition,
          .position = row.position};
}

}  // namespace

Intake::Intake(Parts parts)
    : parts_(std::move(parts)),
      thinning_(parts_.thin, parts_.name),
      process_nonce_(random_nonce()),
      trouble_("source", parts_.name) {
  checkpointed_ = dynamic_cast<Checkpointed*>(parts_.source.get());
  accounting_ = dynamic_cast<Accounting*>(parts_.source.get());
  declining_ = parts_.refuse ? dynamic_cast<Declining*>(parts_.source.get()) : nullptr;
}

void Intake::complain(std::string_view text) {
  complained_ = true;
  trouble_.set(text);
}

Status Intake::start(io::Loop& loop) {
  if (Status restored =
          parts_.decode->restore(SpoolState(*parts_.spool, "decode/" + parts_.name + "/"));
      !restored) {
    complain(restored.error().text());  // types are learned anew
  }
  if (checkpointed_ != nullptr) {
    HW_TRY(checkpointed_->restore(SpoolState(*parts_.spool, "source/" + parts_.name + "/")));
  }
  return parts_.source->start(loop);
}

bool Intake::pump(BatchPool& pool) {
  timer_.enter(CpuStage::kTake);
  if ((blocked_ && !submit(pool)) || ended_ || stopping_) {
    idle_.clear();
    if (ended_) {
      return false;
    }
    if (const Result<More> more = parts_.source->take(0, idle_); !more) {
      counts_.errors.add(1);
      complain(more.error().text());
    }
    return false;
  }
  complained_ = false;
  batch_ = pool.take();
  const std::size_t room = std::max<std::size_t>(1, parts_.room / readings_a_message_);
  const Result<More> more = parts_.source->take(room, batch_);
  if (!more) {
    counts_.errors.add(1);
    complain(more.error().text());
  }
  ended_ = more && *more == More::kEnd;
  treat(batch_);
  submit(pool);
  if (!complained_) {
    clear_trouble();
  }
  return more && *more == More::kYes && !blocked_;
}

// While rows are refused that is the trouble, also between two of them.
void Intake::clear_trouble() {
  refusing_ = refusing_ && !parts_.spool->takes_rows();
  if (!refusing_) {
    trouble_.clear();
  }
}

void Intake::treat(Batch& batch) {
  const std::size_t messages = batch.rows();
  parts_.decode->unpack(batch);
  const std::size_t rows = batch.rows();
  readings_a_message_ = messages == 0 ? readings_a_message_ : (rows + messages - 1) / messages;
  next_ = Pending{};
  next_.rows = rows;
  failed_.clear();
  counts_.taken.add(rows);
  counts_.in_flight.add(rows);
  if (rows != 0) {
    timer_.enter(CpuStage::kDecode);
    note_frontier(batch);
    name_rows(batch);
    std::vector<std::uint32_t> gone = set_departures_aside(batch);
    decode(batch);
    fail_large_rows(batch);
    drop_undecoded(batch);
    timer_.enter(CpuStage::kFilter);
    filter(batch);
    timer_.enter(CpuStage::kStore);
    drop_repeats(batch);
    thin(batch);
    std::erase_if(gone, [&](std::uint32_t row) {
      return (batch.row(row).flags & kRowUndecoded) != 0;  // too large
    });
    take_departures_back(batch, gone);
    tell_fates(batch);
  }
  build(batch);  // without a row too: sessions may have changed
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

// A row without a durable identity gets one that no other row has.
void Intake::name_rows(Batch& batch) {
  std::uint64_t bytes = 0;
  for (Row& row : batch.all_rows()) {
    bytes += row.payload.size();
    if (row.identity == Id128{}) {
      row.identity = {process_nonce_ + parts_.stream, next_arrival_++};
    }
  }
  counts_.bytes.add(bytes);
}

void Intake::decode(Batch& batch) {
  std::uint64_t unfit = 0;
  for (std::uint32_t row = 0; row < batch.rows(); ++row) {
    if ((batch.row(row).flags & kRowUndecoded) != 0) {
      failed_.push_back({row, std::string(batch.row(row).note)});
    }
  }
  if (Status decoded = parts_.decode->decode(batch, failed_, unfit); !decoded) {
    complain(decoded.error().text());
    failed_.clear();
    for (const std::uint32_t row : batch.selection()) {
      batch.row(row).flags |= kRowUndecoded;
      failed_.push_back({row, decoded.error().text()});
    }
  }
  counts_.values_unfit.add(unfit);
}

// A quarter of the largest frame, so that an alert about the row, which repeats it, fits as well.
void Intake::fail_large_rows(Batch& batch) {
  const std::size_t limit = parts_.spool->max_transaction_bytes() / 4;
  for (std::uint32_t index = 0; index < batch.rows(); ++index) {
    Row& row = batch.row(index);
    if (frame_bytes(row) > limit && (row.flags & kRowUndecoded) == 0) {
      row.flags |= kRowUndecoded;
      failed_.push_back({index, fmt::format("{} bytes, the store takes rows up to {}: make "
                                            "store.segment larger",
                                            frame_bytes(row), limit)});
    }
  }
}

void Intake::drop_undecoded(Batch& batch) {
  if (failed_.empty()) {
    return;
  }
  flags_.assign(batch.rows(), 1);
  std::erase_if(failed_, [&](const Undecoded& failure) {
    return std::exchange(flags_[failure.row], std::uint8_t{0}) == 0;  // told once
  });
  batch.keep(flags_);
}

void Intake::filter(Batch& batch) {
  const std::size_t rows = batch.rows();
  Collect collect(batch);
  for (const std::unique_ptr<Stage>& stage : parts_.filters) {
    const std::size_t before = batch.selected();
    if (Status filtered = stage->process(std::move(batch), collect); !filtered) {
      complain(filtered.error().text());  // rather store too much than lose a reading
    }
    HW_CHECK(batch.rows() == rows && batch.selected() <= before,
             "a filter hands on the batch it got: its readings are stored nowhere yet");
    counts_.filtered.add(before - batch.selected());
    counts_.in_flight.set(counts_.in_flight.get() - (before - batch.selected()));
  }
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
  next_.duplicate = repeats;
}

void Intake::thin(Batch& batch) {
  if (!thinning_.update(parts_.spool->fill())) {
    return;
  }
  flags_.assign(batch.rows(), 1);
  for (const std::uint32_t index : batch.selection()) {
    Row& row = batch.row(index);
    if (!thinning_.keeps(row.device)) {
      row.flags |= kRowThinned;
      flags_[index] = 0;
      ++next_.thinned;
    }
  }
  batch.keep(flags_);
}

void Intake::tell_fates(const Batch& batch) const {
  if (accounting_ == nullptr) {
    return;
  }
  const std::span<const std::uint32_t> kept = batch.selection();
  std::size_t next = 0;
  for (std::size_t index = 0; index < batch.rows(); ++index) {
    const Row& row = batch.row(index);
    Fate fate = Fate::kFiltered;
    if (next < kept.size() && kept[next] == index) {
      ++next;
      fate = Fate::kStored;
    } else if ((row.flags & kRowUndecoded) != 0) {
      fate = Fate::kDeadLetter;
    } else if ((row.flags & kRowDuplicate) != 0) {
      fate = Fate::kDuplicate;
    } else if ((row.flags & kRowThinned) != 0) {
      fate = Fate::kThinned;
    }
    accounting_->became(row.partition, row.position, fate);
  }
}

Intake::Frame& Intake::next_frame(std::size_t begin) {
  if (frames_used_ == frames_.size()) {
    frames_.emplace_back();
  }
  Frame& frame = frames_[frames_used_++];
  frame.transaction.clear();
  frame.transaction.leave_room();
  frame.begin = begin;
  frame.end = begin;
  frame.letters_begin = next_.dead_letter;
  return frame;
}

void Intake::build(const Batch& batch) {
  // Half of what a frame may have; states need the rest.
  const std::size_t limit = parts_.spool->max_transaction_bytes() / 2;
  frames_used_ = 0;
  sent_ = 0;
  next_frame(0);
  const std::span<const std::uint32_t> selection = batch.selection();
  for (std::size_t i = 0; i < selection.size(); ++i) {
    const Row& row = batch.row(selection[i]);
    Frame* frame = &frames_[frames_used_ - 1];
    if (frame->transaction.bytes() + frame_bytes(row) > limit) {
      frame = &next_frame(i);
    }
    frame->transaction.append(Lane::kReadings, parts_.stream, stored_row(row));
    frame->end = i + 1;
  }
  next_.stored = selection.size();
  for (const Undecoded& failure : failed_) {
    append_dead_letter(batch.row(failure.row), failure.reason);
    ++next_.dead_letter;
  }
  Transaction& last = frames_[frames_used_ - 1].transaction;
  const WallTime now = io::wall_now();
  last.skip(Lane::kReadings, next_.thinned, now, now);
  if (parts_.decode->changed()) {
    TransactionState state(last, "decode/" + parts_.name + "/");
    parts_.decode->save(state);
  }
  if (checkpointed_ != nullptr) {
    TransactionState state(last, "source/" + parts_.name + "/");
    checkpointed_->save(state, next_.upto);
  }
}

void Intake::append_dead_letter(const Row& row, std::string_view reason) {
  const std::size_t most = parts_.spool->max_transaction_bytes();
  StoredRow letter = stored_row(row);
  letter.payload = row.payload.substr(0, most / 8);
  letter.topic = row.topic.substr(0, most / 32);
  letter.sender = row.sender.substr(0, most / 32);
  letter.device = row.device.substr(0, most / 32);
  letter.note = reason.substr(0, most / 32);
  letter.time = row.received;
  Frame* frame = &frames_[frames_used_ - 1];
  const std::size_t bytes = letter.payload.size() + letter.topic.size() + letter.sender.size() +
                            letter.device.size() + letter.note.size() + kRowSlack;
  if (frame->transaction.bytes() + bytes > most / 2) {
    frame = &next_frame(frame->end);
  }
  frame->transaction.append(Lane::kDeadLetter, parts_.stream, letter);
}

// Only what is full, not a queue that is long for the moment or a disk that fails: those mend
// themselves, or nobody knows yet.
bool Intake::may_refuse(const Frame& frame, const Error& error) const {
  if (declining_ == nullptr || !frame.transaction.takes_sequences() ||
      error.code() != Code::kExhausted) {
    return false;
  }
  const Status takes = parts_.spool->takes_rows();
  return !takes && takes.error().code() == Code::kExhausted;
}

// What of the batch is not submitted is not stored: its senders hear no. Repeats and thinned rows
// do too: what they repeat may be one of the refused, and the record of the others is in the last
// frame. What is left are the states.
void Intake::refuse_rest() {
  refusing_ = true;
  const Frame& first = frames_[sent_];
  const std::span<const std::uint32_t> selection = batch_.selection();
  const std::size_t readings = selection.size() - first.begin;
  const std::size_t letters = failed_.size() - first.letters_begin;
  flags_.assign(batch_.rows(), 0);  // 1: refused
  for (const std::uint32_t index : selection.subspan(first.begin)) {
    flags_[index] = 1;
  }
  for (std::size_t i = first.letters_begin; i < failed_.size(); ++i) {
    flags_[failed_[i].row] = 1;
  }
  for (std::size_t index = 0; index < batch_.rows(); ++index) {
    const Row& row = batch_.row(index);
    if ((row.flags & (kRowDuplicate | kRowThinned)) != 0) {
      flags_[index] = 1;
    }
  }
  for (std::size_t index = batch_.rows(); index-- > 0;) {
    const Row& row = batch_.row(index);
    if (flags_[index] != 0 && (row.flags & kRowDeclaredId) != 0 &&
        (row.flags & kRowDuplicate) == 0) {
      dedupe_.take_back(row.identity);
    }
  }
  const std::uint64_t refused = readings + letters + next_.duplicate + next_.thinned;
  counts_.refused.add(refused);
  counts_.in_flight.set(counts_.in_flight.get() - refused);
  next_.rows -= refused;
  next_.stored -= readings;
  next_.dead_letter -= letters;
  next_.duplicate = 0;
  next_.thinned = 0;

  std::swap(frames_[sent_].transaction, frames_[frames_used_ - 1].transaction);
  Frame& states = frames_[sent_];
  states.transaction.drop_rows();
  states.end = states.begin;
  frames_used_ = sent_ + 1;
  tell_declined(batch_);
  if (checkpointed_ != nullptr) {
    TransactionState state(states.transaction, "source/" + parts_.name + "/");
    checkpointed_->save(state, next_.upto);
  }
  for (std::uint8_t& flag : flags_) {
    flag = flag == 0 ? 1 : 0;
  }
  batch_.keep(flags_);
}

// Positions that follow each other in one call.
void Intake::tell_declined(const Batch& batch) {
  Partition partition = 0;
  Position from = 0;
  Position upto = 0;
  const auto tell = [&] {
    if (from != 0) {
      declining_->decline(partition, from, upto);
    }
  };
  for (std::size_t index = 0; index < batch.rows(); ++index) {
    const Row& row = batch.row(index);
    if (flags_[index] == 0) {
      continue;
    }
    if (from == 0 || row.partition != partition || row.position > upto + 1) {
      tell();
      partition = row.partition;
      from = row.position;
    }
    upto = row.position;
  }
  tell();
}

bool Intake::submit(BatchPool& pool) {
  while (sent_ < frames_used_) {
    Frame& frame = frames_[sent_];
    if (frame.transaction.empty()) {
      ++sent_;
      continue;
    }
    const bool rows = frame.transaction.takes_sequences();
    const Result<Submitted> submitted = parts_.spool->submit(frame.transaction);
    if (!submitted) {
      complain(submitted.error().text());
      if (may_refuse(frame, submitted.error())) {
        refuse_rest();
        continue;
      }
      if (!blocked_) {
        blocked_ = true;
        parts_.source->pause(true);
      }
      if (sent_ > 0 && !held_) {
        held_ = true;
        parts_.scoring->hold();
      }
      return false;
    }
    last_ticket_ = submitted->ticket;
    std::uint64_t sequence = submitted->first_sequence[index_of(Lane::kReadings)];
    for (std::size_t i = frame.begin; i < frame.end; ++i) {
      batch_.row(batch_.selection()[i]).sequence = sequence++;
    }
    refusing_ = refusing_ && !rows;
    ++sent_;
  }
  if (std::exchange(held_, false)) {
    parts_.scoring->release();
  }
  if (blocked_) {
    blocked_ = false;
    clear_trouble();
    parts_.source->pause(stopping_);
  }
  counts_.duplicate.add(next_.duplicate);
  counts_.in_flight.set(counts_.in_flight.get() - next_.duplicate);
  next_.duplicate = 0;
  failed_.clear();
  if (!next_.upto.empty()) {
    // Rows that left nothing to commit wait only for what was taken before them.
    next_.ticket = last_ticket_;
    if (parts_.acknowledge_on_receipt) {
      acknowledge(next_.upto);
    }
    pending_.push_back(std::move(next_));
    next_ = Pending{};
  }
  if (batch_.selected() != 0) {
    parts_.scoring->enqueue(std::move(batch_), parts_.stream, pool);
  } else {
    pool.give(std::move(batch_));
  }
  batch_ = Batch();
  frames_used_ = 0;
  sent_ = 0;
  if (frames_.size() > 1) {
    frames_.resize(1);  // the buffers of a rare large batch
  }
  if (!pending_.empty()) {
    on_commit(planted(Bug::kAcknowledgeAtSubmit) ? last_ticket_ : parts_.spool->committed());
  }
  return true;
}

void Intake::acknowledge(std::vector<std::pair<Partition, Position>>& upto) {
  for (const auto& [partition, position] : upto) {
    if (Status told = parts_.source->acknowledge(partition, position); !told) {
      complain(told.error().text());
    }
  }
  upto.clear();
}

void Intake::on_commit(Ticket upto) {
  timer_.enter(CpuStage::kAck);
  while (!pending_.empty() && pending_.front().ticket <= upto) {
    Pending& done = pending_.front();
    counts_.stored.add(done.stored);
    counts_.thinned.add(done.thinned);
    counts_.dead_letter.add(done.dead_letter);
    counts_.in_flight.set(counts_.in_flight.get() - done.stored - done.thinned - done.dead_letter);
    counts_.acknowledged.add(done.rows);
    acknowledge(done.upto);
    pending_.pop_front();
  }
}

void Intake::stop_taking() {
  stopping_ = true;
  parts_.source->pause(true);
}

void Intake::close() {
  parts_.source->close();
}

std::uint64_t Intake::refused_by_source() const {
  const auto* refusing = dynamic_cast<const Refusing*>(parts_.source.get());
  return refusing == nullptr ? 0 : refusing->refused();
}

}  // namespace headwater
