// A loaded session and the buffers of one caller. For model.cc (loads) and run.cc (runs).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"
#include "model/ort.h"

namespace headwater::model {

// Read-only after load; OrtSession may be run from several threads.
struct Session {
  const OrtApi* api = nullptr;
  OrtAllocator* allocator = nullptr;  // the default one; not owned
  Owned<OrtMemoryInfo> cpu;
  Owned<OrtSession> session;
  std::vector<PortInfo> inputs;
  std::vector<PortInfo> outputs;
  std::vector<const char*> input_names;  // into inputs
  std::string path;
  std::string digest;
  std::string name;
  std::string version;
  std::string provider;
  std::map<std::string, std::string> metadata;
  std::uint64_t file_bytes = 0;
  int threads = 1;
};

// An OrtValue around memory of the caller, kept while memory and shape stay the same: at one row a
// call, making it anew is a tenth of the call.
struct Wrapper {
  const void* data = nullptr;
  std::vector<std::int64_t> shape;
  Owned<OrtValue> value;
};

// What a run left in an output that the caller gave no memory for.
struct Kept {
  Owned<OrtValue> value;
  std::vector<std::int64_t> shape;
  std::string text;                       // the bytes of all strings
  std::vector<std::size_t> offsets;       // scratch: where each string starts
  std::vector<std::string_view> strings;  // into text
  std::vector<float> table;               // of a sequence of maps
  std::vector<std::string> classes;
};

struct Calls {
  std::vector<Wrapper> inputs;
  std::vector<Wrapper> outputs;
  std::vector<Kept> kept;
  std::vector<std::size_t> all;  // 0, 1, … outputs - 1
  // Arguments of OrtApi::Run.
  std::vector<const OrtValue*> in;
  std::vector<OrtValue*> out;
  std::vector<const char*> out_names;
};

ONNXTensorElementDataType onnx_type(ElementType type);

// ModelOptions::threads bounded by what the machine gives (io/cgroup.h).
int pick_threads(int asked, std::uint64_t file_bytes, int usable_cpus);

}  // namespace headwater::model
