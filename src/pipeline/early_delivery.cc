#include <algorithm>
#include <array>
#include <utility>

#include "pipeline/delivery.h"

namespace headwater {

std::shared_ptr<Batch> early_rows(const Batch& batch, std::span<const Alert> alerts,
                                  std::uint64_t first_own, WallTime now, MonoTime mono_now) {
  auto made = std::make_shared<Batch>();
  for (const Alert& alert : alerts) {
    Row row;
    row.payload = made->arena().copy(alert.json);
    row.device = made->arena().copy(alert.device);
    row.time = alert.time;
    row.identity = alert.identity;
    row.arrived = mono_now;
    if (alert.row < batch.rows()) {
      const Row& reading = batch.row(alert.row);
      row.topic = made->arena().copy(reading.topic);
      if ((reading.flags & kRowReplayed) != 0) {
        row.flags = reading.sequence < first_own ? kRowReplayed : 0U;
        row.arrived = mono_now - std::max(Nanos{0}, now - reading.received);
      }
    }
    made->add_row(row);
  }
  return made;
}

EarlyDelivery::EarlyDelivery(Parts parts)
    : parts_(std::move(parts)), trouble_("sink", parts_.name) {
  HW_CHECK(parts_.sink != nullptr && parts_.loop != nullptr, "the owner gives both");
}

EarlyDelivery::~EarlyDelivery() {
  if (timer_ != 0) {
    parts_.loop->cancel(timer_);
  }
}

void EarlyDelivery::give(BatchRef alerts) {
  counts_.submitted.add(alerts->selected());
  submit(std::move(alerts), io::mono_now());
  pump();
}

void EarlyDelivery::submit(BatchRef batch, MonoTime given) {
  const Token token = next_token_++;
  if (Status taken = parts_.sink->submit(batch, token); !taken) {
    trouble_.set(taken.error().text());
    for (const std::uint32_t row : batch->selection()) {
      later(batch, row, given);
    }
    return;
  }
  held_.emplace(token, Held{batch, batch->selected(), given});
}

void EarlyDelivery::later(const BatchRef& batch, std::uint32_t row, MonoTime given) {
  if (later_.size() >= kMaxRetries || io::mono_now() - given >= parts_.retry_for) {
    counts_.rejected.add(1);
    return;
  }
  counts_.retried.add(1);
  later_.push_back({batch, row, given});
  if (timer_ == 0) {
    timer_ = parts_.loop->after(parts_.retry_after, [this] {
      timer_ = 0;
      retry();
      pump();
    });
  }
}

// Each row alone: what was with it in its batch is done.
void EarlyDelivery::retry() {
  for (const Later& waiting : std::exchange(later_, {})) {
    auto one = std::make_shared<Batch>();
    Row row = waiting.batch->row(waiting.row);
    row.payload = one->arena().copy(row.payload);
    row.device = one->arena().copy(row.device);
    row.topic = one->arena().copy(row.topic);
    row.sender = {};
    if (row.arrived == MonoTime{}) {
      row.arrived = waiting.given;
    }
    one->add_row(row);
    submit(std::move(one), waiting.given);
  }
}

void EarlyDelivery::pump() {
  std::array<Outcome, 64> outcomes;
  for (std::size_t count = outcomes.size(); count == outcomes.size();) {
    count = parts_.sink->poll(outcomes);
    for (const Outcome& outcome : std::span(outcomes).first(count)) {
      const auto held = held_.find(outcome.token);
      if (held == held_.end()) {
        continue;
      }
      switch (outcome.verdict) {
        case Verdict::kOk:
          counts_.delivered.add(1);
          trouble_.clear();
          break;
        case Verdict::kExpired:
          counts_.expired.add(1);
          break;
        case Verdict::kReject:
          counts_.rejected.add(1);
          break;
        case Verdict::kRetry:
          later(held->second.batch, outcome.row, held->second.given);
          break;
      }
      if (--held->second.open == 0) {
        held_.erase(held);
      }
    }
  }
}

}  // namespace headwater
