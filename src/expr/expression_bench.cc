// Cost per row of expressions over a batch of 512 rows: items_per_second is rows per second.
#include <benchmark/benchmark.h>

#include <string_view>

#include "expr/expression.h"

namespace headwater::expr {
namespace {

constexpr std::size_t kRows = 512;

Batch readings(bool nulls) {
  Batch batch;
  for (std::size_t row = 0; row < kRows; ++row) {
    Row facts;
    facts.device = row % 2 == 0 ? "press-17" : "lathe-3";
    facts.time = WallTime{static_cast<std::int64_t>(row) * 1'000'000'000};
    batch.add_row(facts);
  }
  batch.add_column("temperature", headwater::Type::kFloat64);
  batch.add_column("pressure", headwater::Type::kFloat64);
  batch.add_column("count", headwater::Type::kInt64);
  for (std::size_t row = 0; row < kRows; ++row) {
    if (!nulls || row % 10 != 0) {
      batch.find("temperature")->set<double>(row, static_cast<double>(row) - 60);
    }
    batch.find("pressure")->set<double>(row, 1.0 + static_cast<double>(row % 7));
    batch.find("count")->set<std::int64_t>(row, static_cast<std::int64_t>(row));
  }
  return batch;
}

void evaluate(benchmark::State& state, std::string_view text, bool nulls) {
  Batch batch = readings(nulls);
  const auto compiled = compile(text, Names::of(batch.schema()));
  if (!compiled) {
    state.SkipWithError(compiled.error().text().c_str());
    return;
  }
  Column out;
  EvalStats stats;
  Arena arena;
  for (auto _ : state) {
    arena.clear();
    compiled->evaluate(batch, arena, out, stats);
    benchmark::DoNotOptimize(out.values<std::uint8_t>().data());
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kRows));
}

BENCHMARK_CAPTURE(evaluate, range, "temperature > -40.0 && temperature < 400.0", false);
BENCHMARK_CAPTURE(evaluate, range_nulls, "temperature > -40.0 && temperature < 400.0", true);
BENCHMARK_CAPTURE(evaluate, ratio, "temperature / pressure * 1.8 + 32", false);
BENCHMARK_CAPTURE(evaluate, int_checked, "count * 3 + 1", false);
BENCHMARK_CAPTURE(evaluate, choice, "pressure > 3 ? temperature : 0.0", true);
BENCHMARK_CAPTURE(evaluate, text, "device.startsWith('press')", false);
BENCHMARK_CAPTURE(evaluate, pattern, "device.matches('^press-[0-9]+$')", false);
BENCHMARK_CAPTURE(evaluate, join, "device + '/' + device", false);
BENCHMARK_CAPTURE(evaluate, hours, "time.getHours() < 6", false);
BENCHMARK_CAPTURE(evaluate, row_by_row, "string(count)", false);

void compile_range(benchmark::State& state) {
  const Batch batch = readings(false);
  const Names names = Names::of(batch.schema());
  for (auto _ : state) {
    benchmark::DoNotOptimize(compile("temperature > -40.0 && temperature < 400.0", names));
  }
}
BENCHMARK(compile_range);

}  // namespace
}  // namespace headwater::expr

BENCHMARK_MAIN();
