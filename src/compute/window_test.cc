#include "compute/window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <map>
#include <random>

namespace headwater {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr AggregateKind kKinds[] = {
    AggregateKind::kCount, AggregateKind::kSum,   AggregateKind::kMean, AggregateKind::kMin,
    AggregateKind::kMax,   AggregateKind::kStd,   AggregateKind::kRms,  AggregateKind::kSlope,
    AggregateKind::kLast,  AggregateKind::kFirst, AggregateKind::kDelta};

std::vector<AggregateSpec> all_of(const std::string& field) {
  std::vector<AggregateSpec> specs;
  for (const AggregateKind kind : kKinds) {
    specs.push_back({field + "_" + std::string(aggregate_name(kind)), kind, field});
  }
  specs.push_back({"rows", AggregateKind::kCount, ""});
  return specs;
}

std::unique_ptr<SlidingWindow> make(WindowOptions options) {
  auto made = SlidingWindow::create(std::move(options));
  EXPECT_TRUE(made) << (made ? "" : made.error().text());
  return std::move(made).value();
}

struct Reading {
  std::string device;
  double seconds = 0;
  double value = 0;  // NaN: null
  std::uint32_t flags = 0;
};

void fill(Batch& batch, const std::vector<Reading>& readings) {
  batch.clear();
  for (const Reading& reading : readings) {
    Row row;
    row.device = batch.arena().copy(reading.device);
    row.time.ns = static_cast<std::int64_t>(std::llround(reading.seconds * 1e9));
    row.flags = reading.flags;
    batch.add_row(row);
  }
  Column& column = batch.add_column("x", Type::kFloat64);
  for (std::size_t i = 0; i < readings.size(); ++i) {
    if (!std::isnan(readings[i].value)) {
      column.set(i, readings[i].value);
    }
  }
}

// The results of each reading by name; null is NaN.
using Results = std::vector<std::map<std::string, double>>;

Results run(SlidingWindow& window, const std::vector<Reading>& readings, WindowStats& stats) {
  Batch batch;
  fill(batch, readings);
  EXPECT_TRUE(window.process(batch, stats));
  Results results(readings.size());
  for (std::size_t c = 0; c < batch.schema().size(); ++c) {
    for (std::size_t i = 0; i < readings.size(); ++i) {
      results[i][batch.schema()[c].name] = batch.column(c).as_double(i);
    }
  }
  return results;
}

Results run(SlidingWindow& window, const std::vector<Reading>& readings) {
  WindowStats stats;
  return run(window, readings, stats);
}

// Straightforward recomputation over the rows of a window, oldest first.
double naive(AggregateKind kind, const std::vector<Reading>& rows) {
  std::vector<const Reading*> valid;
  for (const Reading& row : rows) {
    if (!std::isnan(row.value)) {
      valid.push_back(&row);
    }
  }
  const auto n = static_cast<long double>(valid.size());
  if (kind == AggregateKind::kCount) {
    return static_cast<double>(n);
  }
  if (valid.empty()) {
    return NAN;
  }
  long double sum = 0;
  long double squares = 0;
  long double time_sum = 0;
  long double low = valid[0]->value;
  long double high = low;
  for (const Reading* row : valid) {
    sum += row->value;
    squares += static_cast<long double>(row->value) * row->value;
    time_sum += static_cast<long double>(row->seconds);
    low = std::min<long double>(low, row->value);
    high = std::max<long double>(high, row->value);
  }
  long double spread = 0;
  long double time_spread = 0;
  long double together = 0;
  for (const Reading* row : valid) {
    const long double dx = row->value - sum / n;
    const long double dt = row->seconds - time_sum / n;
    spread += dx * dx;
    time_spread += dt * dt;
    together += dx * dt;
  }
  switch (kind) {
    case AggregateKind::kSum:
      return static_cast<double>(sum);
    case AggregateKind::kMean:
      return static_cast<double>(sum / n);
    case AggregateKind::kMin:
      return static_cast<double>(low);
    case AggregateKind::kMax:
      return static_cast<double>(high);
    case AggregateKind::kStd:
      return valid.size() < 2 ? NAN : static_cast<double>(std::sqrt(spread / (n - 1)));
    case AggregateKind::kRms:
      return static_cast<double>(std::sqrt(squares / n));
    case AggregateKind::kSlope:
      return valid.front()->seconds == valid.back()->seconds
                 ? NAN
                 : static_cast<double>(together / time_spread);
    case AggregateKind::kFirst:
      return valid.front()->value;
    case AggregateKind::kLast:
      return valid.back()->value;
    case AggregateKind::kDelta:
      return valid.back()->value - valid.front()->value;
    case AggregateKind::kCount:
      break;
  }
  return NAN;
}

void expect_near(double got, double want, double scale, const std::string& what) {
  if (std::isnan(want)) {
    EXPECT_TRUE(std::isnan(got)) << what << " is " << got;
    return;
  }
  EXPECT_NEAR(got, want, 1e-9 * std::max(std::fabs(want), scale)) << what;
}

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
  for (const AggregateKind kind : kKinds) {
    const std::string name = "x_" + std::string(aggregate_name(kind));
    expect_near(results[39].at(name), naive(kind, last), 0, name);
  }
}

