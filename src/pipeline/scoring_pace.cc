// How a pipeline keeps to its latency objective: how many rows a step takes, and what became of it.
#include <algorithm>
#include <utility>

#include "io/loop.h"
#include "pipeline/scoring.h"

namespace headwater {

// As many rows of the first batch that waits as the objective allows.
void Scoring::run_waiting(BatchPool& pool) {
  Waiting& next = waiting_.front();
  const std::uint16_t stream = next.stream;
  const std::span<const std::uint32_t> selection = next.batch.selection().subspan(next.taken);
  const std::size_t most = pace_.rows(io::mono_now() - next.batch.row(selection.front()).arrived);
  // Parts of one size rather than a small one at the end.
  const std::size_t parts = (next.rows + most - 1) / most;
  const std::size_t rows = (next.rows + parts - 1) / parts;
  Batch batch;
  if (next.taken != 0 || rows != next.rows) {
    batch = pool.take();
    Arena& arena = batch.arena();
    for (const std::uint32_t index : selection.first(rows)) {
      Row row = next.batch.row(index);
      row.payload = arena.copy(row.payload);
      row.topic = arena.copy(row.topic);
      row.sender = arena.copy(row.sender);
      row.device = arena.copy(row.device);
      row.note = arena.copy(row.note);
      row.flags |= kRowReplayed;  // keeps device and time in the decoder's hands
      batch.add_row(row);
    }
    decode_again(batch, stream);
    for (Row& row : batch.all_rows()) {
      row.flags &= ~std::uint32_t{kRowReplayed};
    }
  }
  next.taken += rows;
  next.rows -= rows;
  waiting_rows_ -= rows;
  if (next.rows == 0) {
    if (batch.rows() == 0) {
      batch = std::move(next.batch);
    } else {
      pool.give(std::move(next.batch));
    }
    waiting_bytes_ -= next.bytes;
    waiting_.pop_front();
  }
  counts_.pending_rows.set(waiting_rows_);
  run(std::move(batch), stream, pool);
}

void Scoring::measure(std::size_t rows, Nanos took) {
  pace_.stepped(rows, took);
  if (pace_.objective() <= Nanos{0}) {
    return;
  }
  const auto whole = [](double ns) { return static_cast<std::uint64_t>(std::max(0.0, ns)); };
  const CostLearner& cost = pace_.cost();
  counts_.step_rows.set(pace_.steady_rows());
  counts_.step_fixed_ns.set(whole(cost.curve().fixed_ns));
  counts_.step_kilorow_ns.set(whole(1000 * cost.curve().row_ns));
  counts_.step_tail_ns.set(whole(cost.tail_ns()));
  judge_objective();
}

void Scoring::expect_commit(MonoTime arrived, bool replayed) {
  if (pace_.objective() <= Nanos{0} || (replayed && sequences_.front() < first_own_)) {
    return;  // what an earlier process took says nothing about this one
  }
  undurable_.push_back({.ticket = blocked() ? 0 : last_ticket_,
                        .arrived = arrived,
                        .at = io::mono_now(),
                        .rows = sequences_.size(),
                        .late = replayed});
}

void Scoring::on_commit(Ticket upto) {
  const MonoTime now = io::mono_now();
  bool any = false;
  for (; !undurable_.empty(); undurable_.pop_front()) {
    const Decided& first = undurable_.front();
    if (first.ticket == 0 || first.ticket > upto) {
      break;
    }
    const Nanos age = first.late ? Nanos::max() : now - first.arrived;
    pace_.committed(now - first.at);
    pace_.decided(first.rows, age, now);
    (age <= pace_.objective() ? counts_.within : counts_.late).add(first.rows);
    any = true;
  }
  if (any) {
    counts_.commit_ns.set(static_cast<std::uint64_t>(pace_.commit().count()));
    counts_.met_ppm.set(static_cast<std::uint64_t>(1e6 * pace_.met()));
  }
}

// Said once, until it is different.
void Scoring::judge_objective() {
  if (pace_.out_of_reach() == told_out_of_reach_) {
    return;
  }
  told_out_of_reach_ = pace_.out_of_reach();
  if (!told_out_of_reach_) {
    objective_trouble_.clear();
  } else {
    const double alone = pace_.cost().curve().at(1);
    objective_trouble_.set(
        fmt::format("the objective of {} is out of reach: scoring one row alone takes {}; state a "
                    "larger one, or use a smaller model or a faster machine",
                    format_duration(pace_.objective()),
                    format_duration(Nanos(static_cast<std::int64_t>(alone) / 1000 * 1000))));
  }
}

}  // namespace headwater
