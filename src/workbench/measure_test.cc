#include "workbench/measure.h"

#include <cmath>
#include <thread>

#include "workbench/bench.h"
#include "workbench/compare.h"
#include "workbench/confine.h"
#include "workbench/test_models.h"

namespace headwater::workbench {
namespace {

Tensor tensor_of(std::vector<std::int64_t> shape, std::vector<float> values) {
  Tensor tensor;
  tensor.shape = std::move(shape);
  tensor.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * 4);
  return tensor;
}

Port port(const char* name) {
  Port made;
  made.name = name;
  return made;
}

TEST(Compare, GivesErrorBySampleAndAgreementOfLabels) {
  const std::vector<Port> ports = {port("scores")};
  Comparer comparer(ports);
  const std::vector<Tensor> a = {tensor_of({2, 2}, {1, 0, 0, 1})};
  ASSERT_TRUE(comparer.add(a, a).ok());
  EXPECT_TRUE(std::isinf(comparer.result().snr));
  const std::vector<Tensor> b = {tensor_of({2, 2}, {1, 0, 0.1F, 0})};
  ASSERT_TRUE(comparer.add(a, b).ok());
  const Comparison result = comparer.result();
  const OutputError& out = result.outputs[0];
  EXPECT_EQ(out.rows, 4U);
  EXPECT_EQ(out.agree, 3U);
  EXPECT_EQ(out.different, 2U);
  EXPECT_EQ(out.worst_sample, 1U);
  EXPECT_NEAR(out.worst_snr, 10 * std::log10(2 / 1.01), 1e-5);
  EXPECT_NEAR(result.snr, 10 * std::log10(4 / 1.01), 1e-5);
  EXPECT_NEAR(out.largest, 1, 1e-9);
  EXPECT_EQ(snr_text(out.by_sample[0]), "equal");
}

TEST(Compare, NansAreErrorsUnlessBothHaveThem) {
  const std::vector<Port> ports = {port("y")};
  Comparer comparer(ports);
  const std::vector<Tensor> nan = {tensor_of({2}, {NAN, 2})};
  const std::vector<Tensor> number = {tensor_of({2}, {1, 2})};
  ASSERT_TRUE(comparer.add(nan, nan).ok());
  EXPECT_TRUE(std::isinf(comparer.result().snr));
  ASSERT_TRUE(comparer.add(number, nan).ok());
  EXPECT_LT(comparer.result().worst_snr, 10);
  EXPECT_FALSE(comparer.add(number, std::vector<Tensor>{tensor_of({1}, {1})}).ok());
}

TEST(Measure, QuantilesAndRatiosHaveTheirMeaning) {
  EXPECT_EQ(quantile(std::vector<double>{1, 2, 3, 4, 5}, 0.5), 3);
  EXPECT_EQ(quantile(std::vector<double>{1, 3}, 0.25), 1.5);
  EXPECT_EQ(quantile({}, 0.5), 0);
  std::vector<double> logs;
  for (int i = 0; i < 101; ++i) {
    logs.push_back(std::log(2.0) + (i - 50) * 0.001);
  }
  const Ratio ratio = ratio_of_logs(logs, 1);
  EXPECT_NEAR(ratio.value, 2, 1e-9);
  EXPECT_LT(ratio.low, 2);
  EXPECT_GT(ratio.high, 2);
  EXPECT_GT(ratio.low, 1.95);
  EXPECT_EQ(ratio_of_logs(logs, 1).low, ratio.low);
}

// Counts calls; takes `microseconds` of CPU time for each.
class Busy final : public Session {
 public:
  explicit Busy(int microseconds) : microseconds_(microseconds) {}
  std::span<const Port> inputs() const override { return {}; }
  std::span<const Port> outputs() const override { return {}; }
  Result<std::vector<Tensor>> run(const Feed&, std::span<const std::size_t>) override {
    return std::vector<Tensor>{};
  }
  Status bind(const Feed&) override { return {}; }
  Status run_bound() override {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    const std::int64_t until = now.tv_sec * 1'000'000'000 + now.tv_nsec + microseconds_ * 1000;
    do {
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    } while (now.tv_sec * 1'000'000'000 + now.tv_nsec < until);
    return {};
  }

 private:
  int microseconds_;
};

TEST(Measure, SideBySideTellsTwiceAsFastFromTheSame) {
  const auto opened = [](int microseconds) -> OpenSession {
    return [microseconds]() -> Result<std::unique_ptr<Session>> {
      return std::unique_ptr<Session>(std::make_unique<Busy>(microseconds));
    };
  };
  const MeasureOptions options{.seconds = 0.2};
  const auto twice = measure_side_by_side(opened(200), opened(100), options);
  ASSERT_TRUE(twice.ok());
  EXPECT_NEAR(twice->cpu.value, 2, 0.1);
  const auto same = measure_side_by_side(opened(100), opened(100), options);
  ASSERT_TRUE(same.ok());
  EXPECT_NEAR(same->cpu.value, 1, 0.03);
  EXPECT_LE(same->cpu.low, same->cpu.value);
  EXPECT_GE(same->rounds, 30U);
}

TEST(Bench, StacksInputsAlongTheFirstAxis) {
  const auto whole =
      stack({{{"x", tensor_of({1, 2}, {1, 2})}}, {{"x", tensor_of({2, 2}, {3, 4, 5, 6})}}});
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->at("x").shape, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(whole->at("x").bytes.size(), 24U);
  EXPECT_FALSE(stack({{{"x", tensor_of({1, 2}, {1, 2})}}, {{"x", tensor_of({1, 1}, {3})}}}).ok());
}

TEST(Confine, ReadsLimitsAsPodsWriteThem) {
  EXPECT_EQ(parse_cpus("500m").value(), 0.5);
  EXPECT_EQ(parse_cpus("0.5").value(), 0.5);
  EXPECT_EQ(parse_cpus("2").value(), 2);
  for (const char* bad : {"", "m", "-1", "0", "1x", "nan", "1m"}) {
    EXPECT_FALSE(parse_cpus(bad).ok()) << bad;
  }
  EXPECT_EQ(parse_memory("512Mi").value(), 512U << 20);
  EXPECT_EQ(parse_memory("1GiB").value(), 1U << 30);
  EXPECT_FALSE(parse_memory("512").ok());
}

}  // namespace
}  // namespace headwater::workbench
