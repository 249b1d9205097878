// Sink: hands rows to the outside: a broker, a file, a terminal.
//
// Thread rule: a sink lives on one loop, every call comes from that thread, and none blocks longer
// than a local write. Rows submitted under one token are answered one by one; the caller keeps no
// more than `window()` rows unanswered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "data/batch.h"
#include "io/loop.h"

namespace headwater {

using BatchRef = std::shared_ptr<const Batch>;
using Token = std::uint64_t;

enum class Verdict : std::uint8_t {
  kOk,       // the receiver has it
  kRetry,    // not now: submit it again later
  kReject,   // never: count it and go on
  kExpired,  // too old to act on: never, as the sink's max_age wants it
};

struct Outcome {
  Token token = 0;
  std::uint32_t row = 0;
  Verdict verdict = Verdict::kOk;
};

class Sink {
 public:
  virtual ~Sink() = default;

  virtual Status start(io::Loop& loop) = 0;
  // All selected rows of the batch. kUnavailable: nothing was taken, try later. `arrived` of a row
  // is when its alert was made in this process (zero: just now); with kRowReplayed it was made by
  // an earlier one.
  virtual Status submit(BatchRef batch, Token token) = 0;
  // Writes up to outcomes.size() outcomes, returns how many.
  virtual std::size_t poll(std::span<Outcome> outcomes) = 0;
  // "connected", "connecting to localhost:1883: connection refused": for status.
  virtual std::string state() const = 0;
  // No more submits; whatever is in flight may still finish until the process ends.
  virtual void close() = 0;
};

}  // namespace headwater
