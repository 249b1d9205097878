#include "telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <thread>

namespace headwater::telemetry {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Registry, WritesThePrometheusText) {
  Registry registry;
  registry.counter("headwater_store_rows_total", "Rows committed.", {{"lane", "readings"}}).add(3);
  registry.counter("headwater_store_rows_total", "Rows committed.", {{"lane", "alerts"}}).add(1);
  registry.gauge("headwater_store_free_bytes", "Free space.").set(1.5e9);
  registry.gauge("headwater_store_used_ratio", "Share used.").set(0.25);
  EXPECT_EQ(registry.prometheus_text(),
            "# HELP headwater_store_free_bytes Free space.\n"
            "# TYPE headwater_store_free_bytes gauge\n"
            "headwater_store_free_bytes 1500000000\n"
            "# HELP headwater_store_rows_total Rows committed.\n"
            "# TYPE headwater_store_rows_total counter\n"
            "headwater_store_rows_total{lane=\"alerts\"} 1\n"
            "headwater_store_rows_total{lane=\"readings\"} 3\n"
            "# HELP headwater_store_used_ratio Share used.\n"
            "# TYPE headwater_store_used_ratio gauge\n"
            "headwater_store_used_ratio 0.25\n");
}

TEST(Registry, EscapesLabelValuesAndHelp) {
  Registry registry;
  registry.gauge("headwater_test_levels", "back\\slash\nand line", {{"name", "a\"b\\c\nd"}}).set(1);
  EXPECT_EQ(registry.prometheus_text(),
            "# HELP headwater_test_levels back\\\\slash\\nand line\n"
            "# TYPE headwater_test_levels gauge\n"
            "headwater_test_levels{name=\"a\\\"b\\\\c\\nd\"} 1\n");
}

TEST(Registry, GivesTheSameMetricForTheSameNameAndLabels) {
  Registry registry;
  auto& first = registry.counter("headwater_test_rows_total", "Rows.", {{"a", "1"}, {"b", "2"}});
  auto& again = registry.counter("headwater_test_rows_total", "Rows.", {{"b", "2"}, {"a", "1"}});
  auto& other = registry.counter("headwater_test_rows_total", "Rows.", {{"a", "1"}, {"b", "3"}});
  EXPECT_EQ(&first, &again);
  EXPECT_NE(&first, &other);
}

TEST(Registry, CountersAreExactBeyondTheDoublesWholeNumbers) {
  Registry registry;
  registry.counter("headwater_test_rows_total", "Rows.").add((1ULL << 60) + 1);
  EXPECT_THAT(registry.prometheus_text(),
              HasSubstr("headwater_test_rows_total 1152921504606846977"));
}

TEST(Registry, WritesNanAndInfinity) {
  Registry registry;
  registry.gauge("headwater_test_one_ratio", "x").set(std::numeric_limits<double>::quiet_NaN());
  registry.gauge("headwater_test_two_ratio", "x").set(std::numeric_limits<double>::infinity());
  EXPECT_THAT(registry.prometheus_text(), HasSubstr("headwater_test_one_ratio NaN\n"));
  EXPECT_THAT(registry.prometheus_text(), HasSubstr("headwater_test_two_ratio +Inf\n"));
}

TEST(Registry, HistogramBucketsAreCumulativeAndEndInTheCount) {
  Registry registry;
  auto& rows = registry.histogram("headwater_model_batch_rows", "Rows per call.", {{"model", "m"}},
                                  HistogramRange{0, 3});
  for (const double value : {0.5, 1.0, 1.9, 3.0, 100.0}) {
    rows.record(value);
  }
  EXPECT_EQ(registry.prometheus_text(),
            "# HELP headwater_model_batch_rows Rows per call.\n"
            "# TYPE headwater_model_batch_rows histogram\n"
            "headwater_model_batch_rows_bucket{model=\"m\",le=\"1\"} 1\n"
            "headwater_model_batch_rows_bucket{model=\"m\",le=\"2\"} 3\n"
            "headwater_model_batch_rows_bucket{model=\"m\",le=\"4\"} 4\n"
            "headwater_model_batch_rows_bucket{model=\"m\",le=\"8\"} 4\n"
            "headwater_model_batch_rows_bucket{model=\"m\",le=\"+Inf\"} 5\n"
            "headwater_model_batch_rows_sum{model=\"m\"} 106.4\n"
            "headwater_model_batch_rows_count{model=\"m\"} 5\n");
}

