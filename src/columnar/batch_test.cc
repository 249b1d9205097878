#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "base/strings.h"
#include "columnar/batch_reader.h"
#include "columnar/batch_writer.h"
#include "columnar/payload.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Id128 kSpool{0x0123456789abcdef, 0xfedcba9876543210};

WallTime at(std::string_view text) {
  return parse_rfc3339(text).value();
}

BatchRow first_row() {
  BatchRow row;
  row.sequence = 41;
  row.device = "d1";
  row.time = at("2026-01-01T00:00:00Z");
  row.received = at("2026-01-01T00:00:00.25Z");
  row.topic = "s/d1/r";
  row.sender = "d1";
  row.decided = true;
  row.score = 0.75;
  row.alerted = true;
  row.pipeline = "main";
  row.model = "0011223344556677";
  row.payload = R"({"t":1.50})";
  return row;
}

BatchRow second_row() {
  BatchRow row;
  row.sequence = 42;
  row.device = "d1";
  row.sender = "gw";
  row.topic = "s/d1/r";
  row.time = row.received = at("2026-01-01T00:00:01Z");
  row.time_missing = true;
  row.payload = std::string_view("\0\xff", 2);
  return row;
}

BatchGap the_gap() {
  return {43, 44, 2, "shed", at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:02Z")};
}

BatchHeader start() {
  BatchHeader header;
  header.edge = "hall-2";
  header.spool = kSpool;
  header.lane = "readings";
  header.first = 41;
  return header;
}

EncodedBatch example() {
  BatchWriter writer;
  writer.begin(start());
  EXPECT_TRUE(writer.add(first_row()).ok());
  EXPECT_TRUE(writer.add(second_row()).ok());
  EXPECT_TRUE(writer.add(the_gap()).ok());
  return writer.finish(44, at("2026-01-01T00:01:00Z"), 3).value();
}

// A batch of these lines whose header is right but for `change`.
std::string made(std::string_view lines, const std::function<void(std::string&)>& change = {}) {
  std::string payload(ZSTD_compressBound(lines.size()), '\0');
  payload.resize(ZSTD_compress(payload.data(), payload.size(), lines.data(), lines.size(), 1));
  std::string json = fmt::format(
      R"({{"format":1,"edge":"e","spool":"{}","lane":"readings","first":41,"last":41,"rows":1,)"
      R"("gaps":0,"schema":"rows/1","type":"application/x-ndjson",)"
      R"("created":"2026-01-01T00:00:00Z","bytes":{},"checksum":"{}"}})",
      kSpool.hex(), lines.size(), batch_format::checksum_of(payload));
  if (change) {
    change(json);
  }
  std::string bytes;
  ByteWriter out(bytes);
  out.put(batch_format::kHeaderMagic);
  out.put(static_cast<std::uint32_t>(json.size()));
  return bytes + json + payload;
}

constexpr std::string_view kGoodLine =
    R"({"seq":41,"device":"d","time":"2026-01-01T00:00:00Z","received":"2026-01-01T00:00:00Z",)"
    R"("topic":"","payload":1})"
    "\n";

std::function<void(std::string&)> replace(std::string_view from, std::string_view to) {
  return [=](std::string& text) {
    const std::size_t found = text.find(from);
    ASSERT_NE(found, std::string::npos) << from;
    text.replace(found, from.size(), to);
  };
}

// What the reader says about these bytes; "" when it takes them.
std::string complaint(std::string_view bytes, BatchLimits limits = {}) {
  BatchReader reader(limits);
  if (Status opened = reader.open(bytes); !opened) {
    return opened.error().text();
  }
  for (;;) {
    const Result<BatchItem> item = reader.next();
    if (!item) {
      return item.error().text();
    }
    if (*item == BatchItem::kEnd) {
      return "";
    }
  }
}

std::string line_complaint(const std::function<void(std::string&)>& change) {
  std::string line(kGoodLine);
  change(line);
  return complaint(made(line));
}

TEST(Batch, GivesBackWhatWasWritten) {
  const EncodedBatch batch = example();
  BatchReader reader;
  ASSERT_TRUE(reader.open(batch.bytes).ok());
  EXPECT_EQ(reader.header().edge, "hall-2");
  EXPECT_EQ(reader.header().spool, kSpool);
  EXPECT_EQ(reader.header().lane, "readings");
  EXPECT_EQ(reader.header().first, 41U);
  EXPECT_EQ(reader.header().last, 44U);
  EXPECT_EQ(reader.header().rows, 2U);
  EXPECT_EQ(reader.header().gaps, 1U);
  EXPECT_EQ(reader.header().checksum, batch.header.checksum);
  EXPECT_EQ(reader.header().created, at("2026-01-01T00:01:00Z"));

  ASSERT_EQ(reader.next().value(), BatchItem::kRow);
  BatchRow row = reader.row();
  const BatchRow wanted = first_row();
  EXPECT_EQ(row.sequence, 41U);
  EXPECT_EQ(row.device, wanted.device);
  EXPECT_EQ(row.topic, wanted.topic);
  EXPECT_EQ(row.time, wanted.time);
  EXPECT_EQ(row.received, wanted.received);
  EXPECT_TRUE(row.decided && row.alerted);
  EXPECT_EQ(row.score, 0.75);
  EXPECT_EQ(row.pipeline, "main");
  EXPECT_EQ(row.model, wanted.model);
  EXPECT_EQ(row.payload, R"({"t":1.50})") << "verbatim: 1.50 stays 1.50";

  ASSERT_EQ(reader.next().value(), BatchItem::kRow);
  row = reader.row();
  EXPECT_FALSE(row.decided || row.alerted || row.late || row.offline);
  EXPECT_TRUE(row.time_missing);
  EXPECT_EQ(row.sender, "gw");
  EXPECT_EQ(row.payload, std::string_view("\0\xff", 2));

  ASSERT_EQ(reader.next().value(), BatchItem::kGap);
  EXPECT_EQ(reader.gap().first, 43U);
  EXPECT_EQ(reader.gap().last, 44U);
  EXPECT_EQ(reader.gap().rows, 2U);
  EXPECT_EQ(reader.gap().reason, "shed");
  EXPECT_EQ(reader.next().value(), BatchItem::kEnd);
}

TEST(Batch, IsTheExampleOfItsDocument) {
  const EncodedBatch batch = example();
  std::ifstream file(HW_SOURCE_DIR "/docs/formats/batch.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  BatchReader reader;
  ASSERT_TRUE(reader.open(batch.bytes).ok());
  for (int i = 0; i < 3; ++i) {
    ASSERT_NE(reader.next().value(), BatchItem::kEnd);
    EXPECT_THAT(page, HasSubstr(std::string(reader.line()) + "\n"));
  }
  const std::size_t size = load<std::uint32_t>(batch.bytes.data() + 4);
  std::string header = batch.bytes.substr(8, size);
  const std::size_t digest = header.find("sha256:") + 7;
  header.replace(digest, 64, "…");
  EXPECT_THAT(page, HasSubstr(header));
}

TEST(Batch, HasItsHeaderWithoutThePayload) {
  const EncodedBatch batch = example();
  const std::size_t size = 8 + load<std::uint32_t>(batch.bytes.data() + 4);
  EXPECT_EQ(BatchReader::read_header(batch.bytes.substr(0, size)).value().last, 44U);
  EXPECT_FALSE(BatchReader::read_header(batch.bytes.substr(0, size - 1)).ok());
}

TEST(Batch, IsNamedSoThatAFolderSorts) {
  BatchHeader header = start();
  header.last = 44;
  header.edge = "hall/2_b é";
  EXPECT_EQ(batch_file_name(header),
            "hall%2F2%5Fb%20%C3%A9_0123456789abcdeffedcba9876543210_readings_"
            "00000000000000000041-00000000000000000044.jsonl.zst");
}

TEST(BatchWriter, TakesNothingThatLeavesAHole) {
  BatchWriter writer;
  writer.begin(start());
  EXPECT_FALSE(writer.add(second_row()).ok());
  EXPECT_FALSE(writer.add(the_gap()).ok());
  EXPECT_TRUE(writer.add(first_row()).ok());
  EXPECT_FALSE(writer.add(first_row()).ok());
  EXPECT_FALSE(writer.finish(44, {}, 3).ok());
  EXPECT_TRUE(writer.finish(41, {}, 3).ok());
}

TEST(BatchWriter, KeepsEveryPayloadByteForByte) {
  const std::string deep = std::string(600, '[') + std::string(600, ']');
  const std::vector<std::string> payloads = {
      R"({"a": "\u00e9\"}{", "b" : [1, {"c":","}] })",
      R"( {"a":1} )",
      R"("text")",
      "12345678901234567890123",
      "{\n\"pretty\": true\n}",
      "",
      "{\"half\":",
      "\xff\xfe",
      deep,
      R"({"dup":1,"dup":2})",
      "null",
  };
  BatchWriter writer;
  writer.begin(start());
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    BatchRow row = first_row();
    row.sequence = 41 + i;
    row.payload = payloads[i];
    ASSERT_TRUE(writer.add(row).ok());
  }
  const EncodedBatch batch = writer.finish(40 + payloads.size(), {}, 1).value();
  BatchReader reader;
  ASSERT_TRUE(reader.open(batch.bytes).ok());
  for (const std::string& payload : payloads) {
    const auto item = reader.next();
    ASSERT_TRUE(item.ok()) << item.error().text();
    EXPECT_EQ(reader.row().payload, payload);
  }
}

