#include "model/model.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "model/session.h"

namespace headwater::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string model_path(const std::string& name) {
  return HW_SOURCE_DIR "/tests/data/models/" + name + ".onnx";
}

std::unique_ptr<Model> load(const std::string& name) {
  auto model = Model::load({.path = model_path(name)});
  if (!model) {
    ADD_FAILURE() << model.error().text();
    return nullptr;
  }
  return std::move(model).value();
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

// A file in a folder of this process that leaves with the test.
class ScratchFile {
 public:
  explicit ScratchFile(const std::string& bytes)
      : path_(std::filesystem::temp_directory_path() /
              ("hw_model_test_" + std::to_string(getpid()) + ".onnx")) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~ScratchFile() { std::filesystem::remove(path_); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

Error load_error(const std::string& path) {
  auto model = Model::load({.path = path});
  return model ? Error::internal("it loaded") : std::move(model).error();
}

// Sums x0 + 10 x1 + 100 x2 per row.
Status run_linear(Model& model, std::vector<float> x, std::vector<float>& y) {
  const auto rows = static_cast<std::int64_t>(x.size() / 3);
  y.assign(x.size() / 3, 0.0F);
  const std::array<std::int64_t, 2> in_shape = {rows, 3};
  const std::array<std::int64_t, 2> out_shape = {rows, 1};
  const TensorView in{.type = ElementType::kFloat32, .shape = in_shape, .data = x.data()};
  TensorView out{.type = ElementType::kFloat32, .shape = out_shape, .data = y.data()};
  return model.run({&in, 1}, {&out, 1});
}

TEST(Model, ShowsPortsDigestAndMetadata) {
  const auto model = load("linear_described");
  ASSERT_NE(model, nullptr);
  ASSERT_EQ(model->inputs().size(), 1U);
  EXPECT_EQ(model->inputs()[0].name, "x");
  EXPECT_EQ(model->inputs()[0].text, "float32 [N, 3]");
  EXPECT_THAT(model->inputs()[0].shape, ElementsAre(-1, 3));
  EXPECT_THAT(model->inputs()[0].dims, ElementsAre("N", ""));
  EXPECT_EQ(model->outputs()[0].text, "float32 [N, 1]");
  EXPECT_EQ(model->name(), "press");
  EXPECT_EQ(model->version(), "7");
  EXPECT_EQ(model->metadata().at("units"), "C,bar,g");
  EXPECT_EQ(model->provider(), "cpu");
  // sha256sum of the file.
  EXPECT_EQ(model->digest(), "af6696c37a6e0a4e4104daa69e74a50973a40f08ad4dff8286ae66ea901d8e27");
}

TEST(Model, IsNamedAfterItsFileIfItSaysNothing) {
  const auto model = load("linear");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->name(), "linear");
  EXPECT_EQ(model->version(), "");
}

TEST(Model, WritesOutputsInPlace) {
  const auto model = load("linear");
  std::vector<float> y;
  ASSERT_TRUE(run_linear(*model, {1, 2, 3, 4, 5, 6}, y));
  EXPECT_THAT(y, ElementsAre(321.0F, 654.0F));
}

TEST(Model, GivesShapeAndMemoryOfAnOutputThatHasNone) {
  const auto model = load("linear");
  std::array<float, 6> x = {1, 2, 3, 4, 5, 6};
  const std::array<std::int64_t, 2> shape = {2, 3};
  const TensorView in{.type = ElementType::kFloat32, .shape = shape, .data = x.data()};
  TensorView out{};
  ASSERT_TRUE(model->run({&in, 1}, {&out, 1}));
  EXPECT_THAT(out.shape, ElementsAre(2, 1));
  EXPECT_EQ(static_cast<const float*>(out.data)[1], 654.0F);
}

TEST(Model, RefusesWrongTypesShapesAndCountsAndStaysUsable) {
  const auto model = load("linear");
  std::array<double, 3> wide = {1, 2, 3};
  std::array<float, 4> x = {1, 2, 3, 4};
  const std::array<std::int64_t, 2> three = {1, 3};
  const std::array<std::int64_t, 2> four = {1, 4};
  TensorView out{};
  const TensorView wrong_type{.type = ElementType::kFloat64, .shape = three, .data = wide.data()};
  const TensorView wrong_shape{.type = ElementType::kFloat32, .shape = four, .data = x.data()};
  EXPECT_THAT(model->run({&wrong_type, 1}, {&out, 1}).error().text(),
              HasSubstr("input 'x' is float32 [N, 3], not float64"));
  EXPECT_FALSE(model->run({&wrong_shape, 1}, {&out, 1}));
  EXPECT_FALSE(model->run({}, {&out, 1}));
  std::vector<float> y;
  EXPECT_TRUE(run_linear(*model, {1, 2, 3}, y));
}

TEST(Model, GivesTheMapsOfAClassifierAsATable) {
  const auto model = load("zipmap_string");
  EXPECT_TRUE(model->outputs()[1].is_sequence_of_maps);
  std::array<float, 4> x = {0, 0, 1, 0};
  const std::array<std::int64_t, 2> shape = {2, 2};
  const TensorView in{.type = ElementType::kFloat32, .shape = shape, .data = x.data()};
  std::array<TensorView, 2> out{};
  ASSERT_TRUE(model->run({&in, 1}, out));
  const auto* labels = static_cast<const std::string_view*>(out[0].data);
  EXPECT_EQ(labels[1], "fine");
  EXPECT_THAT(out[1].shape, ElementsAre(2, 2));
  EXPECT_THAT(model->classes(1), ElementsAre("broken", "fine"));
  const auto* table = static_cast<const float*>(out[1].data);
  EXPECT_NEAR(table[0], 0.5F, 1e-6);
  EXPECT_NEAR(table[3], 1 / (1 + std::exp(-1.0)), 1e-6);
}

TEST(Model, RunsOneSessionFromTwoThreads) {
  const auto first = load("linear");
  const auto second = first->another();
  EXPECT_EQ(second->digest(), first->digest());
  const auto work = [](Model& model, float value, int& wrong) {
    for (int i = 0; i < 500; ++i) {
      std::vector<float> y;
      const bool ran = run_linear(model, {value, value, value}, y).ok();
      wrong += ran && y[0] == 111 * value ? 0 : 1;
    }
  };
  int wrong_first = 0;
  int wrong_second = 0;
  std::thread other([&] { work(*second, 2, wrong_second); });
  work(*first, 1, wrong_first);
  other.join();
  EXPECT_EQ(wrong_first + wrong_second, 0);
}

TEST(ModelLoad, SaysWhichFileIsNotThere) {
  const Error error = load_error("/nonexistent/m.onnx");
  EXPECT_EQ(error.code(), Code::kNotFound);
  EXPECT_THAT(error.text(), HasSubstr("load model '/nonexistent/m.onnx': "));
}

TEST(ModelLoad, TellsAnEmptyFileADirectoryAndALargeFilePointerApart) {
  const ScratchFile empty("");
  EXPECT_EQ(load_error(empty.path()).code(), Code::kCorrupt);
  EXPECT_THAT(load_error(empty.path()).text(), HasSubstr("the file is empty"));
  EXPECT_THAT(load_error(HW_SOURCE_DIR).text(), HasSubstr("it is a directory"));
  const ScratchFile pointer("version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  EXPECT_THAT(load_error(pointer.path()).text(), HasSubstr("git lfs pull"));
}

TEST(ModelLoad, CallsAFileThatIsNoModelCorrupt) {
  const ScratchFile text("this is not a model\n");
  const Error error = load_error(text.path());
  EXPECT_EQ(error.code(), Code::kCorrupt) << error.text();
}

TEST(ModelLoad, NamesAnUnknownOperatorAndAnUnknownDomain) {
  const Error op = load_error(model_path("unknown_operator"));
  EXPECT_EQ(op.code(), Code::kInvalid);
  EXPECT_THAT(op.text(), AllOf(HasSubstr("NoSuchOperator"), HasSubstr("standard operators")));
  const Error domain = load_error(model_path("unknown_domain"));
  EXPECT_EQ(domain.code(), Code::kInvalid);
  EXPECT_THAT(domain.text(), AllOf(HasSubstr("com.example:Denoise"), HasSubstr("cannot run this")));
}

TEST(ModelLoad, RefusesAProviderThatIsNotThere) {
  const std::string path = model_path("linear");
  EXPECT_FALSE(Model::load({.path = path, .provider = "tpu"}));
  EXPECT_TRUE(Model::load({.path = path, .provider = "cpu"}));
}

TEST(ModelLoad, NeverEndsTheProcessWhateverIsCutOff) {
  const std::string whole = read_file(model_path("zipmap_int"));
  int loaded = 0;
  for (std::size_t length = 1; length < whole.size(); length += 7) {
    const ScratchFile file(whole.substr(0, length));
    const auto model = Model::load({.path = file.path()});
    if (model) {
      ++loaded;
      continue;
    }
    EXPECT_TRUE(model.error().code() == Code::kCorrupt || model.error().code() == Code::kInvalid)
        << length << ": " << model.error().text();
  }
  EXPECT_EQ(loaded, 0);
}

TEST(ModelLoad, NeverEndsTheProcessWhateverIsFlipped) {
  std::mt19937 random(20240611);
  int loaded = 0;
  int refused = 0;
  for (const char* name : {"anomaly", "picky", "mixed_types", "window_4x2"}) {
    const std::string whole = read_file(model_path(name));
    for (int i = 0; i < 40; ++i) {
      std::string bytes = whole;
      for (int flips = 0; flips < 3; ++flips) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      const ScratchFile file(bytes);
      (Model::load({.path = file.path()}) ? loaded : refused) += 1;
    }
  }
  EXPECT_EQ(loaded + refused, 160);
  EXPECT_GT(refused, 40);
}

TEST(ModelThreads, AreBoundedByWhatTheMachineGives) {
  constexpr std::uint64_t kSmall = 1000;
  constexpr std::uint64_t kLarge = 50 << 20;
  EXPECT_EQ(pick_threads(0, kSmall, 16), 1);
  EXPECT_EQ(pick_threads(0, kLarge, 16), 4);
  EXPECT_EQ(pick_threads(0, kLarge, 2), 2);
  EXPECT_EQ(pick_threads(8, kSmall, 2), 2);
  EXPECT_EQ(pick_threads(8, kSmall, 16), 8);
  EXPECT_EQ(pick_threads(8, kLarge, 1), 1);
}

}  // namespace
}  // namespace headwater::model
