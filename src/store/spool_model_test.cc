// Random work on the spool and on a model of it in memory, with the power cut at any write, sync or
// rename, processes killed, disks that fill up and syncs that fail. After each restart the spool
// must be the model after some prefix of the transactions, and no shorter one than was committed.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <random>

#include "store/fsck.h"
#include "store/testing.h"

namespace headwater {
namespace {

struct ModelRow {
  std::string payload;
  std::int64_t born = 0;  // on the clock of time with power
};
// Stands in the model for a row that was skipped.
constexpr std::string_view kSkipped = "skipped";

struct Done {  // one transaction
  std::array<std::vector<ModelRow>, kLanes> rows;
  std::map<std::string, std::string> states;
  std::map<std::string, std::uint64_t> cursors;
  std::array<std::uint64_t, kLanes> delivered{};  // 0: no cursor of the receiver
};

// False when the power went, or the disk refused all the while.
bool flush_unless_off(Spool& spool, io::FaultFiles& disk) {
  for (int i = 0; i < 500 && !disk.is_off(); ++i) {
    if (spool.flush(std::chrono::milliseconds(2))) {
      return true;
    }
  }
  return false;
}

class Trial {
 public:
  explicit Trial(std::uint64_t seed) : random_(seed), disk_(seed) {
    options_ = small_options();
    options_.on_full = chance(4) ? OnFull::kRefuse : OnFull::kShedOldest;
    options_.max_bytes = chance(2) ? std::uint64_t{1} << 20 : std::uint64_t{4} << 20;
    if (chance(3)) {
      options_.commit_delay = std::chrono::milliseconds(1);
    }
    carries_alerts_ = chance(2);
    options_.clock = &clock_;
    options_.compression = chance(3) ? Compression::kZstd : Compression::kNone;
    for (const Lane lane : kAllLanes) {
      LaneLimits& limits = options_.lanes[index_of(lane)];
      if (chance(4)) {
        limits.max_bytes = 50'000 + below(500'000);
      }
      if (chance(4)) {
        limits.max_age = kStep * static_cast<std::int64_t>(20 + below(100));
      }
    }
    skips_ = chance(2);
  }

  void run() {
    for (int life = 0; life < 4 && !::testing::Test::HasFailure(); ++life) {
      live();
    }
    verify(open(), committed_);
  }

 private:
  bool chance(std::uint64_t one_in) { return random_() % one_in == 0; }
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  std::unique_ptr<Spool> open() {
    auto spool = Spool::open(disk_, options_);
    if (!spool) {
      ADD_FAILURE() << "open: " << spool.error().text();
      return nullptr;
    }
    if (carries_alerts_) {
      (*spool)->deliver_to("pager", Lane::kAlerts);
      (*spool)->deliver_to("pager", Lane::kSamples);
      (*spool)->deliver_to("pager", Lane::kReadings);
    }
    return std::move(spool).value();
  }

  void live() {
    auto spool = open();
    if (!spool) {
      return;
    }
    verify_open(*spool, committed_);
    if (::testing::Test::HasFailure()) {
      return;
    }
    if (chance(2)) {
      disk_.power_off_after(1 + below(60));
    }
    const std::uint64_t actions = 5 + below(40);
    for (std::uint64_t i = 0; i < actions && !disk_.is_off(); ++i) {
      act(*spool);
    }
    switch (below(3)) {
      case 0:  // the power goes in the middle of the work
        disk_.power_off();
        committed_ = std::max(committed_, base_ + spool->committed());
        spool.reset();
        disk_.restart(static_cast<double>(below(3)) / 2);
        clock_.reboot();
        clock_.jump_wall(std::chrono::hours(24 * 365 * (chance(2) ? 10 : -10)));
        break;
      case 1:  // the process is killed
        disk_.power_off();
        committed_ = std::max(committed_, base_ + spool->committed());
        spool.reset();
        disk_.restart_process();
        pass_time(below(50));
        break;
      default: {  // it ends well, if the disk lets it
        disk_.clear_faults();
        const bool flushed = flush_unless_off(*spool, disk_);
        const bool off = disk_.is_off();
        committed_ = std::max(committed_, base_ + spool->committed());
        EXPECT_TRUE(flushed || off);
        spool.reset();
        disk_.restart(0.0);
      }
    }
  }

