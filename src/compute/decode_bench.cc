// Nanoseconds a message of JsonDecoder, with and without shapes. Messages have the shape of a
// press: one string, a timestamp, numbers; about 150 bytes.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <random>

#include "compute/json_decode.h"

namespace {

using namespace headwater;

constexpr std::size_t kRows = 512;

std::vector<std::string> messages(bool long_numbers) {
  std::mt19937 random(7);
  std::normal_distribution<double> noise;
  std::vector<std::string> out;
  for (std::size_t i = 0; i < kRows; ++i) {
    const double t = 65 + noise(random);
    const double p = 4 + noise(random) / 10;
    const double v = 0.5 + noise(random) / 20;
    const auto at = 1'700'000'000'000 + static_cast<std::int64_t>(i);
    out.push_back(
        long_numbers
            ? fmt::format(R"({{"device_id":"press-{:04}","timestamp":{},"temperature":{},)"
                          R"("pressure":{},"vibration":{},"seq":{},"t0":{}.5}})",
                          i % 100, at, t, p, v, i, at)
            : fmt::format(R"({{"device_id":"press-{:04}","timestamp":{},"temperature":{:.3f},)"
                          R"("pressure":{:.4f},"vibration":{:.4f},"seq":{},"t0":{}.5}})",
                          i % 100, at, t, p, v, i, at));
  }
  return out;
}

void decode(benchmark::State& state, bool shapes, bool long_numbers, std::size_t rows) {
  const auto texts = messages(long_numbers);
  Batch batch;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    Row row;
    row.payload = batch.arena().copy(texts[i]);
    bytes += texts[i].size();
    batch.add_row(row);
  }
  JsonDecoder decoder({.shapes = shapes});
  DecodeStats stats;
  std::vector<DecodeFailure> failures;
  for (auto _ : state) {
    if (!decoder.decode(batch, stats, failures)) {
      state.SkipWithError("decode failed");
    }
  }
  if (!failures.empty() || (shapes && stats.shape_rows + 1 < stats.rows)) {
    state.SkipWithError("rows refused or not read by shape");
  }
  state.counters["ns/row"] =
      benchmark::Counter(static_cast<double>(state.iterations() * rows) * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["bytes/row"] = static_cast<double>(bytes) / static_cast<double>(rows);
}

// The yardstick: simdjson's DOM over the same messages, values not even looked at.
void simdjson_dom(benchmark::State& state) {
  const auto texts = messages(false);
  std::vector<simdjson::padded_string> padded(texts.begin(), texts.end());
  simdjson::dom::parser parser;
  for (auto _ : state) {
    for (const auto& text : padded) {
      simdjson::dom::element element;
      if (parser.parse(text).get(element) != simdjson::SUCCESS) {
        state.SkipWithError("parse failed");
      }
      benchmark::DoNotOptimize(element);
    }
  }
  state.counters["ns/row"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kRows) * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

BENCHMARK(simdjson_dom);
BENCHMARK_CAPTURE(decode, shapes, true, false, kRows);
BENCHMARK_CAPTURE(decode, shapes_17_digits, true, true, kRows);
BENCHMARK_CAPTURE(decode, walk, false, false, kRows);
BENCHMARK_CAPTURE(decode, shapes_batch_1, true, false, 1);

}  // namespace

BENCHMARK_MAIN();