TEST(Window, RefusesOptionsThatMeanNothing) {
  const std::vector<AggregateSpec> one = {{"n", AggregateKind::kCount, ""}};
  EXPECT_FALSE(SlidingWindow::create({.rows = 1}));
  EXPECT_FALSE(SlidingWindow::create({.aggregates = one}));
  EXPECT_FALSE(SlidingWindow::create({.last = seconds(1), .rows = 1, .aggregates = one}));
  EXPECT_FALSE(SlidingWindow::create({.rows = 1, .max_keys = 0, .aggregates = one}));
  EXPECT_FALSE(SlidingWindow::create({.rows = 1, .aggregates = {one[0], one[0]}}));
  EXPECT_FALSE(
      SlidingWindow::create({.rows = 1, .aggregates = {{"x", AggregateKind::kMean, "x"}}}));
  EXPECT_FALSE(SlidingWindow::create({.rows = 1, .aggregates = {{"x", AggregateKind::kMean, ""}}}));
}

std::vector<Reading> random_stream(std::mt19937& random, std::size_t count, double disorder) {
  std::vector<Reading> readings;
  std::normal_distribution<double> noise;
  std::map<std::string, double> now;
  for (std::size_t i = 0; i < count; ++i) {
    Reading reading;
    reading.device = std::string(1, static_cast<char>('a' + random() % 4));
    double& clock = now[reading.device];
    clock += random() % 10 == 0 ? 0 : 0.25 * static_cast<double>(random() % 8);
    reading.seconds = 1000 + clock -
                      (random() % 5 == 0 ? disorder * 0.25 * static_cast<double>(random() % 9) : 0);
    reading.value =
        random() % 9 == 0 ? NAN : 50 + 10 * noise(random) * (random() % 50 == 0 ? 1e6 : 1);
    readings.push_back(reading);
  }
  return readings;
}

void expect_same_bits(const Results& got, const Results& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    for (const auto& [name, value] : want[i]) {
      const double other = got[i].at(name);
      ASSERT_TRUE((std::isnan(value) && std::isnan(other)) ||
                  load<std::uint64_t>(&value) == load<std::uint64_t>(&other))
          << what << ", row " << i << ", " << name << ": " << other << " for " << value;
    }
  }
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
          {"max_keys", {.rows = 5, .max_keys = 3, .aggregates = all_of("x")}, 0}};
}

TEST(Window, AgreesWithPlainRecomputation) {
  for (const Case& test : cases()) {
    if (test.options.max_keys < 10 || test.options.max_rows < 10) {
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
      double scale = 0;
      for (const Reading& row : covered) {
        scale = std::isnan(row.value) ? scale : std::max(scale, std::fabs(row.value));
      }
      EXPECT_EQ(results[i].at("rows"), static_cast<double>(covered.size()));
      // By arrival, times go back and forth: the slope's ends say nothing then.
      for (const AggregateKind kind : kKinds) {
        if (kind == AggregateKind::kSlope && test.options.rows > 0) {
          continue;
        }
        const std::string name = "x_" + std::string(aggregate_name(kind));
        expect_near(results[i].at(name), naive(kind, covered), scale,
                    std::string(test.name) + ", row " + std::to_string(i) + ", " + name);
      }
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
  auto window = make(cases()[1].options);
  std::mt19937 random(3);
  run(*window, random_stream(random, 100, 2));
  std::string state;
  ByteWriter writer(state);
  window->save(writer);
  auto other = make(cases()[1].options);
  for (std::size_t cut = 0; cut < state.size(); ++cut) {
    ByteReader reader(std::string_view(state).substr(0, cut));
    const Status status = other->restore(reader);
    ASSERT_FALSE(status) << cut;
    EXPECT_EQ(status.error().code(), Code::kCorrupt);
  }
  EXPECT_EQ(other->keys(), 0U);
  for (int i = 0; i < 2000; ++i) {  // must not crash, whatever it says
    std::string damaged = state;
    damaged[random() % damaged.size()] ^= static_cast<char>(1 << (random() % 8));
    ByteReader reader(damaged);
    (void)make(cases()[1].options)->restore(reader).ok();
  }
  ByteReader reader(state);
  const Status status = make(cases()[0].options)->restore(reader);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Code::kInvalid);
}

TEST(Aggregate, ParsesItsNotation) {
  auto spec = parse_aggregate("v", " rms( motor.vibration ) ");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->kind, AggregateKind::kRms);
  EXPECT_EQ(spec->field, "motor.vibration");
  EXPECT_EQ(spec->column, "v");
  EXPECT_TRUE(parse_aggregate("v", "count()"));
  for (const AggregateKind kind : kKinds) {
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

}  // namespace
}  // namespace headwater