TEST(BatchReader, TakesMembersThatItDoesNotKnow) {
  EXPECT_EQ(complaint(made(kGoodLine)), "");
  EXPECT_EQ(complaint(made(kGoodLine, replace("{", R"({"site":{"x":[1]},)"))), "");
  EXPECT_EQ(line_complaint(replace("{", R"({"stored":"later",)")), "");
}

TEST(BatchReader, RefusesHeadersThatAreNotAsTheDocumentSays) {
  const auto header = [](std::string_view from, std::string_view to) {
    return complaint(made(kGoodLine, replace(from, to)));
  };
  EXPECT_THAT(header(R"("format":1)", R"("format":2)"), HasSubstr("format 2 is not known"));
  EXPECT_THAT(header(R"("format":1,)", ""), HasSubstr("'format' is missing"));
  EXPECT_THAT(header("rows/1", "rows/2"), HasSubstr("not known"));
  EXPECT_THAT(header("readings", "attic"), HasSubstr("no lane 'attic'"));
  EXPECT_THAT(header(R"("first":41)", R"("first":42)"), HasSubstr("no range"));
  EXPECT_THAT(header(R"("first":41)", R"("first":0)"), HasSubstr("'first'"));
  EXPECT_THAT(header(R"("last":41)", R"("last":18446744073709551615)"), HasSubstr("no range"));
  EXPECT_THAT(header(R"("rows":1)", R"("rows":2)"), HasSubstr("2 rows in 41 to 41"));
  EXPECT_THAT(header(R"("gaps":0)", R"("gaps":-1)"), HasSubstr("'gaps'"));
  EXPECT_THAT(header(R"("edge":"e")", R"("edge":"e","edge":"f")"), HasSubstr("twice"));
  EXPECT_THAT(header("sha256:", "sha512:"), HasSubstr("checksum"));
  EXPECT_THAT(header(R"("created":"2026)", R"("created":"x2026)"), HasSubstr("'created'"));
  EXPECT_THAT(header(R"("spool":"0)", R"("spool":"g)"), HasSubstr("'spool'"));
  EXPECT_THAT(header("{", "["), HasSubstr("not one JSON object"));
}

