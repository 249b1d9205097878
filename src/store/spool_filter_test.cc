// Reads by time and device: which segments are passed by, and how much is read.
#include <gtest/gtest.h>

#include <set>

#include "store/fsck.h"
#include "store/row_facts.h"
#include "store/testing.h"

namespace headwater {
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000'000'000;
constexpr std::int64_t kSecond = 1'000'000'000;

// Counts the bytes that are read through it.
class CountingFiles final : public io::Files {
 public:
  explicit CountingFiles(io::Files& under) : under_(under) {}
  std::uint64_t bytes_read = 0;

  Result<std::unique_ptr<io::File>> open(std::string_view path, io::OpenMode mode) override {
    auto file = HW_TRY(under_.open(path, mode));
    return std::unique_ptr<io::File>(std::make_unique<Counted>(std::move(file), bytes_read));
  }
  Status rename(std::string_view from, std::string_view to) override {
    return under_.rename(from, to);
  }
  Status remove(std::string_view path) override { return under_.remove(path); }
  Status make_dir(std::string_view path) override { return under_.make_dir(path); }
  Result<std::vector<std::string>> list(std::string_view dir) override { return under_.list(dir); }
  Status sync_dir(std::string_view dir) override { return under_.sync_dir(dir); }
  Result<std::uint64_t> free_bytes(std::string_view dir) override { return under_.free_bytes(dir); }
  Result<std::unique_ptr<io::FileLock>> lock(std::string_view path) override {
    return under_.lock(path);
  }

 private:
  class Counted final : public io::File {
   public:
    Counted(std::unique_ptr<io::File> file, std::uint64_t& bytes)
        : file_(std::move(file)), bytes_(bytes) {}
    Result<std::size_t> pread(std::uint64_t offset, char* to, std::size_t count) const override {
      const std::size_t got = HW_TRY(file_->pread(offset, to, count));
      bytes_ += got;
      return got;
    }
    Status pwrite(std::uint64_t offset, std::span<const std::string_view> parts) override {
      return file_->pwrite(offset, parts);
    }
    Status sync() override { return file_->sync(); }
    Status allocate(std::uint64_t size) override { return file_->allocate(size); }
    Status truncate(std::uint64_t size) override { return file_->truncate(size); }
    Result<std::uint64_t> size() const override { return file_->size(); }

   private:
    std::unique_ptr<io::File> file_;
    std::uint64_t& bytes_;
  };

  io::Files& under_;
};

struct SpoolFilter : ::testing::Test {
  SpoolFilter() { options.max_bytes = std::uint64_t{16} << 20; }
  std::unique_ptr<Spool> open() {
    auto spool = Spool::open(disk, options);
    HW_CHECK(spool.ok(), spool ? "" : spool.error().text());
    return std::move(spool).value();
  }
  // A row a second, each of 2 kB, of one device an hour; its decision two rows behind it.
  void fill(Spool& spool, int from, int to) {
    Transaction transaction;
    for (int i = from; i < to; ++i) {
      const std::string device = fmt::format("d{}", i / 3600);
      StoredRow row = sample_row(payload);
      row.device = device;
      row.time = {kStart + i * kSecond};
      transaction.append(Lane::kReadings, 0, row);
      if (i == 100) {
        transaction.append(Lane::kAlerts, 0, row);
      }
      if (i % 50 == 49) {
        ASSERT_TRUE(spool.submit(transaction).ok());
        ASSERT_TRUE(spool.flush(kPatience).ok());
      }
    }
  }
  struct Read {
    std::vector<std::uint64_t> sequences;  // of the rows that the filter takes
    std::uint64_t bytes = 0;
  };
  Read read(Lane lane, const ReadFilter* filter, const ReadFilter& takes, bool decisions = false) {
    CountingFiles counting(disk);
    const auto view = SpoolView::open(counting, "spool");
    HW_CHECK(view.ok(), "it opens");
    Read out;
    const std::uint64_t before = counting.bytes_read;
    const auto reader =
        (*view)->read(lane, 1, {.stream = std::nullopt, .decisions = decisions, .filter = filter});
    for (ReadItem item = reader->next().value(); item != ReadItem::kEnd;
         item = reader->next().value()) {
      if (item != ReadItem::kRow) {
        continue;
      }
      const ReadRow& row = reader->row();
      if (row.row.time >= takes.from && row.row.time < takes.to &&
          (takes.device.empty() || row.row.device == takes.device)) {
        out.sequences.push_back(row.sequence);
      }
    }
    out.bytes = counting.bytes_read - before;
    return out;
  }
  static ReadFilter span(int from, int to, std::string device = {}) {
    return {.from = {kStart + from * kSecond},
            .to = {kStart + to * kSecond},
            .device = std::move(device)};
  }

