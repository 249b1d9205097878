// Decode: the step between a source and the append: bytes become columns, and each row gets its
// device and event time.
//
// One per source and worker. Replayed rows pass through it again with the device and time that were
// stored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "data/batch.h"
#include "pipeline/source.h"

namespace headwater {

// A row that could not be decoded, and why: "byte 17: expected a value". Goes to the dead-letter
// lane with its bytes.
struct Undecoded {
  std::uint32_t row = 0;
  std::string reason;
};

class Decode {
 public:
  virtual ~Decode() = default;

  // In front of decode(), for what a source gave: a message that holds several readings becomes one
  // row each, in its place, with its partition and position. One that cannot be taken apart stays a
  // row, kRowUndecoded with a note. Rows read back from the spool are apart already.
  virtual void unpack(Batch& batch) { (void)batch; }

  // Adds columns; sets device and time of each row (of rows not flagged kRowReplayed), and identity
  // with kRowDeclaredId where a message id is declared. Rows that fail are flagged kRowUndecoded
  // and listed in `failed` (those that were flagged before are not); the selection is left to the
  // caller. `unfit` counts values that did not
  // fit their column and became null.
  virtual Status decode(Batch& batch, std::vector<Undecoded>& failed, std::uint64_t& unfit) = 0;

  // Learned types. changed() is true once after they changed, so that the next commit carries them.
  virtual bool changed() { return false; }
  virtual void save(StateWriter& state) { (void)state; }
  virtual Status restore(const StateReader& state) {
    (void)state;
    return {};
  }
};

}  // namespace headwater
