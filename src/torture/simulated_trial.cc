#include "torture/simulated_trial.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <random>
#include <set>

#include "io/fault_files.h"
#include "store/fsck.h"
#include "torture/edge_box.h"
#include "torture/watched_disk.h"

namespace headwater::torture {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::size_t kCommitBytes = 48 * 1024;
constexpr std::size_t kMostUndecidedBytes = 64 * 1024;
constexpr std::size_t kMostRounds = 100'000;
// How many of the sectors that were not synced survive a power cut: with most of them there, whole
// frames stand behind torn ones.
constexpr std::array<double, 5> kKeep = {0.0, 0.5, 0.9, 0.97, 1.0};
// Each batch costs the store two small frames: with batches of a row the reserve that they have in
// a full store of 1 MiB ends before a segment is delivered.
constexpr std::size_t kLeastBatch = 64;
constexpr std::size_t kMostDrain = 200;
constexpr std::size_t kMostStarts = 20;

std::string what_is_wrong(const FsckReport& report) {
  std::string text;
  for (const Damage& damage : report.damage) {
    text += fmt::format("{} at {}: {}; ", damage.file, damage.from, damage.text);
  }
  for (const Lane lane : kAllLanes) {
    const LaneReport& facts = report.lanes[index_of(lane)];
    for (const auto& [first, last] : facts.missing) {
      text += fmt::format("{} {} to {} missing; ", lane_name(lane), first, last);
    }
    if (facts.repeated > 0) {
      text += fmt::format("{} of {} repeated; ", facts.repeated, lane_name(lane));
    }
  }
  return text;
}

class SimulatedTrial {
 public:
  SimulatedTrial(const Blueprint& blueprint, const TrialOptions& options)
      : blueprint_(blueprint),
        options_(options),
        random_(options.seed * 0x9E3779B97F4A7C15ULL + 1),
        cell_(cell_of(options.seed)),
        disk_(options.seed),
        watched_(disk_),
        loop_(io::Loop::create().value()),
        fleet_(fleet_options()),
        receiver_(options.seed, fleet_, trial_.verdict) {
    trial_.seed = options.seed;
    trial_.kind = cell_.kind;
    trial_.boundary = cell_.boundary;
    choose_store();
    commit_one_in_ = 1 + below(6);
    step_one_in_ = 1 + below(3);
    most_room_ = std::size_t{4} << below(5);
    batch_rows_ = kLeastBatch + below(300);
    drains_ = chance(2);
    strike_at_ = options_.load / 10 + below(options_.load / 2 + 1);
  }

  Trial run() {
    const MonoTime began = io::mono_now();
    if (revive() && work() && settle() && last_crash() && settle()) {
      verify();
    }
    box_.reset();
    trial_.bytes = fleet_.bytes();
    trial_.operations = watched_.operations();
    trial_.verdict.acknowledged = fleet_.acknowledged();
    trial_.took = io::mono_now() - began;
    return std::move(trial_);
  }

 private:
  bool chance(std::uint64_t one_in) { return random_() % one_in == 0; }
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  Verdict& verdict() { return trial_.verdict; }
  bool is(FaultKind kind) const { return cell_.kind == kind; }
  bool at(Boundary boundary) const { return cell_.boundary == boundary; }

  Fleet::Options fleet_options() {
    Fleet::Options options;
    options.seed = options_.seed;
    options.devices = 4 + below(6);
    options.messages = options_.load;
    // Enough bytes that segments are begun, and let go where the fault is about that.
    const bool much = is(FaultKind::kReceiverStall) || is(FaultKind::kBitFlip) ||
                      at(Boundary::kRecycle) || at(Boundary::kDirSync);
    message_bytes_ = much ? 3 * kMiB : kMiB;
    options.payload_bytes = static_cast<std::size_t>(message_bytes_ / options_.load);
    return options;
  }

