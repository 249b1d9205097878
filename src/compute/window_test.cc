#include "compute/window.h"

#include "compute/window_testing.h"

namespace headwater {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
TEST(Window, CoversTheTimeUpToEachRow) {
  auto window = make({.last = seconds(10),
                      .aggregates = {{"n", AggregateKind::kCount, ""},
                                     {"mean", AggregateKind::kMean, "x"},
                                     {"slope", AggregateKind::kSlope, "x"}}});
  const Results results = run(
      *window, {{"a", 0, 1}, {"a", 5, 2}, {"b", 6, 100}, {"a", 10, 3}, {"a", 15, 4}, {"a", 40, 5}});
  EXPECT_EQ(results[0].at("n"), 1);
  EXPECT_EQ(results[1].at("n"), 2);
  EXPECT_EQ(results[1].at("mean"), 1.5);
  EXPECT_TRUE(std::isnan(results[0].at("slope")));
  EXPECT_NEAR(results[1].at("slope"), 0.2, 1e-15);
  EXPECT_EQ(results[2].at("mean"), 100);
  EXPECT_EQ(results[3].at("n"), 2);  // the row of 0 s is out: (0, 10]
  EXPECT_EQ(results[3].at("mean"), 2.5);
  EXPECT_EQ(results[4].at("n"), 2);
  EXPECT_EQ(results[5].at("mean"), 5);
}

TEST(Window, CoversACountOfRows) {
  auto window = make({.rows = 3, .aggregates = {{"sum", AggregateKind::kSum, "x"}}});
  const Results results =
      run(*window, {{"a", 0, 1}, {"a", 9, 2}, {"a", 3, 4}, {"a", 1, 8}, {"a", 99, 16}});
  EXPECT_EQ(results[2].at("sum"), 7);
  EXPECT_EQ(results[3].at("sum"), 14);
  EXPECT_EQ(results[4].at("sum"), 28);
}

TEST(Window, IsNullBelowMinCount) {
  auto window = make({.rows = 5, .min_count = 2, .aggregates = all_of("x")});
  const Results results = run(*window, {{"a", 0, 1}, {"a", 1, NAN}, {"a", 2, 3}});
  EXPECT_TRUE(std::isnan(results[1].at("x_mean")));
  EXPECT_EQ(results[1].at("x_count"), 1);
  EXPECT_EQ(results[1].at("rows"), 2);
  EXPECT_EQ(results[2].at("x_mean"), 2);
}

TEST(Window, LeavesOutRowsThatHaveNoPlace) {
  auto window = make({.last = seconds(10), .aggregates = {{"n", AggregateKind::kCount, ""}}});
  WindowStats stats;
  const Results results = run(*window,
                              {{"a", 0, 1},
                               {"a", 1e6, 1, kRowTimeFuture},
                               {"", 1, 1},
                               {"a", 1, 1, kRowUndecoded},
                               {"a", 1, 1, kRowDuplicate},
                               {"a", 2, 1}},
                              stats);
  EXPECT_EQ(stats.skipped, 4U);
  EXPECT_TRUE(std::isnan(results[1].at("n")));
  EXPECT_EQ(results[5].at("n"), 2);
}

TEST(Window, FlagsRowsBehindTheWatermarkOfTheirKey) {
  auto window = make({.last = seconds(10),
                      .allowed_lateness = seconds(5),
                      .aggregates = {{"n", AggregateKind::kCount, ""}}});
  Batch batch;
  fill(batch, {{"a", 100, 1}, {"b", 50, 1}, {"a", 95, 1}, {"a", 94.9, 1}, {"a", 100, 1}});
  WindowStats stats;
  ASSERT_TRUE(window->process(batch, stats));
  EXPECT_EQ(stats.late, 1U);
  EXPECT_EQ(stats.out_of_order, 1U);
  EXPECT_EQ(batch.row(3).flags, kRowLate);
  EXPECT_FALSE(batch.find("n")->valid(3));
  EXPECT_EQ(batch.find("n")->as_double(2), 1);
  EXPECT_EQ(batch.find("n")->as_double(4), 3);
}

TEST(Window, ForgetsTheKeyUnseenForLongest) {
  auto window = make({.rows = 10, .max_keys = 2, .aggregates = {{"n", AggregateKind::kCount, ""}}});
  WindowStats stats;
  const Results results =
      run(*window, {{"a", 0, 1}, {"b", 0, 1}, {"a", 1, 1}, {"c", 0, 1}, {"a", 2, 1}, {"b", 1, 1}},
          stats);
  EXPECT_EQ(results[4].at("n"), 3);
  EXPECT_EQ(results[5].at("n"), 1);
  EXPECT_EQ(stats.evicted_keys, 2U);
  EXPECT_EQ(window->keys(), 2U);
}

TEST(Window, ForgetsAKeyThatIsMaxAgeBehindTheNewestRow) {
  for (const bool by_time : {true, false}) {
    auto window = make({.last = seconds(by_time ? 60 : 0),
                        .rows = by_time ? 0U : 60U,
                        .max_age = seconds(100),
                        .aggregates = {{"n", AggregateKind::kCount, "", 0}}});
    WindowStats stats;
    // At 201 s, "old" is 101 s behind and "slow", whose row came later, is too; "near" is not.
    run(*window, {{"old", 100, 1}, {"near", 101, 1}, {"slow", 100, 1}, {"new", 200, 1}}, stats);
    EXPECT_EQ(stats.aged_keys, 0U);
    EXPECT_EQ(window->keys(), 4U);
    EXPECT_EQ(run(*window, {{"new", 201, 1}}, stats)[0].at("n"), 2);
    EXPECT_EQ(stats.aged_keys, 1U) << "keys are forgotten in the order they were last seen";
    // A key that is too old begins anew although it is still held.
    EXPECT_EQ(run(*window, {{"slow", 150, 1}}, stats)[0].at("n"), 1);
    EXPECT_EQ(stats.aged_keys, 2U);
    EXPECT_EQ(run(*window, {{"near", 110, 1}}, stats)[0].at("n"), 2);
    EXPECT_EQ(window->keys(), 3U);
  }
}

TEST(Window, KeepsAtMostMaxRowsOfAKey) {
  auto window = make(
      {.last = seconds(1000), .max_rows = 4, .aggregates = {{"sum", AggregateKind::kSum, "x"}}});
  std::vector<Reading> readings;
  for (int i = 0; i < 100; ++i) {
    readings.push_back({"a", static_cast<double>(i), static_cast<double>(i)});
  }
  WindowStats stats;
  const Results results = run(*window, readings, stats);
  EXPECT_EQ(results[99].at("sum"), 99 + 98 + 97 + 96);
  EXPECT_EQ(stats.truncated, 96U);
  EXPECT_LE(window->held_rows(), 8U);
}

TEST(Window, KeysByAnyColumn) {
  auto window = make({.by = "line", .rows = 9, .aggregates = {{"n", AggregateKind::kCount, ""}}});
  Batch batch;
  fill(batch, {{"a", 0, 1}, {"b", 1, 1}, {"c", 2, 1}});
  Column& line = batch.add_column("line", Type::kFloat64);
  line.set(0, 7.0);
  line.set(1, 7.0);
  WindowStats stats;
  ASSERT_TRUE(window->process(batch, stats));
  EXPECT_EQ(batch.find("n")->as_double(1), 2);
  EXPECT_FALSE(batch.find("n")->valid(2));

  auto all = make({.by = "", .rows = 9, .aggregates = {{"n", AggregateKind::kCount, ""}}});
  EXPECT_EQ(run(*all, {{"a", 0, 1}, {"", 1, 1}})[1].at("n"), 2);
}

TEST(Window, TakesOnlyNumbers) {
  auto window = make({.rows = 3,
                      .aggregates = {{"a", AggregateKind::kMean, "text"},
                                     {"b", AggregateKind::kMean, "nowhere"},
                                     {"c", AggregateKind::kSum, "on"}}});
  Batch batch;
  fill(batch, {{"a", 0, 1}});
  batch.add_column("text", Type::kString).set(0, std::string_view("7"));
  batch.add_column("on", Type::kBool).set(0, std::uint8_t{1});
  WindowStats stats;
  ASSERT_TRUE(window->process(batch, stats));
  EXPECT_EQ(stats.not_numeric, 1U);
  EXPECT_FALSE(batch.find("a")->valid(0));
  EXPECT_FALSE(batch.find("b")->valid(0));
  EXPECT_EQ(batch.find("c")->as_double(0), 1);
}

TEST(Window, LeavesNoErrorBehindOfASpike) {
  auto window = make({.rows = 8, .aggregates = all_of("x")});
  std::vector<Reading> readings;
  for (int i = 0; i < 40; ++i) {
    readings.push_back({"a", static_cast<double>(i), i == 10 ? 1e18 : 100 + 1e-3 * (i % 3)});
  }
  const Results results = run(*window, readings);
  const std::vector<Reading> last(readings.end() - 8, readings.end());
  expect_results(results[39], all_of("x"), last, "last row");
}

TEST(Window, RefusesOptionsThatMeanNothing) {
  const std::vector<AggregateSpec> one = {{"n", AggregateKind::kCount, ""}};
  EXPECT_FALSE(Window::create({.rows = 1}));
  EXPECT_FALSE(Window::create({.aggregates = one}));
  EXPECT_FALSE(Window::create({.last = seconds(1), .rows = 1, .aggregates = one}));
  EXPECT_FALSE(Window::create({.rows = 1, .max_keys = 0, .aggregates = one}));
  EXPECT_FALSE(Window::create({.last = seconds(1), .every = seconds(1), .aggregates = one}));
  EXPECT_FALSE(Window::create({.last = seconds(9), .max_age = seconds(8), .aggregates = one}));
  EXPECT_FALSE(
      Window::create({.rows = 1, .aggregates = {{"q", AggregateKind::kQuantile, "x", 1.5}}}));
  EXPECT_FALSE(Window::create({.rows = 1, .aggregates = {one[0], one[0]}}));
  EXPECT_FALSE(Window::create({.rows = 1, .aggregates = {{"x", AggregateKind::kMean, "x"}}}));
  EXPECT_FALSE(Window::create({.rows = 1, .aggregates = {{"x", AggregateKind::kMean, ""}}}));
}

struct Case {
  const char* name;
  WindowOptions options;
  double disorder;
};

std::vector<Case> cases() {
  return {{"time", {.last = seconds(10), .aggregates = all_of("x")}, 0},
          {"time with disorder",
           {.last = seconds(10), .allowed_lateness = seconds(2), .aggregates = all_of("x")},
           2},
          {"short window, long lateness",
           {.last = milliseconds(1500), .allowed_lateness = seconds(20), .aggregates = all_of("x")},
           6},
          {"count", {.rows = 7, .aggregates = all_of("x")}, 2},
          {"max_rows",
           {.last = seconds(30),
            .allowed_lateness = seconds(3),
            .max_rows = 9,
            .aggregates = all_of("x")},
           2},
          {"max_keys", {.rows = 5, .max_keys = 3, .aggregates = all_of("x")}, 0},
          {"max_age", {.last = seconds(1), .max_age = seconds(2), .aggregates = all_of("x")}, 0}};
}

TEST(Window, AgreesWithPlainRecomputation) {
  for (const Case& test : cases()) {
    if (test.options.max_keys < 10 || test.options.max_rows < 10 ||
        test.options.max_age.count() > 0) {
      continue;  // what the bounds leave out is not modelled here
    }
    std::mt19937 random(11);
    const std::vector<Reading> readings = random_stream(random, 1200, test.disorder);
    auto window = make(test.options);
    WindowStats stats;
    const Results results = run(*window, readings, stats);
    std::map<std::string, std::vector<Reading>> seen;  // in order of time, then of arrival
    std::map<std::string, double> watermark;
    std::uint64_t late = 0;
    const double last = std::chrono::duration<double>(test.options.last).count();
    const double lateness = std::chrono::duration<double>(test.options.allowed_lateness).count();
    for (std::size_t i = 0; i < readings.size(); ++i) {
      const Reading& reading = readings[i];
      std::vector<Reading>& rows = seen[reading.device];
      std::vector<Reading> covered;
      if (test.options.rows > 0) {
        rows.push_back(reading);
        const std::size_t size = std::min(rows.size(), test.options.rows);
        covered.assign(rows.end() - static_cast<std::ptrdiff_t>(size), rows.end());
      } else {
        const auto mark = watermark.try_emplace(reading.device, reading.seconds).first;
        if (reading.seconds < mark->second - lateness) {
          ++late;
          EXPECT_TRUE(std::isnan(results[i].at("rows")));
          continue;
        }
        mark->second = std::max(mark->second, reading.seconds);
        rows.insert(std::upper_bound(
                        rows.begin(), rows.end(), reading,
                        [](const Reading& a, const Reading& b) { return a.seconds < b.seconds; }),
                    reading);
        for (const Reading& row : rows) {
          if (row.seconds > reading.seconds - last && row.seconds <= reading.seconds) {
            covered.push_back(row);
          }
        }
      }
      // By arrival, times go back and forth: the slope's ends say nothing then.
      std::vector<AggregateSpec> specs = test.options.aggregates;
      if (test.options.rows > 0) {
        std::erase_if(specs, [](const auto& spec) { return spec.kind == AggregateKind::kSlope; });
      }
      expect_results(results[i], specs, covered,
                     std::string(test.name) + ", row " + std::to_string(i));
      if (testing::Test::HasFailure()) {
        return;
      }
    }
    EXPECT_EQ(stats.late, late) << test.name;
    EXPECT_TRUE(test.disorder == 0 || stats.late + stats.out_of_order > 0 || test.options.rows > 0);
  }
}

TEST(Window, GivesTheSameBitsHoweverRowsAreCutAndRestored) {
  for (const Case& test : cases()) {
    std::mt19937 random(3);
    const std::vector<Reading> readings = random_stream(random, 250, test.disorder);
    auto whole = make(test.options);
    WindowStats whole_stats;
    const Results want = run(*whole, readings, whole_stats);

    // A restart after every row.
    auto window = make(test.options);
    WindowStats stats;
    Results got;
    std::string state;
    for (const Reading& reading : readings) {
      got.push_back(run(*window, {reading}, stats)[0]);
      state.clear();
      ByteWriter writer(state);
      window->save(writer);
      window = make(test.options);
      ByteReader reader(state);
      const Status restored = window->restore(reader);
      ASSERT_TRUE(restored) << test.name << ": " << restored.error().text();
      EXPECT_TRUE(reader.empty());
    }
    expect_same_bits(got, want, test.name);
    EXPECT_EQ(stats.late, whole_stats.late);
    EXPECT_EQ(stats.truncated, whole_stats.truncated);
    EXPECT_EQ(stats.evicted_keys, whole_stats.evicted_keys);
    EXPECT_EQ(stats.aged_keys, whole_stats.aged_keys);
    EXPECT_EQ(whole_stats.aged_keys > 0, test.options.max_age.count() > 0);

    // One restart at a random place, batches of random size.
    for (int round = 0; round < 20; ++round) {
      window = make(test.options);
      got.clear();
      for (std::size_t at = 0; at < readings.size();) {
        const std::size_t size = std::min<std::size_t>(1 + random() % 50, readings.size() - at);
        const auto from = readings.begin() + static_cast<std::ptrdiff_t>(at);
        for (auto& row : run(*window, {from, from + static_cast<std::ptrdiff_t>(size)}, stats)) {
          got.push_back(std::move(row));
        }
        at += size;
        if (random() % 5 == 0) {
          state.clear();
          ByteWriter writer(state);
          window->save(writer);
          window = make(test.options);
          ByteReader reader(state);
          ASSERT_TRUE(window->restore(reader));
        }
      }
      expect_same_bits(got, want, test.name);
    }
  }
}

TEST(Window, RefusesDamagedState) {
  expect_damaged_state_is_refused(cases()[1].options, cases()[0].options);
}

}  // namespace
}  // namespace headwater
