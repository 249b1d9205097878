// Nanoseconds a row of Window: 60 s at 1 Hz per device, rms of one field and slope of
// another.
#include <benchmark/benchmark.h>

#include "compute/window.h"

namespace {

using namespace headwater;

void window(benchmark::State& state) {
  const auto devices = static_cast<std::size_t>(state.range(0));
  const std::size_t rows = 512;
  auto made = Window::create(
      {.last = std::chrono::seconds(60),
       .aggregates = {{"rms", AggregateKind::kRms, "v"}, {"slope", AggregateKind::kSlope, "t"}}});
  Batch batch;
  for (std::size_t i = 0; i < rows; ++i) {
    Row row;
    row.device = batch.arena().copy("device-" + std::to_string(i % devices));
    batch.add_row(row);
  }
  batch.add_column("v", Type::kFloat64);
  batch.add_column("t", Type::kFloat64);
  for (std::size_t i = 0; i < rows; ++i) {
    batch.find("v")->set(i, static_cast<double>(i % 17));
    batch.find("t")->set(i, static_cast<double>(i % 29));
  }
  WindowStats stats;
  std::int64_t now = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < rows; ++i) {
      batch.row(i).time.ns = now + static_cast<std::int64_t>(i / devices) * 1'000'000'000;
    }
    now += static_cast<std::int64_t>((rows + devices - 1) / devices) * 1'000'000'000;
    if (!(*made)->process(batch, stats)) {
      state.SkipWithError("failed");
    }
  }
  if (stats.late != 0) {
    state.SkipWithError("rows out of order");
  }
  state.counters["ns/row"] =
      benchmark::Counter(static_cast<double>(state.iterations() * rows) * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(window)->Arg(1)->Arg(64)->Arg(512);

}  // namespace

BENCHMARK_MAIN();