TEST(BatchReader, RefusesBytesThatAreNotAsTheDocumentSays) {
  const std::string good = example().bytes;
  EXPECT_THAT(complaint(""), HasSubstr("no batch"));
  EXPECT_THAT(complaint("{}"), HasSubstr("no batch"));
  EXPECT_THAT(complaint(good.substr(0, good.size() - 1)), HasSubstr("checksum"));
  EXPECT_THAT(complaint(good + "x"), HasSubstr("checksum"));
  for (std::size_t i = 8; i < good.size(); i += 7) {
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    if (complaint(flipped).empty()) {  // only what nothing is checked against: a text of the header
      EXPECT_LT(i, 8 + load<std::uint32_t>(good.data() + 4)) << i;
    }
  }
  EXPECT_THAT(complaint(made(kGoodLine, replace(R"("bytes":)", R"("bytes":1)"))),
              HasSubstr("no zstd frame of"));
}

TEST(BatchReader, RefusesLinesThatAreNotAsTheDocumentSays) {
  const auto line = [](std::string_view from, std::string_view to) {
    return line_complaint(replace(from, to));
  };
  EXPECT_THAT(line("\n", ""), HasSubstr("line 1 does not end"));
  EXPECT_THAT(line("\n", "\n\n"), HasSubstr("line 2: not one JSON object"));
  EXPECT_THAT(line(R"("seq":41)", R"("seq":42)"), HasSubstr("42 to 42 where 41 should be"));
  EXPECT_THAT(line(R"("seq":41,)", ""), HasSubstr("'seq' is missing"));
  EXPECT_THAT(line(R"("device":"d")", R"("device":7)"), HasSubstr("'device' is no string"));
  EXPECT_THAT(line(R"("device":"d")", R"("device":"d","device":"e")"), HasSubstr("twice"));
  EXPECT_THAT(line(R"(,"payload":1)", ""), HasSubstr("payload"));
  EXPECT_THAT(line(R"("payload":1)", R"("payload":1,"payload_base64":"")"), HasSubstr("payload"));
  EXPECT_THAT(line(R"("payload":1)", R"("payload_base64":"A")"), HasSubstr("no base64"));
  EXPECT_THAT(line(R"("payload":1)", R"("payload_base64":"AB==")"), HasSubstr("no base64"));
  EXPECT_THAT(line(R"("payload":1)", R"("payload":1,"score":"high","pipeline":"p")"),
              HasSubstr("'score'"));
  EXPECT_THAT(line(R"("payload":1)", R"("payload":1,"late":false)"), HasSubstr("'late'"));
  EXPECT_THAT(complaint(made("")), HasSubstr("0 rows and 0 gaps"));
  EXPECT_THAT(complaint(made(std::string(kGoodLine) + std::string(kGoodLine))),
              HasSubstr("line 2"));
  const std::string gap =
      R"({"gap":{"first":41,"last":41,"rows":2,"reason":"shed","from":"2026-01-01T00:00:00Z",)"
      R"("to":"2026-01-01T00:00:00Z"}})"
      "\n";
  EXPECT_THAT(complaint(made(gap)), HasSubstr("a gap of 2 rows"));
}

