#include "data/column.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string_view>

#include "data/tensor.h"

namespace headwater {
namespace {

TEST(Column, RowsBeginNullAndZero) {
  for (const Type type : {Type::kFloat64, Type::kFloat32, Type::kInt64, Type::kBool,
                          Type::kTimestamp, Type::kString, Type::kBytes, Type::kFrame}) {
    Column column;
    column.reset(type, 70);
    EXPECT_EQ(column.rows(), 70U);
    EXPECT_EQ(column.null_count(), 70U);
    EXPECT_FALSE(column.valid(69));
    for (const std::byte byte :
         std::span(column.values<std::byte>().data(), 70 * type_width(type))) {
      ASSERT_EQ(byte, std::byte{0});
    }
  }
}

TEST(Column, GrowKeepsWhatIsThere) {
  Column column;
  column.reset(Type::kInt64, 1);
  column.set<std::int64_t>(0, -7);
  for (std::size_t rows = 2; rows < 1'000; ++rows) {
    column.grow(rows);
    ASSERT_FALSE(column.valid(rows - 1));
    column.set<std::int64_t>(rows - 1, static_cast<std::int64_t>(rows));
  }
  EXPECT_EQ(column.values<std::int64_t>()[0], -7);
  EXPECT_EQ(column.values<std::int64_t>()[500], 501);
  EXPECT_TRUE(column.all_valid());
  column.grow(3);
  EXPECT_EQ(column.rows(), 999U) << "grow does not shrink";
}

TEST(Column, ResetForgetsValuesAndTypes) {
  Column column;
  column.reset(Type::kString, 100);
  column.set<std::string_view>(99, "x");
  column.reset(Type::kFloat32, 100);
  EXPECT_EQ(column.type(), Type::kFloat32);
  EXPECT_EQ(column.null_count(), 100U);
  EXPECT_EQ(column.values<float>()[99], 0.0F);
}

TEST(Column, NullingARowZeroesItsValue) {
  Column column;
  column.reset(Type::kString, 2);
  column.set<std::string_view>(1, "text");
  column.set_null(1);
  EXPECT_FALSE(column.valid(1));
  EXPECT_TRUE(column.values<std::string_view>()[1].empty());
}

TEST(Column, BitsPastTheLastRowStayZero) {
  for (const std::size_t rows : {0U, 1U, 63U, 64U, 65U, 128U}) {
    Column column;
    column.reset(Type::kBool, rows);
    column.set_all_valid();
    EXPECT_EQ(column.null_count(), 0U) << rows;
    EXPECT_EQ(column.validity().size(), (rows + 63) / 64);
    if (rows % 64 != 0) {
      EXPECT_EQ(column.validity().back() >> (rows % 64), 0U) << rows;
    }
    column.grow(rows + 1);
    EXPECT_EQ(column.null_count(), 1U) << rows;
  }
}

TEST(Column, AsDoubleReadsNumbersAndNothingElse) {
  Column column;
  const auto one = [&](Type type, auto value) {
    column.reset(type, 2);
    column.set(0, value);
    EXPECT_TRUE(std::isnan(column.as_double(1)));
    return column.as_double(0);
  };
  EXPECT_EQ(one(Type::kFloat64, 1.5), 1.5);
  EXPECT_EQ(one(Type::kFloat32, 2.5F), 2.5);
  EXPECT_EQ(one(Type::kInt64, std::int64_t{-3}), -3);
  EXPECT_EQ(one(Type::kTimestamp, std::int64_t{4}), 4);
  EXPECT_EQ(one(Type::kBool, std::uint8_t{1}), 1);
  EXPECT_TRUE(std::isnan(one(Type::kString, std::string_view("5"))));
}

TEST(Type, NamesGoBothWays) {
  for (int i = 0; i < 8; ++i) {
    const auto type = static_cast<Type>(i);
    EXPECT_EQ(type_from_name(type_name(type)), type);
  }
  EXPECT_FALSE(type_from_name("double").has_value());
}

TEST(Schema, SetAddsOrReplaces) {
  Schema schema({{"a", Type::kInt64, ""}});
  EXPECT_EQ(schema.set({"b", Type::kString, "bar"}), 1U);
  EXPECT_EQ(schema.set({"a", Type::kFloat32, ""}), 0U);
  EXPECT_EQ(schema.size(), 2U);
  EXPECT_EQ(schema[0].type, Type::kFloat32);
  EXPECT_EQ(schema.find("b"), 1U);
  EXPECT_FALSE(schema.find("c").has_value());
}

TEST(Tensor, CountsElements) {
  const std::int64_t shape[] = {2, 3, 4};
  EXPECT_EQ(element_count(shape), 24);
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_width(ElementType::kInt32), 4U);
  EXPECT_EQ(element_type_name(ElementType::kString), "string");
}

}  // namespace
}  // namespace headwater
