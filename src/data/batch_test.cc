#include "data/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace headwater {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Batch of_rows(std::size_t rows) {
  Batch batch;
  for (std::size_t i = 0; i < rows; ++i) {
    Row row;
    row.payload = batch.arena().copy(std::to_string(i));
    row.position = i;
    batch.add_row(row);
  }
  return batch;
}

TEST(Batch, RowsKeepTheirIndex) {
  Batch batch = of_rows(3);
  EXPECT_EQ(batch.rows(), 3U);
  EXPECT_EQ(batch.row(2).payload, "2");
  EXPECT_EQ(batch.all_rows()[1].position, 1U);
  EXPECT_THAT(batch.selection(), ElementsAre(0, 1, 2));
}

TEST(Batch, ColumnsComeWithAllRowsNull) {
  Batch batch = of_rows(2);
  batch.add_column("t", Type::kFloat64).set<double>(1, 5.0);
  EXPECT_EQ(batch.find("t")->null_count(), 1U);
  EXPECT_EQ(batch.find("x"), nullptr);
  batch.add_row({});
  EXPECT_EQ(batch.find("t")->rows(), 3U);
  EXPECT_FALSE(batch.find("t")->valid(2));
  EXPECT_EQ(batch.find("t")->values<double>()[1], 5.0);
}

TEST(Batch, AddingAColumnAgainReplacesIt) {
  Batch batch = of_rows(2);
  batch.add_column("t", Type::kFloat64).set<double>(0, 5.0);
  batch.add_column("u", Type::kBool);
  batch.add_column("t", Type::kInt64);
  EXPECT_EQ(batch.schema().size(), 2U);
  EXPECT_EQ(batch.schema()[0].type, Type::kInt64);
  EXPECT_EQ(batch.column(0).null_count(), 2U);
}

TEST(Batch, DroppingAColumnLeavesTheOthers) {
  Batch batch = of_rows(2);
  batch.add_column("t", Type::kFloat64).set<double>(0, 5.0);
  batch.add_column("u", Type::kInt64).set<std::int64_t>(1, 7);
  batch.drop_column("t");
  batch.drop_column("x");
  EXPECT_EQ(batch.schema().size(), 1U);
  EXPECT_EQ(batch.find("t"), nullptr);
  EXPECT_EQ(batch.find("u")->values<std::int64_t>()[1], 7);
  EXPECT_EQ(batch.add_column("t", Type::kFloat64).null_count(), 2U);
  EXPECT_EQ(batch.find("u")->values<std::int64_t>()[1], 7);
}

TEST(Batch, KeepNarrowsTheSelection) {
  Batch batch = of_rows(5);
  EXPECT_EQ(batch.keep(std::vector<std::uint8_t>{1, 0, 1, 0, 1}), 2U);
  EXPECT_THAT(batch.selection(), ElementsAre(0, 2, 4));
  // A flag of a row that is out does not bring it back.
  EXPECT_EQ(batch.keep(std::vector<std::uint8_t>{0, 1, 1, 1, 1}), 1U);
  EXPECT_THAT(batch.selection(), ElementsAre(2, 4));
  EXPECT_EQ(batch.selected(), 2U);
  EXPECT_EQ(batch.rows(), 5U);
  EXPECT_EQ(batch.keep(std::vector<std::uint8_t>(5, 0)), 2U);
  EXPECT_THAT(batch.selection(), IsEmpty());
  batch.select_all();
  EXPECT_EQ(batch.selection().size(), 5U);
}

TEST(Batch, KeepingAllLeavesLaterRowsSelected) {
  Batch batch = of_rows(2);
  EXPECT_EQ(batch.keep(std::vector<std::uint8_t>{1, 1}), 0U);
  batch.add_row({});
  EXPECT_THAT(batch.selection(), ElementsAre(0, 1, 2));
}

TEST(Batch, RowsAddedAfterAFilterAreSelected) {
  Batch batch = of_rows(2);
  batch.keep(std::vector<std::uint8_t>{0, 1});
  batch.add_row({});
  EXPECT_THAT(batch.selection(), ElementsAre(1, 2));
}

TEST(Batch, SelectionAgreesWithAPlainModel) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    Batch batch;
    std::vector<std::uint32_t> model;
    for (int step = 0; step < 20; ++step) {
      switch (random() % 4) {
        case 0:
        case 1:
          model.push_back(static_cast<std::uint32_t>(batch.add_row({})));
          break;
        case 2: {
          std::vector<std::uint8_t> flags(batch.rows());
          std::generate(flags.begin(), flags.end(),
                        [&] { return static_cast<std::uint8_t>(random() % 4); });
          batch.keep(flags);
          std::erase_if(model, [&](std::uint32_t row) { return flags[row] == 0; });
          break;
        }
        default:
          if (random() % 4 == 0) {
            batch.select_all();
            model.resize(batch.rows());
            for (std::uint32_t row = 0; row < model.size(); ++row) {
              model[row] = row;
            }
          }
      }
      const auto selection = batch.selection();
      ASSERT_EQ(std::vector<std::uint32_t>(selection.begin(), selection.end()), model);
      ASSERT_EQ(batch.selected(), model.size());
    }
  }
}

TEST(Batch, ClearReusesBuffersAndForgetsTheRest) {
  Batch batch = of_rows(3);
  batch.add_column("t", Type::kString).set<std::string_view>(0, "x");
  batch.keep(std::vector<std::uint8_t>{0, 0, 1});
  batch.clear();
  EXPECT_EQ(batch.rows(), 0U);
  EXPECT_EQ(batch.schema().size(), 0U);
  EXPECT_EQ(batch.find("t"), nullptr);
  EXPECT_EQ(batch.arena().used(), 0U);
  batch.add_row({});
  Column& column = batch.add_column("u", Type::kFloat64);
  EXPECT_EQ(column.rows(), 1U);
  EXPECT_FALSE(column.valid(0));
  EXPECT_EQ(column.values<double>()[0], 0.0);
  EXPECT_THAT(batch.selection(), ElementsAre(0));
}

TEST(Batch, MovingKeepsViews) {
  Batch first = of_rows(2);
  Batch second = std::move(first);
  EXPECT_EQ(second.row(1).payload, "1");
  first = of_rows(1);  // NOLINT: a moved-from batch may be filled again
  EXPECT_EQ(second.row(1).payload, "1");
  EXPECT_EQ(first.row(0).payload, "0");
}

}  // namespace
}  // namespace headwater
