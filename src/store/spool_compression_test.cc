// Frames whose body is compressed.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/crc32c.h"
#include "store/body_codec.h"
#include "store/format.h"
#include "store/fsck.h"
#include "store/repair.h"
#include "store/testing.h"

namespace headwater {
namespace {

namespace format = spool_format;
using Texts = std::vector<std::string>;

struct SpoolCompression : ::testing::Test {
  SpoolCompression() { options.compression = Compression::kZstd; }
  std::unique_ptr<Spool> open() {
    auto spool = Spool::open(disk, options);
    HW_CHECK(spool.ok(), spool ? "" : spool.error().text());
    return std::move(spool).value();
  }
  static std::string reading(int i) {
    return fmt::format(R"({{"device_id":"press-7","temperature":{}.5,"pressure":101.{}}})", i, i);
  }
  static void fill(Spool& spool, int transactions, int rows) {
    Transaction transaction;
    for (int i = 0; i < transactions; ++i) {
      for (int j = 0; j < rows; ++j) {
        transaction.append(Lane::kReadings, 0, sample_row(reading(i * rows + j)));
      }
      HW_CHECK(spool.submit(transaction).ok() && spool.flush(kPatience).ok(), "the disk works");
    }
  }
  struct Frame {
    std::uint64_t offset = 0;
    format::FrameHeader header;
  };
  // The one segment of a small spool.
  std::string segment() {
    const std::vector<std::string> names = disk.list("spool").value();
    const auto found = std::find_if(names.begin(), names.end(),
                                    [](const std::string& name) { return name.ends_with(".log"); });
    HW_CHECK(found != names.end(), "a spool has a segment");
    return "spool/" + *found;
  }
  std::vector<Frame> frames() {
    const std::string bytes = disk.contents(segment());
    std::vector<Frame> out;
    std::uint64_t at = format::kPageBytes;
    while (at + format::kFrameHeaderBytes <= bytes.size()) {
      const auto header = format::decode_frame_header(
          std::string_view(bytes).substr(at, format::kFrameHeaderBytes));
      if (!header) {
        break;
      }
      out.push_back({at, *header});
      at += header->frame_bytes();
    }
    return out;
  }

  io::FaultFiles disk{7};
  SpoolOptions options = small_options();
};

TEST_F(SpoolCompression, RowsReadBackFromAFractionOfTheBytes) {
  auto spool = open();
  fill(*spool, 5, 100);
  const std::uint64_t packed = spool->stats().written_bytes;
  const Texts rows = read_lane(*spool, Lane::kReadings);
  ASSERT_EQ(rows.size(), 500U);
  EXPECT_EQ(rows[499], reading(499));
  spool.reset();
  disk.restart(0.0);
  const auto found = frames();
  ASSERT_GE(found.size(), 6U);
  EXPECT_FALSE(found[0].header.compressed()) << "a checkpoint is plain";
  EXPECT_TRUE(found[1].header.compressed());
  EXPECT_GT(found[1].header.plain_bytes, 5 * found[1].header.body_bytes);
  EXPECT_TRUE(fsck_spool(disk, "spool")->sound());
  options.compression = Compression::kNone;
  spool = open();
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), rows) << "the option is about new frames";
  fill(*spool, 5, 100);
  EXPECT_GT(spool->stats().written_bytes, 3 * packed);
}

TEST_F(SpoolCompression, ShortBodiesAndThoseThatDoNotShrinkStayPlain) {
  auto spool = open();
  fill(*spool, 1, 1);
  std::mt19937_64 random(1);
  std::string noise(4000, '\0');
  std::generate(noise.begin(), noise.end(), [&] { return static_cast<char>(random()); });
  append(*spool, noise);
  ASSERT_TRUE(spool->flush(kPatience).ok());
  for (const Frame& frame : frames()) {
    EXPECT_FALSE(frame.header.compressed());
  }
  EXPECT_EQ(read_lane(*spool, Lane::kReadings), (Texts{reading(0), noise}));
}

TEST_F(SpoolCompression, DamageToACompressedFrameIsAGapAndRepairRecordsIt) {
  auto spool = open();
  fill(*spool, 5, 100);
  spool.reset();
  disk.restart(0.0);
  const auto frame = frames().at(2);
  disk.flip_bit(segment(), 8 * (frame.offset + format::kFrameHeaderBytes + 30));
  EXPECT_FALSE(fsck_spool(disk, "spool")->sound());
  const auto repaired = repair_spool(disk, "spool");
  ASSERT_TRUE(repaired.ok()) << repaired.error().text();
  EXPECT_TRUE(repaired->after.sound());
  const Texts rows = read_lane(*open(), Lane::kReadings);
  ASSERT_EQ(rows.size(), 401U);
  EXPECT_EQ(rows[100], "corrupt 101-200");
}

// What a checksum cannot see: a body that says another length than it has.
TEST_F(SpoolCompression, ALengthThatIsNotTrueIsDamageAndAllocatesNothing) {
  auto spool = open();
  fill(*spool, 5, 100);
  spool.reset();
  disk.restart(0.0);
  const auto frame = frames().at(2);
  const std::string good = disk.contents(segment());
  for (const std::uint32_t length :
       {frame.header.plain_bytes - 1, frame.header.plain_bytes + 1, 0U, 0xffffffffU, 1U << 30}) {
    std::string bytes = good;
    store(bytes.data() + frame.offset + 56, length);
    store(bytes.data() + frame.offset + 60,
          crc32c(std::string_view(bytes).substr(frame.offset, 60)));
    disk.set_contents(segment(), bytes);
    const auto report = fsck_spool(disk, "spool");
    ASSERT_TRUE(report.ok());
    ASSERT_EQ(report->damage.size(), 1U) << length;
    EXPECT_EQ(report->damage[0].frames, 1U);
  }
}

TEST(BodyCodec, ManyBodiesShareABuffer) {
  BodyCompressor compressor;
  BodyExpander expander;
  const std::string a(5000, 'a');
  const std::string b(700, 'b');
  for (int round = 0; round < 3; ++round) {
    compressor.begin(a.size() + b.size());
    const auto first = compressor.compress(a);
    const auto second = compressor.compress(b);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(expander.expand(*first, a.size()), a);
    EXPECT_EQ(expander.expand(*second, b.size()), b);
    EXPECT_FALSE(expander.expand(*second, b.size() + 1));
    EXPECT_FALSE(expander.expand("no zstd", 10));
  }
}

}  // namespace
}  // namespace headwater
