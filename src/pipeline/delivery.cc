#include "pipeline/delivery.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/planted.h"

namespace headwater {

Delivery::Delivery(Parts parts) : parts_(std::move(parts)), trouble_("sink", parts_.name) {
  saved_cursor_ =
      parts_.spool->cursor("sink/" + parts_.name, Lane::kAlerts, kAllStreams).value_or(0);
  cursor_.set(saved_cursor_);
  read_upto_ = saved_cursor_;
  first_own_ = parts_.spool->stats().lanes[index_of(Lane::kAlerts)].next_sequence;
}

Delivery::~Delivery() {
  if (timer_ != 0) {
    parts_.loop->cancel(timer_);
  }
}

void Delivery::pump() {
  take_outcomes();
  move_cursor();
  resubmit();
  while (retrying_ == 0 && in_flight_.size() < kWindow && submit_next()) {
  }
  take_outcomes();
  move_cursor();
  note_waiting();
  arm();
}

// While nothing is read, the time of what is committed is kept.
void Delivery::note_waiting() {
  if (retrying_ == 0 && in_flight_.size() < kWindow) {
    return;
  }
  const Ticket committed = parts_.spool->committed();
  if (committed != noted_) {
    noted_ = committed;
    made_.note(parts_.spool->stats().lanes[index_of(Lane::kAlerts)].next_sequence - 1,
               io::mono_now());
  }
}

bool Delivery::submit_next() {
  if (reader_ == nullptr) {
    reader_ = parts_.spool->read(Lane::kAlerts, read_upto_ + 1);
  }
  const Ticket committed = parts_.spool->committed();
  if (read_all_of_ == committed) {
    return false;  // nothing was committed since the reader came to the end
  }
  const Result<ReadItem> next = reader_->next();
  if (!next) {
    trouble_.set(next.error().text());
    return false;
  }
  InFlight item;
  switch (*next) {
    case ReadItem::kEnd:
      read_all_of_ = committed;
      return false;
    case ReadItem::kDecisions:
      return true;
    case ReadItem::kGap:  // told by its own record
      item.sequence = reader_->gap().last;
      break;
    case ReadItem::kRow: {
      const ReadRow& stored = reader_->row();
      item.sequence = stored.sequence;
      if (!streams_.contains(stored.stream)) {
        break;
      }
      auto batch = std::make_shared<Batch>();
      Row row;
      row.payload = batch->arena().copy(stored.row.payload);
      row.topic = batch->arena().copy(stored.row.topic);
      row.device = batch->arena().copy(stored.row.device);
      row.time = stored.row.time;
      row.received = stored.row.received;
      row.identity = stored.row.identity;
      row.sequence = stored.sequence;
      row.arrived = made_.of(stored.sequence, io::mono_now());
      row.flags = stored.sequence < first_own_ ? kRowReplayed : 0U;
      batch->add_row(row);
      item.row = std::move(batch);
      item.token = next_token_++;
      counts_.submitted.add(1);
      hand(item);
      break;
    }
  }
  read_upto_ = item.sequence;
  made_.forget(read_upto_);
  in_flight_.push_back(std::move(item));
  return true;
}

// Gives the row to the sink. Only kInvalid is for good.
void Delivery::hand(InFlight& item) {
  const bool again = item.state == State::kRetry;
  const Status given = parts_.sink->submit(item.row, item.token);
  if (given) {
    item.state = State::kWithSink;
  } else {
    trouble_.set(given.error().text());
    if (given.error().code() != Code::kInvalid) {
      if (!again) {
        wait_to_retry(item);
      }
      return;
    }
    item.state = State::kDone;
    counts_.rejected.add(1);
  }
  retrying_ -= again ? 1 : 0;
}

void Delivery::wait_to_retry(InFlight& item) {
  item.state = State::kRetry;
  ++retrying_;
  counts_.retried.add(1);
}

void Delivery::take_outcomes() {
  std::array<Outcome, 64> outcomes;
  for (;;) {
    const std::size_t count = parts_.sink->poll(outcomes);
    for (std::size_t i = 0; i < count; ++i) {
      const auto item = std::find_if(in_flight_.begin(), in_flight_.end(), [&](const InFlight& f) {
        return f.token == outcomes[i].token && f.state == State::kWithSink;
      });
      if (item == in_flight_.end()) {
        continue;
      }
      switch (outcomes[i].verdict) {
        case Verdict::kOk:
          item->state = State::kDone;
          counts_.delivered.add(1);
          trouble_.clear();
          break;
        case Verdict::kRetry:
          wait_to_retry(*item);
          break;
        case Verdict::kReject:
          item->state = State::kDone;
          counts_.rejected.add(1);
          trouble_.set("the receiver refused an alert for good");
          break;
        case Verdict::kExpired:
          item->state = State::kDone;
          counts_.expired.add(1);
          break;
      }
    }
    if (count < outcomes.size()) {
      return;
    }
  }
}

void Delivery::resubmit() {
  const MonoTime now = io::mono_now();
  if (retrying_ == 0 || now - last_retry_ < parts_.retry_after) {
    return;
  }
  last_retry_ = now;
  for (InFlight& item : in_flight_) {
    if (item.state == State::kRetry) {
      hand(item);
      if (item.state == State::kRetry) {
        return;  // still not: keep the order, try again later
      }
    }
  }
}

void Delivery::move_cursor() {
  while (!in_flight_.empty() && in_flight_.front().state == State::kDone) {
    cursor_.set(in_flight_.front().sequence);
    in_flight_.pop_front();
  }
  if ((cursor_.get() != saved_cursor_ || planted(Bug::kSinkCursorAhead)) &&
      io::mono_now() - last_save_ >= parts_.cursor_every) {
    save_cursor();
  }
}

void Delivery::save_cursor() {
  const std::uint64_t upto = planted(Bug::kSinkCursorAhead) ? read_upto_ : cursor_.get();
  if (upto == saved_cursor_) {
    return;
  }
  transaction_.clear();
  transaction_.cursor("sink/" + parts_.name, Lane::kAlerts, kAllStreams, upto);
  if (parts_.spool->submit(transaction_)) {
    saved_cursor_ = upto;
    last_save_ = io::mono_now();
  }
}

bool Delivery::settled() {
  pump();
  return in_flight_.empty() && pending() == 0;
}

std::uint64_t Delivery::pending() const {
  const std::uint64_t next = parts_.spool->stats().lanes[index_of(Lane::kAlerts)].next_sequence;
  return next - 1 - std::min(cursor_.get(), next - 1);
}

void Delivery::arm() {
  const bool open = !in_flight_.empty() || cursor_.get() != saved_cursor_;
  if (open && timer_ == 0) {
    timer_ = parts_.loop->after(std::chrono::milliseconds(50), [this] {
      timer_ = 0;
      pump();
    });
  }
}

}  // namespace headwater
