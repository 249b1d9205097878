// Streams of readings, windows over them and a plain reference, for the tests of windows.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "compute/window.h"

namespace headwater {

// Every aggregate of a field, and count().
inline std::vector<AggregateSpec> all_of(const std::string& field) {
  std::vector<AggregateSpec> specs;
  for (int i = 0; i <= static_cast<int>(AggregateKind::kQuantile); ++i) {
    const auto kind = static_cast<AggregateKind>(i);
    specs.push_back({field + "_" + std::string(aggregate_name(kind)), kind, field, 0.5});
  }
  specs.push_back({field + "_p95", AggregateKind::kQuantile, field, 0.95});
  specs.push_back({"rows", AggregateKind::kCount, "", 0});
  return specs;
}

inline std::unique_ptr<Window> make(WindowOptions options) {
  auto made = Window::create(std::move(options));
  EXPECT_TRUE(made) << (made ? "" : made.error().text());
  return std::move(made).value();
}

struct Reading {
  std::string device;
  double seconds = 0;
  double value = 0;  // NaN: null
  std::uint32_t flags = 0;
};

inline void fill(Batch& batch, const std::vector<Reading>& readings) {
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

inline Results run(Window& window, const std::vector<Reading>& readings, WindowStats& stats) {
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

inline Results run(Window& window, const std::vector<Reading>& readings) {
  WindowStats stats;
  return run(window, readings, stats);
}

// Straightforward recomputation over the rows of a window, oldest first; NaN is null.
inline double naive(const AggregateSpec& spec, const std::vector<Reading>& rows) {
  if (spec.field.empty()) {
    return static_cast<double>(rows.size());
  }
  std::vector<long double> x;
  std::vector<long double> t;
  for (const Reading& row : rows) {
    if (!std::isnan(row.value)) {
      x.push_back(row.value);
      t.push_back(row.seconds);
    }
  }
  const auto n = static_cast<long double>(x.size());
  if (spec.kind == AggregateKind::kCount) {
    return static_cast<double>(n);
  }
  if (x.empty()) {
    return NAN;
  }
  long double sum = 0;
  long double squares = 0;
  long double time_sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum += x[i];
    squares += x[i] * x[i];
    time_sum += t[i];
  }
  long double power[5] = {};  // sums of powers about the mean
  long double time_spread = 0;
  long double together = 0;
  int crossings = 0;
  long double before = 0;  // the last value that is not 0
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double dx = x[i] - sum / n;
    const long double dt = t[i] - time_sum / n;
    power[2] += dx * dx;
    power[3] += dx * dx * dx;
    power[4] += dx * dx * dx * dx;
    time_spread += dt * dt;
    together += dx * dt;
    crossings += before * x[i] < 0 ? 1 : 0;
    before = x[i] == 0 ? before : x[i];
  }
  std::vector<long double> sorted = x;
  std::sort(sorted.begin(), sorted.end());
  const bool equal = sorted.front() == sorted.back();
  const auto value = [&]() -> long double {
    switch (spec.kind) {
      case AggregateKind::kSum:
        return sum;
      case AggregateKind::kMean:
        return sum / n;
      case AggregateKind::kMin:
        return sorted.front();
      case AggregateKind::kMax:
        return sorted.back();
      case AggregateKind::kStd:
        return n < 2 ? NAN : std::sqrt(power[2] / (n - 1));
      case AggregateKind::kRms:
        return std::sqrt(squares / n);
      case AggregateKind::kSlope:
        return t.front() == t.back() ? NAN : together / time_spread;
      case AggregateKind::kFirst:
        return x.front();
      case AggregateKind::kLast:
        return x.back();
      case AggregateKind::kDelta:
        return x.back() - x.front();
      case AggregateKind::kRange:
        return sorted.back() - sorted.front();
      case AggregateKind::kCrest:
        return squares == 0 ? NAN
                            : std::max(std::fabs(sorted.front()), std::fabs(sorted.back())) /
                                  std::sqrt(squares / n);
      case AggregateKind::kSkewness:
        return equal ? NAN : power[3] / n / std::pow(power[2] / n, 1.5L);
      case AggregateKind::kKurtosis:
        return equal ? NAN : power[4] / n / (power[2] / n * power[2] / n);
      case AggregateKind::kZeroCrossings:
        return crossings;
      case AggregateKind::kQuantile: {
        const long double at = (n - 1) * static_cast<long double>(spec.p);
        const auto below = static_cast<std::size_t>(at);
        const std::size_t above = std::min(below + 1, sorted.size() - 1);
        return sorted[below] +
               (at - static_cast<long double>(below)) * (sorted[above] - sorted[below]);
      }
      case AggregateKind::kCount:
        break;
    }
    return NAN;
  };
  return static_cast<double>(value());
}

inline void expect_near(double got, double want, double scale, const std::string& what) {
  if (std::isnan(want)) {
    EXPECT_TRUE(std::isnan(got)) << what << " is " << got;
    return;
  }
  EXPECT_NEAR(got, want, 1e-9 * std::max(std::fabs(want), scale)) << what;
}

// All results of a row against the reference.
inline void expect_results(const std::map<std::string, double>& got,
                           const std::vector<AggregateSpec>& specs,
                           const std::vector<Reading>& covered, const std::string& where) {
  double scale = 0;
  for (const Reading& row : covered) {
    scale = std::isnan(row.value) ? scale : std::max(scale, std::fabs(row.value));
  }
  for (const AggregateSpec& spec : specs) {
    const bool of_values = spec.kind != AggregateKind::kCrest &&
                           spec.kind != AggregateKind::kSkewness &&
                           spec.kind != AggregateKind::kKurtosis;
    expect_near(got.at(spec.column), naive(spec, covered), of_values ? scale : 1,
                where + ", " + spec.column);
  }
}

// Rows of four devices, each with its own clock that stands still or goes on by up to 1.75 s, and
// now and then goes back by up to 2 s times `disorder`.
inline std::vector<Reading> random_stream(std::mt19937& random, std::size_t count,
                                          double disorder) {
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
    // Some around 0, some exactly 0, some far out.
    const double middle = reading.device < "c" ? 50 : 0;
    reading.value = random() % 9 == 0 ? NAN
                    : random() % 10 == 0
                        ? 0
                        : middle + 10 * noise(random) * (random() % 50 == 0 ? 1e6 : 1);
    readings.push_back(reading);
  }
  return readings;
}

inline void expect_same_bits(const Results& got, const Results& want, const std::string& what) {
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

// Corrupt where it ends early, no crash whatever a bit says, invalid for a window of other options.
inline void expect_damaged_state_is_refused(const WindowOptions& options,
                                            const WindowOptions& others) {
  auto window = make(options);
  std::mt19937 random(3);
  run(*window, random_stream(random, 100, 2));
  std::string state;
  ByteWriter writer(state);
  window->save(writer);
  auto other = make(options);
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
    (void)make(options)->restore(reader).ok();
  }
  ByteReader reader(state);
  const Status status = make(others)->restore(reader);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Code::kInvalid);
}

}  // namespace headwater
