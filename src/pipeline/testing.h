// What the tests of the pipeline share: a source, a decoder, steps and a sink that do as told, and
// a Rig that holds them together over a spool on a disk that fails by seed.
//
// A message is "DEVICE VALUE" or "DEVICE VALUE id=ID"; one that begins with "bad" cannot be
// decoded; several in one are divided by "|". "gone DEVICE" is no reading but tells that the device
// has gone.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/fault_files.h"
#include "io/loop.h"
#include "pipeline/intake.h"
#include "pipeline/scoring.h"
#include "pipeline/sink.h"
#include "store/testing.h"
#include "telemetry/metrics.h"

namespace headwater {

// What a FakeSource is told and tells; the test keeps it while the intake owns the source.
struct Feed {
  struct Message {
    std::string payload;
    Partition partition = 1;
    Position position = 0;
    std::string note{};  // the source knows that it is no reading
  };

  void add(std::string payload, Partition partition = 1) {
    messages.push_back({std::move(payload), partition, ++positions[partition]});
  }

  std::vector<Message> messages;
  std::size_t taken = 0;  // of them
  bool resumes = false;   // keeps `taken` in the spool, as a file source does
  bool ends = false;      // kEnd after the last message
  std::map<Partition, Position> positions;
  std::optional<Error> take_error;  // of the next take, behind the rows it gives
  std::optional<Error> acknowledge_error;

  std::vector<std::pair<Partition, Position>> acknowledged;
  std::vector<std::pair<Position, Fate>> fates;
  struct Declined {
    Partition partition = 0;
    Position from = 0;
    Position upto = 0;
    friend bool operator==(const Declined&, const Declined&) = default;
  };
  std::vector<Declined> declined;
  std::function<void(Partition, Position)> on_acknowledge;
  std::vector<std::size_t> rooms;  // of each take
  bool paused = false;
  bool started = false;
  bool closed = false;
};

class FakeSource final : public Source, public Checkpointed, public Accounting, public Declining {
 public:
  explicit FakeSource(std::shared_ptr<Feed> feed) : feed_(std::move(feed)) {}

  Status start(io::Loop&) override {
    feed_->started = true;
    return {};
  }
  Result<More> take(std::size_t room, Batch& batch) override {
    EXPECT_FALSE(feed_->closed) << "take() after close()";
    feed_->rooms.push_back(room);
    for (; batch.rows() < room && feed_->taken < feed_->messages.size(); ++feed_->taken) {
      const Feed::Message& message = feed_->messages[feed_->taken];
      Row row;
      row.payload = batch.arena().copy(message.payload);
      row.topic = batch.arena().copy("t");
      row.partition = message.partition;
      row.position = message.position;
      row.received = {1'700'000'000'000'000'000};
      row.arrived = io::mono_now();
      if (feed_->resumes) {
        row.identity = {1, feed_->taken + 1};
      }
      if (!message.note.empty()) {
        row.flags |= kRowUndecoded;
        row.note = batch.arena().copy(message.note);
      }
      if (row.payload.starts_with("gone ")) {
        row.flags |= kRowOffline;
        row.device = row.payload.substr(5);
        row.time = row.received;
      }
      batch.add_row(row);
    }
    if (feed_->take_error) {
      return *std::exchange(feed_->take_error, std::nullopt);
    }
    if (feed_->taken < feed_->messages.size()) {
      return More::kYes;
    }
    return feed_->ends ? More::kEnd : More::kNone;
  }
  Status acknowledge(Partition partition, Position upto) override {
    EXPECT_FALSE(feed_->closed) << "acknowledge() after close()";
    feed_->acknowledged.emplace_back(partition, upto);
    if (feed_->on_acknowledge) {
      feed_->on_acknowledge(partition, upto);
    }
    if (feed_->acknowledge_error) {
      return *feed_->acknowledge_error;
    }
    return {};
  }
  void pause(bool paused) override { feed_->paused = paused; }
  void close() override { feed_->closed = true; }
  void became(Partition, Position position, Fate fate) override {
    EXPECT_FALSE(feed_->closed) << "became() after close()";
    feed_->fates.emplace_back(position, fate);
  }

