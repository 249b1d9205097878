// Nanoseconds a value from a column into a tensor: the loop that fills a model's input.
#include <benchmark/benchmark.h>

#include <vector>

#include "data/column.h"
#include "model/plan.h"

namespace headwater::model {
namespace {

constexpr std::size_t kFields = 3;

// range(0): rows. Every `gap`-th row of the column is taken; every 20th value is null if `nulls`.
void gather_rows(benchmark::State& state, std::size_t gap, bool nulls) {
  const auto count = static_cast<std::size_t>(state.range(0));
  Column column(Type::kFloat64);
  column.reset(Type::kFloat64, count * gap);
  for (std::size_t row = 0; row < count * gap; ++row) {
    if (!nulls || row % 20 != 0) {
      column.values<double>()[row] = static_cast<double>(row);
      column.set_valid(row);
    }
  }
  std::vector<std::uint32_t> rows(count);
  for (std::size_t i = 0; i < count; ++i) {
    rows[i] = static_cast<std::uint32_t>(i * gap);
  }
  Buffer to;
  to.reset(ElementType::kFloat32, count * kFields);
  for (auto _ : state) {
    for (std::size_t field = 0; field < kFields; ++field) {
      gather(&column, rows, to, kFields, field);
    }
    benchmark::DoNotOptimize(to.at(0));
  }
  state.counters["ns/value"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(count * kFields) * 1e-9,
      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK_CAPTURE(gather_rows, all, 1, false)->Arg(1)->Arg(512)->Arg(4096);
BENCHMARK_CAPTURE(gather_rows, every_third, 3, false)->Arg(512);
BENCHMARK_CAPTURE(gather_rows, with_nulls, 1, true)->Arg(512);

}  // namespace
}  // namespace headwater::model

BENCHMARK_MAIN();
