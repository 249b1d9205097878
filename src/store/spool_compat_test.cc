// Spools that earlier versions wrote, under tests/compat: later versions open them. spool-v1 has
// frames of version 1, spool-v2 of version 2.
//
// HW_WRITE_COMPAT=tests/compat/spool-vN writes a new folder; only for a new format version.
#include <gtest/gtest.h>
#include <zstd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "store/fsck.h"
#include "store/testing.h"

namespace headwater {
namespace {

const std::string kCompat = std::string(HW_SOURCE_DIR) + "/tests/compat/";
constexpr std::size_t kMostFile = 1 << 20;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string expand(const std::string& packed) {
  std::string out(kMostFile, '\0');
  const std::size_t bytes = ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size());
  HW_CHECK(ZSTD_isError(bytes) == 0U, "a compat file is zstd of at most 1 MiB");
  out.resize(bytes);
  return out;
}

SpoolOptions compat_options(const FakeClock& clock) {
  SpoolOptions options = small_options();
  options.clock = &clock;
  options.lanes[index_of(Lane::kDebug)].max_bytes = 60'000;
  return options;
}

void add_consumers(Spool& spool) {
  spool.deliver_to("pager", Lane::kAlerts);
  spool.deliver_to("uplink", Lane::kSamples);
}

void commit(Spool& spool, Transaction& transaction) {
  const auto submitted = spool.submit(transaction);
  HW_CHECK(submitted.ok() && spool.flush(kPatience).ok(), "the disk works");
}

// Everything that a spool can hold: rows of all lanes, kept ones, decisions, cursors, states, gaps,
// a floor; frames of two boots, plain and compressed.
void make_spool(io::FaultFiles& disk) {
  FakeClock clock;
  SpoolOptions options = compat_options(clock);
  const std::string big(20'000, 'x');
  Transaction transaction;
  {
    const auto spool = Spool::open(disk, options).value();
    add_consumers(*spool);
    for (int i = 0; i < 3; ++i) {
      const std::string text = fmt::format("alert {}", i);
      StoredRow row = sample_row(text);
      row.note = "raised";
      transaction.append(Lane::kAlerts, 3, row);
      transaction.append(Lane::kSamples, 0, sample_row(fmt::format("sample {}", i)));
    }
    transaction.append(Lane::kDeadLetter, 1, sample_row("\x01\x02 no JSON"));
    transaction.cursor("pager", Lane::kAlerts, kAllStreams, 1);
    transaction.state("stage/main/0", "saved");
    transaction.state("stage/main/1", "deleted later");
    commit(*spool, transaction);
    for (int i = 0; i < 45; ++i) {
      clock.advance(std::chrono::minutes(1));
      const std::string text = fmt::format("{} {}", i, big);
      StoredRow row = sample_row(text);
      row.identity = {7, static_cast<std::uint64_t>(i)};
      transaction.append(i % 3 == 0 ? Lane::kDebug : Lane::kReadings, 0, row);
      commit(*spool, transaction);
    }
    transaction.state("stage/main/1", "");
    transaction.gap({.lane = Lane::kDeadLetter,
                     .reason = GapReason::kOperator,
                     .first = 1,
                     .last = 1,
                     .count = 1,
                     .from = {1},
                     .to = {2}});
    commit(*spool, transaction);
  }
  clock.advance(std::chrono::hours(1));
  clock.reboot();
  options.compression = Compression::kZstd;
  const auto spool = Spool::open(disk, options).value();
  add_consumers(*spool);
  std::vector<double> scores;
  std::vector<std::uint8_t> alerted;
  for (int i = 0; i < 50; ++i) {
    const std::string text = fmt::format(R"({{"temperature":{}}})", i);
    StoredRow row = sample_row(text);
    row.time.ns += i;
    transaction.append(Lane::kReadings, 2, row);
    scores.push_back(i * 0.5);
    alerted.push_back(i == 49 ? 1 : 0);
  }
  transaction.decide({.pipeline = "main",
                      .lane = Lane::kReadings,
                      .stream = 2,
                      .first = 0,
                      .count = 50,
                      .sequences = {},
                      .own_rows = true,
                      .model_digest = "abc",
                      .revision = 4,
                      .scores = scores,
                      .alerted = alerted});
  transaction.cursor_to_own("decided/main", Lane::kReadings, 2);
  transaction.append(Lane::kAlerts, 3, sample_row("alert 3"));
  commit(*spool, transaction);
}

std::string describe_rows(SpoolReader& reader) {
  std::string out;
  for (ReadItem item = reader.next().value(); item != ReadItem::kEnd;
       item = reader.next().value()) {
    if (item == ReadItem::kGap) {
      const Gap& gap = reader.gap();
      out += fmt::format("  {} {}-{} of {}\n", gap_reason_name(gap.reason), gap.first, gap.last,
                         gap.count);
    } else if (item == ReadItem::kDecisions) {
      const Decisions& decided = reader.decisions();
      out += fmt::format("  decided {}+{} {} {} {} score {} alerted {}\n", decided.first,
                         decided.count, decided.pipeline, decided.model_digest, decided.revision,
                         decided.scores.back(), decided.alerted.back());
    } else {
      const ReadRow& read = reader.row();
      out += fmt::format("  {} stream {} {} {} {} id {} time {} '{}' {} bytes {}\n", read.sequence,
                         read.stream, read.row.device, read.row.topic, read.row.sender,
                         read.row.identity.hex(), read.row.time.ns, read.row.payload.substr(0, 20),
                         read.row.payload.size(), read.row.note);
    }
  }
  return out;
}

std::string describe(io::FaultFiles& disk) {
  const auto view = SpoolView::open(disk, "spool").value();
  std::string out;
  for (const Lane lane : kAllLanes) {
    out += fmt::format("{} oldest {} next {}\n", lane_name(lane), view->oldest_sequence(lane),
                       view->next_sequence(lane));
    out += describe_rows(*view->read(lane, 1, {.stream = std::nullopt, .decisions = true}));
  }
  for (const SpoolView::Cursor& cursor : view->cursors()) {
    out += fmt::format("cursor {} {} {} {}\n", cursor.consumer, lane_name(cursor.lane),
                       cursor.stream, cursor.upto);
  }
  for (const auto& [key, bytes] : view->states()) {
    out += fmt::format("state {} {} bytes{}\n", key, bytes,
                       key.starts_with("stage/") ? " " + view->state(key) : "");
  }
  return out;
}

void load(io::FaultFiles& disk, const std::string& folder) {
  std::istringstream names(read_file(folder + "/files.txt"));
  for (std::string name; std::getline(names, name);) {
    disk.set_contents("spool/" + name, expand(read_file(folder + "/" + name + ".zst")));
  }
}

TEST(SpoolCompat, TheSameWorkGivesTheSameContentToday) {
  io::FaultFiles disk(1);
  make_spool(disk);
  disk.restart(0.0);
  const std::string content = describe(disk);
  if (const char* to = std::getenv("HW_WRITE_COMPAT")) {
    std::ofstream names(std::string(to) + "/files.txt");
    const std::vector<std::string> found = disk.list("spool").value();
    for (const std::string& name : found) {
      if (name == "LOCK") {
        continue;
      }
      names << name << "\n";
      const std::string bytes = disk.contents("spool/" + name);
      std::string packed(ZSTD_compressBound(bytes.size()), '\0');
      packed.resize(ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), 19));
      std::ofstream(std::string(to) + "/" + name + ".zst", std::ios::binary) << packed;
    }
    std::ofstream(std::string(to) + "/content.txt") << content;
  }
  EXPECT_EQ(content, read_file(kCompat + "spool-v2/content.txt"));
}