  void decline(Partition partition, Position from, Position upto) override {
    feed_->declined.push_back({partition, from, upto});
  }
  void save(StateWriter& state, std::vector<std::pair<Partition, Position>>&) override {
    if (!feed_->declined.empty()) {
      state.put("declined", std::to_string(feed_->declined.size()));
    }
    if (feed_->resumes && saved_ != feed_->taken) {
      saved_ = feed_->taken;
      state.put("taken", std::to_string(feed_->taken));
    }
  }
  Status restore(const StateReader& state) override {
    const std::string taken = state.get("taken");
    if (!taken.empty()) {
      feed_->taken = saved_ = std::stoul(taken);
    }
    return {};
  }

 private:
  std::shared_ptr<Feed> feed_;
  std::size_t saved_ = 0;
};

// Adds the column "value". What it learns are the devices it has seen.
class FakeDecode final : public Decode {
 public:
  void unpack(Batch& batch) override {
    std::vector<Row> rows;
    for (Row row : batch.all_rows()) {
      std::string_view rest = row.payload;
      for (bool more = true; more;) {
        const std::size_t end = rest.find('|');
        more = end != std::string_view::npos;
        row.payload = rest.substr(0, end);
        rest.remove_prefix(more ? end + 1 : rest.size());
        rows.push_back(row);
      }
    }
    batch.replace_rows(rows);
  }
  Status decode(Batch& batch, std::vector<Undecoded>& failed, std::uint64_t& unfit) override {
    if (error) {
      return *error;
    }
    Column& value = batch.add_column("value", Type::kFloat64);
    for (const std::uint32_t index : batch.selection()) {
      Row& row = batch.row(index);
      EXPECT_EQ(row.flags & kRowOffline, 0U);
      if ((row.flags & kRowUndecoded) != 0) {
        continue;
      }
      const std::string_view text = row.payload;
      const std::size_t space = text.find(' ');
      if (text.starts_with("bad") || space == std::string_view::npos) {
        row.flags |= kRowUndecoded;
        failed.push_back({index, "no reading"});
        continue;
      }
      const std::string rest(text.substr(space + 1));
      char* end = nullptr;
      const double number = std::strtod(rest.c_str(), &end);
      if (end != rest.c_str()) {
        value.set(index, number);
      } else {
        ++unfit;
      }
      if ((row.flags & kRowReplayed) != 0) {
        continue;
      }
      row.device = text.substr(0, space);
      row.time = row.received;
      seen_.emplace(row.device);
      if (const std::size_t id = text.find("id="); id != std::string_view::npos) {
        row.identity = hash128(text.substr(id));
        row.flags |= kRowDeclaredId;
      }
    }
    return {};
  }
  bool changed() override { return std::exchange(known_, seen_.size()) != seen_.size(); }
  void save(StateWriter& state) override {
    for (const std::string& device : seen_) {
      state.put(device, "1");
    }
  }
  Status restore(const StateReader& state) override {
    for (const auto& [device, blob] : state.all()) {
      seen_.insert(device);
    }
    known_ = seen_.size();
    return {};
  }
  const std::set<std::string, std::less<>>& seen() const { return seen_; }

  std::optional<Error> error;

 private:
  std::set<std::string, std::less<>> seen_;
  std::size_t known_ = 0;
};

// Keeps rows whose value is above a limit; where `broken` is set, it says so afterwards.
class Above final : public Stage {
 public:
  explicit Above(double limit, const bool* broken = nullptr) : limit_(limit), broken_(broken) {}
  Status process(Batch batch, Outputs& out) override {
    const Column* value = batch.find("value");
    std::vector<std::uint8_t> flags(batch.rows(), 0);
    for (const std::uint32_t row : batch.selection()) {
      flags[row] = value != nullptr && value->valid(row) && value->as_double(row) > limit_ ? 1 : 0;
    }
    batch.keep(flags);
    HW_TRY(out.emit(std::move(batch)));
    return broken_ != nullptr && *broken_ ? Status(Error::invalid("above is broken")) : Status();
  }

