// A library that looks like an ONNX Runtime from before the versions that we can use.
#include "model/ort.h"

namespace {

const OrtApi* ORT_API_CALL no_api(std::uint32_t) noexcept {
  return nullptr;
}
const char* ORT_API_CALL version() noexcept {
  return "1.4.0";
}
constexpr OrtApiBase kBase{&no_api, &version};

}  // namespace

extern "C" __attribute__((visibility("default"))) const OrtApiBase* ORT_API_CALL
OrtGetApiBase() noexcept {
  return &kBase;
}