  const std::string payload = std::string(2000, 'x');
  io::FaultFiles disk{3};
  SpoolOptions options = small_options();
};

TEST_F(SpoolFilter, SegmentsOfOtherTimesAndDevicesAreNotRead) {
  fill(*open(), 0, 6000);
  for (const ReadFilter& filter :
       {span(1000, 1060), span(0, 1), span(5990, 6000), span(900, 5000, "d1"), span(0, 6000, "dx"),
        span(-100, 0), span(7000, 8000)}) {
    const Read all = read(Lane::kReadings, nullptr, filter);
    const Read some = read(Lane::kReadings, &filter, filter);
    EXPECT_EQ(some.sequences, all.sequences);
    EXPECT_GT(all.bytes, 10'000'000U);
    if (filter.device.empty()) {
      // Two segments with the time, and the newest, which is always read.
      EXPECT_LT(some.bytes, 3 * options.segment_bytes);
    }
  }
  const ReadFilter none = span(0, 6000, "dx");
  EXPECT_LT(read(Lane::kReadings, &none, none).bytes, 2 * options.segment_bytes)
      << "a page for each of the others";
  EXPECT_LT(read(Lane::kAlerts, nullptr, {}).bytes, 3 * options.segment_bytes)
      << "without a filter: segments without a row of the lane";
}

TEST_F(SpoolFilter, ASegmentWithoutASummaryIsRead) {
  auto spool = open();
  fill(*spool, 0, 1000);
  spool.reset();
  disk.restart(0.0);
  fill(*open(), 1000, 2000);
  const ReadFilter filter = span(990, 1010);
  const Read some = read(Lane::kReadings, &filter, filter);
  EXPECT_EQ(some.sequences.size(), 20U);
  // The header page of a segment whose predecessor went through a restart tells nothing of it.
  std::size_t unknown = 0;
  std::size_t known = 0;
  const std::vector<std::string> names = disk.list("spool").value();
  for (const std::string& name : names) {
    if (name.ends_with(".log")) {
      const auto header = spool_format::decode_segment_header(
          disk.contents("spool/" + name).substr(0, spool_format::kPageBytes));
      ASSERT_TRUE(header.ok());
      (header->before.generation == 0 ? unknown : known) += 1;
    }
  }
  EXPECT_EQ(unknown, 2U) << "the first, and the one behind the restart";
  EXPECT_GT(known, 4U);
}

TEST_F(SpoolFilter, NothingIsPassedByWhilePaused) {
  fill(*open(), 0, 2000);
  ReadFilter filter = span(10, 20);
  filter.paused = true;
  EXPECT_GT(read(Lane::kReadings, &filter, filter, true).bytes, 4'000'000U);
}

TEST_F(SpoolFilter, TheSummarySurvivesThatTheHeaderPageIsWrittenAgain) {
  fill(*open(), 0, 3000);
  const auto page = [&] {
    std::string newest;
    const std::vector<std::string> names = disk.list("spool").value();
    for (const std::string& name : names) {
      newest = name.ends_with(".log") ? name : newest;
    }
    return disk.contents("spool/" + newest).substr(0, spool_format::kPageBytes);
  };
  const std::string before = page();
  ASSERT_NE(spool_format::decode_segment_header(before)->before.generation, 0U);
  open().reset();
  EXPECT_EQ(page(), before);
}

TEST(DeviceFilter, HoldsWhatWasAddedAndLittleElse) {
  DeviceFilter filter;
  for (int i = 0; i < 1000; ++i) {
    filter.add(device_key(Lane::kReadings, fmt::format("device-{}", i)));
  }
  int wrong = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::string device = fmt::format("device-{}", i);
    const bool may = DeviceFilter::may_hold(filter.bytes(), device_key(Lane::kReadings, device));
    EXPECT_TRUE(may || i >= 1000) << device;
    wrong += may && i >= 1000 ? 1 : 0;
    wrong += DeviceFilter::may_hold(filter.bytes(), device_key(Lane::kAlerts, device)) ? 1 : 0;
  }
  EXPECT_LT(wrong, 60);
}

}  // namespace
}  // namespace headwater