 private:
  double limit_;
  const bool* broken_;
};

// score = value, for each selected row that has one.
class Score final : public Stage {
 public:
  Status process(Batch batch, Outputs& out) override {
    Column& score = batch.add_column("score", Type::kFloat64);
    const Column* value = batch.find("value");
    for (const std::uint32_t row : batch.selection()) {
      if (value != nullptr && value->valid(row)) {
        score.set(row, value->as_double(row));
      }
    }
    return out.emit(std::move(batch));
  }
};

// What a Step does is in the test.
class Step final : public Stage {
 public:
  using Call = std::function<Status(Batch, Outputs&)>;
  using Tick = std::function<Status(Outputs&)>;
  explicit Step(Call call, Tick tick = {}) : call_(std::move(call)), tick_(std::move(tick)) {}
  Status process(Batch batch, Outputs& out) override { return call_(std::move(batch), out); }
  Status tick(WallTime, Outputs& out) override { return tick_ ? tick_(out) : Status(); }

 private:
  Call call_;
  Tick tick_;
};

inline Alert sample_alert(std::string text, const Batch* batch = nullptr, std::uint32_t row = 0) {
  Alert alert;
  alert.id = text;
  alert.event = "alert";
  alert.json = std::move(text);
  if (batch != nullptr) {
    alert.row = row;
    alert.device = std::string(batch->row(row).device);
    alert.identity = batch->row(row).identity;
  }
  return alert;
}

// An alert at every third scored row of a device: its state decides.
class EveryThird final : public Stage {
 public:
  Status process(Batch batch, Outputs& out) override {
    const Column* score = batch.find("score");
    for (const std::uint32_t row : batch.selection()) {
      if (score == nullptr || !score->valid(row)) {
        continue;
      }
      const std::string device(batch.row(row).device);
      auto& [count, sum] = seen_[device];
      sum += score->as_double(row);
      if (++count % 3 == 0) {
        out.alert(sample_alert(fmt::format("{} n={} sum={}", device, count, sum), &batch, row));
      }
    }
    return out.emit(std::move(batch));
  }
  void save(StateWriter& state) override {
    std::string blob;
    ByteWriter writer(blob);
    writer.put_varint(seen_.size());
    for (const auto& [device, facts] : seen_) {
      writer.put_string(device);
      writer.put_varint(facts.first);
      writer.put(facts.second);
    }
    state.put("seen", blob);
  }
  Status restore(const StateReader& state) override {
    const std::string blob = state.get("seen");
    if (blob.empty()) {
      return {};
    }
    ByteReader reader(blob);
    std::map<std::string, std::pair<std::uint64_t, double>> seen;
    for (std::uint64_t left = reader.get_varint(); left > 0 && reader.ok(); --left) {
      auto& facts = seen[std::string(reader.get_string())];
      facts.first = reader.get_varint();
      facts.second = reader.get<double>();
    }
    if (!reader.ok()) {
      return Error::corrupt("cut off");
    }
    seen_ = std::move(seen);
    return {};
  }

 private:
  std::map<std::string, std::pair<std::uint64_t, double>> seen_;
};

// What a FakeSink is told and tells.
struct Taken {
  std::optional<Error> refuse;  // of submit()
  bool answers = true;          // at once, with `verdict`; else the test adds outcomes
  Verdict verdict = Verdict::kOk;
  std::vector<std::string> payloads;  // of accepted submits, in order
  std::vector<Token> tokens;
  std::vector<std::pair<MonoTime, bool>> made;  // of each: when, and whether by an earlier process
  std::deque<Outcome> outcomes;
  std::size_t submits = 0;
  bool closed = false;
};

class FakeSink final : public Sink {
 public:
  explicit FakeSink(std::shared_ptr<Taken> taken) : taken_(std::move(taken)) {}
  Status start(io::Loop&) override { return {}; }
  Status submit(BatchRef batch, Token token) override {
    EXPECT_FALSE(taken_->closed) << "submit() after close()";
    ++taken_->submits;
    if (taken_->refuse) {
      return *taken_->refuse;
    }
    for (const std::uint32_t row : batch->selection()) {
      taken_->payloads.emplace_back(batch->row(row).payload);
      taken_->tokens.push_back(token);
      const Row& sent = batch->row(row);
      taken_->made.emplace_back(sent.arrived, (sent.flags & kRowReplayed) != 0);
      if (taken_->answers) {
        taken_->outcomes.push_back({token, row, taken_->verdict});
      }
    }
    return {};
  }
  std::size_t poll(std::span<Outcome> outcomes) override {
    std::size_t count = 0;
    for (; count < outcomes.size() && !taken_->outcomes.empty(); ++count) {
      outcomes[count] = taken_->outcomes.front();
      taken_->outcomes.pop_front();
    }
    return count;
  }
  std::string state() const override { return "open"; }
  void close() override { taken_->closed = true; }

