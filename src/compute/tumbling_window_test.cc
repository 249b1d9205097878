// Tumbling windows: their rules one by one, then against a plain reference.
#include <optional>
#include <set>

#include "compute/window_testing.h"

namespace headwater {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const AggregateSpec kRows = {"n", AggregateKind::kCount, "", 0};

WindowOptions every(Nanos length, Nanos lateness = Nanos{0}) {
  return {.every = length,
          .allowed_lateness = lateness,
          .aggregates = {kRows, {"sum", AggregateKind::kSum, "x", 0}}};
}

TEST(TumblingWindow, TheRowThatClosesAWindowCarriesItsResults) {
  auto window = make(every(seconds(10)));
  WindowStats stats;
  const Results results =
      run(*window, {{"a", 3, 1}, {"a", 9.9, 2}, {"a", 10, 4}, {"b", 25, 8}, {"a", 20, 16}}, stats);
  EXPECT_TRUE(std::isnan(results[0].at("n")));
  EXPECT_TRUE(std::isnan(results[1].at("sum")));
  EXPECT_TRUE(std::isnan(results[1].at("window_start")));
  EXPECT_EQ(results[2].at("n"), 2);
  EXPECT_EQ(results[2].at("sum"), 3);
  EXPECT_EQ(results[2].at("window_start"), 0);
  EXPECT_TRUE(std::isnan(results[3].at("n"))) << "keys have windows of their own";
  EXPECT_EQ(results[4].at("sum"), 4);
  EXPECT_EQ(results[4].at("window_start"), 10e9);
  EXPECT_EQ(stats.closed, 2U);
  EXPECT_EQ(stats.late, 0U);
}

TEST(TumblingWindow, WindowsAreAlignedToTheEpoch) {
  auto window = make(every(seconds(60)));
  // 2024-02-29T12:34:56Z, and a time before 1970.
  const Results results = run(
      *window, {{"a", 1'709'210'096, 1}, {"a", 1'709'210'100, 1}, {"b", -61, 1}, {"b", -60, 1}});
  EXPECT_EQ(results[1].at("window_start"), 1'709'210'040e9);
  EXPECT_EQ(results[3].at("window_start"), -120e9);
}

TEST(TumblingWindow, WaitsForLateRowsAsLongAsAllowed) {
  auto window = make(every(seconds(10), seconds(5)));
  Batch batch;
  WindowStats stats;
  fill(batch,
       {{"a", 8, 1}, {"a", 14.9, 2}, {"a", 1, 4}, {"a", 15, 8}, {"a", 9, 16}, {"a", 11, 32}});
  ASSERT_TRUE(window->process(batch, stats));
  EXPECT_FALSE(batch.find("n")->valid(1));
  EXPECT_EQ(batch.find("sum")->as_double(3), 5) << "the row of 1 s is in, by its place in time";
  EXPECT_EQ(batch.row(4).flags, kRowLate);
  EXPECT_EQ(batch.row(5).flags, 0U);
  EXPECT_EQ(stats.late, 1U);
  EXPECT_EQ(stats.out_of_order, 2U);
}

TEST(TumblingWindow, OfSeveralWindowsClosedAtOnceTheNewestIsCarried) {
  auto window = make(every(seconds(10), seconds(30)));
  WindowStats stats;
  const Results results =
      run(*window, {{"a", 5, 1}, {"a", 15, 2}, {"a", 16, 4}, {"a", 35, 8}, {"a", 1000, 16}}, stats);
  EXPECT_TRUE(std::isnan(results[3].at("n")));
  EXPECT_EQ(results[4].at("sum"), 8);
  EXPECT_EQ(results[4].at("window_start"), 30e9);
  EXPECT_EQ(stats.closed, 3U);
  EXPECT_EQ(stats.unreported, 2U);
}

TEST(TumblingWindow, KeepsAtMostMaxRowsOfAKey) {
  WindowOptions options = every(seconds(1000));
  options.max_rows = 4;
  auto window = make(std::move(options));
  std::vector<Reading> readings;
  for (int i = 0; i <= 1000; ++i) {
    readings.push_back({"a", static_cast<double>(i), static_cast<double>(i)});
  }
  WindowStats stats;
  const Results results = run(*window, readings, stats);
  EXPECT_EQ(results[1000].at("sum"), 999 + 998 + 997 + 996);
  EXPECT_EQ(stats.truncated, 996U);
  EXPECT_LE(window->held_rows(), 8U);
}

TEST(TumblingWindow, ForgetsItsRowsWithTheKey) {
  WindowOptions options = every(seconds(10));
  options.max_age = seconds(60);
  auto window = make(std::move(options));
  WindowStats stats;
  run(*window, {{"a", 1, 1}, {"b", 100, 1}}, stats);
  EXPECT_EQ(stats.aged_keys, 1U);
  EXPECT_EQ(window->held_rows(), 1U);
  const Results results = run(*window, {{"a", 101, 1}}, stats);
  EXPECT_TRUE(std::isnan(results[0].at("n")));
}

TEST(TumblingWindow, TakesTimesAtTheEndsOfTheRange) {
  auto window = make(every(seconds(7), seconds(100)));
  Batch batch;
  WindowStats stats;
  fill(batch, {{"a", 0, 1}, {"a", 0, 1}, {"a", 0, 1}, {"a", 0, 1}});
  batch.row(0).time.ns = std::numeric_limits<std::int64_t>::min();
  batch.row(1).time.ns = std::numeric_limits<std::int64_t>::min() + 1;
  batch.row(2).time.ns = std::numeric_limits<std::int64_t>::max();
  batch.row(3).time.ns = std::numeric_limits<std::int64_t>::min();
  ASSERT_TRUE(window->process(batch, stats));
  EXPECT_EQ(batch.find("n")->as_double(2), 2);
  EXPECT_EQ(batch.row(3).flags, kRowLate);
}

TEST(TumblingWindow, TheColumnOfTheStartCanHaveAnotherNameOrNone) {
  WindowOptions options = every(seconds(10));
  options.start_column = "minute";
  EXPECT_EQ(run(*make(options), {{"a", 1, 1}, {"a", 11, 1}})[1].at("minute"), 0);
  options.start_column = "";
  EXPECT_EQ(run(*make(options), {{"a", 1, 1}, {"a", 11, 1}})[1].count(""), 0U);
  options.start_column = "sum";
  EXPECT_FALSE(Window::create(options));
  options.start_column = "x";
  EXPECT_FALSE(Window::create(options));
}

struct Case {
  const char* name;
  WindowOptions options;
  double disorder;
};

std::vector<Case> cases() {
  const auto with = [](Nanos length, Nanos lateness) {
    return WindowOptions{.every = length, .allowed_lateness = lateness, .aggregates = all_of("x")};
  };
  return {{"plain", with(seconds(10), Nanos{0}), 2},
          {"lateness shorter than the window", with(seconds(10), milliseconds(2500)), 4},
          {"lateness of many windows", with(milliseconds(1500), seconds(20)), 6},
          {"one row a window", with(milliseconds(250), Nanos{0}), 1}};
}

// random_stream() with gaps, and clocks that jump forward and back.
std::vector<Reading> jumping_stream(std::mt19937& random, std::size_t count, double disorder) {
  std::vector<Reading> readings = random_stream(random, count, disorder);
  std::map<std::string, double> shift;
  for (Reading& reading : readings) {
    double& by = shift[reading.device];
    by += random() % 60 == 0 ? 100 : 0;
    by -= random() % 90 == 0 ? 70 : 0;
    reading.seconds += by;
  }
  return readings;
}

// What the header says, word for word: all rows of a key are kept, windows are looked for in them.
struct Reference {
  struct Key {
    std::vector<Reading> rows;  // in order of time, then of arrival
    std::optional<double> watermark;
    std::set<double> closed;  // starts of windows
  };
  double length = 0;
  double lateness = 0;
  std::map<std::string, Key> keys;
  std::uint64_t late = 0;
  std::uint64_t closed = 0;
  std::uint64_t unreported = 0;

  double start_of(double time) const { return std::floor(time / length) * length; }

  // The rows of the window that the reading closes and that it carries; its start.
  std::optional<double> step(const Reading& reading, std::vector<Reading>& covered, bool& is_late) {
    Key& key = keys[reading.device];
    is_late = key.watermark && start_of(reading.seconds) + length + lateness <= *key.watermark;
    if (is_late) {
      ++late;
      return std::nullopt;
    }
    key.rows.insert(
        std::upper_bound(key.rows.begin(), key.rows.end(), reading,
                         [](const Reading& a, const Reading& b) { return a.seconds < b.seconds; }),
        reading);
    key.watermark = std::max(key.watermark.value_or(reading.seconds), reading.seconds);
    std::set<double> now;
    for (const Reading& row : key.rows) {
      const double start = start_of(row.seconds);
      if (start + length + lateness <= *key.watermark && !key.closed.contains(start)) {
        now.insert(start);
      }
    }
    key.closed.insert(now.begin(), now.end());
    closed += now.size();
    if (now.empty()) {
      return std::nullopt;
    }
    unreported += now.size() - 1;
    for (const Reading& row : key.rows) {
      if (start_of(row.seconds) == *now.rbegin()) {
        covered.push_back(row);
      }
    }
    return *now.rbegin();
  }
};

TEST(TumblingWindow, AgreesWithPlainRecomputation) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    std::mt19937 random(5);
    const std::vector<Reading> readings = jumping_stream(random, 1500, test.disorder);
    auto window = make(test.options);
    WindowStats stats;
    Results results;
    for (std::size_t at = 0; at < readings.size();) {  // batches and restarts at random places
      const std::size_t size = std::min<std::size_t>(1 + random() % 70, readings.size() - at);
      const auto from = readings.begin() + static_cast<std::ptrdiff_t>(at);
      for (auto& row : run(*window, {from, from + static_cast<std::ptrdiff_t>(size)}, stats)) {
        results.push_back(std::move(row));
      }
      at += size;
      if (random() % 4 == 0) {
        std::string state;
        ByteWriter writer(state);
        window->save(writer);
        window = make(test.options);
        ByteReader reader(state);
        ASSERT_TRUE(window->restore(reader));
        EXPECT_TRUE(reader.empty());
      }
    }
    Reference reference;
    reference.length = std::chrono::duration<double>(test.options.every).count();
    reference.lateness = std::chrono::duration<double>(test.options.allowed_lateness).count();
    for (std::size_t i = 0; i < readings.size() && !HasFailure(); ++i) {
      std::vector<Reading> covered;
      bool late = false;
      const auto start = reference.step(readings[i], covered, late);
      const std::string where = "row " + std::to_string(i);
      if (!start) {
        for (const auto& [name, value] : results[i]) {
          EXPECT_TRUE(name == "x" || std::isnan(value)) << where << ", " << name;
        }
        continue;
      }
      EXPECT_EQ(results[i].at("window_start"), *start * 1e9) << where;
      expect_results(results[i], test.options.aggregates, covered, where);
    }
    EXPECT_EQ(stats.late, reference.late);
    EXPECT_EQ(stats.closed, reference.closed);
    EXPECT_EQ(stats.unreported, reference.unreported);
    EXPECT_GT(stats.late, 10U);
    EXPECT_GT(stats.closed, 50U);
  }
}

