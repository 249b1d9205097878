#include "torture/edge_box.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace headwater::torture {
namespace {

constexpr std::uint16_t kIntakeStream = 1;
constexpr std::uint16_t kScoringStream = 2;
constexpr Nanos kUplinkStep = std::chrono::milliseconds(250);
// By the uplink's clock, which goes on by steps whether the pipeline gets its turn or not. Only a
// store that refuses decisions needs the wait to end.
constexpr Nanos kScoreWait = std::chrono::hours(24);
constexpr Nanos kScoreWaitOfFull = std::chrono::seconds(60);
constexpr Nanos kPatience = std::chrono::seconds(20);
constexpr Nanos kPowerCheck = std::chrono::milliseconds(1);

}  // namespace

// The sink: takes alerts into the ledger, or refuses for a while.
class EdgeBox::Alerts final : public Sink {
 public:
  Alerts(Receiver& receiver, const Fleet& fleet) : receiver_(receiver), fleet_(fleet) {}
  Status start(io::Loop&) override { return {}; }
  Status submit(BatchRef batch, Token token) override {
    if (receiver_.stalled || receiver_.refusals > 0) {
      receiver_.refusals -= receiver_.refusals > 0 ? 1 : 0;
      return Error::unavailable("not now");
    }
    for (const std::uint32_t index : batch->selection()) {
      const Row& row = batch->row(index);
      const std::optional<MessageName> name = fleet_.find(row.identity);
      receiver_.ledger.alert(name ? name->device : 0, row.payload);
      outcomes_.push_back({token, index, Verdict::kOk});
    }
    return {};
  }
  std::size_t poll(std::span<Outcome> outcomes) override {
    std::size_t count = 0;
    for (; count < outcomes.size() && !outcomes_.empty(); ++count) {
      outcomes[count] = outcomes_.front();
      outcomes_.pop_front();
    }
    return count;
  }
  std::string state() const override { return "open"; }
  void close() override {}

 private:
  using Verdict = headwater::Verdict;
  Receiver& receiver_;
  const Fleet& fleet_;
  std::deque<Outcome> outcomes_;
};

EdgeBox::~EdgeBox() {
  {
    const std::lock_guard lock(watch_.mutex);
    watch_.closing = true;
  }
  watch_.changed.notify_all();
  streams_.clear();
  delivery_.reset();
  intake_.reset();
  scoring_.reset();
  spool_.reset();
}

void EdgeBox::on_flusher(Ticket upto, const Status& status) {
  std::unique_lock lock(watch_.mutex);
  watch_.upto = upto;
  watch_.failed = !status.ok();
  watch_.go = status.ok();
  watch_.changed.notify_all();
  watch_.changed.wait(lock, [this] { return watch_.go || watch_.closing; });
}

Status EdgeBox::start() {
  spool_ = HW_TRY(Spool::open(*parts_.files, parts_.spool));
  spool_->on_commit([this](Ticket upto, const Status& status) { on_flusher(upto, status); });
  spool_->deliver_to(kUplinkConsumer, Lane::kReadings);
  spool_->deliver_to(kUplinkConsumer, Lane::kDeadLetter);
  spool_->deliver_to("sink/alerts", Lane::kAlerts);

  Scoring::Parts scoring;
  scoring.name = "main/0";
  scoring.pipeline = "main";
  scoring.stream = kScoringStream;
  scoring.steps = parts_.blueprint->make_steps();
  scoring.spool = spool_.get();
  scoring.replay_rows = 64;
  scoring.latency = &parts_.blueprint->latency();
  scoring_ = std::make_unique<Scoring>(std::move(scoring));

  Intake::Parts intake;
  intake.name = "main/direct";
  intake.stream = kIntakeStream;
  intake.room = 64;
  intake.source = std::make_unique<FleetSource>(*parts_.fleet);
  intake.decode = parts_.blueprint->make_decode();
  intake.spool = spool_.get();
  intake.scoring = scoring_.get();
  intake_ = std::make_unique<Intake>(std::move(intake));
  scoring_->add_stream(kIntakeStream, intake_->decode());
  HW_TRY(remember_ids());

  sink_ = std::make_unique<Alerts>(*parts_.receiver, *parts_.fleet);
  delivery_ = std::make_unique<Delivery>(Delivery::Parts{.name = "alerts",
                                                         .sink = sink_.get(),
                                                         .spool = spool_.get(),
                                                         .loop = parts_.loop,
                                                         .cursor_every = Nanos{0},
                                                         .retry_after = Nanos{0}});
  delivery_->add_stream(kScoringStream);
  const auto reached = [&](std::string_view cursor) {
    return spool_->cursor(cursor, Lane::kReadings, kAllStreams).value_or(0);
  };
  const std::uint64_t replayed = std::min(reached("decided/main/0"), reached("checkpoint/main/0"));
  for (const Gap& gap : spool_->gaps()) {
    parts_.receiver->replay_cut |= gap.lane == Lane::kReadings && gap.last > replayed;
  }
  HW_TRY(scoring_->restore());
  HW_TRY(intake_->start(*parts_.loop));
  start_uplink();
  parts_.receiver->ledger.begin_pass();
  return {};
}