 private:
  std::shared_ptr<Taken> taken_;
};

// A decision per row: sequence → scores in the order of the log ("-" without one, "!" alerted).
inline std::map<std::uint64_t, std::vector<std::string>> read_decisions(const Spool& spool) {
  std::map<std::uint64_t, std::vector<std::string>> found;
  const auto reader = spool.read(Lane::kReadings, 1, {.stream = {}, .decisions = true});
  for (;;) {
    const Result<ReadItem> item = reader->next();
    EXPECT_TRUE(item.ok());
    if (!item || *item == ReadItem::kEnd) {
      return found;
    }
    if (*item != ReadItem::kDecisions) {
      continue;
    }
    const Decisions& decisions = reader->decisions();
    for (std::size_t i = 0; i < decisions.count; ++i) {
      const bool scored = !decisions.scores.empty() && decisions.scores[i] == decisions.scores[i];
      std::string text = scored ? fmt::format("{}", decisions.scores[i]) : "-";
      text += !decisions.alerted.empty() && decisions.alerted[i] != 0 ? "!" : "";
      found[decisions.first + i].push_back(std::move(text));
    }
  }
}

// One source, one pipeline, one spool. Members may be set before open() and build().
class Rig {
 public:
  explicit Rig(std::uint64_t seed = 1) : disk(seed) {}
  ~Rig() { drop(); }

  void open() {
    auto opened = Spool::open(disk, options);
    ASSERT_TRUE(opened.ok()) << opened.error().text();
    spool = std::move(*opened);
  }
  // False when the power went.
  bool build() {
    if (spool == nullptr) {
      auto opened = Spool::open(disk, options);
      if (!opened) {
        EXPECT_TRUE(disk.is_off()) << opened.error().text();
        return false;
      }
      spool = std::move(*opened);
    }
    Scoring::Parts parts;
    parts.name = "main/0";
    parts.pipeline = "main";
    parts.stream = 2;
    parts.steps.stages = stages();
    for (std::size_t i = 0; i < parts.steps.stages.size(); ++i) {
      parts.steps.stage_keys.push_back(fmt::format("{}.{}", i, stage_key));
    }
    parts.spool = spool.get();
    parts.latency = &latency;
    parts.steps.checkpoint_every = checkpoint_every;
    parts.steps.objective = objective;
    parts.steps.start_cost = start_cost;
    parts.max_waiting_rows = max_waiting_rows;
    parts.replay_rows = replay_rows;
    parts.offline_json = [](const Row& row, std::string_view) {
      return fmt::format("{} is offline", row.device);
    };
    scoring = std::make_unique<Scoring>(std::move(parts));
    intake = make_intake("main/in", 1, feed);
    const Status restored = scoring->restore();
    EXPECT_TRUE(restored.ok());
    return true;
  }
  std::unique_ptr<Intake> make_intake(std::string name, std::uint16_t stream,
                                      std::shared_ptr<Feed> from) {
    Intake::Parts parts;
    parts.name = std::move(name);
    parts.stream = stream;
    parts.room = room;
    parts.refuse = refuse;
    parts.acknowledge_on_receipt = on_receipt;
    parts.thin = thin;
    parts.source = std::make_unique<FakeSource>(std::move(from));
    auto made = std::make_unique<FakeDecode>();
    decode = made.get();
    parts.decode = std::move(made);
    parts.filters = filters();
    parts.spool = spool.get();
    parts.scoring = scoring.get();
    auto built = std::make_unique<Intake>(std::move(parts));
    scoring->add_stream(stream, built->decode());
    const Status started = built->start(*loop);
    EXPECT_TRUE(started.ok());
    return built;
  }

