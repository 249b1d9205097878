// What ONNX Runtime costs by itself: loads a model, runs it once, prints its memory as JSON.
//   ORT_LIB=…/libonnxruntime.so ort_alone MODEL
#define ORT_API_MANUAL_INIT
#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

int main(int argc, char** argv) {
  const char* const path = std::getenv("ORT_LIB");
  void* const library = argc == 2 && path != nullptr ? dlopen(path, RTLD_NOW) : nullptr;
  void* const entry = library != nullptr ? dlsym(library, "OrtGetApiBase") : nullptr;
  if (entry == nullptr) {
    std::fputs("usage: ORT_LIB=LIBRARY ort_alone MODEL\n", stderr);
    return 64;
  }
  const auto* const base = reinterpret_cast<const OrtApiBase* (*)()>(entry)();
  Ort::InitApi(base->GetApi(ORT_API_VERSION));
  const Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "alone");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, argv[1], options);
  std::array<float, 3> input{60, 101, 0.5F};
  const std::array<std::int64_t, 2> shape{1, 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto tensor = Ort::Value::CreateTensor<float>(memory, input.data(), input.size(),
                                                      shape.data(), shape.size());
  const char* const in = "input";
  const char* const out = "output";
  (void)session.Run(Ort::RunOptions{nullptr}, &in, &tensor, 1, &out, 1);
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) {
      std::printf("{\"rss_kib\": %d}\n", std::atoi(line.c_str() + 6));
    }
  }
  return 0;
}
