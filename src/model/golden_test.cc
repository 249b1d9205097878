// Agreement with Python onnxruntime 1.21 on the same model and readings (one call a message there,
// one call a batch here).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/strings.h"
#include "model/binding.h"
#include "model/test_batch.h"

namespace headwater::model {
namespace {

constexpr double kTolerance = 1e-5;
constexpr double kThreshold = 0.8;

struct Recording {
  std::vector<std::optional<double>> temperature;
  std::vector<std::optional<double>> pressure;
  std::vector<std::optional<double>> vibration;
  std::vector<double> scores;
};

std::unique_ptr<Binding> bind_anomaly(std::size_t max_rows) {
  auto model = Model::load({.path = HW_SOURCE_DIR "/tests/data/models/anomaly.onnx"});
  if (!model) {
    ADD_FAILURE() << model.error().text();
    return nullptr;
  }
  auto binding = Binding::create(
      std::move(model).value(),
      {.inputs = {{"input", {"temperature", "pressure", "vibration"}}}, .max_rows = max_rows});
  if (!binding) {
    ADD_FAILURE() << binding.error().text();
    return nullptr;
  }
  return std::move(binding).value();
}

void expect_agreement(const Recording& recording, std::size_t max_rows) {
  const auto binding = bind_anomaly(max_rows);
  ASSERT_NE(binding, nullptr);
  TestBatch batch(recording.scores.size());
  batch.numbers("temperature", recording.temperature)
      .numbers("pressure", recording.pressure)
      .numbers("vibration", recording.vibration);
  ScoreCounts counts;
  ASSERT_TRUE(binding->score(*batch, &counts));
  ASSERT_EQ(counts.scored, recording.scores.size());
  const auto scores = batch.values("score");
  for (std::size_t row = 0; row < scores.size(); ++row) {
    ASSERT_NEAR(scores[row], recording.scores[row], kTolerance) << row;
    ASSERT_EQ(scores[row] > kThreshold, recording.scores[row] > kThreshold) << row;
  }
}

Recording read_slice() {
  Recording recording;
  std::ifstream file(HW_SOURCE_DIR "/tests/data/golden_200.csv");
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    const auto cells = split(line, ',');
    recording.temperature.emplace_back(std::atof(std::string(cells[1]).c_str()));
    recording.pressure.emplace_back(std::atof(std::string(cells[2]).c_str()));
    recording.vibration.emplace_back(std::atof(std::string(cells[3]).c_str()));
    recording.scores.push_back(std::atof(std::string(cells[4]).c_str()));
  }
  return recording;
}

double number_after(const std::string& line, const std::string& key) {
  const std::size_t at = line.find("\"" + key + "\": ");
  return at == std::string::npos ? std::nan("") : std::atof(line.c_str() + at + key.size() + 4);
}

TEST(Golden, ASliceOfTheRecordingScoresAsInPython) {
  const Recording recording = read_slice();
  ASSERT_EQ(recording.scores.size(), 200U);
  for (const std::size_t max_rows : {1U, 32U, 512U}) {
    expect_agreement(recording, max_rows);
  }
}

TEST(Golden, TheWholeRecordingScoresAsInPython) {
  const std::string folder = HW_SOURCE_DIR "/../shared/peers/golden";
  if (!std::filesystem::exists(folder + "/readings.jsonl.gz")) {
    GTEST_SKIP() << "no " << folder << "; the slice in tests/data is tested";
  }
  Recording recording;
  FILE* pipe = popen(("gzip -dc " + folder + "/readings.jsonl.gz").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char* line = nullptr;
  std::size_t room = 0;
  while (getline(&line, &room, pipe) > 0) {
    const std::string text(line);
    recording.temperature.emplace_back(number_after(text, "temperature"));
    recording.pressure.emplace_back(number_after(text, "pressure"));
    recording.vibration.emplace_back(number_after(text, "vibration"));
  }
  std::free(line);
  pclose(pipe);
  std::ifstream scores(folder + "/scores.txt");
  std::size_t sequence = 0;
  double score = 0;
  while (scores >> sequence >> score) {
    recording.scores.push_back(score);
  }
  ASSERT_EQ(recording.scores.size(), 10'000U);
  ASSERT_EQ(recording.temperature.size(), 10'000U);
  EXPECT_EQ(std::count_if(recording.scores.begin(), recording.scores.end(),
                          [](double value) { return value > kThreshold; }),
            275);
  expect_agreement(recording, 512);
}

}  // namespace
}  // namespace headwater::model
