#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace headwater {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) {
    return Error::invalid("'{}' is odd", value);
  }
  return value / 2;
}

Result<int> quarter(int value) {
  const int once = HW_TRY(half(value));
  return HW_TRY(half(once));
}

Status check_even(int value) {
  (void)HW_TRY(half(value));
  return {};
}

TEST(Result, TryGivesTheValueOrLeavesWithTheError) {
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(quarter(6).error().text(), "'3' is odd");
  EXPECT_TRUE(check_even(2).ok());
  EXPECT_EQ(check_even(3).error().code(), Code::kInvalid);
}

TEST(Result, ContextGoesInFront) {
  EXPECT_EQ(half(3).with("read {}", "x").error().text(), "read x: '3' is odd");
  EXPECT_EQ(half(3).with("b").with("a").error().text(), "a: b: '3' is odd");
  EXPECT_EQ(*half(4).with("unused"), 2);
  EXPECT_EQ(check_even(1).with("c").error().text(), "c: '1' is odd");
  EXPECT_TRUE(check_even(2).with("c").ok());
}

TEST(Result, HoldsWhatCannotBeCopied) {
  auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(5); };
  std::unique_ptr<int> value = *make();
  EXPECT_EQ(*value, 5);
}

TEST(Result, ConvertsValuesAsTheirTypeDoes) {
  auto text = []() -> Result<std::string> { return "literal"; };
  EXPECT_EQ(*text(), "literal");
  EXPECT_EQ(text()->size(), 7U);
}

TEST(Error, CopiesAreTheirOwn) {
  const Error first = Error::corrupt("bad");
  Error second = first;
  second = std::move(second).with("ctx");
  EXPECT_EQ(first.text(), "bad");
  EXPECT_EQ(second.text(), "ctx: bad");
  EXPECT_EQ(second.code(), Code::kCorrupt);
  second = first;
  EXPECT_EQ(second.text(), "bad");
}

TEST(Error, KnowsWhereItWasMade) {
  const Error made = Error(Code::kInternal, "x");
  EXPECT_NE(std::string(made.file()).find("result_test.cc"), std::string::npos);
  EXPECT_GT(made.line(), 0);
}

TEST(Error, OfASystemCallNamesTheAction) {
  EXPECT_EQ(Error::from_errno(ENOENT, "open x").text(), "open x: No such file or directory");
  EXPECT_EQ(Error::from_errno(ENOENT, "").code(), Code::kNotFound);
  EXPECT_EQ(Error::from_errno(ENOSPC, "").code(), Code::kExhausted);
  EXPECT_EQ(Error::from_errno(EMFILE, "").code(), Code::kExhausted);
  EXPECT_EQ(Error::from_errno(EIO, "").code(), Code::kCorrupt);
  EXPECT_EQ(Error::from_errno(EACCES, "").code(), Code::kInvalid);
  EXPECT_EQ(Error::from_errno(EAGAIN, "").code(), Code::kUnavailable);
}

TEST(Code, TableHasNamesAndStatuses) {
  EXPECT_EQ(code_name(Code::kInvalid), "invalid");
  EXPECT_EQ(code_name(Code::kInternal), "internal");
  EXPECT_EQ(exit_status(Code::kUnavailable), 75);
  EXPECT_EQ(http_status(Code::kNotFound), 404);
  for (int code = 0; code < 7; ++code) {
    EXPECT_NE(exit_status(static_cast<Code>(code)), 0);
  }
}

TEST(CheckDeathTest, EndsWithTheReason) {
  const int count = 0;
  EXPECT_DEATH(HW_CHECK(count == 1, "there is one"), "check failed: count == 1: there is one");
}

}  // namespace
}  // namespace headwater
