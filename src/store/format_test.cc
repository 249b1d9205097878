#include "store/format.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/crc32c.h"
#include "base/strings.h"
#include "store/row_codec.h"
#include "store/row_facts.h"
#include "store/transaction.h"

namespace headwater {
namespace {

namespace format = spool_format;

constexpr Id128 kSpool{0x0123456789abcdef, 0xfedcba9876543210};

// A frame with two rows, a decision and a cursor: the example of docs/formats/spool.md.
std::string example_frame() {
  RowEncoder rows;
  StoredRow row;
  row.device = "d1";
  row.topic = "s/d1/r";
  row.sender = "d1";
  row.payload = "{\"t\":1}";
  row.time = {1'700'000'000'000'000'000};
  row.received = {1'700'000'000'000'250'000};
  row.position = 1;
  rows.append(row);
  row.payload = "{\"t\":2}";
  row.time.ns += 1'000'000'000;
  row.received.ns += 1'000'000'000;
  row.position = 2;
  row.identity = {1, 2};
  rows.append(row);
  std::string body;
  const std::size_t begun = format::begin_entry(body, format::EntryType::kRows, 1, 3);
  ByteWriter writer(body);
  writer.put(std::uint64_t{41});
  writer.put(rows.count());
  writer.put_bytes(rows.bytes());
  format::end_entry(body, begun);
  const double scores[] = {0.5, 0.75};
  const std::uint8_t alerted[] = {0, 1};
  format::put_decisions(body, {.pipeline = "main",
                               .lane = Lane::kReadings,
                               .stream = 3,
                               .first = 41,
                               .count = 2,
                               .sequences = {},
                               .own_rows = false,
                               .model_digest = "ab",
                               .revision = 7,
                               .scores = scores,
                               .alerted = alerted});
  format::put_cursor(body, "decided/main", 1, 3, 42);
  format::FrameHeader header;
  header.body_bytes = static_cast<std::uint32_t>(body.size());
  header.body_crc = crc32c(body);
  header.number = 9;
  header.committed = 8;
  header.tag = format::segment_tag(kSpool, 5);
  header.epoch = 2;
  header.wall = {1'700'000'001'000'000'000};
  header.mono = {123'456'789};
  std::string frame(format::kFrameHeaderBytes, '\0');
  format::encode(header, frame.data());
  frame += body;
  frame.resize(header.frame_bytes(), '\0');
  return frame;
}

// The hex of the page's example block, without spaces and line ends.
std::string documented_hex() {
  std::ifstream in(HW_SOURCE_DIR "/docs/formats/spool.md");
  std::stringstream text;
  text << in.rdbuf();
  const std::string page = text.str();
  const std::string mark = "```hex\n";
  const auto from = page.find(mark);
  if (from == std::string::npos) {
    return "no example in the page";
  }
  std::string hex = page.substr(from + mark.size());
  hex.resize(hex.find("```"));
  std::erase_if(hex, [](char c) { return c == ' ' || c == '\n'; });
  return hex;
}

TEST(SpoolFormat, AFrameIsTheBytesThatThePageShows) {
  EXPECT_EQ(to_hex(example_frame()), documented_hex());
}

TEST(SpoolFormat, TheExampleReadsBack) {
  const std::string frame = example_frame();
  const auto header = format::decode_frame_header(frame);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->number, 9U);
  EXPECT_EQ(header->committed, 8U);
  EXPECT_EQ(header->epoch, 2U);
  EXPECT_EQ(header->frame_bytes(), frame.size());
  format::EntryReader entries(
      std::string_view(frame).substr(format::kFrameHeaderBytes, header->body_bytes));
  format::Entry entry;
  ASSERT_TRUE(entries.next(&entry));
  EXPECT_EQ(entry.type, format::EntryType::kRows);
  EXPECT_EQ(entry.stream, 3U);
  const auto rows = format::decode_rows(entry.content);
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->first, 41U);
  RowDecoder decoder(rows->rows);
  StoredRow row;
  ASSERT_TRUE(decoder.next(&row));
  EXPECT_EQ(row.device, "d1");
  EXPECT_EQ(row.sender, "d1");
  ASSERT_TRUE(decoder.next(&row));
  EXPECT_EQ(row.identity, (Id128{1, 2}));
  EXPECT_EQ(row.topic, "s/d1/r");
  EXPECT_EQ(row.received.ns, 1'700'000'001'000'250'000);
  EXPECT_FALSE(decoder.next(&row));
  EXPECT_TRUE(decoder.ok());
  ASSERT_TRUE(entries.next(&entry));
  format::DecodedDecisions decisions;
  ASSERT_TRUE(format::decode_decisions(entry, &decisions));
  EXPECT_EQ(decisions.view.scores[1], 0.75);
  EXPECT_EQ(decisions.view.alerted[1], 1U);
  ASSERT_TRUE(entries.next(&entry));
  EXPECT_EQ(format::decode_cursor(entry.content)->upto, 42U);
  EXPECT_FALSE(entries.next(&entry));
  EXPECT_TRUE(entries.ok());
}

