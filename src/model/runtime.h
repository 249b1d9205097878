// The ONNX Runtime library of this process: found at run time and opened on first use.
//
// Headwater is not linked to it. Its symbols are tagged with its release, so a linked program would
// start with one release only; opened by name, any release from 1.16 on works, and users can bring
// their own build with a GPU or NPU provider.
//
// Where it is looked for, first hit wins:
//   1. the file that the environment variable HEADWATER_ONNXRUNTIME names (then nowhere else)
//   2. libonnxruntime.so.1 or libonnxruntime.so beside the executable, then in ../lib from there
//   3. the paths that CMake found when this program was built
//   4. the dynamic linker's own search: LD_LIBRARY_PATH, /etc/ld.so.conf
//
// Thread-safe.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"

struct OrtApi;  // onnxruntime_c_api.h, for the .cc files of this library
struct OrtEnv;

namespace headwater::model {

struct RuntimeInfo {
  std::string library;                 // what was opened
  std::string version;                 // "1.29.0"
  std::vector<std::string> providers;  // "CPUExecutionProvider", …
};

// The list above for this process.
std::vector<std::string> library_candidates();

// Opens ONNX Runtime if it is not open yet. kUnavailable if there is none that can be used; a later
// call tries again.
Result<RuntimeInfo> open_runtime();

// What open_runtime() does with a list of candidates, without keeping it for the process.
struct Library {
  const OrtApi* api = nullptr;
  std::string path;
  std::string version;
};
Result<Library> open_library(std::span<const std::string> candidates);

// For the .cc files of this library: the process's API and environment, opened if need be.
struct Runtime {
  const OrtApi* api = nullptr;
  OrtEnv* env = nullptr;
  RuntimeInfo info;
};
Result<const Runtime*> runtime();

// Gives back the memory that opening the library and loading a model touched once: about 14 MB of
// resident memory. Costs a run some page faults, so it belongs behind a load.
void drop_startup_memory();

}  // namespace headwater::model
