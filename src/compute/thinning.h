// Thinning: lets fewer rows of each key on: those whose value moved (deadband), those far enough
// apart (rate limit), those that are no repeat (dedupe), or those that are all of it.
//
//   auto thinning = HW_TRY(Thinning::create(
//       {.deadband = ThinningOptions::ByValue{.field = "temperature", .band = 0.5}}));
//   thinning->process(batch, flags);      // flags: one byte per row; 0 where a row is to leave
//
// Deadband: a row is let on when its value differs by more than `band` from the value of the key's
// last row that was let on (as in OPC UA Part 4, AbsoluteDeadband); with a band of 0 every change
// is. A row without the value is let on and remembered by nobody: a broken sensor stays visible.
// Rate limit: a row is let on when its event time is at least `every` away from that of the key's
// last row that was let on, in either direction, so that a clock that was set back silences
// nobody. Where the event time is in the future (kRowTimeFuture) the time of arrival counts.
// Dedupe: a row is let on when its content (the named fields, or the whole message byte for byte)
// differs from that of the key's last row that was let on, or `within` has passed since then, in
// either direction. It is a comparison of contents, not of identities: two equal readings of a
// steady sensor are repeats to it.
//
// The key's first row is let on. Rows without a key are one key. Results depend on the sequence of
// rows alone. Memory is bounded by max_keys: the key unseen for longest is forgotten. Not
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "data/batch.h"

namespace headwater {

struct ThinningOptions {
  struct ByValue {
    std::string field;
    double band = 0;
    // Column of the key. "device" and "device_id" mean Row::device when there is no such column.
    std::string per = "device_id";
  };
  struct ByTime {
    Nanos every{0};
    std::string per = "device_id";
  };
  struct ByContent {
    std::vector<std::string> fields{};  // none: the whole message
    Nanos within{0};                    // 0: for ever
    std::string per = "device_id";
  };
  std::optional<ByValue> deadband{};
  std::optional<ByTime> rate_limit{};
  std::optional<ByContent> dedupe{};
  std::size_t max_keys = 10'000;  // of each of them
};

class Thinning {
 public:
  // Invalid: none of the three, a negative band or `within`, `every` or max_keys of 0.
  static Result<std::unique_ptr<Thinning>> create(ThinningOptions options);
  ~Thinning();

  // Looks at the selected rows whose flag is not 0, in ascending order; sets the flag of those that
  // are not let on to 0.
  void process(const Batch& batch, std::span<std::uint8_t> flags);

  // Keys remembered, of all of them.
  std::size_t keys() const;

  // restore() replaces the state; corrupt if the bytes are damaged, then nothing changes.
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);

 private:
  class State;
  explicit Thinning(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace headwater
