// Rows a second from columns to scores (Binding::score: gather, run, scatter) beside a bare loop of
// ONNX Runtime over tensors that are there already: same session options, same rows, alternating.
//
//   ratio_bench MODEL.onnx…       each with one float input [N, k] and one float output [N, 1]
//
// Prints medians; exit status 1 when the ratio at 512 rows is below 0.9.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/binding.h"
#include "model/ort.h"
#include "model/runtime.h"

namespace headwater::model {
namespace {

constexpr int kRounds = 15;
constexpr double kRoundSeconds = 0.03;
constexpr double kBar = 0.9;
constexpr std::size_t kBarRows = 512;

template <class Call>
double rows_per_second(std::size_t rows, const Call& call) {
  const auto began = std::chrono::steady_clock::now();
  std::size_t calls = 0;
  double seconds = 0;
  while (seconds < kRoundSeconds) {
    for (int i = 0; i < 16; ++i) {
      call();
    }
    calls += 16;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }
  return static_cast<double>(calls * rows) / seconds;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The loop that a program would have that does nothing else.
class Bare {
 public:
  static Result<std::unique_ptr<Bare>> open(const std::string& path, const Model& model) {
    const Runtime* opened = HW_TRY(runtime());
    std::unique_ptr<Bare> made(new Bare(*opened->api));
    const OrtApi& api = *opened->api;
    Owned<OrtSessionOptions> options(api.ReleaseSessionOptions);
    HW_TRY(take_status(api, api.CreateSessionOptions(options.out())));
    HW_TRY(take_status(api, api.SetIntraOpNumThreads(options.get(), 1)));
    HW_TRY(take_status(api, api.SetSessionGraphOptimizationLevel(options.get(), ORT_ENABLE_ALL)));
    HW_TRY(take_status(
        api, api.CreateSession(opened->env, path.c_str(), options.get(), made->session_.out())));
    HW_TRY(take_status(
        api, api.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, made->memory_.out())));
    made->width_ = static_cast<std::size_t>(model.inputs()[0].shape.at(1));
    made->input_name_ = model.inputs()[0].name;
    made->output_name_ = model.outputs()[0].name;
    return made;
  }
  std::size_t width() const { return width_; }

  Status prepare(std::size_t rows) {
    x_.resize(rows * width_);
    for (std::size_t i = 0; i < x_.size(); ++i) {
      x_[i] = static_cast<float>(i % 97);
    }
    y_.resize(rows);
    const auto n = static_cast<std::int64_t>(rows);
    const std::int64_t in_shape[] = {n, static_cast<std::int64_t>(width_)};
    const std::int64_t out_shape[] = {n, 1};
    HW_TRY(take_status(api_, api_.CreateTensorWithDataAsOrtValue(
                                 memory_.get(), x_.data(), x_.size() * sizeof(float), in_shape, 2,
                                 ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, input_.out())));
    return take_status(api_, api_.CreateTensorWithDataAsOrtValue(
                                 memory_.get(), y_.data(), y_.size() * sizeof(float), out_shape, 2,
                                 ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, output_.out()));
  }
  void run() {
    const char* in_name = input_name_.c_str();
    const char* out_name = output_name_.c_str();
    const OrtValue* in = input_.get();
    OrtValue* out = output_.get();
    HW_CHECK(api_.Run(session_.get(), nullptr, &in_name, &in, 1, &out_name, 1, &out) == nullptr,
             "the binding has run the same model");
  }

 private:
  explicit Bare(const OrtApi& api)
      : api_(api),
        session_(api.ReleaseSession),
        memory_(api.ReleaseMemoryInfo),
        input_(api.ReleaseValue),
        output_(api.ReleaseValue) {}
  const OrtApi& api_;
  Owned<OrtSession> session_;
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtValue> input_;
  Owned<OrtValue> output_;
  std::vector<float> x_;
  std::vector<float> y_;
  std::size_t width_ = 0;
  std::string input_name_;
  std::string output_name_;
};

Result<bool> compare(const std::string& path) {
  auto model = HW_TRY(Model::load({.path = path, .threads = 1}));
  const auto bare = HW_TRY(Bare::open(path, *model));
  BindingOptions options{.max_rows = 4096};
  std::vector<std::string>& fields = options.inputs[model->inputs()[0].name];
  for (std::size_t i = 0; i < bare->width(); ++i) {
    fields.push_back("field_" + std::to_string(i));
  }
  const std::vector<std::string> names = fields;
  const auto binding = HW_TRY(Binding::create(std::move(model), std::move(options)));
  bool held = true;
  for (const std::size_t rows : {std::size_t{1}, std::size_t{32}, kBarRows, std::size_t{4096}}) {
    HW_TRY(bare->prepare(rows));
    Batch batch;
    for (std::size_t row = 0; row < rows; ++row) {
      batch.add_row({});
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      Column& column = batch.add_column(names[i], Type::kFloat64);
      for (std::size_t row = 0; row < rows; ++row) {
        column.set(row, static_cast<double>((row * names.size() + i) % 97));
      }
    }
    ScoreCounts counts;
    Status scored;
    std::vector<double> bare_rates;
    std::vector<double> own_rates;
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) {
      bare_rates.push_back(rows_per_second(rows, [&] { bare->run(); }));
      own_rates.push_back(rows_per_second(rows, [&] { scored = binding->score(batch, &counts); }));
      HW_TRY(std::move(scored));
      ratios.push_back(own_rates.back() / bare_rates.back());
    }
    const double ratio = median(ratios);
    std::printf("%-12s %5zu rows  bare %8.1f ns/row  detect %8.1f ns/row  ratio %.3f%s\n",
                path.substr(path.rfind('/') + 1).c_str(), rows, 1e9 / median(bare_rates),
                1e9 / median(own_rates), ratio, rows == kBarRows ? "  (bar 0.9)" : "");
    held = held && (rows != kBarRows || ratio >= kBar);
  }
  return held;
}

}  // namespace
}  // namespace headwater::model

int main(int argc, char** argv) {
  bool held = argc > 1;
  for (int i = 1; i < argc; ++i) {
    const headwater::Result<bool> one = headwater::model::compare(argv[i]);
    if (!one) {
      std::fprintf(stderr, "%s\n", one.error().text().c_str());
      return 2;
    }
    held = held && *one;
  }
  return held ? 0 : 1;
}