  void choose_store() {
    store_.dir = "spool";
    store_.segment_bytes = 256 * 1024;
    store_.max_bytes = is(FaultKind::kBitFlip) ? 8 * kMiB : kMiB;
    store_.min_free = 0;
    // The flusher waits to be told, so that a seed groups the same frames each time.
    store_.commit_delay = std::chrono::hours(1);
    store_.retry_delay = std::chrono::milliseconds(1);
    const std::uint64_t full = below(is(FaultKind::kReceiverStall) ? 3 : 8);
    store_.on_full = full == 0 ? OnFull::kRefuse : full == 1 ? OnFull::kBlock : OnFull::kShedOldest;
    if (is(FaultKind::kBitFlip)) {
      store_.on_full = OnFull::kShedOldest;
      receiver_.stalled = true;  // so that there are rows to damage that it has not had
    }
  }

  // ---- lives ----

  bool give_up(std::string text) {
    ++verdict().lost;
    verdict().find(std::move(text));
    return false;
  }

  // A new process on this disk. What the fault does to its start is part of the trial.
  bool revive() {
    for (std::size_t attempt = 0; attempt < kMostStarts; ++attempt) {
      ++trial_.restarts;
      fleet_.reconnect_all();
      box_.emplace(EdgeBox::Parts{.blueprint = &blueprint_,
                                  .files = &watched_,
                                  .disk = &disk_,
                                  .spool = store_,
                                  .fleet = &fleet_,
                                  .receiver = &receiver_,
                                  .batch_rows = batch_rows_,
                                  .seed = options_.seed,
                                  .verdict = &trial_.verdict,
                                  .loop = loop_.get()});
      watched_.set_recovering(trial_.restarts > 1);
      const Status started = box_->start();
      watched_.set_recovering(false);
      if (started) {
        return true;
      }
      last_error_ = started.error().text();
      bury();
    }
    return give_up(fmt::format("the edge does not start again: {}", last_error_));
  }

  // The process is gone; what it left on the disk is decided.
  void bury() {
    const bool was_off = disk_.is_off();
    disk_.power_off();
    box_.reset();
    const bool by_power = is(FaultKind::kTornWrite) || is(FaultKind::kPowerCut) ||
                          (was_off && !is(FaultKind::kProcessKill) && chance(2));
    if (was_off && by_power) {
      disk_.restart(is(FaultKind::kTornWrite) ? 1.0 : kKeep[below(kKeep.size())]);
    } else {
      disk_.restart_process();
    }
  }

  bool crash(bool power, double keep) {
    disk_.power_off();
    box_.reset();
    if (power) {
      disk_.restart(keep);
    } else {
      disk_.restart_process();
    }
    return revive();
  }

  // ---- the work ----

  // False when the trial cannot go on.
  bool commit() {
    switch (box_->commit()) {
      case Commit::kDone:
        return true;
      case Commit::kRefused:
        // Sources go on, and are refused.
        box_->pump(1 + below(most_room_));
        box_->step();
        return true;
      case Commit::kOff:
        bury();
        return revive();
      case Commit::kStuck:
        break;
    }
    return give_up("the store does not commit although its disk is well");
  }

  bool round() {
    box_->pump(1 + below(most_room_));
    if (chance(step_one_in_)) {
      box_->step();
    }
    // Rows that the store lets go undecided would be decisions that are not made.
    while (box_->undecided() > kMostUndecidedBytes * options_.load / message_bytes_ &&
           box_->step()) {
    }
    if (chance(4)) {
      box_->deliver();
    }
    if (chance(4)) {
      box_->uplink(1 + below(8));
    }
    if (chance(40)) {
      box_->checkpoint();
    }
    if (chance(200)) {
      receiver_.refusals = static_cast<std::uint32_t>(1 + below(4));
    }
    if (chance(commit_one_in_) || box_->uncommitted() > kCommitBytes) {
      return commit();
    }
    return true;
  }

