#include "compute/aggregate.h"

#include <gmock/gmock.h>

#include <cmath>
#include <vector>

#include "compute/moments.h"
#include "compute/quantile.h"

namespace headwater {
namespace {

using testing::HasSubstr;

TEST(Aggregate, ParsesItsNotation) {
  auto spec = parse_aggregate("v", " rms( motor.vibration ) ");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->kind, AggregateKind::kRms);
  EXPECT_EQ(spec->field, "motor.vibration");
  EXPECT_EQ(spec->column, "v");
  EXPECT_TRUE(parse_aggregate("v", "count()"));
  for (int i = 0; i < static_cast<int>(AggregateKind::kQuantile); ++i) {
    const auto kind = static_cast<AggregateKind>(i);
    const auto parsed = parse_aggregate("v", std::string(aggregate_name(kind)) + "(x)");
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->kind, kind);
  }
  EXPECT_THAT(parse_aggregate("v", "men(x)").error().text(), HasSubstr("did you mean 'mean'?"));
  EXPECT_THAT(parse_aggregate("v", "mean()").error().text(), HasSubstr("needs a field"));
  EXPECT_THAT(parse_aggregate("v", "mean(a + b)").error().text(), HasSubstr("no name of a field"));
  EXPECT_THAT(parse_aggregate("v", "mean").error().text(), HasSubstr("is no aggregate"));
  EXPECT_FALSE(parse_aggregate("v", ""));
}

TEST(Aggregate, ParsesQuantiles) {
  const auto p95 = parse_aggregate("v", "quantile( motor.vibration , 0.95 )");
  ASSERT_TRUE(p95) << p95.error().text();
  EXPECT_EQ(p95->kind, AggregateKind::kQuantile);
  EXPECT_EQ(p95->field, "motor.vibration");
  EXPECT_EQ(p95->p, 0.95);
  const auto median = parse_aggregate("v", "median(x)");
  ASSERT_TRUE(median);
  EXPECT_EQ(median->kind, AggregateKind::kQuantile);
  EXPECT_EQ(median->p, 0.5);
  EXPECT_THAT(parse_aggregate("v", "quantile(x)").error().text(),
              HasSubstr("needs a field and a share: quantile(FIELD, 0.95)"));
  for (const char* p : {"1.5", "-0.1", "95%", "", "nan"}) {
    EXPECT_THAT(parse_aggregate("v", fmt::format("quantile(x, {})", p)).error().text(),
                HasSubstr(fmt::format("'{}' is no number from 0 to 1", p)));
  }
  EXPECT_THAT(parse_aggregate("v", "quantile(, 0.5)").error().text(), HasSubstr("needs a field"));
  EXPECT_THAT(parse_aggregate("v", "mean(x, 0.5)").error().text(), HasSubstr("no name of a field"));
  EXPECT_THAT(parse_aggregate("v", "medain(x)").error().text(),
              HasSubstr("did you mean 'median'?"));
}

// The values of numpy.quantile([…], p) and of scipy.stats.
TEST(Aggregate, GivesTheQuantilesOfNumpy) {
  const std::vector<double> values = {7, 1, 3, 10, 2};
  const auto of = [&](double p) {
    std::vector<double> copy = values;
    return quantile(copy, p);
  };
  EXPECT_EQ(of(0), 1);
  EXPECT_EQ(of(0.5), 3);
  EXPECT_EQ(of(1), 10);
  EXPECT_DOUBLE_EQ(of(0.25), 2);
  EXPECT_DOUBLE_EQ(of(0.95), 9.4);
  EXPECT_DOUBLE_EQ(of(0.6), 4.6);
  std::vector<double> one = {4};
  EXPECT_EQ(quantile(one, 0.95), 4);
  std::vector<double> two = {1e308, -1e308};
  EXPECT_EQ(quantile(two, 0.5), 0);
  std::vector<double> none;
  EXPECT_TRUE(std::isnan(quantile(none, 0.5)));
}

double of_values(AggregateKind kind, const std::vector<double>& values) {
  MomentsLayout layout;
  layout.need(kind);
  std::vector<double> partial(layout.width());
  layout.clear(partial.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    layout.add(partial.data(), values[i], static_cast<double>(i));
  }
  return layout.result(partial.data(), kind);
}

TEST(Aggregate, DescribesTheShapeOfVibration) {
  // scipy.stats.kurtosis([1, 2, 3, 4, 10], fisher=False) and skew() of the same.
  EXPECT_NEAR(of_values(AggregateKind::kKurtosis, {1, 2, 3, 4, 10}), 2.788, 1e-12);
  EXPECT_NEAR(of_values(AggregateKind::kSkewness, {1, 2, 3, 4, 10}), 1.138419957660617, 1e-12);
  std::vector<double> sine;
  for (int i = 0; i < 1000; ++i) {
    sine.push_back(5 * std::sin(i * 0.02 * std::acos(-1.0) + 0.5));
  }
  EXPECT_NEAR(of_values(AggregateKind::kKurtosis, sine), 1.5, 1e-3);
  EXPECT_NEAR(of_values(AggregateKind::kCrest, sine), std::sqrt(2.0), 1e-3);
  EXPECT_EQ(of_values(AggregateKind::kZeroCrossings, sine), 20);
  EXPECT_NEAR(of_values(AggregateKind::kRange, sine), 10, 0.01);
  EXPECT_TRUE(std::isnan(of_values(AggregateKind::kKurtosis, {0.1, 0.1, 0.1})));
  EXPECT_TRUE(std::isnan(of_values(AggregateKind::kCrest, {0, 0})));
  EXPECT_EQ(of_values(AggregateKind::kCrest, {-3}), 1);
}

TEST(Aggregate, PassesOverZerosBetweenCrossings) {
  const auto crossings = [](const std::vector<double>& values) {
    return of_values(AggregateKind::kZeroCrossings, values);
  };
  EXPECT_EQ(crossings({1, -1, 1}), 2);
  EXPECT_EQ(crossings({1, 0, -1}), 1);
  EXPECT_EQ(crossings({1, 0, 0, 1}), 0);
  EXPECT_EQ(crossings({0, 0, -2, 0, std::nan(""), 3, 0}), 1);
  EXPECT_EQ(crossings({0, -0.0}), 0);
}

}  // namespace
}  // namespace headwater
