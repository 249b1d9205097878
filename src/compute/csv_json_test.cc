#include "compute/csv_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

using Pieces = std::vector<std::pair<std::string, std::string>>;

Pieces read(std::string_view text, const CsvDocumentOptions& options = {},
            std::string* error = nullptr) {
  Pieces pieces;
  const Status done = read_csv_document(
      text, options,
      [&](std::string_view piece, std::string_view reason) { pieces.emplace_back(piece, reason); });
  EXPECT_EQ(done.ok(), error == nullptr) << (done ? "" : done.error().text());
  if (!done && error != nullptr) {
    *error = done.error().text();
  }
  return pieces;
}

std::string value(std::string_view cell, bool as_text = false) {
  std::string out;
  append_csv_value(out, cell, as_text);
  return out;
}

TEST(CsvJson, NumbersKeepTheirDigitsAndAllElseHasOneMeaning) {
  EXPECT_EQ(value("1.50"), "1.50");
  EXPECT_EQ(value("-0.0"), "-0.0");
  EXPECT_EQ(value(" 1e5 "), "1e5");
  EXPECT_EQ(value("12345678901234567890"), "12345678901234567890");
  EXPECT_EQ(value("1e-999"), "1e-999");
  for (const char* text :
       {"007", "+1", ".5", "1.", "0x1F", "1e", "-", "--1", "1,5", "infinity", "1e999", "-1e999"}) {
    EXPECT_EQ(value(text), "\"" + std::string(text) + "\"");
  }
  EXPECT_EQ(value("true"), "true");
  EXPECT_EQ(value("False"), "false");
  EXPECT_EQ(value("TRUE"), "\"TRUE\"");
  EXPECT_EQ(value(""), "null");
  EXPECT_EQ(value("  "), "null");
  EXPECT_EQ(value("nan"), "null");
  EXPECT_EQ(value(" a \"b\""), R"(" a \"b\"")");
  EXPECT_EQ(value("12", true), "\"12\"");
  EXPECT_EQ(value("true", true), "\"true\"");
  EXPECT_EQ(value("", true), "null");
}

TEST(CsvJson, TheFirstRecordNamesTheFields) {
  EXPECT_THAT(read("device_id, temperature\r\nm1,21.5\r\n\"m,2\",\n"),
              ElementsAre(Pair(R"({"device_id":"m1","temperature":21.5})", ""),
                          Pair(R"({"device_id":"m,2","temperature":null})", "")));
  EXPECT_THAT(read("a;b\n1;2\n", {.csv = {.delimiter = ';'}}),
              ElementsAre(Pair(R"({"a":1,"b":2})", "")));
  EXPECT_THAT(read("a,b\n"), IsEmpty());
}

TEST(CsvJson, ColumnsThatAreGivenMakeTheFirstLineAReading) {
  EXPECT_THAT(read("m1,2\n", {.columns = {"device_id", "v"}}),
              ElementsAre(Pair(R"({"device_id":"m1","v":2})", "")));
}

TEST(CsvJson, ColumnsThatAreDeclaredStringsStayText) {
  CsvDocumentOptions options;
  options.declared = Schema({{"serial", Type::kString, ""}, {"v", Type::kInt64, ""}});
  EXPECT_THAT(read("serial,v\n12,12\n", options),
              ElementsAre(Pair(R"({"serial":"12","v":12})", "")));
}

TEST(CsvJson, WhatIsNoRecordIsGivenAsItStandsAndTheRestIsRead) {
  EXPECT_THAT(read("a,b\n1\n2,\"x\"y\n3,4\n5,6,7\r\n\xff,1\n8,\"9\n10,11\n"),
              ElementsAre(Pair("1", "line 2: 1 fields, there are 2 columns"),
                          Pair("2,\"x\"y", "line 3: bytes behind the closing quote of field 2"),
                          Pair(R"({"a":3,"b":4})", ""),
                          Pair("5,6,7", "line 5: 3 fields, there are 2 columns"),
                          Pair("\xff,1", "line 6: field 1 is no UTF-8"),
                          Pair("8,\"9", "line 7: a field in quotes does not end"),
                          Pair(R"({"a":10,"b":11})", "")));
}

TEST(CsvJson, AHeaderThatNamesNothingIsRefused) {
  std::string error;
  EXPECT_THAT(read("", {}, &error), IsEmpty());
  EXPECT_EQ(error, "header: there is no line");
  read("a,,b\n1,2,3\n", {}, &error);
  EXPECT_EQ(error, "header: column 2 has no name");
  read("a,b,a\n1,2,3\n", {}, &error);
  EXPECT_EQ(error, "header: two columns are called 'a'");
  read("\"a\nb", {}, &error);
  EXPECT_THAT(error, HasSubstr("header: line 1"));
}

TEST(CsvJson, RecordsAreBounded) {
  std::string error;
  EXPECT_EQ(read("a\n1\n2\n3\n", {.max_records = 2}, &error).size(), 2U);
  EXPECT_THAT(error, HasSubstr("more than 2 records"));
  EXPECT_EQ(read("a\n1\n2\n", {.max_records = 2}).size(), 2U);
  EXPECT_EQ(read(std::string(400, 'n') + "\n1\n2\n3\n", {.max_bytes = 1000}, &error).size(), 2U);
  EXPECT_THAT(error, HasSubstr("more than 1000 bytes as JSON"));
}

TEST(CsvJson, AfterAnErrorTheReaderGoesOnBehindTheLine) {
  for (const std::size_t step : {1U, 3U, 100U}) {
    CsvReader reader({.max_record_bytes = 16});
    const std::string text = "1,2\n\"x\"y\n" + std::string(40, 'l') + "\n3,4\n";
    std::vector<std::string> seen;
    CsvRow row;
    for (std::size_t at = 0;;) {
      const Result<bool> more = reader.next(row);
      if (!more) {
        seen.emplace_back(reader.skip_line());
      } else if (*more) {
        seen.push_back(fmt::format("{}@{}", row.fields[0], row.line));
      } else if (at < text.size()) {
        reader.feed(std::string_view(text).substr(at, step));
        at += step;
      } else {
        break;
      }
    }
    EXPECT_THAT(seen, ElementsAre("1@1", "\"x\"y", std::string(16, 'l'), "3@4")) << step;
    EXPECT_EQ(reader.offset(), text.size());
  }
}

}  // namespace
}  // namespace headwater
