#include "workbench/onnx_file.h"

#include <fstream>

#include "io/files.h"
#include "workbench/test_models.h"

namespace headwater::workbench {
namespace {

using test::dense_model;
using test::TempDir;

std::string contents(const std::string& path) {
  return io::real_files().read_all(path).value();
}

void set_external(onnx::TensorProto& tensor, const std::string& location,
                  const std::string& offset = "", const std::string& length = "") {
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
  };
  add("location", location);
  add("offset", offset);
  add("length", length);
}

std::string load_error(const std::string& path, const LoadLimits& limits = {}) {
  const auto model = load_model(path, limits);
  return model ? "loaded" : model.error().text();
}

TEST(OnnxFile, WhatIsSavedReadsBackTheSame) {
  const TempDir dir;
  ASSERT_TRUE(save_model(dense_model(), dir / "m.onnx").ok());
  const auto again = load_model(dir / "m.onnx");
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(serialize(*again).value(), serialize(dense_model()).value());
  EXPECT_EQ(again->folder, dir.path());
  EXPECT_EQ(again->digest.size(), 64U);
  EXPECT_EQ(again->file_bytes, contents(dir / "m.onnx").size());
  EXPECT_EQ(dir.names(), std::vector<std::string>{"m.onnx"});
}

TEST(OnnxFile, ReadsAModelOfAnExporter) {
  const auto model = load_model(std::string(HW_SOURCE_DIR) + "/tests/data/models/mlp_sensor3.onnx");
  ASSERT_TRUE(model.ok()) << model.error().text();
  EXPECT_GT(model->proto.graph().node_size(), 2);
}

TEST(OnnxFile, EveryCutOffFileIsRefusedOrLacksItsTail) {
  const std::string bytes = serialize(dense_model()).value();
  int refused = 0;
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto model = parse_model(std::string_view(bytes).substr(0, length));
    refused += model ? 0 : 1;
  }
  EXPECT_GT(refused, static_cast<int>(bytes.size() * 9 / 10));
}

TEST(OnnxFile, SaysWhatIsWrongWithAFile) {
  const TempDir dir;
  EXPECT_THAT(load_error(dir / "none.onnx"), testing::HasSubstr("No such file"));
  std::ofstream(dir / "empty.onnx");
  EXPECT_THAT(load_error(dir / "empty.onnx"), testing::HasSubstr("the file is empty"));
  std::ofstream(dir / "lfs.onnx") << "version https://git-lfs.github.com/spec/v1\noid sha256:0";
  EXPECT_THAT(load_error(dir / "lfs.onnx"), testing::HasSubstr("git lfs pull"));
  std::ofstream(dir / "text.onnx") << "hello";
  EXPECT_THAT(load_error(dir / "text.onnx"), testing::HasSubstr("not an ONNX model"));
  EXPECT_THAT(load_error(dir.path()), testing::HasSubstr("not a regular file"));
  ASSERT_TRUE(save_model(dense_model(), dir / "m.onnx").ok());
  EXPECT_THAT(load_error(dir / "m.onnx", {.max_bytes = 100}),
              testing::HasSubstr("above the limit of 100"));
}

TEST(OnnxFile, RefusesANestingBomb) {
  OnnxModel model = dense_model();
  onnx::GraphProto inner = model.proto.graph();
  for (int i = 0; i < 40; ++i) {
    onnx::GraphProto outer;
    auto* attribute = outer.add_node()->add_attribute();
    attribute->set_name("body");
    attribute->mutable_g()->Swap(&inner);
    inner.Swap(&outer);
  }
  model.proto.mutable_graph()->Swap(&inner);
  const auto again = parse_model(serialize(model).value());
  ASSERT_FALSE(again.ok());
  EXPECT_THAT(again.error().text(), testing::HasSubstr("nested deeper"));
}

