#include "compute/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

namespace headwater {
namespace {

using Records = std::vector<std::vector<std::string>>;

std::vector<std::string> copy(const CsvRow& row) {
  return {row.fields.begin(), row.fields.end()};
}

Records read(const std::string& text, std::string* error = nullptr, CsvOptions options = {}) {
  CsvReader reader(options);
  reader.feed(text);
  reader.finish();
  Records records;
  CsvRow row;
  for (;;) {
    auto more = reader.next(row);
    if (!more) {
      EXPECT_NE(error, nullptr) << more.error().text();
      if (error != nullptr) {
        *error = more.error().text();
      }
      return records;
    }
    if (!*more) {
      EXPECT_EQ(reader.offset(), text.size());
      return records;
    }
    records.push_back(copy(row));
  }
}

TEST(Csv, ReadsWhatRfc4180Says) {
  EXPECT_EQ(read("a,b\r\nc,d\r\n"), (Records{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(read("a,b\nc,d"), (Records{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(read("a,,\n,\n"), (Records{{"a", "", ""}, {"", ""}}));
  EXPECT_EQ(read("\"a,\"\"b\"\"\r\nc\",d\n"), (Records{{"a,\"b\"\r\nc", "d"}}));
  EXPECT_EQ(read("\"\",\"\"\"\"\n\"\"\n"), (Records{{"", "\""}, {""}}));
  EXPECT_EQ(read("\n\r\na\n\n"), (Records{{"a"}}));
  EXPECT_EQ(read("\xEF\xBB\xBF"
                 "a\n"),
            (Records{{"a"}}));
  EXPECT_EQ(read("a 5\" pipe,b\n"), (Records{{"a 5\" pipe", "b"}}));
  EXPECT_EQ(read("a;b\n", nullptr, {.delimiter = ';'}), (Records{{"a", "b"}}));
  EXPECT_EQ(read(""), Records{});
  EXPECT_EQ(read("a\r"), (Records{{"a"}}));
  EXPECT_EQ(read("\"a\"\r"), (Records{{"a"}}));
}

TEST(Csv, NamesTheLineOfAnError) {
  std::string error;
  read("a\n\"b\nc\"x\n", &error);
  EXPECT_EQ(error, "line 3: bytes behind the closing quote of field 1");
  read("a\n\"b\n", &error);
  EXPECT_EQ(error, "line 2: a field in quotes does not end");
  read("a\n\nb,c,d\n", &error, {.max_fields = 2});
  EXPECT_EQ(error, "line 3: more than 2 fields");
  read("a\n" + std::string(101, 'b'), &error, {.max_record_bytes = 100});
  EXPECT_EQ(error, "line 2: a record of more than 100 bytes");
}

TEST(Csv, StaysAtAnError) {
  CsvReader reader({});
  reader.feed("\"a\"b\nc\n");
  CsvRow row;
  EXPECT_FALSE(reader.next(row));
  EXPECT_FALSE(reader.next(row));
  EXPECT_EQ(reader.offset(), 0U);
}

TEST(Csv, GivesTheSameRecordsHoweverBytesAreFedAndWhereverItGoesOn) {
  const std::string text =
      "\xEF\xBB\xBFtime,\"value\"\r\n1,\"a\"\"b\"\n\n2,\"c\r\n\nd\"\r\n,\r\n\"\",x\r\n3,last";
  const Records want = read(text);
  ASSERT_EQ(want.size(), 6U);
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    auto reader = std::make_unique<CsvReader>(CsvOptions{});
    std::vector<std::size_t> lines;
    Records got;
    CsvRow row;
    std::size_t fed = 0;
    while (true) {
      auto more = reader->next(row);
      ASSERT_TRUE(more) << more.error().text();
      if (*more) {
        got.push_back(copy(row));
        lines.push_back(row.line);
        if (random() % 4 == 0) {  // a restart at the offset
          const std::uint64_t offset = reader->offset();
          const std::size_t line =
              1 + static_cast<std::size_t>(std::count(
                      text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
          reader = std::make_unique<CsvReader>(CsvOptions{});
          reader->start_at(offset, line);
          fed = offset;
        }
      } else if (fed == text.size()) {
        reader->finish();
        more = reader->next(row);
        ASSERT_TRUE(more);
        if (!*more) {
          break;
        }
        got.push_back(copy(row));
        lines.push_back(row.line);
      } else {
        const std::size_t size = std::min<std::size_t>(1 + random() % 6, text.size() - fed);
        reader->feed(std::string_view(text).substr(fed, size));
        fed += size;
      }
    }
    ASSERT_EQ(got, want);
    ASSERT_EQ(lines, (std::vector<std::size_t>{1, 2, 4, 7, 8, 9}));
  }
}

}  // namespace
}  // namespace headwater
