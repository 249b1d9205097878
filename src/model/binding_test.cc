#include "model/binding.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/test_batch.h"

namespace headwater::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsNan;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const std::vector<std::string> kThree = {"a", "b", "c"};

Result<std::unique_ptr<Binding>> try_bind(const std::string& name, BindingOptions options) {
  auto model = Model::load({.path = HW_SOURCE_DIR "/tests/data/models/" + name + ".onnx"});
  if (!model) {
    return std::move(model).error();
  }
  return Binding::create(std::move(model).value(), std::move(options));
}

std::unique_ptr<Binding> bind(const std::string& name, BindingOptions options) {
  auto binding = try_bind(name, std::move(options));
  if (!binding) {
    ADD_FAILURE() << binding.error().text();
    std::abort();
  }
  return std::move(binding).value();
}

std::string bind_error(const std::string& name, BindingOptions options) {
  const auto binding = try_bind(name, std::move(options));
  return binding ? "it bound" : binding.error().text();
}

ScoreCounts score(Binding& binding, TestBatch& batch) {
  ScoreCounts counts;
  const Status scored = binding.score(*batch, &counts);
  EXPECT_TRUE(scored) << scored.error().text();
  return counts;
}

std::vector<std::string> names(std::span<const Field> columns) {
  std::vector<std::string> all;
  for (const Field& column : columns) {
    all.push_back(column.name);
  }
  return all;
}