  // What was submitted is on disk, and the intake knows. False when the power went.
  bool commit() {
    const MonoTime until = io::mono_now() + kPatience;
    while (!spool->flush(std::chrono::milliseconds(5))) {
      if (disk.is_off()) {
        return false;
      }
      if (io::mono_now() > until) {
        ADD_FAILURE() << "no commit";
        return false;
      }
    }
    intake->on_commit(spool->committed());
    scoring->on_commit(spool->committed());
    return true;
  }
  void pump() { intake->pump(pool); }
  void step() { scoring->step(pool); }
  // Rounds until everything is taken, committed, scored and acknowledged. False when the power
  // went.
  bool settle() {
    const MonoTime until = io::mono_now() + kPatience;
    for (;;) {
      pump();
      step();
      if (!commit()) {
        return false;
      }
      if (feed->taken == feed->messages.size() && intake->settled() && scoring->idle()) {
        return true;
      }
      if (io::mono_now() > until) {
        ADD_FAILURE() << "does not settle: " << intake->trouble() << " / " << scoring->trouble();
        return false;
      }
    }
  }
  // All of the process goes; the disk stays.
  void drop() {
    intake.reset();
    scoring.reset();
    spool.reset();
  }
  void crash(double keep = 0.5) {
    disk.power_off();
    drop();
    disk.restart(keep);
  }

  std::vector<std::string> lane(Lane which) const { return read_lane(*spool, which); }

  io::FaultFiles disk;
  SpoolOptions options = small_options();
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  std::shared_ptr<Feed> feed = std::make_shared<Feed>();
  std::function<std::vector<std::unique_ptr<Stage>>()> stages = [] {
    std::vector<std::unique_ptr<Stage>> made;
    made.push_back(std::make_unique<Score>());
    made.push_back(std::make_unique<EveryThird>());
    return made;
  };
  std::function<std::vector<std::unique_ptr<Stage>>()> filters = [] {
    return std::vector<std::unique_ptr<Stage>>();
  };
  std::string stage_key = "step";
  std::size_t room = 4096;
  bool refuse = false;
  bool on_receipt = false;
  AdmissionThinning::Options thin;
  std::size_t max_waiting_rows = 65'536;
  std::size_t replay_rows = 1024;
  Nanos checkpoint_every = std::chrono::hours(1);
  Nanos objective{};
  CostLine start_cost;

  telemetry::Histogram latency;
  BatchPool pool;
  std::unique_ptr<Spool> spool;
  std::unique_ptr<Scoring> scoring;
  std::unique_ptr<Intake> intake;
  FakeDecode* decode = nullptr;
};

// Every stored row has exactly one decision.
inline void expect_each_decided_once(const Rig& rig) {
  const auto decisions = read_decisions(*rig.spool);
  EXPECT_EQ(decisions.size(), rig.lane(Lane::kReadings).size());
  std::uint64_t next = 1;
  for (const auto& [sequence, texts] : decisions) {
    EXPECT_EQ(sequence, next++);
    EXPECT_THAT(texts, testing::SizeIs(1)) << "row " << sequence;
  }
}

inline void expect_conserved(const IntakeCounts& counts) {
  EXPECT_EQ(counts.taken.get(), counts.duplicate.get() + counts.filtered.get() +
                                    counts.dead_letter.get() + counts.stored.get() +
                                    counts.thinned.get() + counts.refused.get() +
                                    counts.in_flight.get());
}

// Stages made of one.
template <class T, class... Args>
std::vector<std::unique_ptr<Stage>> only(Args&&... args) {
  std::vector<std::unique_ptr<Stage>> made;
  made.push_back(std::make_unique<T>(std::forward<Args>(args)...));
  return made;
}

}  // namespace headwater