TEST(OnnxFile, ExternalDataIsReadFromTheModelsFolder) {
  const TempDir dir;
  OnnxModel model = dense_model();
  std::ofstream(dir / "w.bin") << std::string(64, 'x')
                               << model.proto.graph().initializer(0).raw_data();
  set_external(*model.proto.mutable_graph()->mutable_initializer(0), "w.bin", "64", "24");
  std::ofstream(dir / "m.onnx") << serialize(model).value();
  const auto loaded = load_model(dir / "m.onnx");
  ASSERT_TRUE(loaded.ok()) << loaded.error().text();
  const auto values = tensor_values<float>(*loaded, loaded->proto.graph().initializer(0));
  ASSERT_TRUE(values.ok()) << values.error().text();
  EXPECT_EQ(*values, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  // Below the limit it is taken in, above it goes to a file beside.
  ASSERT_TRUE(save_model(*loaded, dir / "inline.onnx").ok());
  EXPECT_EQ(serialize(load_model(dir / "inline.onnx").value()).value(),
            serialize(dense_model()).value());
  std::filesystem::create_directory(dir / "out");
  OnnxModel large = *loaded;
  *large.proto.mutable_graph()->add_initializer() =
      make_tensor<float>("big", {1024}, std::vector<float>(1024, 0.5F));
  ASSERT_TRUE(save_model(large, dir / "out/m.onnx", {.inline_bytes = 100}).ok());
  const auto split = load_model(dir / "out/m.onnx");
  ASSERT_TRUE(split.ok()) << split.error().text();
  EXPECT_TRUE(is_external(split->proto.graph().initializer(2)));
  EXPECT_EQ(tensor_values<float>(*split, split->proto.graph().initializer(2)).value().at(1023),
            0.5F);
  EXPECT_EQ(tensor_values<float>(*split, split->proto.graph().initializer(0)).value(), *values);
}

TEST(OnnxFile, ExternalDataStaysInsideTheFolder) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "model");
  std::ofstream(dir / "secret") << std::string(100, 's');
  std::filesystem::create_symlink(dir / "secret", dir / "model/link");
  std::ofstream(dir / "model/short") << "12";
  const auto error = [&](const std::string& location, const std::string& offset = "0",
                         const std::string& length = "24") {
    OnnxModel model = dense_model();
    set_external(*model.proto.mutable_graph()->mutable_initializer(0), location, offset, length);
    std::ofstream(dir / "model/m.onnx") << serialize(model).value();
    return load_error(dir / "model/m.onnx");
  };
  EXPECT_THAT(error("../secret"), testing::HasSubstr("leads out of the model's folder"));
  EXPECT_THAT(error("a/../../secret"), testing::HasSubstr("leads out of the model's folder"));
  EXPECT_THAT(error(dir / "secret"), testing::HasSubstr("leads out of the model's folder"));
  EXPECT_THAT(error("link"), testing::HasSubstr("leads out of the model's folder"));
  EXPECT_THAT(error("gone"), testing::HasSubstr("is not there"));
  EXPECT_THAT(error(""), testing::HasSubstr("names no location"));
  EXPECT_THAT(error("."), testing::HasSubstr("it is not opened"));
  EXPECT_THAT(error("short"), testing::HasSubstr("of 'short', which has 2"));
  EXPECT_THAT(error("short", "18446744073709551615"), testing::HasSubstr("which has 2"));
  EXPECT_THAT(error("short", "-1"), testing::HasSubstr("not a number"));
}

TEST(OnnxFile, ExternalDataIsSeenWhereverItStands) {
  const TempDir dir;
  std::ofstream(dir / "w.bin") << std::string(16, 'x');
  const auto external = [](onnx::TensorProto& tensor) {
    tensor = make_tensor<float>("t", {4}, {1, 2, 3, 4});
    set_external(tensor, "w.bin", "0", "16");
  };
  const auto error = [&](const OnnxModel& model) {
    std::ofstream(dir / "m.onnx") << serialize(model).value();
    const auto loaded = load_model(dir / "m.onnx");
    return loaded ? std::string() : loaded.error().text();
  };
  OnnxModel function = dense_model();
  external(*function.proto.add_functions()->add_node()->add_attribute()->mutable_t());
  EXPECT_THAT(error(function), testing::HasSubstr("tensor 't': external data of a sparse tensor"));
  OnnxModel sparse = dense_model();
  external(*sparse.proto.mutable_graph()->add_sparse_initializer()->mutable_values());
  EXPECT_THAT(error(sparse), testing::HasSubstr("tensor 't': external data of a sparse tensor"));
  OnnxModel inside = dense_model();
  external(*inside.proto.mutable_graph()
                ->mutable_node(0)
                ->add_attribute()
                ->mutable_sparse_tensor()
                ->mutable_values());
  EXPECT_THAT(error(inside), testing::HasSubstr("tensor 't': external data of a sparse tensor"));
  OnnxModel training = dense_model();
  external(*training.proto.add_training_info()->mutable_algorithm()->add_initializer());
  EXPECT_THAT(error(training), testing::HasSubstr("tensor 't': external data of a sparse tensor"));
  // A list of tensors in an attribute is the graph's: taken in by a save and by a copy.
  OnnxModel list = dense_model();
  external(*list.proto.mutable_graph()->mutable_node(0)->add_attribute()->add_tensors());
  EXPECT_EQ(error(list), "");
  const OnnxModel loaded = load_model(dir / "m.onnx").value();
  EXPECT_TRUE(has_external(loaded));
  EXPECT_EQ(external_bytes(loaded), 16U);
  std::filesystem::create_directory(dir / "out");
  ASSERT_TRUE(copy_model(loaded, dir / "out/m.onnx").ok());
  const auto copy = load_model(dir / "out/m.onnx");
  ASSERT_TRUE(copy.ok()) << copy.error().text();
  EXPECT_FALSE(has_external(*copy));
  EXPECT_EQ(copy->proto.graph().node(0).attribute(0).tensors(0).raw_data(), std::string(16, 'x'));
}