TEST(Binding, PutsFieldsInTheirOrderAndScoresInOneCall) {
  const auto binding = bind("linear", {.inputs = {{"x", {"a", "b", "c"}}}});
  TestBatch batch(2);
  batch.numbers("c", {3, 6}).numbers("a", {1, 4}).numbers("b", {2, 5});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_THAT(batch.values("score"), ElementsAre(321, 654));
  EXPECT_EQ(counts.scored, 2U);
  EXPECT_EQ(counts.calls, 1U);
  EXPECT_THAT(binding->fields(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(binding->columns()[0].type, Type::kFloat32);
}

// Nine fields by 200 rows; bit i of the score is field i, which is 1 where row % (i + 2) is 0.
class Wide : public testing::Test {
 protected:
  static constexpr std::size_t kRows = 200;
  Wide() : batch(kRows) {
    for (std::size_t i = 0; i < 9; ++i) {
      fields.push_back(fmt::format("f{}", i));
      std::vector<std::optional<double>> values;
      for (std::size_t row = 0; row < kRows; ++row) {
        values.push_back(row % (i + 2) == 0 ? 1.0 : 0.0);
      }
      batch.numbers(fields.back(), values);
    }
  }
  static double expected(std::size_t row) {
    double sum = 0;
    for (std::size_t i = 0; i < 9; ++i) {
      sum += row % (i + 2) == 0 ? static_cast<double>(1U << i) : 0;
    }
    return sum;
  }
  // `missing` rows have no score, all others the right one.
  void expect_scores(const std::vector<std::size_t>& missing) {
    const std::vector<double> scores = batch.values("score");
    for (std::size_t row = 0; row < kRows; ++row) {
      if (std::find(missing.begin(), missing.end(), row) != missing.end()) {
        EXPECT_TRUE(std::isnan(scores[row])) << row;
      } else {
        EXPECT_EQ(scores[row], expected(row)) << row;
      }
    }
  }

  TestBatch batch;
  std::vector<std::string> fields;
};

TEST_F(Wide, EachFieldGoesToItsPlace) {
  for (const std::size_t max_rows : {1U, 7U, 64U, 512U}) {
    const auto binding = bind("wide", {.inputs = {{"x", fields}}, .max_rows = max_rows});
    EXPECT_EQ(score(*binding, batch).scored, kRows);
    expect_scores({});
  }
}

TEST_F(Wide, ANanInAnyColumnOfAnyCallIsFoundAndOnlyItsRowGoesWithout) {
  const auto binding = bind("wide", {.inputs = {{"x", fields}}, .max_rows = 64});
  batch->find("f1")->values<double>()[70] = kNan;   // of the second call, among four fields
  batch->find("f8")->values<double>()[130] = kNan;  // of the third, in the odd one out
  batch->find("f8")->values<double>()[199] = kNan;
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_EQ(counts.missing, 3U);
  EXPECT_EQ(counts.scored, kRows - 3);
  EXPECT_EQ(counts.calls, 4U);
  expect_scores({70, 130, 199});
}

TEST_F(Wide, RowsThatAreNotSelectedKeepNoScoreAndTheirNanIsNobodysMatter) {
  const auto binding = bind("wide", {.inputs = {{"x", fields}}});
  std::vector<std::size_t> missing;
  std::vector<std::uint32_t> selected;
  for (std::uint32_t row = 0; row < kRows; ++row) {
    if (row % 3 == 0 || (row > 90 && row < 160)) {
      selected.push_back(row);
    } else {
      missing.push_back(row);
      batch->find("f2")->values<double>()[row] = kNan;
    }
  }
  batch->select(selected);
  EXPECT_EQ(score(*binding, batch).scored, selected.size());
  expect_scores(missing);
}

TEST_F(Wide, ColumnsOfOtherTypesPlacesAndWithNullsGoTheSameWay) {
  const auto binding = bind("wide", {.inputs = {{"x", fields}}});
  score(*binding, batch);
  TestBatch other(kRows);
  other.numbers("extra", {});
  for (std::size_t i = 9; i-- > 0;) {  // in another order, of three types
    std::vector<std::optional<double>> numbers;
    std::vector<std::optional<float>> floats;
    std::vector<std::optional<std::int64_t>> whole;
    for (std::size_t row = 0; row < kRows; ++row) {
      const bool one = row % (i + 2) == 0;
      numbers.push_back(one ? 1.0 : 0.0);
      floats.push_back(one ? 1.0F : 0.0F);
      whole.push_back(one ? 1 : 0);
    }
    if (i % 3 == 0) {
      other.numbers(fields[i], numbers);
    } else if (i % 3 == 1) {
      other.floats(fields[i], floats);
    } else {
      whole[20] = std::nullopt;
      other.integers(fields[i], whole);
    }
  }
  EXPECT_EQ(score(*binding, other).missing, 1U);
  const std::vector<double> scores = other.values("score");
  for (std::size_t row = 0; row < kRows; ++row) {
    EXPECT_TRUE(row == 20 ? std::isnan(scores[row]) : scores[row] == expected(row)) << row;
  }
}

TEST_F(Wide, TellsOfEachCall) {
  const auto binding = bind("wide", {.inputs = {{"x", fields}}, .max_rows = 64});
  std::vector<std::size_t> calls;
  binding->on_call([&](std::size_t rows, Nanos took) {
    calls.push_back(rows);
    EXPECT_GT(took.count(), 0);
  });
  score(*binding, batch);
  EXPECT_THAT(calls, ElementsAre(64U, 64U, 64U, 8U));
}

TEST(Binding, TakesTheFieldsFromTheModelsMetadata) {
  const auto binding = bind("linear_described", {});
  EXPECT_THAT(binding->fields(), ElementsAre("temperature", "pressure", "vibration"));
}

TEST(Binding, TakesTheTensorsNamesIfEachHoldsOneValue) {
  const auto binding = bind("by_column", {});
  TestBatch batch(1);
  batch.numbers("temperature", {5}).numbers("pressure", {2});
  score(*binding, batch);
  EXPECT_THAT(batch.values("score"), ElementsAre(3));
}

TEST(Binding, ConvertsFromEveryColumnOfNumbers) {
  const auto binding = bind("linear", {.inputs = {{"x", kThree}}});
  TestBatch batch(1);
  batch.floats("a", {2.5F}).integers("b", {7}).bools("c", {1});
  score(*binding, batch);
  EXPECT_THAT(batch.values("score"), ElementsAre(172.5));
}

TEST(Binding, ServesTwoInputsAndTwoOutputsOfOtherTypes) {
  const auto binding = bind("two_in_two_out", {.inputs = {{"a", {"x", "y"}}, {"n", {"n"}}},
                                               .outputs = {{"sum", "y"}, {"twice", "twice"}}});
  TestBatch batch(2);
  batch.numbers("x", {0.1, 1}).numbers("y", {0.2, 2}).integers("n", {3, 4});
  score(*binding, batch);
  EXPECT_THAT(batch.values("sum"), ElementsAre(0.1 + 0.2 + 3, 7));
  EXPECT_THAT(batch.values("twice"), ElementsAre(6, 8));
  EXPECT_EQ(batch->find("sum")->type(), Type::kFloat64);
  EXPECT_EQ(batch->find("twice")->type(), Type::kInt64);
}

TEST(Binding, ServesStringBoolAndInt32) {
  const auto binding =
      bind("mixed_types", {.outputs = {{"picked", "picked"}, {"echo", "echo"}, {"off", "not_on"}}});
  TestBatch batch(2);
  batch.strings("text", {"warm", std::string("a\0b", 3)}).bools("on", {1, 0}).numbers("n", {4, 5});
  score(*binding, batch);
  EXPECT_THAT(batch.values("picked"), ElementsAre(4, -1));
  EXPECT_THAT(batch.values("off"), ElementsAre(0, 1));
  const auto echo = batch->find("echo")->values<std::string_view>();
  EXPECT_EQ(echo[0], "warm");
  EXPECT_EQ(echo[1], std::string_view("a\0b", 3));
}

TEST(Binding, ScoresOnlySelectedRowsAndOnlyComplete) {
  const auto binding = bind("linear", {.inputs = {{"x", kThree}}});
  TestBatch batch(5);
  batch.numbers("a", {1, 1, std::nullopt, kNan, 2});
  batch.numbers("b", {0, 0, 0, 0, 0}).numbers("c", {0, 0, 0, 0, 0});
  batch->select({1, 2, 3, 4});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_THAT(batch.values("score"), ElementsAre(IsNan(), 1, IsNan(), IsNan(), 2));
  EXPECT_EQ(counts.scored, 2U);
  EXPECT_EQ(counts.missing, 2U);
}

TEST(Binding, GivesTheModelNanForAMissingFieldIfAskedTo) {
  const auto binding = bind("logarithm", {.inputs = {{"x", {"a"}}}, .on_missing = OnMissing::kNan});
  TestBatch batch(3);
  batch.numbers("a", {1, std::nullopt, kNan});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_EQ(counts.scored, 3U);
  EXPECT_EQ(counts.not_finite, 2U);
  EXPECT_FALSE(batch->find("score")->valid(1));
  TestBatch without(2);
  EXPECT_EQ(score(*binding, without).scored, 2U);
}

TEST(Binding, CountsABatchWithoutTheFieldAsMissing) {
  const auto binding = bind("linear", {.inputs = {{"x", kThree}}});
  TestBatch batch(3);
  batch.numbers("a", {1, 2, 3});
  EXPECT_EQ(score(*binding, batch).missing, 3U);
  EXPECT_EQ(batch->find("score")->null_count(), 3U);
  TestBatch text(1);
  text.strings("a", {"1"}).numbers("b", {1}).numbers("c", {1});
  EXPECT_EQ(score(*binding, text).missing, 1U);
}

TEST(Binding, MakesNullOfAScoreThatIsNotFinite) {
  const auto binding = bind("logarithm", {.inputs = {{"x", {"a"}}}});
  TestBatch batch(3);
  batch.numbers("a", {1, -1, 0});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_THAT(batch.values("score"), ElementsAre(0, IsNan(), IsNan()));
  EXPECT_EQ(counts.scored, 3U);
  EXPECT_EQ(counts.not_finite, 2U);
}

TEST(Binding, LetsABadRowFailAlone) {
  const auto binding = bind("picky", {.inputs = {{"index", {"i"}}}});
  TestBatch batch(7);
  batch.integers("i", {0, 1, 99, 3, 2, -50, 1});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_THAT(batch.values("score"), ElementsAre(0, 10, IsNan(), 30, 20, IsNan(), 10));
  EXPECT_EQ(counts.scored, 5U);
  EXPECT_EQ(counts.failed, 2U);
  EXPECT_THAT(binding->last_failure(), HasSubstr("-50"));
}

TEST(Binding, DoesNotSendNumbersThatDoNotFitTheTensor) {
  const auto binding = bind("picky", {.inputs = {{"index", {"i"}}}});
  TestBatch batch(4);
  batch.numbers("i", {1, 1e300, -std::numeric_limits<double>::infinity(), 2.9});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_THAT(batch.values("score"), ElementsAre(10, IsNan(), IsNan(), 20));
  EXPECT_EQ(counts.missing, 2U);

  const auto narrow = bind("mixed_types", {.outputs = {{"picked", "picked"}}});
  TestBatch wide(2);
  wide.strings("text", {"", ""}).bools("on", {1, 1}).integers("n", {7, std::int64_t{1} << 40});
  EXPECT_EQ(score(*narrow, wide).missing, 1U);
}

TEST(Binding, CutsABatchIntoCallsOfAtMostMaxRows) {
  const auto binding = bind("linear", {.inputs = {{"x", kThree}}, .max_rows = 4});
  TestBatch batch(10);
  std::vector<std::optional<double>> values;
  for (int i = 0; i < 10; ++i) {
    values.emplace_back(i);
  }
  const std::vector<std::optional<double>> zeros(10, 0.0);
  batch.numbers("a", values).numbers("b", zeros).numbers("c", zeros);
  EXPECT_EQ(score(*binding, batch).calls, 3U);
  EXPECT_THAT(batch.values("score"), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST(Binding, PadsTheLastCallOfAModelWithAFixedNumberOfRows) {
  for (const auto& [name, calls] : {std::pair("linear_1x3", 40U), std::pair("linear_32x3", 2U)}) {
    const auto binding = bind(name, {.inputs = {{"x", kThree}}});
    TestBatch batch(40);
    std::vector<std::optional<double>> values;
    std::vector<double> expected;
    for (int i = 0; i < 40; ++i) {
      values.emplace_back(i);
      expected.push_back(i * 111);
    }
    batch.numbers("a", values).numbers("b", values).numbers("c", values);
    EXPECT_EQ(score(*binding, batch).calls, calls);
    EXPECT_EQ(batch.values("score"), expected) << name;
  }
}

TEST(Binding, ServesModelsOfRankOneAndWithoutAShape) {
  const auto rank1 = bind("rank1", {.inputs = {{"x", {"a"}}}});
  TestBatch batch(3);
  batch.numbers("a", {1, 2, 3});
  EXPECT_EQ(score(*rank1, batch).calls, 1U);
  EXPECT_THAT(batch.values("score"), ElementsAre(2, 4, 6));

  const auto one_row = bind("one_row", {.inputs = {{"x", kThree}}});
  TestBatch two(2);
  two.numbers("a", {1, 2}).numbers("b", {1, 1}).numbers("c", {1, 1});
  EXPECT_EQ(score(*one_row, two).calls, 2U);
  EXPECT_THAT(two.values("score"), ElementsAre(111, 112));

  const auto unshaped = bind("linear_unshaped", {.inputs = {{"x", kThree}}});
  EXPECT_EQ(score(*unshaped, two).calls, 1U);
  EXPECT_THAT(two.values("score"), ElementsAre(111, 112));
}

TEST(Binding, GivesTheLastRowsOfEachDeviceToAWindowModel) {
  const auto binding = bind("window_4x2", {.inputs = {{"x", {"a", "b"}}}});
  ASSERT_TRUE(binding->has_state());
  TestBatch first(4);
  first.device(1, "other");
  first.numbers("a", {1, 7, 3, 5}).numbers("b", {2, 7, 4, 6});
  EXPECT_EQ(score(*binding, first).warming, 4U);
  TestBatch second(2);
  second.numbers("a", {7, 1}).numbers("b", {0, 2});
  const ScoreCounts counts = score(*binding, second);
  EXPECT_EQ(counts.scored, 2U);
  // The model writes the window as octal digits, the oldest value last.
  EXPECT_THAT(second.values("score"), ElementsAre(007654321, 021076543));
}

TEST(Binding, KeepsWindowsOverSaveAndRestore) {
  const BindingOptions options{.inputs = {{"x", {"a", "b"}}}, .window = 2};
  const auto before = bind("window_open", options);
  TestBatch first(1);
  first.numbers("a", {1}).numbers("b", {10});
  EXPECT_EQ(score(*before, first).warming, 1U);
  std::string bytes;
  ByteWriter writer(bytes);
  before->save(writer);

  const auto after = bind("window_open", options);
  ByteReader reader(bytes);
  ASSERT_TRUE(after->restore(reader));
  TestBatch second(1);
  second.numbers("a", {3}).numbers("b", {30});
  EXPECT_EQ(score(*after, second).scored, 1U);
  EXPECT_THAT(second.values("score_0"), ElementsAre(2));
  EXPECT_THAT(second.values("score_1"), ElementsAre(20));
}

TEST(BindingOutputs, SpreadAListOverColumnsOrTakeOneOfIt) {
  const auto all = bind("classes_3", {.inputs = {{"x", kThree}}});
  EXPECT_THAT(names(all->columns()), ElementsAre("score_0", "score_1", "score_2"));
  const auto one = bind("classes_3", {.inputs = {{"x", kThree}}, .outputs = {{"bad", "p[-1]"}}});
  TestBatch batch(1);
  batch.numbers("a", {0}).numbers("b", {0}).numbers("c", {100});
  score(*one, batch);
  EXPECT_THAT(batch.values("bad"), ElementsAre(1));
  EXPECT_THAT(bind_error("classes_3", {.inputs = {{"x", kThree}}, .outputs = {{"s", "p[3]"}}}),
              HasSubstr("has 3 values a row; '3' is not one of them"));
}

TEST(BindingOutputs, ScoreAScikitLearnClassifierByItsLastClass) {
  const double sigmoid = 1 / (1 + std::exp(-2.0));
  for (const char* name : {"zipmap_int", "zipmap_string", "classifier_tensor"}) {
    const auto binding = bind(name, {.inputs = {{"x", {"a", "b"}}}});
    EXPECT_THAT(names(binding->columns()), ElementsAre("label", "score"));
    TestBatch batch(3);
    batch.numbers("a", {2, 0, 0}).numbers("b", {0, 0, 2});
    EXPECT_EQ(score(*binding, batch).calls, 1U);
    const auto scores = batch.values("score");
    EXPECT_NEAR(scores[0], sigmoid, 1e-6) << name;
    EXPECT_NEAR(scores[1], 0.5, 1e-6) << name;
    EXPECT_NEAR(scores[2], 1 - sigmoid, 1e-6) << name;
  }
}

TEST(BindingOutputs, ScoreTheClassThatIsCalledAnomalous) {
  const auto text =
      bind("zipmap_string", {.inputs = {{"x", {"a", "b"}}}, .anomalous_class = "broken"});
  TestBatch batch(1);
  batch.numbers("a", {2}).numbers("b", {0});
  score(*text, batch);
  EXPECT_NEAR(batch.values("score")[0], 1 - 1 / (1 + std::exp(-2.0)), 1e-6);
  EXPECT_EQ(batch->find("label")->values<std::string_view>()[0], "fine");
  EXPECT_THAT(
      bind_error("zipmap_string", {.inputs = {{"x", {"a", "b"}}}, .anomalous_class = "brokn"}),
      HasSubstr("has no class 'brokn'; it has broken, fine"));
}

TEST(BindingOutputs, NameTheClassesOfMoreThanTwo) {
  const auto binding = bind("zipmap_3", {.inputs = {{"x", {"a", "b"}}}});
  EXPECT_THAT(names(binding->columns()), ElementsAre("label", "score_0", "score_1", "score_2"));
  const auto one =
      bind("zipmap_3", {.inputs = {{"x", {"a", "b"}}}, .outputs = {{"worst", "probabilities[2]"}}});
  EXPECT_THAT(names(one->columns()), ElementsAre("worst"));
}

// Expected values as numpy gives them: ((y - x) ** 2).mean(axis=1) and so on.
TEST(BindingOutputs, ScoreAnAutoencoderByItsReconstructionError) {
  const auto binding = bind("autoencoder", {.inputs = {{"x", kThree}},
                                            .outputs = {{"score", "mse(y, x)"},
                                                        {"mean", " mae( y , x ) "},
                                                        {"most", "max_error(y, x)"},
                                                        {"y", "y"}},
                                            .max_rows = 2});
  EXPECT_THAT(names(binding->columns()), ElementsAre("mean", "most", "score", "y_0", "y_1", "y_2"));
  TestBatch batch(4);
  batch.numbers("a", {4, 0, std::nullopt, 1})
      .numbers("b", {2, 0, 1, 2})
      .numbers("c", {2, 4, 1, 0.5});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_EQ(counts.scored, 3U);
  EXPECT_EQ(counts.missing, 1U);
  // x (4, 2, 2) gives (3, 6, 1.5); (0, 0, 4) gives (1, 2, 0.5); (1, 2, 0.5) gives 9/8 of itself.
  EXPECT_THAT(
      batch.values("score"),
      ElementsAre(5.75, 5.75, IsNan(), (0.125 * 0.125 + 0.25 * 0.25 + 0.0625 * 0.0625) / 3));
  EXPECT_THAT(batch.values("mean"), ElementsAre(5.5 / 3, 6.5 / 3, IsNan(), 0.4375 / 3));
  EXPECT_THAT(batch.values("most"), ElementsAre(4, 3.5, IsNan(), 0.25));
  EXPECT_THAT(batch.values("y_1"), ElementsAre(6, 2, IsNan(), 2.25));
  EXPECT_EQ(batch->find("score")->type(), Type::kFloat64);
}

TEST(BindingOutputs, CompareWindowsOfEitherShape) {
  for (const char* output : {"y", "flat"}) {
    const auto binding = bind(
        "autoencoder_window",
        {.inputs = {{"x", {"a", "b"}}}, .outputs = {{"score", fmt::format("mse({}, x)", output)}}});
    TestBatch batch(4);
    batch.device(1, "other");
    batch.numbers("a", {2, 9, 0, 1}).numbers("b", {4, 9, 6, 1});
    const ScoreCounts counts = score(*binding, batch);
    EXPECT_EQ(counts.warming, 2U);
    // Windows (2, 4, 0, 6) and (0, 6, 1, 1), each half of itself away.
    EXPECT_THAT(batch.values("score"), ElementsAre(IsNan(), IsNan(), 56.0 / 4 / 4, 38.0 / 4 / 4))
        << output;
  }
}

TEST(BindingOutputs, CompareDoublesBesideOtherInputsAndMakeNullOfWhatIsNotFinite) {
  const auto binding =
      bind("autoencoder_double", {.inputs = {{"x", {"a", "b"}}, {"n", {"n"}}},
                                  .outputs = {{"score", "mae(y, x)"}, {"peak", "max_error(y, x)"}},
                                  .on_missing = OnMissing::kNan});
  TestBatch batch(3);
  batch.numbers("a", {0.2, std::nullopt, 1e300}).numbers("b", {0.6, 1, 1}).integers("n", {1, 1, 1});
  const ScoreCounts counts = score(*binding, batch);
  EXPECT_EQ(counts.scored, 3U);
  EXPECT_EQ(counts.not_finite, 1U);
  EXPECT_THAT(batch.values("score"), ElementsAre(0.2, IsNan(), 2.5e299));
  EXPECT_THAT(batch.values("peak"), ElementsAre(0.3, IsNan(), 5e299));
}

TEST(BindingErrors, SayWhyAnOutputCannotBeComparedWithAnInput) {
  const auto error = [](const std::string& output) {
    return bind_error("autoencoder_double",
                      {.inputs = {{"x", {"a", "b"}}, {"n", {"n"}}}, .outputs = {{"s", output}}});
  };
  EXPECT_THAT(error("mse(y, z)"), HasSubstr("column 's': no input 'z'"));
  EXPECT_THAT(error("mse(x, y)"), HasSubstr("column 's': no output 'x'"));
  EXPECT_THAT(error("mse(sum, x)"), HasSubstr("output 'sum' has 1 values a row and input 'x' 2"));
  EXPECT_THAT(error("mse(y, n)"),
              HasSubstr("an error is between float tensors; 'n' is int64 [N, 1]"));
  EXPECT_THAT(error("rmse(y, x)"), HasSubstr("no output 'rmse(y, x)'"));
  EXPECT_THAT(
      bind_error("autoencoder_window", {.inputs = {{"x", {"a", "b"}}}, .outputs = {{"s", "y"}}}),
      HasSubstr("it is not a value or a list per row"));
}

TEST(BindingErrors, NameTheNearestInputAndOutput) {
  EXPECT_THAT(bind_error("anomaly", {.inputs = {{"inputs", kThree}}}),
              AllOf(HasSubstr("no input 'inputs'; did you mean 'input'?"),
                    HasSubstr("'input' float32 [N, 3]")));
  EXPECT_THAT(
      bind_error("anomaly", {.inputs = {{"input", kThree}}, .outputs = {{"score", "outptu"}}}),
      HasSubstr("column 'score': no output 'outptu'; did you mean 'output'?"));
}

TEST(BindingErrors, SayHowManyFieldsAreExpectedAndGiven) {
  EXPECT_THAT(bind_error("anomaly", {.inputs = {{"input", {"a", "b"}}}}),
              HasSubstr("input 'input' is float32 [N, 3]: it takes 3 fields, 2 are given"));
  EXPECT_THAT(bind_error("rank1", {.inputs = {{"x", kThree}}}),
              HasSubstr("it takes 1 field, 3 are given"));
  EXPECT_THAT(bind_error("anomaly", {}), HasSubstr("inputs: {input: [FIELD, …]}"));
  EXPECT_THAT(bind_error("two_in_two_out", {.inputs = {{"a", {"x", "y"}}}}),
              HasSubstr("input 'n' int64 [N, 1] gets no fields"));
}

TEST(BindingErrors, RefuseWhatFieldsCannotFill) {
  EXPECT_THAT(bind_error("image", {.inputs = {{"x", {"a"}}}}),
              HasSubstr("float32 [N, 3, 8, 8]: only [rows], [rows, fields]"));
  EXPECT_THAT(bind_error("float16", {.inputs = {{"x", kThree}}}),
              HasSubstr("float16 [N, 3], which is not supported"));
  EXPECT_THAT(bind_error("window_open", {.inputs = {{"x", {"a", "b"}}}}),
              HasSubstr("say how many rows its window has"));
  EXPECT_THAT(bind_error("window_4x2", {.inputs = {{"x", {"a", "b"}}}, .window = 5}),
              HasSubstr("its window has 4 rows, not 5"));
}

TEST(BindingErrors, RefuseOutputsThatAreNotByRow) {
  EXPECT_THAT(bind_error("sums_rows", {.inputs = {{"x", kThree}}}),
              HasSubstr("output 'y' gives [1, 3] for 512 rows"));
  EXPECT_THAT(bind_error("many_outputs", {.inputs = {{"x", {"a"}}}}),
              AllOf(HasSubstr("say which outputs to take"), HasSubstr("'second' float32 [N, 1]")));
}

TEST(BindingErrors, RefuseColumnsThatClash) {
  EXPECT_THAT(bind_error("linear", {.inputs = {{"x", kThree}}, .outputs = {{"a", "y"}}}),
              HasSubstr("the output column 'a' has the name of an input field"));
}

TEST(BindingCheck, NamesTheNearestFieldAndTheWrongType) {
  const auto binding = bind("linear_described", {});
  Schema schema({{"temperature", Type::kFloat64, ""}, {"presure", Type::kFloat64, ""}});
  EXPECT_THAT(binding->check(schema).error().text(),
              HasSubstr("the field 'pressure', which is not there; did you mean 'presure'?"));
  schema.set({"pressure", Type::kString, ""});
  EXPECT_THAT(binding->check(schema).error().text(),
              HasSubstr("the field 'pressure' is string, which does not convert"));
  schema.set({"pressure", Type::kBool, ""});
  schema.set({"vibration", Type::kInt64, ""});
  EXPECT_TRUE(binding->check(schema));
}

TEST(CostCurve, IsMeasuredAtLoad) {
  const auto binding = bind("anomaly", {.inputs = {{"input", kThree}}});
  EXPECT_GT(binding->cost().fixed_ns + binding->cost().per_row_ns, 0);
  const CostCurve curve{.fixed_ns = 3000, .per_row_ns = 50};
  EXPECT_EQ(curve.predict(100), Nanos(8000));
}

}  // namespace
}  // namespace headwater::model