  void pass_time(std::uint64_t steps) {
    clock_.advance(kStep * static_cast<std::int64_t>(steps));
    powered_ += kStep.count() * static_cast<std::int64_t>(steps);
  }

  void act(Spool& spool) {
    pass_time(below(3));
    const std::uint64_t what = below(20);
    if (what == 0) {
      disk_.fail(io::DiskCall::kSync, EIO, 1 + below(3), below(3));
    } else if (what == 1) {
      disk_.fail(io::DiskCall::kWrite, chance(2) ? ENOSPC : EIO, 1 + below(3), below(3));
    } else if (what == 2) {
      disk_.fail(io::DiskCall::kAllocate, ENOSPC, 1 + below(2));
    } else if (what == 3) {
      disk_.fail(chance(2) ? io::DiskCall::kRename : io::DiskCall::kSyncDir, EIO, 1);
    } else if (what < 8) {
      if (chance(2)) {
        (void)flush_unless_off(spool, disk_);
      } else {
        (void)spool.flush(std::chrono::microseconds(100));
      }
    } else {
      submit(spool);
    }
  }

  void submit(Spool& spool) {
    Transaction transaction;
    Done done;
    const std::uint64_t number = log_.size() + 1;
    const std::uint64_t rows = below(5);
    for (std::uint64_t i = 0; i < rows; ++i) {
      const Lane lane = kAllLanes[below(kLanes)];
      const std::string payload = fmt::format(
          "{}.{} {}", number, i, std::string(chance(4) ? below(30'000) : below(50), 'p'));
      transaction.append(lane, 0, sample_row(payload));
      done.rows[index_of(lane)].push_back({payload, powered_});
    }
    if (chance(6)) {
      const std::size_t lane = below(3);
      const std::uint64_t upto = below(rows_.at(lane).size() + 1);
      if (upto > delivered_.at(lane)) {
        done.delivered.at(lane) = delivered_.at(lane) = upto;
        transaction.cursor("pager", kAllLanes.at(lane), kAllStreams, upto);
      }
    }
    if (skips_ && chance(2)) {
      const Lane lane = chance(2) ? Lane::kReadings : Lane::kDeadLetter;
      const std::uint64_t count = 1 + below(5);
      transaction.skip(lane, count, {1}, {2});
      EXPECT_EQ(transaction.skipped(lane), count);
      done.rows[index_of(lane)].insert(done.rows[index_of(lane)].end(), count,
                                       {std::string(kSkipped), powered_});
    }
    done.states["number"] = std::to_string(number);
    transaction.state("number", done.states["number"]);
    if (chance(3)) {
      const std::string key = fmt::format("key{}", below(4));
      done.states[key] =
          chance(4) ? "" : fmt::format("{} {}", number, std::string(below(200), 'v'));
      transaction.state(key, done.states[key]);
    }
    if (chance(3)) {
      const std::string consumer = fmt::format("c{}", below(3));
      done.cursors[consumer] = number;
      transaction.cursor(consumer, Lane::kReadings, 7, number);
    }
    const auto submitted = spool.submit(transaction);
    if (!submitted) {
      EXPECT_NE(submitted.error().code(), Code::kInvalid);
      EXPECT_NE(submitted.error().code(), Code::kInternal);
      return;
    }
    EXPECT_EQ(submitted->ticket, number - base_);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (!done.rows[lane].empty()) {
        EXPECT_EQ(submitted->first_sequence[lane],
                  done.rows[lane][0].payload == kSkipped ? 0 : rows_.at(lane).size() + 1);
        rows_[lane].insert(rows_[lane].end(), done.rows[lane].begin(), done.rows[lane].end());
      }
    }
    log_.push_back(std::move(done));
  }

  void verify(std::unique_ptr<Spool> spool, std::uint64_t committed) {
    if (spool) {
      verify_open(*spool, committed);
    }
  }

  // The spool is the model after `kept` transactions; the model forgets the rest.
  void verify_open(Spool& spool, std::uint64_t committed) {
    const std::string number = spool.state("number");
    const std::uint64_t kept = number.empty() ? 0 : std::stoull(number);
    ASSERT_GE(kept, committed) << "a committed transaction is lost";
    ASSERT_LE(kept, log_.size());
    log_.resize(kept);
    base_ = kept;
    committed_ = kept;
    std::map<std::string, std::string> states;
    std::map<std::string, std::uint64_t> cursors;
    for (auto& lane : rows_) {
      lane.clear();
    }
    delivered_ = {};
    for (const Done& done : log_) {
      for (const auto& [key, blob] : done.states) {
        states[key] = blob;
      }
      for (const auto& [consumer, upto] : done.cursors) {
        cursors[consumer] = upto;
      }
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        rows_[lane].insert(rows_[lane].end(), done.rows[lane].begin(), done.rows[lane].end());
        delivered_[lane] = std::max(delivered_[lane], done.delivered[lane]);
      }
    }
    for (const auto& [key, blob] : states) {
      EXPECT_EQ(spool.state(key), blob) << key;
    }
    for (const auto& [consumer, upto] : cursors) {
      EXPECT_EQ(spool.cursor(consumer, Lane::kReadings, 7), upto);
    }
    // In this order: what is let go between the two shows in the next look at the gaps.
    std::vector<Gap> gaps = spool.gaps();
    SpoolStats stats = spool.stats();
    for (std::size_t i = 0; i < kLanes;) {
      const Lane lane = kAllLanes[i];
      const auto& want = rows_[index_of(lane)];
      EXPECT_EQ(stats.lanes[index_of(lane)].next_sequence, want.size() + 1);
      const auto reader = spool.read(lane, 1);
      std::uint64_t at = 0;
      std::uint64_t shed = 0;
      std::uint64_t expired = 0;
      bool only_skipped = true;
      const LaneLimits& limits = options_.lanes[index_of(lane)];
      // What the receiver has had may be gone without a record.
      const std::uint64_t had = carries_alerts_ ? delivered_[index_of(lane)] : 0;
      for (bool more = true; more;) {
        const auto item = reader->next();
        ASSERT_TRUE(item.ok()) << item.error().text();
        switch (*item) {
          case ReadItem::kRow:
            ASSERT_GT(reader->row().sequence, at);
            at = reader->row().sequence <= had + 1 ? reader->row().sequence - 1 : std::max(at, had);
            ASSERT_EQ(reader->row().sequence, at + 1);
            ASSERT_LT(at, want.size()) << "a row that was never committed";
            EXPECT_EQ(reader->row().row.payload, want[at].payload);
            ++at;
            break;
          case ReadItem::kGap:
            ASSERT_GT(reader->gap().first, at);
            at = reader->gap().first <= had + 1 ? reader->gap().first - 1 : std::max(at, had);
            ASSERT_EQ(reader->gap().first, at + 1);
            at = reader->gap().last;
            ASSERT_LE(at, want.size());
            if (reader->gap().reason == GapReason::kExpired) {
              expired += reader->gap().count;
              EXPECT_GT(limits.max_age.count(), 0);
              EXPECT_GE(powered_ - want[at - 1].born, limits.max_age.count());
              break;
            }
            EXPECT_EQ(reader->gap().reason, GapReason::kShed);
            shed += reader->gap().count;
            if (options_.on_full == OnFull::kRefuse && limits.max_bytes == 0) {
              // Only rows that were skipped; a record of many spans others, which the receiver has.
              std::uint64_t skipped = 0;
              for (std::uint64_t gone = reader->gap().first; gone <= at; ++gone) {
                const bool was_skipped = want[gone - 1].payload == kSkipped;
                skipped += was_skipped ? 1 : 0;
                only_skipped = only_skipped && (was_skipped || gone <= had);
              }
              only_skipped = only_skipped && skipped == reader->gap().count;
            }
            break;
          default:
            more = false;
        }
      }
      // Rows were let go meanwhile, with a record or, when delivered, without: look again.
      const SpoolStats now = spool.stats();
      if (spool.gaps() != gaps || now.written_bytes != stats.written_bytes ||
          now.bytes != stats.bytes) {
        gaps = spool.gaps();
        stats = spool.stats();
        i = 0;
        continue;
      }
      ++i;
      EXPECT_TRUE(only_skipped) << lane_name(lane) << ": rows let go that nobody asked to";
      EXPECT_EQ(std::max(at, had), want.size())
          << lane_name(lane) << ": every row is there, delivered or in a gap record";
      EXPECT_EQ(stats.lanes[index_of(lane)].shed_rows, shed);
      EXPECT_EQ(stats.lanes[index_of(lane)].expired_rows, expired);
    }
    const auto report = fsck_spool(disk_, "spool");
    ASSERT_TRUE(report.ok()) << report.error().text();
    EXPECT_TRUE(report->sound());
    if (!report->sound()) {
      for (const SegmentReport& segment : report->segments) {
        ADD_FAILURE() << segment.name << " frames " << segment.frames << " end " << segment.end
                      << " epoch " << segment.epoch;
      }
    }
    for (const Damage& damage : report->damage) {
      ADD_FAILURE() << damage.file << " " << damage.from << ": " << damage.text;
    }
    // Each failed sync may cost a segment until the next release.
    EXPECT_LE(stats.bytes, options_.max_bytes + 5 * options_.segment_bytes);
  }

  std::mt19937_64 random_;
  io::FaultFiles disk_;
  SpoolOptions options_;
  static constexpr Nanos kStep = std::chrono::minutes(1);
  FakeClock clock_;
  std::int64_t powered_ = 0;  // time with power, ns
  bool carries_alerts_ = false;
  bool skips_ = false;
  std::vector<Done> log_;        // transaction n is at n - 1
  std::uint64_t base_ = 0;       // transactions before this life
  std::uint64_t committed_ = 0;  // at least so many must be there
  std::array<std::vector<ModelRow>, kLanes> rows_;
  std::array<std::uint64_t, kLanes> delivered_{};
};

// HW_TRIALS and HW_SEED run more, or one again.
std::uint64_t from_env(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

TEST(SpoolModel, NothingCommittedIsLostAndNothingIsHalfThere) {
  const std::uint64_t first = from_env("HW_SEED", 1);
  const std::uint64_t trials = from_env("HW_TRIALS", 60);
  for (std::uint64_t seed = first; seed < first + trials; ++seed) {
    SCOPED_TRACE(fmt::format("HW_SEED={} HW_TRIALS=1", seed));
    Trial(seed).run();
    if (HasFailure()) {
      return;
    }
  }
}

// A fixed piece of work over a roll and a shed, with the power cut at each change in turn.
TEST(SpoolModel, ThePowerMayGoAtEveryChange) {
  const std::string big(60'000, 'b');
  for (std::size_t change = 1;; ++change) {
    io::FaultFiles disk(change);
    SpoolOptions options = small_options();
    disk.power_off_after(change);
    std::uint64_t committed = 0;
    bool finished = false;
    if (auto spool = Spool::open(disk, options)) {
      Transaction transaction;
      for (int i = 0; i < 16; ++i) {
        transaction.append(Lane::kReadings, 0, sample_row(fmt::format("{} {}", i + 1, big)));
        if (!(*spool)->submit(transaction) || !flush_unless_off(**spool, disk)) {
          break;
        }
        finished = i == 15;
      }
      committed = (*spool)->committed();
      if (finished) {
        finished = !disk.is_off();
      }
    }
    disk.restart(static_cast<double>(change % 3) / 2);
    auto spool = Spool::open(disk, options);
    ASSERT_TRUE(spool.ok()) << change << ": " << spool.error().text();
    std::uint64_t at = 0;
    for (const std::string& text : read_lane(**spool, Lane::kReadings)) {
      std::uint64_t first = 0;
      std::uint64_t last = 0;
      if (std::sscanf(text.c_str(), "shed %lu-%lu", &first, &last) == 2) {
        EXPECT_EQ(first, at + 1) << change;
        at = last;
      } else {
        EXPECT_EQ(text.substr(0, text.find(' ')), std::to_string(++at)) << change;
      }
    }
    EXPECT_GE(at, committed) << change;
    EXPECT_LE(at, committed + 1) << change;
    if (finished) {
      EXPECT_GT(change, 40U);
      break;
    }
    ASSERT_LT(change, 500U);
  }
}

}  // namespace
}  // namespace headwater
