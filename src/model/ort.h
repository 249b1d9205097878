// What the .cc files of this library share about the C API of ONNX Runtime: errors and ownership.
// Includes onnxruntime_c_api.h: for .cc files only.
#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_c_api.h>

#include <memory>
#include <string>

#include "base/result.h"

namespace headwater::model {

// Every function that is called belongs to this version of the API or an earlier one, so a library
// from 1.16 on (September 2023) will do.
inline constexpr std::uint32_t kApiVersion = 16;

// Takes the status; ok if it is null. INVALID_PROTOBUF becomes kCorrupt, NO_SUCHFILE kNotFound, all
// else kInvalid. The text is one line of at most 600 bytes.
Status take_status(const OrtApi& api, OrtStatus* status);

// A pointer that the API made and the API releases.
template <class T>
class Owned {
 public:
  using Release = void(ORT_API_CALL*)(T*);
  Owned() = default;
  explicit Owned(Release release) : release_(release) {}
  Owned(Owned&& other) noexcept
      : release_(other.release_), pointer_(std::exchange(other.pointer_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      reset();
      release_ = other.release_;
      pointer_ = std::exchange(other.pointer_, nullptr);
    }
    return *this;
  }
  ~Owned() { reset(); }

  T* get() const { return pointer_; }
  explicit operator bool() const { return pointer_ != nullptr; }
  // Where a function of the API puts its result.
  T** out() {
    reset();
    return &pointer_;
  }
  void reset() {
    if (pointer_ != nullptr) {
      release_(std::exchange(pointer_, nullptr));
    }
  }

 private:
  Release release_ = nullptr;
  T* pointer_ = nullptr;
};

}  // namespace headwater::model
