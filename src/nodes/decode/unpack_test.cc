#include "nodes/decode/unpack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "nodes/sources/reading_options.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Texts = std::vector<std::string>;

class Unpack : public testing::Test {
 protected:
  void add(std::string_view payload, Id128 identity = {}) {
    Row row;
    row.payload = batch.arena().copy(payload);
    row.topic = batch.arena().copy("t");
    row.partition = 7;
    row.position = ++position;
    row.identity = identity;
    batch.add_row(row);
  }
  Texts payloads() const {
    Texts texts;
    for (const Row& row : batch.all_rows()) {
      texts.emplace_back(row.payload);
    }
    return texts;
  }
  std::vector<std::uint64_t> positions() const {
    std::vector<std::uint64_t> found;
    for (const Row& row : batch.all_rows()) {
      EXPECT_EQ(row.partition, 7U);
      EXPECT_EQ(row.topic, "t");
      found.push_back(row.position);
    }
    return found;
  }
  // Notes of the rows that are no readings.
  Texts notes() const {
    Texts texts;
    for (const Row& row : batch.all_rows()) {
      if ((row.flags & kRowUndecoded) != 0) {
        texts.emplace_back(row.note);
      }
    }
    return texts;
  }

  Batch batch;
  std::uint64_t position = 0;
};

TEST_F(Unpack, EachElementIsARowInItsMessagesPlace) {
  add(R"({"v":1})");
  add(R"( [{"v":2},{"v":3}] )");
  add(R"({"v":[4]})");
  Unpacker({}).unpack(batch);
  EXPECT_THAT(payloads(), ElementsAre(R"({"v":1})", R"({"v":2})", R"({"v":3})", R"({"v":[4]})"));
  EXPECT_THAT(positions(), ElementsAre(1, 2, 2, 3));
  EXPECT_THAT(notes(), IsEmpty());
}

TEST_F(Unpack, AMessageThatCannotBeTakenApartStaysWholeWithItsReason) {
  add("[]");
  add(R"([{"v":1})");
  add("[1,2,3]");
  add(R"([{"v":2}])");
  Unpacker({.max_elements = 2}).unpack(batch);
  EXPECT_THAT(payloads(), ElementsAre("[]", R"([{"v":1})", "[1,2,3]", R"({"v":2})"));
  EXPECT_THAT(positions(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(notes(), ElementsAre("an array without an element", "the array does not end",
                                   HasSubstr("more than 2 elements")));
}

TEST_F(Unpack, IdentitiesComeFromTheMessageAndTheIndex) {
  add("[{},{}]", {1, 2});
  add("[{},{}]", {1, 3});
  add("[{},{}]");
  Unpacker({}).unpack(batch);
  std::set<Id128> ids;
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(ids.insert(batch.row(i).identity).second);
  }
  EXPECT_FALSE(ids.contains(Id128{}));
  EXPECT_EQ(batch.row(4).identity, Id128{}) << "the intake gives one";
  const Id128 first = batch.row(0).identity;
  batch.clear();
  add("[{}]", {1, 2});
  Unpacker({}).unpack(batch);
  EXPECT_EQ(batch.row(0).identity, first) << "the same whenever it is read";
}

TEST_F(Unpack, CsvRecordsBecomeObjectsAndBadOnesKeepTheirBytes) {
  UnpackOptions options;
  options.csv = CsvDocumentOptions();
  add("device_id,v\nm1,1\nm2\nm3,\"3\"\n");
  add("device_id,v\n");
  add("");
  Unpacker(options).unpack(batch);
  EXPECT_THAT(payloads(), ElementsAre(R"({"device_id":"m1","v":1})", "m2",
                                      R"({"device_id":"m3","v":3})", "device_id,v\n", ""));
  EXPECT_THAT(positions(), ElementsAre(1, 1, 1, 2, 3));
  EXPECT_THAT(notes(), ElementsAre("line 3: 1 fields, there are 2 columns",
                                   "a CSV text without a record", "header: there is no line"));
}

TEST_F(Unpack, TooManyCsvRecordsAreRefusedWhole) {
  UnpackOptions options;
  options.csv = CsvDocumentOptions{.columns = {"v"}, .max_records = 2};
  add("1\n2\n3\n");
  Unpacker(options).unpack(batch);
  EXPECT_THAT(payloads(), ElementsAre("1\n2\n3\n"));
  EXPECT_THAT(notes(), ElementsAre(HasSubstr("more than 2 records")));
}

TEST_F(Unpack, TheDecoderReadsWhatWasTakenApart) {
  config::Diagnostics diagnostics;
  ReadingOptions options;
  options.device = "device_id";
  const auto decode = make_json_decode(options, config::Node(), diagnostics);
  ASSERT_NE(decode, nullptr) << diagnostics.text();
  add(R"([{"device_id":"m1","v":1},5,{"device_id":"m2","v":}, {"device_id":"m3","v":3}])");
  decode->unpack(batch);
  std::vector<Undecoded> failed;
  std::uint64_t unfit = 0;
  ASSERT_TRUE(decode->decode(batch, failed, unfit).ok());
  ASSERT_EQ(batch.rows(), 4U);
  EXPECT_EQ(batch.row(0).device, "m1");
  EXPECT_EQ(batch.row(3).device, "m3");
  EXPECT_EQ(batch.find("v")->as_double(3), 3.0);
  ASSERT_EQ(failed.size(), 2U);
  EXPECT_EQ(failed[0].row, 1U);
  EXPECT_EQ(failed[0].reason, "expected a JSON object at byte 0");
  EXPECT_EQ(failed[1].row, 2U);
}

TEST_F(Unpack, OptionsForCsvAreCheckedInTheirPlace) {
  const auto refusal = [](const ReadingOptions& options) {
    config::Diagnostics diagnostics;
    EXPECT_EQ(make_json_decode(options, config::Node(), diagnostics), nullptr);
    return diagnostics.text();
  };
  ReadingOptions options;
  options.columns = {"a"};
  EXPECT_THAT(refusal(options), HasSubstr("format: csv"));
  options.format = ReadingFormat::kCsv;
  options.columns = {"a", "a"};
  EXPECT_THAT(refusal(options), HasSubstr("two columns are called 'a'"));
  options.columns = {"a"};
  options.delimiter = "::";
  EXPECT_THAT(refusal(options), HasSubstr("one byte"));
  options.delimiter = "\t";
  config::Diagnostics diagnostics;
  EXPECT_NE(make_json_decode(options, config::Node(), diagnostics), nullptr);
}

}  // namespace
}  // namespace headwater
