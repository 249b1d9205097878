// ExternalFiles: the files beside a model that hold its large tensors, mapped read-only on first
// use.
//
// A location is hostile input: only a regular file inside the model's folder is opened, by
// resolving links first. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "workbench/onnx_pb.h"

namespace headwater::workbench {

class ExternalFiles {
 public:
  explicit ExternalFiles(std::string folder) : folder_(std::move(folder)) {}
  ~ExternalFiles();
  ExternalFiles(const ExternalFiles&) = delete;
  ExternalFiles& operator=(const ExternalFiles&) = delete;

  // The tensor's bytes, valid as long as this lives. kInvalid, naming tensor and location, when the
  // location leads out of the folder, does not exist, or is too short.
  Result<std::string_view> find(const onnx::TensorProto& tensor);

 private:
  Result<std::string_view> map(const std::string& location);

  const std::string folder_;
  std::mutex mutex_;
  std::map<std::string, std::string_view> mapped_;  // by location
};

}  // namespace headwater::workbench
