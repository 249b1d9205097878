#include "pipeline/scoring.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/planted.h"
#include "io/loop.h"
#include "pipeline/departures.h"

namespace headwater {
namespace {

// Stored rows that one step looks at, for each row of a batch: rows of others are passed by
// quickly, but a worker has more to do than that.
constexpr std::size_t kLooksPerRow = 16;

// Separates the ids of offline alerts from others.
constexpr std::uint64_t kOfflineIdSeed = 0x6f66666c696e65ULL;

}  // namespace

Scoring::Scoring(Parts parts)
    : parts_(std::move(parts)),
      pace_(parts_.steps.objective, parts_.steps.start_cost),
      last_checkpoint_(io::mono_now()),
      trouble_("pipeline", parts_.name),
      state_trouble_("state", parts_.name),
      objective_trouble_("objective", parts_.name) {
  HW_CHECK(parts_.latency != nullptr && parts_.spool != nullptr, "the owner gives both");
  HW_CHECK(parts_.steps.stages.size() == parts_.steps.stage_keys.size(), "one key per stage");
  name_stages();
}

// A key is place, kind and hash: "2.decide.9f…".
void Scoring::name_stages() {
  cpu_stages_.clear();
  for (const std::string_view key : parts_.steps.stage_keys) {
    const std::string_view kind = key.substr(std::min(key.find('.'), key.size() - 1) + 1);
    cpu_stages_.push_back(cpu_stage_of(kind.substr(0, kind.find('.'))));
  }
}

void Scoring::add_stream(std::uint16_t stream, std::unique_ptr<Decode> decode) {
  decoders_[stream] = decode.get();
  own_decoders_.push_back(std::move(decode));
}

void Scoring::complain(std::string_view text) {
  complained_ = true;
  trouble_.set(text);
}

void Scoring::enqueue(Batch batch, std::uint16_t stream, BatchPool& pool) {
  const std::span<const std::uint32_t> selection = batch.selection();
  const std::uint64_t first = batch.row(selection.front()).sequence;
  last_appended_ = batch.row(selection.back()).sequence;
  const std::size_t rows = selection.size();
  const std::size_t bytes = batch.arena().held();
  if (behind() ||
      (waiting_rows_ != 0 && (waiting_rows_ + rows > parts_.max_waiting_rows ||
                              waiting_bytes_ + bytes > parts_.steps.max_waiting_bytes))) {
    if (!behind()) {
      behind_from_ = first;
    }
    counts_.behind_rows.set(last_appended_ - behind_from_ + 1);
    pool.give(std::move(batch));
    return;
  }
  waiting_rows_ += rows;
  waiting_bytes_ += bytes;
  waiting_.push_back({std::move(batch), stream, rows, 0, bytes});
  counts_.pending_rows.set(waiting_rows_);
  if (planted(Bug::kDecidedEarly)) {
    transaction_.cursor(cursor_name(), Lane::kReadings, kAllStreams, last_appended_);
    hand_over();
  }
}

bool Scoring::step(BatchPool& pool) {
  timer_.enter(CpuStage::kStore);
  step_began_ = io::mono_now();
  complained_ = false;
  if (blocked()) {
    if (!empty_outbox()) {
      return false;
    }
    trouble_.clear();
  }
  bool more = false;
  bool ran = false;
  if (!waiting_.empty()) {
    run_waiting(pool);
    ran = true;
    more = !waiting_.empty() || behind();
  } else if (behind()) {
    Batch batch = pool.take();
    std::uint16_t stream = 0;
    more = read_back(batch, stream);  // false: the next commit makes more readable
    if (batch.rows() != 0) {
      run(std::move(batch), stream, pool);
      ran = true;
    } else {
      pool.give(std::move(batch));
    }
    // Caught up: the next start need not look at all this again.
    checkpoint_due_ = checkpoint_due_ || !behind();
  }
  // By bytes too: rows that a restart must replay are to be in the newest segments, which are let
  // go last.
  if (checkpoint_due_ ||
      (ran && (io::mono_now() - last_checkpoint_ >= parts_.steps.checkpoint_every ||
               run_bytes_ >= parts_.spool->max_transaction_bytes()))) {
    save_state();
  }
  if (ran && !complained_) {
    trouble_.clear();
  }
  return more;
}

// Columns of rows that were stored with device and time.
void Scoring::decode_again(Batch& batch, std::uint16_t stream) {
  std::vector<Undecoded> failed;
  std::uint64_t unfit = 0;
  const std::vector<std::uint32_t> aside = set_departures_aside(batch);
  if (Status decoded = decoders_[stream]->decode(batch, failed, unfit); !decoded) {
    complain(decoded.error().text());
  }
  take_departures_back(batch, aside);
}

// True: reader_->row() is the next stored row. Gaps are passed by: they are told by the spool's own
// records.
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

// Fills `batch` with the next stored rows of one stream, perhaps none. False: nothing more is
// readable now.
bool Scoring::read_back(Batch& batch, std::uint16_t& stream) {
  if (reader_ == nullptr) {
    reader_ = parts_.spool->read(Lane::kReadings, behind_from_);
    held_ = false;
  }
  std::uint64_t last = 0;
  bool more = true;
  const std::size_t most = std::min(parts_.replay_rows, pace_.rows(pace_.objective()));
  for (std::size_t looks = most * kLooksPerRow; looks != 0 && batch.rows() < most; --looks) {
    const Result<bool> found = next_stored();
    more = found && *found;
    if (!found) {
      complain(found.error().text());
    }
    if (!more) {
      break;
    }
    const ReadRow& stored = reader_->row();
    if (stored.sequence > last_appended_) {
      behind_from_ = last_appended_ + 1;  // others' rows, or ours that enqueue() brings yet
      break;
    }
    // Rows up to `decided` only rebuild state; a batch lies on one side of that line.
    const bool crosses = (last <= decided_) != (stored.sequence <= decided_);
    if (batch.rows() != 0 && (stored.stream != stream || crosses)) {
      break;
    }
    last = stored.sequence;
    held_ = false;
    behind_from_ = last + 1;
    if (decoders_.contains(stored.stream)) {  // else another pipeline's
      stream = stored.stream;
      add_stored(batch);
    }
  }
  counts_.behind_rows.set(last_appended_ >= behind_from_ ? last_appended_ - behind_from_ + 1 : 0);
  if (behind_from_ > last_appended_) {  // caught up: new rows come through memory again
    behind_from_ = 0;
    reader_.reset();
    held_ = false;
    more = false;
  }
  if (batch.rows() == 0) {
    return more;
  }
  timer_.enter(CpuStage::kDecode);
  decode_again(batch, stream);
  return more;
}

void Scoring::add_stored(Batch& batch) {
  const ReadRow& stored = reader_->row();
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

void Scoring::run(Batch batch, std::uint16_t stream, BatchPool& pool) {
  alerts_.clear();
  // The rows that were appended, before any stage narrows the selection.
  sequences_.clear();
  for (const std::uint32_t index : batch.selection()) {
    const Row& row = batch.row(index);
    sequences_.push_back(row.sequence);
    run_bytes_ += row.payload.size();
  }
  if (sequences_.empty()) {
    pool.give(std::move(batch));
    return;
  }
  const Row& first = batch.row(batch.selection().front());
  const bool replayed = (first.flags & kRowReplayed) != 0;
  const MonoTime arrived = first.arrived;
  const std::vector<std::uint32_t> gone = set_departures_aside(batch);
  std::vector<Alert> offline = departures(batch, gone);
  done_ = std::move(batch);
  const bool whole = run_stages();
  timer_.enter(CpuStage::kStore);
  for (Alert& alert : offline) {  // each in its place
    const auto behind = std::find_if(alerts_.begin(), alerts_.end(), [&](const Alert& other) {
      return other.row != Alert::kNoRow && other.row > alert.row;
    });
    alerts_.insert(behind, std::move(alert));
  }
  if (!whole) {
    done_ = Batch();
    for (Alert& alert : alerts_) {
      alert.row = Alert::kNoRow;
    }
  }
  through_ = sequences_.back();
  if (sequences_.back() > decided_) {
    record(done_, stream);
    expect_commit(arrived, replayed);
    for (const Observer& observer : observers_) {
      observer(done_, alerts_);
    }
  }
  counts_.rows.add(sequences_.size());
  if (parts_.batch_rows != nullptr) {
    parts_.batch_rows->record(static_cast<double>(sequences_.size()));
  }
  if (replayed) {
    counts_.replayed.add(sequences_.size());
  }
  pool.give(std::move(done_));
  done_ = Batch();
  measure(sequences_.size(), io::mono_now() - step_began_);
}

std::vector<Alert> Scoring::departures(const Batch& batch,
                                       std::span<const std::uint32_t> rows) const {
  std::vector<Alert> made;
  for (const std::uint32_t index : rows) {
    if (!parts_.offline_json) {
      break;
    }
    const Row& row = batch.row(index);
    Alert& alert = made.emplace_back();
    alert.id = hash128(row.identity.hex(), kOfflineIdSeed).hex();
    alert.event = "offline";
    alert.device = row.device;
    alert.json = parts_.offline_json(row, alert.id);
    alert.time = row.time;
    alert.arrived = row.arrived;
    alert.identity = row.identity;
    alert.row = index;
  }
  return made;
}

// Sends done_ through the stages. False: one of them lost it.
bool Scoring::run_stages() {
  const std::size_t rows = done_.rows();
  for (std::size_t i = 0; i < parts_.steps.stages.size(); ++i) {
    emitted_ = 0;
    timer_.enter(cpu_stages_[i]);
    const Status treated = parts_.steps.stages[i]->process(std::move(done_), *this);
    if (!treated) {
      counts_.failed.add(1);
      complain(treated.error().text());
    }
    if (emitted_ != 1 || done_.rows() != rows) {
      counts_.failed.add(treated ? 1 : 0);
      complain(fmt::format("step '{}' did not hand its batch on exactly once{}",
                           parts_.steps.stage_keys[i],
                           treated ? "" : ": " + treated.error().text()));
      return false;
    }
  }
  return true;
}

Status Scoring::emit(Batch batch) {
  if (ticking_) {
    return Error::internal("a timer has no batch to hand on");
  }
  done_ = std::move(batch);
  ++emitted_;
  return {};
}

void Scoring::record(const Batch& batch, std::uint16_t stream) {
  const std::size_t rows = sequences_.size();
  const auto position_of = [&](std::uint64_t sequence) {
    return static_cast<std::size_t>(
        std::lower_bound(sequences_.begin(), sequences_.end(), sequence) - sequences_.begin());
  };
  const Column* score = batch.find(parts_.steps.score_column);
  has_scores_ = score != nullptr;
  scores_.assign(rows, std::numeric_limits<double>::quiet_NaN());
  alerted_.assign(rows, 0);
  std::uint64_t scored = 0;
  std::size_t at = 0;
  const MonoTime now = io::mono_now();
  MonoTime arrived{};  // of the last rows, not in the histogram yet
  std::uint64_t same = 0;
  const auto put_latency = [&] {
    parts_.latency->record(static_cast<double>((now - arrived).count()) * 1e-9, same);
  };
  for (const std::uint32_t index : batch.selection()) {
    const Row& row = batch.row(index);
    while (at + 1 < rows && sequences_[at] < row.sequence) {
      ++at;
    }
    if (sequences_[at] != row.sequence) {
      continue;  // was never appended
    }
    if (score != nullptr && score->valid(index)) {
      scores_[at] = score->as_double(index);
      scored += std::isnan(scores_[at]) ? 0 : 1;
    }
    if (row.arrived != arrived) {
      if (same != 0) {
        put_latency();
      }
      arrived = row.arrived;
      same = 0;
    }
    ++same;
  }
  if (same != 0) {
    put_latency();
  }
  counts_.scored.add(scored);
  counts_.unscored.add(rows - scored);
  alert_at_.clear();
  for (const Alert& alert : alerts_) {
    const bool has_row = alert.row < batch.rows();
    const std::size_t position =
        std::min(has_row ? position_of(batch.row(alert.row).sequence) : rows - 1, rows - 1);
    alert_at_.push_back(position);
    alerted_[position] |= has_row ? 1 : 0;
    (alert.event == "cleared"   ? counts_.cleared
     : alert.event == "offline" ? counts_.offline
                                : counts_.alerts)
        .add(1);
  }
  record_rows(batch, stream, 0, rows);
  decided_ = sequences_.back();
}

// One frame: decisions and alerts about rows begin..end of sequences_, and `decided` behind them.
// In halves where the spool takes no frame so large, or where the sequences have a hole (decisions
// name their rows by first and count).
void Scoring::record_rows(const Batch& batch, std::uint16_t stream, std::size_t begin,
                          std::size_t end) {
  const std::size_t most = parts_.spool->max_transaction_bytes();
  const bool whole = sequences_[end - 1] - sequences_[begin] == end - begin - 1;
  if (whole) {
    if (planted(Bug::kAlertsApart)) {
      append_decisions(stream, begin, end);
      hand_over();
    }
    for (std::size_t i = 0; i < alerts_.size(); ++i) {
      if (alert_at_[i] >= begin && alert_at_[i] < end) {
        append_alert(alerts_[i], batch);
      }
    }
    if (!planted(Bug::kAlertsApart)) {
      append_decisions(stream, begin, end);
    }
    if (transaction_.bytes() <= most) {
      hand_over();
      return;
    }
    transaction_.clear();
  }
  if (end - begin > 1) {
    const std::size_t middle = begin + (end - begin) / 2;
    record_rows(batch, stream, begin, middle);
    record_rows(batch, stream, middle, end);
    return;
  }
  // Alerts about one row that are too large together: each alone. A crash between them repeats
  // some.
  for (std::size_t i = 0; i < alerts_.size(); ++i) {
    if (alert_at_[i] != begin) {
      continue;
    }
    append_alert(alerts_[i], batch);
    if (transaction_.bytes() <= most) {
      hand_over();
    } else {
      transaction_.clear();
      counts_.failed.add(1);
      complain(fmt::format("alert {} of {} bytes is larger than the store takes ({})",
                           alerts_[i].id, alerts_[i].json.size(), most));
    }
  }
  append_decisions(stream, begin, end);
  hand_over();
}

void Scoring::append_alert(const Alert& alert, const Batch& batch) {
  StoredRow stored;
  if (alert.row < batch.rows()) {
    const Row& row = batch.row(alert.row);
    stored.topic = row.topic;
    stored.received = row.received;
    stored.partition = row.partition;
    stored.position = row.position;
  } else {
    stored.received = io::wall_now();
  }
  stored.device = alert.device;
  stored.payload = alert.json;
  stored.time = alert.time;
  stored.identity = alert.identity;
  stored.note = alert.event;
  transaction_.append(Lane::kAlerts, parts_.stream, stored);
}

void Scoring::append_decisions(std::uint16_t stream, std::size_t begin, std::size_t end) {
  Decisions decisions;
  decisions.pipeline = parts_.pipeline;
  decisions.lane = Lane::kReadings;
  decisions.stream = stream;
  decisions.first = sequences_[begin];
  decisions.count = static_cast<std::uint32_t>(end - begin);
  decisions.model_digest = parts_.steps.model_digest;
  decisions.revision = parts_.steps.revision;
  if (has_scores_) {
    decisions.scores = std::span(scores_).subspan(begin, end - begin);
  }
  if (!alerts_.empty()) {
    decisions.alerted = std::span(alerted_).subspan(begin, end - begin);
  }
  transaction_.decide(decisions);
  transaction_.cursor(cursor_name(), Lane::kReadings, kAllStreams, sequences_[end - 1]);
}

// transaction_ to the spool, behind what it has not taken yet.
void Scoring::hand_over() {
  // Rows are let go only behind their decisions: in a full store alerts must not wait for that.
  transaction_.to_make_room();
  transaction_.may_wait_with(Lane::kReadings);
  outbox_.push_back(std::move(transaction_));
  transaction_ = Transaction();
  (void)empty_outbox();
}

bool Scoring::empty_outbox() {
  while (!outbox_.empty()) {
    const Result<Submitted> submitted = parts_.spool->submit(outbox_.front());
    if (!submitted) {
      complain(submitted.error().text());
      return false;
    }
    last_ticket_ = submitted->ticket;
    transaction_ = std::move(outbox_.front());  // its buffers
    outbox_.pop_front();
  }
  for (auto it = undurable_.rbegin(); it != undurable_.rend() && it->ticket == 0; ++it) {
    it->ticket = last_ticket_;
  }
  return true;
}

std::string Scoring::trouble() const {
  std::string text = trouble_.text();
  text = text.empty() ? state_trouble_.text() : std::move(text);
  return text.empty() ? objective_trouble_.text() : text;
}

bool Scoring::idle() const {
  return waiting_.empty() && !behind() && !blocked() && last_ticket_ <= parts_.spool->committed();
}

void Scoring::tick(WallTime now) {
  if (!waiting_.empty() || behind() || blocked()) {
    return;
  }
  pass_rows_of_others();
  alerts_.clear();
  ticking_ = true;
  for (const std::unique_ptr<Stage>& stage : parts_.steps.stages) {
    if (Status ticked = stage->tick(now, *this); !ticked) {
      complain(ticked.error().text());
    }
  }
  ticking_ = false;
  if (alerts_.empty()) {
    return;
  }
  const Batch none;
  for (const Alert& alert : alerts_) {
    append_alert(alert, none);
    (alert.event == "cleared" ? counts_.cleared : counts_.alerts).add(1);
    hand_over();
  }
  save_state();
  for (const Observer& observer : observers_) {
    observer(none, alerts_);
  }
}

}  // namespace headwater