  // Until every device has its acknowledgements.
  bool work() {
    for (std::size_t rounds = 0; !fleet_.done(); ++rounds) {
      if (rounds > kMostRounds) {
        return give_up(fmt::format("no end: {} of {} messages acknowledged", fleet_.acknowledged(),
                                   options_.load));
      }
      if (!armed_ && fleet_.acknowledged() >= strike_at_) {
        armed_ = true;
        if (!strike()) {
          return false;
        }
      }
      if (is(FaultKind::kReceiverStall) && receiver_.stalled && --stall_rounds_ == 0) {
        receiver_.stalled = false;
      }
      if (!round()) {
        return false;
      }
    }
    receiver_.stalled = false;
    if (cell_.boundary) {
      trial_.fired = watched_.struck();
      watched_.disarm();
    }
    return true;
  }

  bool settle() {
    for (std::size_t rounds = 0; rounds < kMostRounds; ++rounds) {
      box_->pump(64);
      box_->step();
      box_->deliver();
      if (drains_ || rounds > 50) {
        box_->uplink(8);
      }
      if (!commit()) {
        return false;
      }
      const bool sent = !drains_ || rounds > kMostDrain || box_->drained();
      if (fleet_.all_acknowledged() && box_->settled() && sent) {
        box_->check_conservation();
        return true;
      }
    }
    return give_up("the edge does not come to rest");
  }

  // ---- the fault ----

