#include "model/registry.h"

#include <gmock/gmock.h>

#include <memory>
#include <string>

namespace headwater::model {
namespace {

using ::testing::HasSubstr;

ModelOptions test_model(const std::string& name) {
  return {.path = HW_SOURCE_DIR "/tests/data/models/" + name + ".onnx"};
}

TEST(Registry, FindsWhatWasLoadedByName) {
  Registry registry;
  ASSERT_TRUE(registry.load("b", test_model("linear")));
  ASSERT_TRUE(registry.load("a", test_model("rank1")));
  const auto found = registry.find("b");
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)->name(), "linear");
  ASSERT_EQ(registry.list().size(), 2U);
  EXPECT_EQ(registry.list()[0].name, "a");
}

TEST(Registry, ReplacesAModelWithoutDisturbingWhoHoldsTheOldOne) {
  Registry registry;
  const auto old = registry.load("m", test_model("linear"));
  ASSERT_TRUE(old);
  const std::uint64_t before = registry.generation();
  ASSERT_TRUE(registry.load("m", test_model("linear_1x3")));
  EXPECT_GT(registry.generation(), before);
  EXPECT_EQ((*old)->name(), "linear");
  EXPECT_NE((*old)->digest(), (*registry.find("m"))->digest());
}

TEST(Registry, KeepsTheOldModelIfTheNewOneDoesNotLoad) {
  Registry registry;
  ASSERT_TRUE(registry.load("m", test_model("linear")));
  EXPECT_FALSE(registry.load("m", test_model("unknown_operator")));
  EXPECT_EQ((*registry.find("m"))->name(), "linear");
}

TEST(Registry, NamesTheNearestModel) {
  Registry registry;
  ASSERT_TRUE(registry.load("anomaly", test_model("linear")));
  const auto found = registry.find("anomoly");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), Code::kNotFound);
  EXPECT_THAT(found.error().text(), HasSubstr("did you mean 'anomaly'?"));
}

TEST(Registry, ForgetsWhatIsRemoved) {
  Registry registry;
  ASSERT_TRUE(registry.load("m", test_model("linear")));
  EXPECT_TRUE(registry.remove("m"));
  EXPECT_FALSE(registry.remove("m"));
  EXPECT_FALSE(registry.find("m"));
}

}  // namespace
}  // namespace headwater::model
