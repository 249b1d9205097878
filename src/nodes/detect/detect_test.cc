#include "nodes/detect/detect.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>

#include "base/strings.h"
#include "model/binding.h"
#include "nodes/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Detect : public testing::Test {
 protected:
  Detect() {
    context.models = {"anomaly", "vision"};
    context.bind = [this](std::string_view, std::size_t max_rows) {
      rows_asked.push_back(max_rows);
      if (!bind_error.empty()) {
        return Result<std::unique_ptr<model::Binding>>(Error::invalid("{}", bind_error));
      }
      model::BindingOptions binding;
      binding.inputs = {{"input", {"temperature", "pressure", "vibration"}}};
      binding.max_rows = max_rows;
      auto loaded = model::Model::load({.path = HW_SOURCE_DIR "/tests/data/models/anomaly.onnx"});
      return loaded ? model::Binding::create(std::move(*loaded), std::move(binding))
                    : Result<std::unique_ptr<model::Binding>>(loaded.error());
    };
  }
  std::unique_ptr<Stage> make(std::string text) {
    return make_stage(make_detect, std::move(text), context, errors);
  }

  StageContext context;
  std::vector<std::size_t> rows_asked;
  std::string bind_error;
  std::string errors;
};

TEST_F(Detect, AModelThereIsNotIsRefusedWithTheNearestName) {
  EXPECT_EQ(make("model: anomly"), nullptr);
  EXPECT_THAT(errors, HasSubstr("edge.yaml:1:8"));
  EXPECT_THAT(errors, HasSubstr("no model 'anomly' under models:, did you mean 'anomaly'?"));
  EXPECT_EQ(make("model: something_else"), nullptr);
  EXPECT_THAT(errors, HasSubstr("no model 'something_else' under models:"));
}

TEST_F(Detect, ABindingThatFailsPointsAtTheModel) {
  bind_error = "no input 'inputs', did you mean 'input'?";
  EXPECT_EQ(make("model: anomaly"), nullptr);
  EXPECT_THAT(errors, HasSubstr("edge.yaml:1:8"));
  EXPECT_THAT(errors, HasSubstr(bind_error));
}

TEST_F(Detect, LeavesWhatDecideNeeds) {
  ASSERT_NE(make("model: anomaly"), nullptr) << errors;
  EXPECT_EQ(context.model_name, "anomaly");
  EXPECT_EQ(context.model_digest.size(), 64U);
  EXPECT_THAT(context.features, ElementsAre("temperature", "pressure", "vibration"));
  EXPECT_EQ(context.score_column, "score");
  EXPECT_TRUE(context.known.find("score"));
  EXPECT_EQ(context.detects.size(), 1U);
}

TEST_F(Detect, LeavesTheTightestObjectiveAndWhatItsCallsCost) {
  ASSERT_NE(make("{model: anomaly, max_rows: 64}"), nullptr) << errors;
  EXPECT_EQ(context.objective, std::chrono::milliseconds(20)) << "without a word";
  const CostLine one = context.start_cost;
  EXPECT_GT(one.at(64), 0);
  ASSERT_NE(make("{model: anomaly, objective: {p99: 5ms}}"), nullptr) << errors;
  EXPECT_EQ(context.objective, std::chrono::milliseconds(5));
  EXPECT_GT(context.start_cost.at(64), one.at(64)) << "one call of each";
  ASSERT_NE(make("{model: anomaly, objective: {p99: 50ms}}"), nullptr) << errors;
  EXPECT_EQ(context.objective, std::chrono::milliseconds(5));
  EXPECT_THAT(rows_asked, ElementsAre(64U, 512U, 512U)) << "max_rows stays a cap";
}

TEST_F(Detect, LearnsWhatACallCosts) {
  const auto stage = make("{model: anomaly, max_rows: 128}");
  ASSERT_NE(stage, nullptr) << errors;
  EXPECT_EQ(context.detects[0]->max_rows, 128U);
  EXPECT_GT(context.detects[0]->call_fixed_s + context.detects[0]->call_row_s, 0);
  context.detects[0]->call_row_s = -1;
  Collected out;
  Batch batch;
  for (std::size_t i = 0; i < 300; ++i) {
    batch.add_row({});
  }
  for (const char* field : {"temperature", "pressure", "vibration"}) {
    Column& column = batch.add_column(field, Type::kFloat64);
    for (std::size_t row = 0; row < batch.rows(); ++row) {
      column.set(row, 1.0);
    }
  }
  ASSERT_TRUE(stage->process(std::move(batch), out).ok());
  EXPECT_EQ(context.detects[0]->calls.load(), 3U);
  EXPECT_GE(context.detects[0]->call_row_s, 0) << "told anew";
}

TEST_F(Detect, GivesTheScoresThatTheModelsAuthorsRecorded) {
  const auto stage = make("model: anomaly");
  ASSERT_NE(stage, nullptr) << errors;
  std::ifstream golden(HW_SOURCE_DIR "/tests/data/golden_200.csv");
  std::string line;
  std::getline(golden, line);
  std::vector<std::array<double, 4>> rows;
  while (std::getline(golden, line)) {
    const std::vector<std::string_view> parts = split(line, ',');
    ASSERT_EQ(parts.size(), 5U);
    auto& row = rows.emplace_back();
    for (std::size_t i = 0; i < 4; ++i) {
      row[i] = std::stod(std::string(parts[i + 1]));
    }
  }
  ASSERT_EQ(rows.size(), 200U);
  Batch batch;
  for (std::size_t i = 0; i <= rows.size(); ++i) {
    batch.add_row({});
  }
  const std::array<std::string_view, 3> names = {"temperature", "pressure", "vibration"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    Column& column = batch.add_column(names[i], Type::kFloat64);
    for (std::size_t row = 0; row < rows.size(); ++row) {
      column.set(row, rows[row][i]);
    }
  }
  Collected out;
  ASSERT_TRUE(stage->process(std::move(batch), out).ok());
  const Column* score = out.batches.at(0).find("score");
  ASSERT_NE(score, nullptr);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    EXPECT_NEAR(score->as_double(row), rows[row][3], 1e-5) << row;
  }
  EXPECT_FALSE(score->valid(rows.size())) << "the last has no values";
  EXPECT_EQ(context.detects[0]->scored.load(), 200U);
  EXPECT_EQ(context.detects[0]->missing.load(), 1U);
}

}  // namespace
}  // namespace headwater
