// A part whose whole state is one blob under one key of a checkpoint: what most stages have.
//
//   void save(StateWriter& state) override { save_blob(state, "window", *window_); }
//   Status restore(const StateReader& state) override {
//     return restore_blob(state, "window", *window_);
//   }
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "pipeline/source.h"

namespace headwater {

// Part: `void save(ByteWriter&) const`, and `Status restore(ByteReader&)` that changes nothing on
// an error.
template <class Part>
void save_blob(StateWriter& state, std::string_view key, const Part& part) {
  std::string blob;
  ByteWriter writer(blob);
  part.save(writer);
  state.put(key, blob);
}

// A checkpoint without the key leaves the part as it is: there was none, or none of this part.
template <class Part>
Status restore_blob(const StateReader& state, std::string_view key, Part& part) {
  const std::string blob = state.get(key);
  if (blob.empty()) {
    return {};
  }
  ByteReader reader(blob);
  return part.restore(reader);
}

}  // namespace headwater
