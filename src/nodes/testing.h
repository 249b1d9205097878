// What the tests of nodes share.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pipeline/stage.h"
#include "pipeline/state.h"

namespace headwater {

// What a stage hands on and tells.
struct Collected final : Outputs {
  Status emit(Batch batch) override {
    batches.push_back(std::move(batch));
    return {};
  }
  void alert(Alert alert) override { alerts.push_back(std::move(alert)); }

  std::vector<Batch> batches;
  std::vector<Alert> alerts;
};

// A folder that goes with the test.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "headwater-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string path(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace headwater