TEST(SpoolFormat, EveryFlippedBitOfAFrameIsSeen) {
  const std::string good = example_frame();
  const auto whole = format::decode_frame_header(good);
  for (std::size_t bit = 0; bit < 8 * (format::kFrameHeaderBytes + whole->body_bytes); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    const auto header = format::decode_frame_header(bad);
    const bool seen =
        !header || crc32c(std::string_view(bad).substr(format::kFrameHeaderBytes,
                                                       header->body_bytes)) != header->body_crc;
    ASSERT_TRUE(seen) << "bit " << bit;
  }
}

TEST(SpoolFormat, ALaterVersionAndUnknownFlagsAreRefusedInWords) {
  std::string frame = example_frame();
  const auto seal = [&] {
    store(frame.data() + 60, crc32c(std::string_view(frame).substr(0, 60)));
  };
  EXPECT_TRUE(format::check_known(frame).ok());
  store(frame.data() + 6, std::uint16_t{4});
  seal();
  ASSERT_TRUE(format::decode_frame_header(frame));
  auto refused = format::check_known(frame);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kInvalid);
  EXPECT_NE(refused.error().text().find("0x4"), std::string::npos);
  store(frame.data() + 6, std::uint16_t{0});
  store(frame.data() + 4, std::uint8_t{3});
  seal();
  EXPECT_NE(format::check_known(frame).error().text().find("version 3"), std::string::npos);
  store(frame.data() + 4, std::uint8_t{1});
  seal();
  EXPECT_TRUE(format::check_known(frame).ok()) << "what the version before wrote is read";
}

TEST(SpoolFormat, ACompressedFrameTellsBothLengths) {
  format::FrameHeader header;
  header.flags = format::kFlagCompressed;
  header.body_bytes = 100;
  header.plain_bytes = 900;
  std::string bytes(format::kFrameHeaderBytes, '\0');
  format::encode(header, bytes.data());
  EXPECT_EQ(load<std::uint32_t>(bytes.data() + 8), 100U);
  EXPECT_EQ(load<std::uint32_t>(bytes.data() + 56), 900U);
  EXPECT_TRUE(format::check_known(bytes).ok());
  const auto read = format::decode_frame_header(bytes);
  ASSERT_TRUE(read && read->compressed());
  EXPECT_EQ(read->plain_bytes, 900U);
  EXPECT_EQ(read->frame_bytes(), 168U);
}

TEST(SpoolFormat, ASegmentHeaderTellsOfTheSegmentBefore) {
  format::SegmentHeader header;
  header.generation = 8;
  EXPECT_EQ(format::decode_segment_header(format::encode(header))->before.generation, 0U);
  header.uptime = 77;
  header.before.generation = 7;
  header.before.lanes[1] = {1000, {-5}, {12}};
  DeviceFilter devices;
  devices.add(device_key(Lane::kReadings, "d1"));
  const std::string page = format::encode(header, devices.bytes());
  const auto read = format::decode_segment_header(page);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->uptime, 77U);
  EXPECT_EQ(read->before.generation, 7U);
  EXPECT_EQ(read->before.lanes[1].bytes, 1000U);
  EXPECT_EQ(read->before.lanes[1].first.ns, -5);
  EXPECT_EQ(read->before.lanes[1].last.ns, 12);
  EXPECT_GT(read->before.lanes[2].first, read->before.lanes[2].last) << "no rows";
  const std::string_view filter = format::device_filter_of(page);
  EXPECT_TRUE(DeviceFilter::may_hold(filter, device_key(Lane::kReadings, "d1")));
  EXPECT_FALSE(DeviceFilter::may_hold(filter, device_key(Lane::kAlerts, "d1")));
}

TEST(SpoolFormat, ASegmentHeaderReadsBackAndShowsDamage) {
  format::SegmentHeader header;
  header.spool_id = kSpool;
  header.generation = 7;
  header.file_bytes = 262144;
  header.first_frame = 12;
  header.epoch = 3;
  header.boot_id = {5, 6};
  header.wall = {1};
  header.mono = {2};
  header.next = {1, 2, 3, 4, 5};
  const std::string page = format::encode(header);
  ASSERT_EQ(page.size(), format::kPageBytes);
  const auto back = format::decode_segment_header(page).value();
  EXPECT_EQ(back.spool_id, kSpool);
  EXPECT_EQ(back.generation, 7U);
  EXPECT_EQ(back.file_bytes, 262144U);
  EXPECT_EQ(back.first_frame, 12U);
  EXPECT_EQ(back.next, header.next);
  for (std::size_t byte = 0; byte < page.size(); ++byte) {
    std::string bad = page;
    bad[byte] = static_cast<char>(bad[byte] ^ 0x10);
    ASSERT_FALSE(format::decode_segment_header(bad).ok()) << "byte " << byte;
  }
  std::string later = page;
  store(later.data() + 8, std::uint32_t{2});
  store(later.data() + 4092, crc32c(std::string_view(later).substr(0, 4092)));
  EXPECT_EQ(format::decode_segment_header(later).error().code(), Code::kInvalid);
}