TEST(Registry, CallbacksAreReadAtEachScrapeUntilTheyDie) {
  Registry registry;
  double level = 1;
  {
    const auto callback =
        registry.gauge_from("headwater_test_levels", "Level.", {}, [&] { return level; });
    EXPECT_THAT(registry.prometheus_text(), HasSubstr("headwater_test_levels 1\n"));
    level = 2;
    EXPECT_THAT(registry.prometheus_text(), HasSubstr("headwater_test_levels 2\n"));
  }
  EXPECT_THAT(registry.prometheus_text(), Not(HasSubstr("headwater_test_levels")));
  const auto again =
      registry.gauge_from("headwater_test_levels", "Level.", {}, [&] { return level; });
  EXPECT_THAT(registry.prometheus_text(), HasSubstr("headwater_test_levels 2\n"));
}

TEST(Registry, WritesAMarkdownTable) {
  Registry registry;
  registry.counter("headwater_test_rows_total", "Rows.", {{"a", "x,\"y=z"}, {"b", "2"}});
  EXPECT_EQ(registry.markdown(),
            "| metric | kind | labels | what it tells |\n|---|---|---|---|\n"
            "| `headwater_test_rows_total` | counter | a, b | Rows. |\n");
}

TEST(MetricName, FollowsTheRule) {
  using enum Registry::Kind;
  EXPECT_TRUE(Registry::check_name("headwater_store_rows_total", kCounter));
  EXPECT_TRUE(Registry::check_name("headwater_store_commit_seconds", kHistogram));
  EXPECT_TRUE(Registry::check_name("process_open_fds", kGauge));
  EXPECT_FALSE(Registry::check_name("headwater_store_rows", kCounter));
  EXPECT_FALSE(Registry::check_name("headwater_rows_total", kCounter));
  EXPECT_FALSE(Registry::check_name("headwater_store_rows_total", kGauge));
  EXPECT_FALSE(Registry::check_name("store_rows_total", kCounter));
  EXPECT_FALSE(Registry::check_name("headwater_store_Rows_total", kCounter));
  EXPECT_FALSE(Registry::check_name("headwater_store__rows_total", kCounter));
  EXPECT_FALSE(Registry::check_name("headwater_store_commit_ms", kGauge));
  EXPECT_FALSE(Registry::check_name("headwater_store_commit_us_total", kCounter));
  EXPECT_FALSE(Registry::check_name("headwater_store_commit_count", kHistogram));
}

TEST(MetricNameDeathTest, ABadNameOrLabelEndsTheProcessAtRegistration) {
  Registry registry;
  EXPECT_DEATH(registry.counter("rows", "Rows."), "only they, end in _total");
  EXPECT_DEATH(registry.counter("headwater_test_rows_total", "Rows.", {{"le", "1"}}),
               "label 'le' is not allowed");
  registry.gauge("headwater_test_levels", "Level.");
  EXPECT_DEATH(registry.histogram("headwater_test_levels", "Level."),
               "registered as gauge and as histogram");
}

TEST(Histogram, QuantilesAreWithinThreePercent) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> draw(-6.0, 1.5);  // seconds, around 2.5 ms
  Histogram histogram;
  std::vector<double> all;
  for (int i = 0; i < 20'000; ++i) {
    all.push_back(draw(random));
    histogram.record(all.back());
  }
  std::sort(all.begin(), all.end());
  for (const double p : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = all[static_cast<std::size_t>(p * static_cast<double>(all.size()))];
    EXPECT_NEAR(histogram.quantile(p) / exact, 1.0, 0.03) << p;
  }
  EXPECT_EQ(histogram.count(), 20'000U);
}

TEST(Histogram, AnswersAtTheEndsOfItsRange) {
  Histogram histogram(0, 4);
  EXPECT_EQ(histogram.quantile(0.5), 0);
  histogram.record(1e9);
  EXPECT_EQ(histogram.quantile(0.5), 16);
  Histogram low(0, 4);
  low.record(0);
  low.record(-5);
  EXPECT_LE(low.quantile(0.99), 1);
  EXPECT_EQ(low.count(), 2U);
}

TEST(Histogram, IgnoresWhatIsNotFinite) {
  Histogram histogram;
  histogram.record(std::numeric_limits<double>::quiet_NaN());
  histogram.record(std::numeric_limits<double>::infinity());
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.sum(), 0);
}

TEST(Histogram, ASnapshotMinusAnEarlierOneIsTheTimeBetween) {
  Histogram histogram;
  histogram.record(1.0, 1000);
  const auto before = histogram.snapshot();
  histogram.record(0.001, 10);
  const auto between = histogram.snapshot().minus(before);
  EXPECT_EQ(between.count, 10U);
  EXPECT_NEAR(between.sum, 0.01, 1e-9);
  EXPECT_NEAR(between.quantile(0.99), 0.001, 0.0001);
}

TEST(Histogram, LosesNothingBetweenThreads) {
  Histogram histogram;
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5'000; ++i) {
        histogram.record(0.5);
        counter.add(2);
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(histogram.count(), 20'000U);
  EXPECT_EQ(histogram.sum(), 10'000.0);
  EXPECT_EQ(counter.value(), 40'000U);
}

}  // namespace
}  // namespace headwater::telemetry