TEST(BatchReader, KeepsItsLimits) {
  const EncodedBatch batch = example();
  EXPECT_THAT(complaint(batch.bytes, {.header = 16}), HasSubstr("larger than 16"));
  EXPECT_THAT(complaint(batch.bytes, {.payload = 16}), HasSubstr("larger than 16"));
  EXPECT_THAT(complaint(batch.bytes, {.line = 16}), HasSubstr("longer than 16"));
  // A bomb: little on the wire, and a header that does not say how much it becomes.
  const std::string zeros(std::size_t{32} << 20, ' ');
  const std::string bomb = made(zeros, replace(R"("bytes":33554432)", R"("bytes":99)"));
  EXPECT_LT(bomb.size(), 64 * 1024U);
  EXPECT_THAT(complaint(bomb), HasSubstr("no zstd frame of 99 bytes"));
}

BatchHeader clocked(std::vector<BatchClock> clock) {
  BatchHeader header;
  header.edge = "hall-2";
  header.spool = {1, 2};
  header.lane = "readings";
  header.first = 41;
  header.clock = std::move(clock);
  return header;
}

TEST(BatchClock, TheMomentsOfItsRangeTravelInTheHeader) {
  const BatchClock moment{42, {3, 4}, {5}, {1'000'000'000}, {315'576'000'000'000'000}};
  BatchClock before = moment;
  before.sequence = 40;
  BatchClock behind = moment;
  behind.sequence = 44;
  BatchWriter writer;
  writer.begin(clocked({before, moment, behind}));
  ASSERT_TRUE(writer.add(BatchGap{41, 43, 3, "shed", {}, {}}).ok());
  const EncodedBatch batch = writer.finish(43, {}, 3).value();
  EXPECT_EQ(batch.header.clock, std::vector<BatchClock>{moment});
  EXPECT_NE(batch.bytes.find(
                R"("clock":[{"sequence":42,"boot":"00000000000000030000000000000004","mono":5,)"
                R"("before":"1970-01-01T00:00:01Z","after":"1980-01-01T12:00:00Z"}]})"),
            std::string::npos);
  BatchReader reader;
  ASSERT_TRUE(reader.open(batch.bytes).ok());
  EXPECT_EQ(reader.header().clock, std::vector<BatchClock>{moment});
}

TEST(BatchClock, IsAbsentWhereTheClockWasNotSet) {
  BatchWriter writer;
  writer.begin(clocked({}));
  ASSERT_TRUE(writer.add(BatchGap{41, 43, 3, "shed", {}, {}}).ok());
  const EncodedBatch batch = writer.finish(43, {}, 3).value();
  EXPECT_EQ(batch.bytes.find("clock"), std::string::npos);
  EXPECT_TRUE(BatchReader::read_header(batch.bytes).value().clock.empty());
}

TEST(BatchClock, IsRefusedWhereItMakesNoSense) {
  const BatchClock moment{42, {3, 4}, {5}, {6}, {7}};
  BatchWriter writer;
  writer.begin(clocked({moment}));
  ASSERT_TRUE(writer.add(BatchGap{41, 43, 3, "shed", {}, {}}).ok());
  const std::string bytes = writer.finish(43, {}, 3).value().bytes;
  for (const auto& [good, wrong] :
       std::vector<std::pair<std::string, std::string>>{{R"("sequence":42)", R"("sequence":40)"},
                                                        {R"("sequence":42)", R"("sequence":44)"},
                                                        {R"("mono":5)", R"("mon0":5)"},
                                                        {R"("mono":5)", R"("mono":x)"},
                                                        {R"("clock":[{)", R"("clock":[[)"}}) {
    std::string changed = bytes;
    const std::size_t at = changed.find(good);
    ASSERT_NE(at, std::string::npos);
    changed.replace(at, good.size(), wrong);
    EXPECT_FALSE(BatchReader::read_header(changed).ok()) << wrong;
  }
}

}  // namespace
}  // namespace headwater
