#include "torture/batch_receiver.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "columnar/batch_reader.h"

namespace headwater::torture {

BatchReceiver::BatchReceiver(std::uint64_t seed, const Fleet& fleet, Ledger& ledger,
                             Verdict& verdict)
    : fleet_(fleet), ledger_(ledger), verdict_(verdict), random_(seed * 0x9E3779B97F4A7C15ULL + 3) {
  most_rows_ = below(3) == 0 ? 48 + below(100) : 0;
  poison_one_in_ = below(3) == 0 ? 100 + below(400) : 0;
}

// Not before it has stored others: one that refuses from the first row on is set up wrong, and the
// uplink keeps its rows. Nor what it has.
bool BatchReceiver::refuses(const BatchRow& row) const {
  return poison_one_in_ != 0 && rows_ > 0 && !has(Lane::kReadings, row.sequence) &&
         std::hash<Id128>()(row.identity) % poison_one_in_ == 0;
}

bool Ranges::has(std::uint64_t sequence) const {
  const auto behind = ranges_.upper_bound(sequence);
  return behind != ranges_.begin() && std::prev(behind)->second >= sequence;
}

void Ranges::add(std::uint64_t first, std::uint64_t last) {
  auto at = ranges_.upper_bound(first);
  if (at != ranges_.begin() && std::prev(at)->second + 1 >= first) {
    --at;
    first = at->first;
    last = std::max(last, at->second);
    at = ranges_.erase(at);
  }
  while (at != ranges_.end() && at->first <= last + 1) {
    last = std::max(last, at->second);
    at = ranges_.erase(at);
  }
  ranges_.emplace(first, last);
}

Receipt BatchReceiver::inspect(const EncodedBatch& batch) {
  // Lines of gaps hold times of the real clock, and what the uplink learns of a batch's size must
  // follow from the seed.
  if (most_rows_ != 0 && batch.header.rows > most_rows_ && batch.header.gaps == 0) {
    return Receipt::kTooLarge;
  }
  BatchReader reader;
  Status status = reader.open(batch.bytes);
  while (status) {
    const Result<BatchItem> item = reader.next();
    if (!item) {
      status = item.error();
    } else if (*item == BatchItem::kEnd) {
      return Receipt::kStored;
    } else if (*item == BatchItem::kRow && batch.header.lane == lane_name(Lane::kReadings) &&
               refuses(reader.row())) {
      return Receipt::kRefused;
    }
  }
  ++verdict_.altered;
  verdict_.find(fmt::format("a batch that no receiver takes: {}", status.error().text()));
  return Receipt::kPark;
}

Status BatchReceiver::store(const EncodedBatch& batch) {
  BatchReader reader;
  HW_TRY(reader.open(batch.bytes));
  const BatchHeader& header = reader.header();
  if (spool_ == Id128{}) {
    spool_ = header.spool;
  } else if (spool_ != header.spool) {
    ++verdict_.unexplained;
    verdict_.find("the store has another id than before");
  }
  const Lane lane = parse_lane(header.lane).value_or(Lane::kDebug);
  Ranges& ranges = lanes_[index_of(lane)];
  if (header.first > 1 && !ranges.has(header.first - 1)) {
    ++verdict_.lost;
    verdict_.find(fmt::format("a batch of {} begins with {}, and the receiver lacks what is before",
                              header.lane, header.first));
  }
  for (;;) {
    const BatchItem item = HW_TRY(reader.next());
    if (item == BatchItem::kEnd) {
      break;
    }
    const std::uint64_t first =
        item == BatchItem::kGap ? reader.gap().first : reader.row().sequence;
    const std::uint64_t last = item == BatchItem::kGap ? reader.gap().last : first;
    if (lane == Lane::kDeadLetter) {
      for (std::uint64_t sequence = first; sequence <= last; ++sequence) {
        letters_.insert(sequence);
      }
    } else if (item == BatchItem::kGap) {
      if (reader.gap().reason == "refused") {
        refused_.insert(first);
      }
      ledger_.let_go(first, last);
    } else if (!ranges.has(first)) {
      take_row(reader.row());
    }
  }
  ranges.add(header.first, header.last);
  return {};
}

void BatchReceiver::take_row(const BatchRow& row) {
  const std::optional<MessageName> name = fleet_.find(row.identity);
  const bool same = name && fleet_.name(name->device) == row.device &&
                    fleet_.messages(name->device)[name->number - 1].payload == row.payload;
  ++rows_;
  ledger_.row(row.sequence, name ? &*name : nullptr, same, true, verdict_);
  if (row.decided) {
    ledger_.score(row.sequence, row.score, verdict_);
  } else {
    ++undecided_;
  }
}

TargetAnswer BatchReceiver::take(const EncodedBatch& batch) {
  const std::uint64_t mood = below(16);
  if (mood == 0) {
    return {Receipt::kRetry, std::chrono::milliseconds(below(500)), "HTTP 503: busy"};
  }
  if (mood == 1) {
    return {Receipt::kPark, {}, "HTTP 401: another token"};
  }
  const Receipt receipt = inspect(batch);
  if (receipt != Receipt::kStored) {
    return {receipt, {}, receipt == Receipt::kTooLarge ? "HTTP 413" : "HTTP 422: not this row"};
  }
  if (const Status stored = store(batch); !stored) {
    ++verdict_.altered;
    verdict_.find(fmt::format("a batch: {}", stored.error().text()));
    return {Receipt::kPark, {}, stored.error().text()};
  }
  if (mood == 2) {
    return {Receipt::kRetry, {}, "no answer: the link is gone"};
  }
  return {Receipt::kStored, {}, ""};
}

void BatchTarget::send(const EncodedBatch& batch, Done done) {
  open_.push_back({&batch, std::move(done)});
}

bool BatchTarget::answer() {
  const std::deque<OnItsWay> open = std::exchange(open_, {});
  for (const OnItsWay& one : open) {
    one.done(receiver_.take(*one.batch));
  }
  return !open.empty();
}

}  // namespace headwater::torture
