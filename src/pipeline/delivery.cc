#include "pipeline/delivery.h"

#include <algorithm>
#include <array>
#include <utility>

namespace headwater {

Delivery::Delivery(Parts parts) : parts_(std::move(parts)) {
  saved_cursor_ =
      parts_.spool->cursor("sink/" + parts_.name, Lane::kAlerts, kAllStreams).value_or(0);
  cursor_.set(saved_cursor_);
  read_upto_ = saved_cursor_;
}

Delivery::~Delivery() {
  if (timer_ != 0) {
    parts_.loop->cancel(timer_);
  }
}

void Delivery::pump() {
  take_outcomes();
  resubmit();
  while (in_flight_.size() < kWindow && submit_next()) {
  }
  take_outcomes();
  move_cursor();
  arm();
}

bool Delivery::submit_next() {
  if (reader_ == nullptr) {
    reader_ = parts_.spool->read(Lane::kAlerts, read_upto_ + 1);
  }
  if (read_all_of_ == parts_.spool->committed()) {
    return false;  // nothing was committed since the reader came to the end
  }
  for (bool row = false; !row;) {
    const Ticket committed = parts_.spool->committed();
    const Result<ReadItem> next = reader_->next();
    if (!next) {
      trouble_ = next.error().text();
      return false;
    }
    if (*next == ReadItem::kEnd) {
      read_all_of_ = committed;
      return false;
    }
    row = *next == ReadItem::kRow;  // a gap is told by its own record
  }
  const ReadRow& stored = reader_->row();
  InFlight item;
  item.sequence = stored.sequence;
  if (streams_.contains(stored.stream)) {
    auto batch = std::make_shared<Batch>();
    Row row;
    row.payload = batch->arena().copy(stored.row.payload);
    row.topic = batch->arena().copy(stored.row.topic);
    row.device = batch->arena().copy(stored.row.device);
    row.time = stored.row.time;
    row.received = stored.row.received;
    row.identity = stored.row.identity;
    row.sequence = stored.sequence;
    batch->add_row(row);
    item.row = std::move(batch);
    item.token = next_token_++;
    if (Status given = parts_.sink->submit(item.row, item.token); !given) {
      item.retry = given.error().code() == Code::kUnavailable;
      item.done = !item.retry;
      trouble_ = given.error().text();
      (item.retry ? counts_.retried : counts_.rejected).add(1);
    }
    counts_.submitted.add(1);
  } else {
    item.done = true;
  }
  read_upto_ = stored.sequence;
  in_flight_.push_back(std::move(item));
  return true;
}

void Delivery::take_outcomes() {
  std::array<Outcome, 64> outcomes;
  for (;;) {
    const std::size_t count = parts_.sink->poll(outcomes);
    for (std::size_t i = 0; i < count; ++i) {
      const auto item = std::find_if(in_flight_.begin(), in_flight_.end(), [&](const InFlight& f) {
        return f.token == outcomes[i].token && !f.done;
      });
      if (item == in_flight_.end()) {
        continue;
      }
      switch (outcomes[i].verdict) {
        case Verdict::kOk:
          item->done = true;
          counts_.delivered.add(1);
          trouble_.clear();
          break;
        case Verdict::kRetry:
          item->retry = true;
          counts_.retried.add(1);
          break;
        case Verdict::kReject:
          item->done = true;
          counts_.rejected.add(1);
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
  if (now - last_retry_ < kRetryAfter) {
    return;
  }
  last_retry_ = now;
  for (InFlight& item : in_flight_) {
    if (item.retry && !item.done) {
      if (!parts_.sink->submit(item.row, item.token)) {
        return;  // still not: keep the order, try again later
      }
      item.retry = false;
    }
  }
}

void Delivery::move_cursor() {
  while (!in_flight_.empty() && in_flight_.front().done) {
    cursor_.set(in_flight_.front().sequence);
    in_flight_.pop_front();
  }
  if (cursor_.get() != saved_cursor_ && io::mono_now() - last_save_ >= kCursorEvery) {
    save_cursor();
  }
}

void Delivery::save_cursor() {
  if (cursor_.get() == saved_cursor_) {
    return;
  }
  transaction_.clear();
  transaction_.cursor("sink/" + parts_.name, Lane::kAlerts, kAllStreams, cursor_.get());
  if (parts_.spool->submit(transaction_)) {
    saved_cursor_ = cursor_.get();
    last_save_ = io::mono_now();
  }
}

bool Delivery::settled() {
  pump();
  return in_flight_.empty() && pending() == 0;
}

std::uint64_t Delivery::pending() const {
  const std::uint64_t next =
      parts_.spool->stats().lanes[index_of(Lane::kAlerts)].next_sequence;
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
