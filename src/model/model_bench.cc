// Cost of a row from column to score: Binding::score on a batch, and the model call inside it
// alone.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/binding.h"

namespace headwater::model {
namespace {

constexpr const char* kAnomaly = HW_SOURCE_DIR "/tests/data/models/anomaly.onnx";
constexpr std::array<const char*, 3> kFields = {"temperature", "pressure", "vibration"};

std::unique_ptr<Model> load_or_exit(benchmark::State& state) {
  auto model = Model::load({.path = kAnomaly});
  if (!model) {
    state.SkipWithError(model.error().text().c_str());
    return nullptr;
  }
  return std::move(model).value();
}

void count_rows(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["per_row"] = benchmark::Counter(
      static_cast<double>(state.range(0)),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void model_run(benchmark::State& state) {
  const auto model = load_or_exit(state);
  if (!model) {
    return;
  }
  const std::array<std::int64_t, 2> in_shape = {state.range(0), 3};
  const std::array<std::int64_t, 2> out_shape = {state.range(0), 1};
  std::vector<float> x(static_cast<std::size_t>(state.range(0)) * 3, 1.0F);
  std::vector<float> y(static_cast<std::size_t>(state.range(0)));
  const TensorView in{.type = ElementType::kFloat32, .shape = in_shape, .data = x.data()};
  TensorView out{.type = ElementType::kFloat32, .shape = out_shape, .data = y.data()};
  for (auto _ : state) {
    if (Status ran = model->run({&in, 1}, {&out, 1}); !ran) {
      state.SkipWithError(ran.error().text().c_str());
    }
  }
  count_rows(state);
}
BENCHMARK(model_run)->Arg(1)->Arg(32)->Arg(512);

void binding_score(benchmark::State& state) {
  auto model = load_or_exit(state);
  if (!model) {
    return;
  }
  auto binding = Binding::create(
      std::move(model),
      {.inputs = {{"input", {kFields[0], kFields[1], kFields[2]}}}, .max_rows = 512});
  if (!binding) {
    state.SkipWithError(binding.error().text().c_str());
    return;
  }
  Batch batch;
  for (std::int64_t row = 0; row < state.range(0); ++row) {
    Row empty{};
    batch.add_row(empty);
  }
  for (const char* field : kFields) {
    Column& column = batch.add_column(field, Type::kFloat64);
    for (std::size_t row = 0; row < batch.rows(); ++row) {
      column.set(row, static_cast<double>(row));
    }
  }
  ScoreCounts counts;
  for (auto _ : state) {
    if (Status scored = (*binding)->score(batch, &counts); !scored) {
      state.SkipWithError(scored.error().text().c_str());
    }
  }
  count_rows(state);
}
BENCHMARK(binding_score)->Arg(1)->Arg(32)->Arg(512);

void model_load(benchmark::State& state) {
  for (auto _ : state) {
    auto model = Model::load({.path = kAnomaly});
    benchmark::DoNotOptimize(model);
  }
}
BENCHMARK(model_load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace headwater::model

BENCHMARK_MAIN();