class SpoolCompatOf : public ::testing::TestWithParam<const char*> {
 protected:
  const std::string folder = kCompat + GetParam();
};
INSTANTIATE_TEST_SUITE_P(Versions, SpoolCompatOf, ::testing::Values("spool-v1", "spool-v2"));

TEST_P(SpoolCompatOf, IsReadAsItWasWritten) {
  io::FaultFiles disk(2);
  load(disk, folder);
  const auto report = fsck_spool(disk, "spool");
  ASSERT_TRUE(report.ok()) << report.error().text();
  EXPECT_TRUE(report->sound());
  EXPECT_TRUE(report->damage.empty());
  EXPECT_GT(report->lanes[index_of(Lane::kDebug)].floor, 1U);
  EXPECT_EQ(describe(disk), read_file(folder + "/content.txt"));
}

TEST_P(SpoolCompatOf, IsOpenedAndGoesOn) {
  io::FaultFiles disk(3);
  load(disk, folder);
  FakeClock clock;
  clock.reboot();
  clock.reboot();
  const auto rows_of = [](const std::string& content) {
    return content.substr(0, content.find("cursor "));
  };
  const std::string before = read_file(folder + "/content.txt");
  std::array<std::uint64_t, kLanes> next{};
  {
    const auto opened = Spool::open(disk, compat_options(clock));
    ASSERT_TRUE(opened.ok()) << opened.error().text();
    add_consumers(**opened);
    EXPECT_EQ(rows_of(describe(disk)), rows_of(before)) << "opening changes nothing of them";
    EXPECT_EQ((*opened)->state("stage/main/0"), "saved");
    EXPECT_EQ((*opened)->cursor("pager", Lane::kAlerts, kAllStreams), 1U);
    for (const Lane lane : kAllLanes) {
      next[index_of(lane)] = (*opened)->stats().lanes[index_of(lane)].next_sequence;
      EXPECT_EQ(append(**opened, "new", lane).first_sequence[index_of(lane)], next[index_of(lane)]);
    }
    ASSERT_TRUE((*opened)->flush(kPatience).ok());
  }
  disk.restart(0.0);
  EXPECT_TRUE(fsck_spool(disk, "spool")->sound());
  const auto view = SpoolView::open(disk, "spool").value();
  for (const Lane lane : kAllLanes) {
    EXPECT_EQ(read_lane(*view->read(lane, next[index_of(lane)])), std::vector<std::string>{"new"});
  }
}

}  // namespace
}  // namespace headwater