TEST(TumblingWindow, GivesTheSameBitsHoweverRowsAreCutAndRestored) {
  std::vector<Case> all = cases();
  all.push_back({"bounds", all[1].options, 4});
  all.back().options.max_rows = 3;
  all.back().options.max_keys = 3;
  all.back().options.max_age = seconds(40);
  for (const Case& test : all) {
    std::mt19937 random(3);
    const std::vector<Reading> readings = jumping_stream(random, 300, test.disorder);
    WindowStats whole_stats;
    const Results want = run(*make(test.options), readings, whole_stats);
    auto window = make(test.options);
    WindowStats stats;
    Results got;
    for (const Reading& reading : readings) {  // a restart after every row
      got.push_back(run(*window, {reading}, stats)[0]);
      std::string state;
      ByteWriter writer(state);
      window->save(writer);
      window = make(test.options);
      ByteReader reader(state);
      ASSERT_TRUE(window->restore(reader));
    }
    expect_same_bits(got, want, test.name);
    EXPECT_EQ(stats.late, whole_stats.late);
    EXPECT_EQ(stats.truncated, whole_stats.truncated);
    EXPECT_EQ(stats.evicted_keys, whole_stats.evicted_keys);
    EXPECT_EQ(stats.aged_keys, whole_stats.aged_keys);
    if (test.options.max_keys == 3) {
      EXPECT_GT(stats.truncated, 0U);
      EXPECT_GT(stats.evicted_keys + stats.aged_keys, 0U);
    }
  }
}

TEST(TumblingWindow, RefusesDamagedState) {
  expect_damaged_state_is_refused(cases()[1].options, cases()[0].options);
}

}  // namespace
}  // namespace headwater
