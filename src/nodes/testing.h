// What the tests of nodes share.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/load.h"
#include "config/parse.h"
#include "nodes/context.h"
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

// The stage of a step's options as text. Null after an error, which is in `errors`.
template <class Options>
std::unique_ptr<Stage> make_stage(std::unique_ptr<Stage> (*make)(const Options&,
                                                                 const config::Node&, StageContext&,
                                                                 config::Diagnostics&),
                                  std::string text, StageContext& context, std::string& errors) {
  config::Diagnostics diagnostics;
  const auto node = config::load_text(std::move(text), "edge.yaml", diagnostics);
  Options options;
  std::unique_ptr<Stage> made;
  if (node && config::parse(*node, options, diagnostics)) {
    made = make(options, *node, context, diagnostics);
  }
  errors = diagnostics.text();
  return made;
}

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