TEST(SpoolFormat, FileNamesReadBack) {
  EXPECT_EQ(format::segment_name(0x2a), "000000000000002a.log");
  EXPECT_EQ(format::parse_segment_name("000000000000002a.log"), 0x2aU);
  EXPECT_EQ(format::parse_spare_name(format::spare_name(7)), 7U);
  for (const char* name : {"LOCK", "2a.log", "000000000000002a.spare", "00000000000000zz.log",
                           "000000000000002a.log.damaged"}) {
    EXPECT_FALSE(format::parse_segment_name(name)) << name;
  }
}

// Rows that hit each case of the row's bits, in every order of two.
// RowFlags of data/batch.h: kRowReplayed.
constexpr std::uint32_t kReplayed = 1U << 4;

TEST(RowCodec, EveryPairOfRowsReadsBack) {
  std::vector<StoredRow> kinds;
  const auto add = [&](StoredRow row) { kinds.push_back(row); };
  add({});
  StoredRow full;
  full.device = "press-1";
  full.topic = "site/press-1/m";
  full.sender = "press-1";
  full.payload = std::string_view("a\0b", 3);
  full.time = {1'700'000'000'000'000'000};
  full.received = {1'700'000'000'000'000'999};
  full.flags = 0x7fffffff & ~kReplayed;
  full.note = "expected a value at byte 17";
  full.identity = {~std::uint64_t{0}, 1};
  full.partition = 0xffffffff;
  full.position = ~std::uint64_t{0};
  add(full);
  StoredRow other = full;
  other.sender = "gateway";
  other.device = "not-in-topic";
  other.position = 0;
  other.identity = {};
  other.flags = 0;
  add(other);
  other.note = {};
  add(other);
  other.time = {std::numeric_limits<std::int64_t>::min()};
  other.received = {std::numeric_limits<std::int64_t>::max()};
  other.device = "m";
  other.topic = "";
  add(other);
  StoredRow named = other;  // identities that follow each other, and some that only seem to
  for (const Id128 identity : {Id128{7, 8}, Id128{7, 9}, Id128{8, 10}, Id128{7, ~std::uint64_t{0}},
                               Id128{7, 0}, Id128{0, 1}}) {
    named.identity = identity;
    named.flags = identity.low % 2 == 0 ? 1 : 0;
    add(named);
  }
  for (const StoredRow& a : kinds) {
    for (const StoredRow& b : kinds) {
      RowEncoder encoder;
      encoder.append(a);
      encoder.append(b);
      encoder.append(b);
      RowDecoder decoder(encoder.bytes());
      for (const StoredRow& want : {a, b, b}) {
        StoredRow got;
        ASSERT_TRUE(decoder.next(&got));
        EXPECT_EQ(got.device, want.device);
        EXPECT_EQ(got.topic, want.topic);
        EXPECT_EQ(got.sender, want.sender);
        EXPECT_EQ(got.payload, want.payload);
        EXPECT_EQ(got.time, want.time);
        EXPECT_EQ(got.received, want.received);
        EXPECT_EQ(got.flags, want.flags);
        EXPECT_EQ(got.identity, want.identity);
        EXPECT_EQ(got.partition, want.partition);
        EXPECT_EQ(got.position, want.position);
        EXPECT_EQ(got.note, want.note);
      }
      StoredRow end;
      EXPECT_FALSE(decoder.next(&end));
      EXPECT_TRUE(decoder.ok());
    }
  }
}

TEST(RowCodec, ASteadySensorCostsItsPayloadAndAFewBytes) {
  RowEncoder encoder;
  StoredRow row;
  row.device = "press-1";
  row.topic = "site/press-1/m";
  row.sender = "press-1";
  const std::string payload(150, 'x');
  row.payload = payload;
  for (int i = 0; i < 100; ++i) {
    row.time.ns += 1'000'000;
    row.received.ns = row.time.ns + 300'000;
    ++row.position;
    encoder.append(row);
  }
  EXPECT_LT(encoder.size(), 100U * (150 + 10));
  // An identity that the source did not give costs a byte.
  const std::size_t unnamed = encoder.size();
  encoder.clear();
  row.identity = {0x1234'5678'9abc'def0, 41};
  for (int i = 0; i < 100; ++i) {
    row.time.ns += 1'000'000;
    row.received.ns = row.time.ns + 300'000;
    ++row.position;
    ++row.identity.low;
    encoder.append(row);
  }
  EXPECT_LT(encoder.size(), unnamed + 100 + 32);
}

TEST(RowCodec, TheFlagOfARowThatWasReadBackIsNotStored) {
  StoredRow row;
  row.flags = kReplayed | 1U;
  row.identity = {3, 4};
  RowEncoder encoder;
  encoder.append(row);
  RowDecoder decoder(encoder.bytes());
  StoredRow got;
  ASSERT_TRUE(decoder.next(&got));
  EXPECT_EQ(got.flags, 1U);
  EXPECT_EQ(got.identity, (Id128{3, 4}));
}

}  // namespace
}  // namespace headwater