void EdgeBox::start_uplink() {
  target_ = std::make_unique<BatchTarget>(parts_.receiver->batches);
  for (const Lane lane : {Lane::kReadings, Lane::kDeadLetter}) {
    LaneStream::Parts stream;
    stream.spool = spool_.get();
    stream.target = target_.get();
    stream.lane = lane;
    stream.edge_id = "torture";
    // Batches end by rows, waits by a clock of its own: the real one has no say in a trial.
    stream.limits.rows = parts_.batch_rows;
    stream.limits.score_wait =
        parts_.spool.on_full == OnFull::kShedOldest ? kScoreWait : kScoreWaitOfFull;
    stream.scored = {{kIntakeStream, "decided/main/0"}};
    stream.compression_level = BatchWriter::kMinLevel;
    stream.park_every = std::chrono::milliseconds(500);
    stream.backoff.most = std::chrono::milliseconds(500);
    stream.seed = parts_.seed;
    stream.wake = [] {};
    streams_.push_back(std::make_unique<LaneStream>(std::move(stream)));
  }
  clock_ = io::mono_now();
}

// As the agent does at its start.
Status EdgeBox::remember_ids() {
  const LaneStats lane = spool_->stats().lanes[index_of(Lane::kReadings)];
  const std::unique_ptr<SpoolReader> reader = spool_->read(Lane::kReadings, lane.oldest_sequence);
  for (;;) {
    const ReadItem item = HW_TRY(reader->next());
    if (item == ReadItem::kEnd) {
      return {};
    }
    if (item == ReadItem::kRow && (reader->row().row.flags & kRowDeclaredId) != 0) {
      intake_->remember(reader->row().row.identity);
    }
  }
}

std::uint64_t EdgeBox::sequences() const {
  return spool_->stats().lanes[index_of(Lane::kReadings)].next_sequence;
}

void EdgeBox::checkpoint() {
  const std::uint64_t through = sequences() - undecided();
  if (std::exchange(saved_after_, through) != through) {
    scoring_->checkpoint();
  }
}

void EdgeBox::pump(std::size_t room) {
  parts_.fleet->set_room(room);
  intake_->pump(pool_);
}

void EdgeBox::uplink(std::size_t batches) {
  if (parts_.receiver->stalled) {
    return;
  }
  for (; batches > 0; --batches) {
    clock_ = clock_ + kUplinkStep;
    for (const std::unique_ptr<LaneStream>& stream : streams_) {
      stream->pump({clock_, io::wall_now()});
    }
    if (!target_->answer()) {
      return;  // it waits for a commit, for the time, or for rows
    }
  }
}

Commit EdgeBox::commit() {
  Transaction none;
  const Ticket ticket = spool_->submit(none).value().ticket;
  {
    const std::lock_guard lock(watch_.mutex);
    if (watch_.failed) {  // it waits since the last commit()
      watch_.failed = false;
      watch_.go = true;
      watch_.changed.notify_all();
    }
  }
  (void)spool_->flush(Nanos{0});
  const MonoTime until = io::mono_now() + kPatience;
  {
    std::unique_lock lock(watch_.mutex);
    while (spool_->committed() < ticket || watch_.upto < ticket) {
      if (watch_.failed) {
        return parts_.disk->is_off() ? Commit::kOff : Commit::kRefused;
      }
      watch_.changed.wait_for(lock, kPowerCheck);
      if (parts_.disk->is_off()) {
        return Commit::kOff;
      }
      if (io::mono_now() > until) {
        return Commit::kStuck;
      }
    }
  }
  // The flusher says last that the disk is well again.
  while (spool_->stats().health != SpoolHealth::kOk) {
    if (parts_.disk->is_off()) {
      return Commit::kOff;
    }
    if (const std::lock_guard lock(watch_.mutex); watch_.failed) {
      return Commit::kRefused;
    }
    std::this_thread::yield();
  }
  committed_bytes_ = intake_->counts().bytes.get();
  intake_->on_commit(spool_->committed());
  return Commit::kDone;
}

bool EdgeBox::settled() {
  return intake_->settled() && scoring_->idle() && delivery_->settled();
}

bool EdgeBox::drained() const {
  return std::all_of(streams_.begin(), streams_.end(),
                     [](const auto& stream) { return stream->settled(); });
}

void EdgeBox::check_conservation() {
  const IntakeCounts& counts = intake_->counts();
  const std::uint64_t out = counts.duplicate.get() + counts.filtered.get() +
                            counts.dead_letter.get() + counts.stored.get() + counts.in_flight.get();
  if (counts.taken.get() != out) {
    ++parts_.verdict->lost;
    parts_.verdict->find(
        fmt::format("the intake took {} rows and accounts for {}", counts.taken.get(), out));
  }
}

}  // namespace headwater::torture
