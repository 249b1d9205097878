#include "workbench/session.h"

#include <cstring>
#include <fstream>

#include "workbench/feeds.h"
#include "workbench/test_models.h"

namespace headwater::workbench {
namespace {

using test::dense_model;
using test::TempDir;

std::vector<float> floats(const Tensor& tensor) {
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

Tensor float_tensor(std::vector<std::int64_t> shape, std::vector<float> values) {
  Tensor tensor;
  tensor.shape = std::move(shape);
  tensor.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return tensor;
}

TEST(Session, RunsAModelFromMemory) {
  auto session = Session::open(dense_model(), {});
  ASSERT_TRUE(session.ok()) << session.error().text();
  EXPECT_EQ((*session)->inputs()[0].text, "float32 [N, 3]");
  const auto outputs = (*session)->run({{"x", float_tensor({1, 3}, {1, 2, 3})}});
  ASSERT_TRUE(outputs.ok()) << outputs.error().text();
  EXPECT_EQ(floats(outputs->at(0)), (std::vector<float>{2, 28.5F}));
  EXPECT_EQ(outputs->at(0).shape, (std::vector<std::int64_t>{1, 2}));
  ASSERT_TRUE((*session)->bind({{"x", float_tensor({1, 3}, {1, 2, 3})}}).ok());
  EXPECT_TRUE((*session)->run_bound().ok());
}

TEST(Session, NamesWhatIsWrongWithTheInputs) {
  auto session = Session::open(dense_model(), {}).value();
  EXPECT_THAT(session->run({{"z", float_tensor({1, 3}, {1, 2, 3})}}).error().text(),
              testing::HasSubstr("no 'x' (float32 [N, 3]); they have 'z'"));
  EXPECT_THAT(session->run({{"x", float_tensor({1, 3}, {1, 2})}}).error().text(),
              testing::HasSubstr("8 bytes for 3 elements of float32"));
  EXPECT_FALSE(session->run({{"x", float_tensor({1, 4}, {1, 2, 3, 4})}}).ok());
  EXPECT_TRUE(session->run({{"x", float_tensor({1, 3}, {1, 2, 3})}}).ok());
}

TEST(Session, ReadsExternalDataOfAModelInMemory) {
  const TempDir dir;
  OnnxModel model = dense_model();
  *model.proto.mutable_graph()->mutable_initializer(0) =
      make_tensor<float>("w", {3, 512}, std::vector<float>(1536, 1.0F));
  *model.proto.mutable_graph()->mutable_initializer(1) = make_tensor<float>("b", {1}, {0});
  model.proto.mutable_graph()->mutable_output(0)->mutable_type()->Clear();
  ASSERT_TRUE(save_model(model, dir / "m.onnx", {.inline_bytes = 1}).ok());
  auto session = Session::open(load_model(dir / "m.onnx").value(), {});
  ASSERT_TRUE(session.ok()) << session.error().text();
  const auto outputs = (*session)->run({{"x", float_tensor({1, 3}, {1, 2, 3})}});
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ(floats(outputs->at(0)).at(511), 6.0F);
}

TEST(Session, TypesOfIntermediateValuesComeFromARun) {
  const auto facts =
      probe_values(dense_model(), {{"x", float_tensor({4, 3}, std::vector<float>(12, 1.0F))}});
  ASSERT_TRUE(facts.ok()) << facts.error().text();
  ASSERT_EQ(facts->size(), 3U);
  EXPECT_EQ(facts->at("xw").shape, (std::vector<std::int64_t>{4, 2}));
  EXPECT_EQ(facts->at("xw").type, onnx::TensorProto::FLOAT);
}

TEST(Session, ZipMapsComeAsTables) {
  auto session = Session::open(std::string(HW_SOURCE_DIR) + "/tests/data/models/zipmap_3.onnx", {});
  ASSERT_TRUE(session.ok()) << session.error().text();
  const Feeds feeds =
      Feeds::open("", (*session)->inputs(), {.allow_synthetic = true, .free_dimension = 2}).value();
  const auto outputs = (*session)->run(feeds.read(0).value());
  ASSERT_TRUE(outputs.ok()) << outputs.error().text();
  EXPECT_EQ(outputs->back().shape, (std::vector<std::int64_t>{2, 3}));
}

class FeedsTest : public testing::Test {
 protected:
  std::string error(const std::string& where, const FeedOptions& options = {}) {
    const auto feeds = Feeds::open(where, session_->inputs(), options);
    if (!feeds) {
      return feeds.error().text();
    }
    for (std::size_t i = 0; i < feeds->size(); ++i) {
      if (const auto feed = feeds->read(i); !feed) {
        return feed.error().text();
      }
    }
    return "fine";
  }
  Feeds open(const std::string& where, const FeedOptions& options = {}) {
    return Feeds::open(where, session_->inputs(), options).value();
  }

  const TempDir dir_;
  const std::unique_ptr<Session> session_ = Session::open(dense_model(), {}).value();
};

TEST_F(FeedsTest, RowsMakeUpInputsByName) {
  std::ofstream(dir_ / "rows.csv") << "time,t,p,v\nnow,1,2,3\nthen,4,5,6.5\n";
  std::ofstream(dir_ / "rows.jsonl") << R"({"t": 1, "a": {"p": 2}, "v": 3})"
                                     << "\n\n"
                                     << R"({"x": [4, 5, 6.5], "t": 1})"
                                     << "\n";
  const FeedOptions by_name{.fields = {{"x", {"t", "p", "v"}}}};
  const Feeds csv = open(dir_ / "rows.csv", by_name);
  ASSERT_EQ(csv.size(), 2U);
  EXPECT_EQ(floats(csv.read(1).value().at("x")), (std::vector<float>{4, 5, 6.5F}));
  EXPECT_EQ(csv.read(1).value().at("x").shape, (std::vector<std::int64_t>{1, 3}));
  EXPECT_THAT(error(dir_ / "rows.csv"), testing::HasSubstr("Say --input x=FIELD,FIELD"));
  EXPECT_THAT(error(dir_ / "rows.csv", {.fields = {{"x", {"t", "p", "time"}}}}),
              testing::HasSubstr("rows.csv:2: field 'time' is 'now', not a number"));
  EXPECT_THAT(error(dir_ / "rows.csv", {.fields = {{"q", {"t"}}}}),
              testing::HasSubstr("the model has no input 'q'"));
  EXPECT_THAT(error(dir_ / "rows.jsonl", {.fields = {{"x", {"t", "a.p", "v"}}}}),
              testing::HasSubstr("rows.jsonl:3: no field 'a.p' for input 'x'"));
  std::ofstream(dir_ / "arrays.jsonl") << R"({"x": [4, 5, 6.5]})"
                                       << "\n";
  EXPECT_EQ(floats(open(dir_ / "arrays.jsonl").read(0).value().at("x")),
            (std::vector<float>{4, 5, 6.5F}));
}

TEST_F(FeedsTest, ReadsTheRecordedFormat) {
  std::filesystem::create_directory(dir_ / "feeds");
  const std::vector<float> values = {1, 2, 3};
  for (const char* name : {"0.bin", "1.bin"}) {
    std::ofstream(dir_ / (std::string("feeds/") + name))
        .write(reinterpret_cast<const char*>(values.data()), 12);
  }
  const auto manifest = [&](const std::string& text) {
    std::ofstream(dir_ / "feeds/manifest.txt") << text;
    return error(dir_ / "feeds");
  };
  EXPECT_EQ(manifest("0 0.bin 1 2 1 3 x\n1 1.bin 1 2 1 3 x\n"), "fine");
  EXPECT_EQ(open(dir_ / "feeds").size(), 2U);
  EXPECT_EQ(open(dir_ / "feeds").digest().value().size(), 64U);
  EXPECT_THAT(manifest("0 ../0.bin 1 2 1 3 x\n"), testing::HasSubstr("outside the folder"));
  EXPECT_THAT(manifest("0 0.bin 1 2 1\n"), testing::HasSubstr("manifest.txt:1: dimensions"));
  EXPECT_THAT(manifest("0 0.bin 1 2 1 4 x\n"), testing::HasSubstr("has 12 bytes"));
  EXPECT_THAT(manifest("0 gone.bin 1 2 1 3 x\n"), testing::HasSubstr("No such file"));
}

TEST_F(FeedsTest, ReadsTensorFiles) {
  onnx::TensorProto tensor = make_tensor<float>("x", {1, 3}, {1, 2, 3});
  std::filesystem::create_directories(dir_ / "sets/test_data_set_0");
  std::ofstream(dir_ / "sets/test_data_set_0/input_0.pb") << tensor.SerializeAsString();
  EXPECT_EQ(floats(open(dir_ / "sets").read(0).value().at("x")), (std::vector<float>{1, 2, 3}));
  std::filesystem::create_directory(dir_ / "files");
  for (const char* name : {"2.raw", "10.raw"}) {
    std::ofstream(dir_ / (std::string("files/") + name)) << tensor.raw_data() << tensor.raw_data();
  }
  const Feeds raw = open(dir_ / "files");
  ASSERT_EQ(raw.size(), 2U);
  EXPECT_EQ(raw.read(0).value().at("x").shape, (std::vector<std::int64_t>{2, 3}));
  std::string npy("\x93NUMPY\x01\x00\x76\x00", 10);
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  header.resize(0x75, ' ');
  npy += header + "\n" + tensor.raw_data() + tensor.raw_data();
  std::ofstream(dir_ / "x.npy") << npy;
  const Feeds rows = open(dir_ / "x.npy");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows.read(1).value().at("x").shape, (std::vector<std::int64_t>{1, 3}));
  for (std::size_t length = 0; length < npy.size(); ++length) {
    EXPECT_FALSE(parse_npy(std::string_view(npy).substr(0, length)).ok()) << length;
  }
  EXPECT_THAT(error(dir_ / "none"), testing::HasSubstr("No such file"));
  EXPECT_THAT(error(dir_.path()), testing::HasSubstr("has 0 of the model's inputs 'x'"));
}

TEST_F(FeedsTest, MakesUpInputsOnlyWhenAllowed) {
  EXPECT_THAT(error(""), testing::HasSubstr("--allow-synthetic"));
  const Feeds feeds = open("", {.allow_synthetic = true, .synthetic_count = 3});
  EXPECT_TRUE(feeds.synthetic());
  ASSERT_EQ(feeds.size(), 3U);
  EXPECT_EQ(feeds.read(2).value().at("x").bytes, feeds.read(2).value().at("x").bytes);
  EXPECT_TRUE(session_->run(feeds.read(0).value()).ok());
}

}  // namespace
}  // namespace headwater::workbench