  bool strike() {
    if (cell_.boundary) {
      arm();
      if (at(Boundary::kRecovery)) {
        return crash(chance(2), kKeep[below(kKeep.size())]);
      }
      return true;
    }
    trial_.fired = true;
    switch (cell_.kind) {
      case FaultKind::kBitFlip:
        return flip_bits();
      case FaultKind::kClockJump: {
        const Nanos by =
            std::chrono::seconds(static_cast<std::int64_t>(below(2 * 86'400)) - 86'400);
        fleet_.jump_clock(by);
        io::shift_wall_clock(by);
        break;
      }
      case FaultKind::kReconnect:
        for (std::size_t device = 0; device < fleet_.devices(); ++device) {
          if (chance(2)) {
            fleet_.reconnect(device);
          }
        }
        // Again and again, with some work between.
        strike_at_ = fleet_.acknowledged() + options_.load / 20 + 1;
        armed_ = false;
        break;
      case FaultKind::kReceiverStall:
        receiver_.stalled = true;
        stall_rounds_ = 400;
        break;
      default:
        break;
    }
    return true;
  }

  void arm() {
    std::size_t skip = below(3);
    WatchedDisk::Calls calls = WatchedDisk::kAnyCall;
    if (at(Boundary::kFrameWrite) || at(Boundary::kFrameSync)) {
      skip = below(12);
    } else if (at(Boundary::kRecovery)) {
      skip = below(5);
    }
    using io::DiskCall;
    if (is(FaultKind::kTornWrite)) {
      calls = bit_of(DiskCall::kWrite);
    } else if (is(FaultKind::kDiskFull)) {
      calls = static_cast<WatchedDisk::Calls>(
          bit_of(DiskCall::kWrite) | bit_of(DiskCall::kAllocate) | bit_of(DiskCall::kOpen));
    } else if (is(FaultKind::kSyncError)) {
      calls = static_cast<WatchedDisk::Calls>(bit_of(DiskCall::kSync) | bit_of(DiskCall::kSyncDir));
    } else if (is(FaultKind::kWriteError)) {
      calls = static_cast<WatchedDisk::Calls>(
          ~(bit_of(DiskCall::kSync) | bit_of(DiskCall::kSyncDir)) & WatchedDisk::kAnyCall);
    }
    if (calls != WatchedDisk::kAnyCall && at(Boundary::kRecovery)) {
      skip = 0;
    }
    // Also: the power goes, or the process ends, soon after an error.
    const std::size_t then_off = chance(2) ? 1 + below(6) : 0;
    const std::size_t times = 1 + below(4);
    watched_.arm(*cell_.boundary, calls, skip, [this, then_off, times](DiskCall call) {
      switch (cell_.kind) {
        case FaultKind::kDiskFull:
          disk_.fail(call, ENOSPC, times);
          break;
        case FaultKind::kWriteError:
        case FaultKind::kSyncError:
          disk_.fail(call, EIO);
          break;
        default:
          disk_.power_off_after(1);
          return;
      }
      if (then_off > 0) {
        disk_.power_off_after(1 + then_off);
      }
    });
  }

  bool flip_bits() {
    fleet_.hold(true);
    if (!rest_with_receiver_behind()) {
      return false;
    }
    fleet_.hold(false);
    std::vector<std::string> closed;
    const std::vector<std::string> names = disk_.list("spool").value();
    for (const std::string& name : names) {
      if (name.ends_with(".log")) {
        closed.push_back("spool/" + name);
      }
    }
    if (closed.size() < 2) {
      trial_.fired = false;
      return true;
    }
    closed.pop_back();  // names ascend: the newest is in use
    for (std::uint64_t flips = 1 + below(4); flips > 0; --flips) {
      disk_.flip_bit(closed[below(closed.size())], below(store_.segment_bytes * 15 / 16 * 8));
    }
    damaged_ = true;
    receiver_.stalled = false;
    return true;
  }

  // All that was taken is acknowledged and decided, and the state of the steps is written.
  bool rest_with_receiver_behind() {
    for (std::size_t rounds = 0; rounds < kMostRounds; ++rounds) {
      box_->pump(64);
      box_->step();
      if (!commit()) {
        return false;
      }
      if (fleet_.all_acknowledged() && rounds > 10) {
        box_->checkpoint();
        return commit();
      }
    }
    return give_up("the edge does not come to rest");
  }

  // ---- the end ----

  // What was acknowledged must be on the platter by now: nothing that was not synced survives.
  bool last_crash() {
    disk_.clear_faults();
    return crash(!chance(4), 0.0);
  }

  void verify() {
    const std::unique_ptr<SpoolReader> reader =
        box_->spool().read(Lane::kReadings, 1, {.stream = std::nullopt, .decisions = true});
    receiver_.ledger.begin_pass();
    for (;;) {
      const Result<ReadItem> item = reader->next();
      if (!item) {
        give_up(fmt::format("read the store: {}", item.error().text()));
        return;
      }
      if (*item == ReadItem::kEnd) {
        break;
      }
      if (*item == ReadItem::kDecisions) {
        receiver_.ledger.decisions(reader->decisions(), verdict());
      } else if (*item == ReadItem::kRow) {
        const ReadRow& row = reader->row();
        const std::optional<MessageName> name = fleet_.find(row.row.identity);
        const bool same =
            name && fleet_.messages(name->device)[name->number - 1].payload == row.row.payload;
        receiver_.ledger.row(row.sequence, name ? &*name : nullptr, same, false, verdict());
      }
    }
    if (damaged_) {  // the gaps that reading found
      if (!commit()) {
        return;
      }
      if (const Status put = box_->spool().flush(std::chrono::seconds(10)); !put) {
        give_up(put.error().text());
        return;
      }
    }
    check_uplink();
    Ledger::Facts facts;
    facts.next_sequence = box_->sequences();
    facts.gaps = box_->spool().gaps();
    facts.damaged = damaged_;
    facts.sent_again = fleet_.sent_again();
    facts.decided_from = box_->spool().stats().lanes[index_of(Lane::kReadings)].oldest_sequence;
    std::vector<StoredMessage> rows;
    for (std::uint32_t device = 0; device < fleet_.devices(); ++device) {
      const std::vector<Message>& messages = fleet_.messages(device);
      for (std::uint32_t i = 0; i < messages.size(); ++i) {
        const Message& message = messages[i];
        const MessageName name{device, i + 1};
        if (message.acknowledged) {
          facts.acknowledged.push_back(name);
        }
        rows.push_back({.name = name,
                        .device = fleet_.name(device),
                        .topic = fleet_.topic(device),
                        .sender = fleet_.name(device),
                        .payload = message.payload,
                        .time = message.received,
                        .received = message.received,
                        .identity = message.identity});
      }
    }
    const Result<Decided> expected = blueprint_.decide(rows);
    if (!expected) {
      give_up(fmt::format("the run without faults: {}", expected.error().text()));
      return;
    }
    // Damage may take rows that a window needs, and alerts.
    trial_.compared = !damaged_ && !receiver_.replay_cut;
    facts.expected = trial_.compared ? &*expected : nullptr;
    receiver_.ledger.judge(facts, verdict());
    const Result<FsckReport> report = fsck_spool(disk_, "spool");
    if (!report || (!damaged_ && !report->sound())) {
      ++verdict().unexplained;
      verdict().find(report ? "verifying the store: " + what_is_wrong(*report)
                            : report.error().text());
    }
  }

  // What the uplink has left behind it is with the receiver, with its decisions; what the receiver
  // refused lies among the dead letters.
  void check_uplink() {
    for (const Lane lane : {Lane::kReadings, Lane::kDeadLetter}) {
      const std::uint64_t cursor =
          box_->spool().cursor(kUplinkConsumer, lane, kAllStreams).value_or(0);
      for (std::uint64_t sequence = 1; sequence <= cursor; ++sequence) {
        if (!receiver_.batches.has(lane, sequence)) {
          ++verdict().lost;
          verdict().find(fmt::format("{} {} counts as sent on, and the receiver has it not",
                                     lane_name(lane), sequence));
        }
      }
    }
    // A store that refuses rows has no room for decisions with alerts either: then rows go without
    // them after a while, which makes the room.
    if (receiver_.batches.undecided() > 0 && store_.on_full == OnFull::kShedOldest && !damaged_ &&
        !receiver_.replay_cut) {
      verdict().decided_otherwise += receiver_.batches.undecided();
      verdict().find(fmt::format("{} rows were sent on without their decision",
                                 receiver_.batches.undecided()));
    }
    std::set<std::uint64_t> known = receiver_.batches.letters();
    const auto reader = box_->spool().read(Lane::kDeadLetter, 1);
    for (;;) {
      const Result<ReadItem> item = reader->next();
      if (!item || *item == ReadItem::kEnd) {
        break;
      }
      if (*item == ReadItem::kRow) {
        known.insert(reader->row().sequence);
      } else if (*item == ReadItem::kGap) {
        for (std::uint64_t at = reader->gap().first; at <= reader->gap().last; ++at) {
          known.insert(at);
        }
      }
    }
    const std::size_t letters = known.size();
    if (letters < receiver_.batches.refused().size() && !damaged_) {
      ++verdict().lost;
      verdict().find(fmt::format("the receiver refused {} rows, {} are among the dead letters",
                                 receiver_.batches.refused().size(), letters));
    }
  }

  const Blueprint& blueprint_;
  const TrialOptions options_;
  std::mt19937_64 random_;
  const Cell cell_;
  io::FaultFiles disk_;
  WatchedDisk watched_;
  std::unique_ptr<io::Loop> loop_;
  std::uint64_t message_bytes_ = 0;  // of the whole load
  Fleet fleet_;
  Trial trial_;
  Receiver receiver_;
  SpoolOptions store_;
  std::optional<EdgeBox> box_;
  std::string last_error_;
  std::uint64_t commit_one_in_ = 1;
  std::uint64_t step_one_in_ = 1;
  std::size_t most_room_ = 64;
  std::size_t batch_rows_ = 100;
  std::uint64_t strike_at_ = 0;
  std::size_t stall_rounds_ = 0;
  bool armed_ = false;
  bool damaged_ = false;
  bool drains_ = false;
};

}  // namespace

Cell cell_of(std::uint64_t seed) {
  const std::span<const Cell> cells = simulated_cells();
  return cells[seed % cells.size()];
}

Trial run_simulated(const Blueprint& blueprint, const TrialOptions& options) {
  Trial trial = SimulatedTrial(blueprint, options).run();
  io::shift_wall_clock(Nanos{0});
  return trial;
}

}  // namespace headwater::torture
