// UplinkTarget: a place that batches go to. Adding one: a class, its options struct and schema, and
// a line in catalogue.cc.
//
// Thread rule: everything on the uplink's loop.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "columnar/batch_writer.h"
#include "io/loop.h"

namespace headwater {

// What became of a batch.
enum class Receipt : std::uint8_t {
  kStored,    // durable at the receiver; the edge may let its rows go
  kRetry,     // not now, or nobody knows: send it again, with backoff
  kPark,      // a person has to look: send it again, but seldom
  kTooLarge,  // smaller batches may pass
  kRefused,   // it does not take what is in it: smaller batches tell which row
};

struct TargetAnswer {
  Receipt receipt = Receipt::kRetry;
  Nanos retry_after{};  // what the receiver asks for; 0: nothing
  std::string text;     // when not stored: what is wrong, in words
  // With kRetry: it was connected, and nothing came or went any more. The target uses a new
  // connection for the next batch.
  bool silent = false;
};

class UplinkTarget {
 public:
  using Done = std::function<void(TargetAnswer)>;

  virtual ~UplinkTarget() = default;

  // Before the first send(), and again after close().
  virtual Status start(io::Loop& loop) = 0;
  // Calls `done` once, from the loop and never from within send(). `batch` lives until then, or
  // until close(). Several batches may be on their way at once.
  virtual void send(const EncodedBatch& batch, Done done) = 0;
  // Gives up what is on its way; no `done` is called any more.
  virtual void close() = 0;
};

}  // namespace headwater
