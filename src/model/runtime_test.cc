#include "model/runtime.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace headwater::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Runtime, OpensTheLibraryThatTheBuildFound) {
  const auto opened = open_runtime();
  ASSERT_TRUE(opened) << opened.error().text();
  EXPECT_THAT(opened->version, HasSubstr("1."));
  EXPECT_THAT(opened->providers, ::testing::Contains("CPUExecutionProvider"));
}

TEST(Runtime, NamesWhereItLookedAndTheRemedyIfThereIsNone) {
  const std::vector<std::string> nowhere = {"/nonexistent/libonnxruntime.so.1",
                                            "libonnxruntime-nonexistent.so"};
  const auto opened = open_library(nowhere);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::kUnavailable);
  EXPECT_THAT(opened.error().text(), HasSubstr("/nonexistent/libonnxruntime.so.1"));
  EXPECT_THAT(opened.error().text(), HasSubstr("libonnxruntime-nonexistent.so"));
  EXPECT_THAT(opened.error().text(), HasSubstr("HEADWATER_ONNXRUNTIME"));
}

TEST(Runtime, SaysThatALibraryIsTooOldAndWhichVersionIsNeeded) {
  const std::vector<std::string> old = {HW_OLD_ONNXRUNTIME};
  const auto opened = open_library(old);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().text(), HasSubstr("is ONNX Runtime 1.4.0, which is too old: 1.16"));
}

TEST(Runtime, SaysThatAFileIsNotALibrary) {
  const std::vector<std::string> text = {HW_SOURCE_DIR "/CMakeLists.txt"};
  const auto opened = open_library(text);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().text(), HasSubstr("CMakeLists.txt: "));
}

TEST(Runtime, SkipsALibraryThatIsTooOldForOneThatIsNot) {
  std::vector<std::string> candidates = {HW_OLD_ONNXRUNTIME};
  for (const std::string& path : library_candidates()) {
    candidates.push_back(path);
  }
  const auto opened = open_library(candidates);
  ASSERT_TRUE(opened) << opened.error().text();
  EXPECT_NE(opened->path, HW_OLD_ONNXRUNTIME);
}

TEST(Runtime, LooksOnlyWhereTheEnvironmentSays) {
  const char* before = std::getenv("HEADWATER_ONNXRUNTIME");
  const std::string kept = before != nullptr ? before : "";
  setenv("HEADWATER_ONNXRUNTIME", "/opt/mine/libonnxruntime.so", 1);
  const auto only = library_candidates();
  if (before != nullptr) {
    setenv("HEADWATER_ONNXRUNTIME", kept.c_str(), 1);
  } else {
    unsetenv("HEADWATER_ONNXRUNTIME");
  }
  EXPECT_THAT(only, ElementsAre("/opt/mine/libonnxruntime.so"));
}

}  // namespace
}  // namespace headwater::model