TEST(OnnxFile, WeightsBesideTheModelNeverMeetAnotherModel) {
  const TempDir dir;
  const auto big = [](float fill) {
    OnnxModel model = dense_model();
    *model.proto.mutable_graph()->add_initializer() =
        make_tensor<float>("big", {1024}, std::vector<float>(1024, fill));
    return model;
  };
  const SaveOptions beside{.inline_bytes = 100};
  const std::string path = dir / "m.onnx";
  ASSERT_TRUE(save_model(big(1), path, beside).ok());
  const std::vector<std::string> first = dir.names();
  ASSERT_EQ(first.size(), 2U);
  EXPECT_THAT(first[1], testing::MatchesRegex("m.onnx.[0-9a-f]*.data"));
  // What a kill between the two renames leaves: the old model beside the new weights too.
  std::filesystem::create_directory(dir / "kill");
  for (const std::string& name : first) {
    std::filesystem::copy_file(dir / name, dir / ("kill/" + name));
  }
  std::ofstream(dir / "m.onnx.data") << "another's";
  ASSERT_TRUE(save_model(big(2), path, beside).ok());
  const std::vector<std::string> second = dir.names();
  ASSERT_EQ(second.size(), 4U) << "the old weights stayed";
  EXPECT_EQ(second[3], "m.onnx.data");
  ASSERT_NE(second[2], first[1]);
  std::filesystem::copy_file(dir / second[2], dir / ("kill/" + second[2]));
  const auto old = load_model(dir / "kill/m.onnx");
  ASSERT_TRUE(old.ok()) << old.error().text();
  EXPECT_EQ(tensor_values<float>(*old, old->proto.graph().initializer(2)).value().at(0), 1.0F);
  const auto now = load_model(path);
  ASSERT_TRUE(now.ok()) << now.error().text();
  EXPECT_EQ(tensor_values<float>(*now, now->proto.graph().initializer(2)).value().at(0), 2.0F);
  // The same weights again keep their file; weights taken in leave none.
  ASSERT_TRUE(save_model(*now, path, beside).ok());
  EXPECT_EQ(dir.names(), second);
  ASSERT_TRUE(save_model(*now, path).ok());
  EXPECT_EQ(dir.names(), (std::vector<std::string>{"kill", "m.onnx", "m.onnx.data"}));
}

TEST(OnnxFile, NothingIsLeftBehindByAFailedSave) {
  const TempDir dir;
  OnnxModel model = dense_model();
  model.proto.mutable_graph()->mutable_initializer(0)->mutable_dims()->Set(0, 4);
  EXPECT_FALSE(save_model(model, dir / "m.onnx", {.inline_bytes = 1}).ok() &&
               !load_model(dir / "m.onnx").ok());
  EXPECT_FALSE(save_model(dense_model(), dir / "no/such/folder.onnx").ok());
  std::filesystem::create_directory(dir / "taken.onnx");
  EXPECT_FALSE(save_model(dense_model(), dir / "taken.onnx").ok());
  OnnxModel large = dense_model();
  *large.proto.mutable_graph()->add_initializer() =
      make_tensor<float>("big", {1024}, std::vector<float>(1024, 1));
  EXPECT_FALSE(save_model(large, dir / "taken.onnx", {.inline_bytes = 100}).ok());
  for (const std::string& name : dir.names()) {
    EXPECT_THAT(name, testing::Not(testing::HasSubstr(".new")));
    EXPECT_THAT(name, testing::Not(testing::MatchesRegex("taken.*data")));
  }
}

TEST(OnnxFile, ReadsTensorsHoweverTheyAreStored) {
  const OnnxModel model;
  onnx::TensorProto tensor;
  tensor.set_name("t");
  tensor.add_dims(2);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_float_data(1.5F);
  tensor.add_float_data(-2);
  EXPECT_EQ(tensor_values<double>(model, tensor).value(), (std::vector<double>{1.5, -2}));
  tensor.clear_float_data();
  tensor.set_data_type(onnx::TensorProto::FLOAT16);
  tensor.add_int32_data(0x3E00);  // 1.5
  tensor.add_int32_data(0x8001);  // the smallest negative
  EXPECT_EQ(tensor_values<float>(model, tensor).value(), (std::vector<float>{1.5F, -0x1p-24F}));
  tensor.set_data_type(onnx::TensorProto::INT8);
  tensor.set_int32_data(0, -3);
  EXPECT_EQ(tensor_values<std::int64_t>(model, tensor).value(), (std::vector<std::int64_t>{-3, 1}));
  tensor.set_dims(0, 3);
  EXPECT_THAT(tensor_values<float>(model, tensor).error().text(),
              testing::HasSubstr("tensor 't': 2 bytes, 3 expected of int8"));
  tensor.set_dims(0, -3);
  EXPECT_FALSE(element_count(tensor).ok());
  tensor.set_dims(0, std::int64_t{1} << 40);
  tensor.add_dims(std::int64_t{1} << 40);
  EXPECT_FALSE(element_count(tensor).ok());
}

}  // namespace
}  // namespace headwater::workbench
