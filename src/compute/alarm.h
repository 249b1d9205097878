// AlarmMachine: from "this row matches" to alerts, per device (the alarm of OPC UA Part 9 and
// ISA-18.2).
//
// Two modes. Per row: every row whose `raise` is true is an alert (kRow), nothing else happens.
// Episode: one kRaised and one kCleared per episode:
//
//          raise held for on_delay                 clear held for off_delay
//   normal ───────────────────────► active (kRaised) ─────────────────────► normal (kCleared)
//
//   - A delay is a duration (the condition held in all rows from its first row to a row at least so
//     much later) or "k of n" (true in k of the last n rows). No delay: the first row decides.
//   - Without `clear_when`, a row that does not raise clears.
//   - A row whose raise is null (score missing) moves nothing: it neither raises nor clears nor
//     breaks a run, and is not one of the n rows. One whose clear is null does not clear.
//   - Onset is the event time of the first row of the run (of k of n: of the oldest true row in
//     the n) that led to the alarm. The id stands on that row's identity.
//   - cooldown: after a clear no episode is raised for that long. A run that still holds when the
//     cooldown ends is raised then, with its true onset; shorter ones are counted (suppressed). To
//     bridge short dips use off_delay instead.
//   - A row older than the newest of its device may raise but never clears or breaks a run.
//   - `hold_last`: for devices that report on change only. The last condition holds between rows,
//     so delays also run out between rows (seen at the next row or at tick()), at the exact time.
//     Otherwise only rows move the machine and tick() does nothing.
//   - max_active: one more episode clears the oldest first (kCleared, reason kEvicted), so a first
//     raise is never lost; the evicted device raises again only after a row that does not raise, so
//     many devices in alarm do not push each other out in turn. max_keys: the inactive device
//     unseen for longest is forgotten (counted).
//
// Time is event time only, so a replay gives the same events with the same ids, however rows are
// cut into batches. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "data/batch.h"

namespace headwater {

// "5s" or "3 of 5" (n at most 64).
struct Delay {
  Nanos duration{0};
  std::uint32_t count = 1;  // k
  std::uint32_t of = 1;     // n; 1 of 1 together with a zero duration: no delay

  static Result<Delay> parse(std::string_view text);
};

struct AlarmOptions {
  std::string rule{};          // its name; part of the alert id
  std::string model_digest{};  // of the model that gave the score; part of the alert id
  bool episodes = false;
  bool has_clear = false;  // `clear` is given; else clear = not raise
  Delay on_delay{};
  Delay off_delay{};
  Nanos cooldown{0};
  bool hold_last = false;
  std::size_t max_active = 1'000;
  std::size_t max_keys = 10'000;
};

enum class Truth : std::uint8_t { kFalse, kTrue, kNull };

// One row as the machine sees it.
struct AlarmRow {
  std::string_view key{};  // device
  Id128 identity{};
  WallTime time{};  // event time; the arrival for rows with kRowTimeFuture
  Truth raise = Truth::kNull;
  Truth clear = Truth::kNull;  // ignored without has_clear
  double score = std::numeric_limits<double>::quiet_NaN();
  std::uint32_t row = 0;
};

struct AlarmEvent {
  static constexpr std::uint32_t kNoRow = 0xFFFFFFFF;
  enum class Kind : std::uint8_t { kRow, kRaised, kCleared };
  enum class Reason : std::uint8_t { kCondition, kEvicted };

  Kind kind = Kind::kRow;
  Reason reason = Reason::kCondition;
  std::string id;  // 32 hex digits; raised and cleared of one episode share it
  std::string key;
  Id128 onset_identity;
  WallTime onset;
  WallTime time;               // of this event
  std::uint32_t row = kNoRow;  // that brought it; kNoRow when no row did
  double score = std::numeric_limits<double>::quiet_NaN();   // of that row
  double peak = std::numeric_limits<double>::quiet_NaN();    // highest score since onset
  double lowest = std::numeric_limits<double>::quiet_NaN();  // for rules on low scores
  Nanos duration{0};                                         // time - onset
  std::uint64_t count = 1;                                   // raising rows since onset
};

// Sums since they were set to zero by the caller.
struct AlarmStats {
  std::uint64_t raised = 0;  // kRow and kRaised
  std::uint64_t cleared = 0;
  std::uint64_t suppressed = 0;  // runs that ended within the cooldown
  std::uint64_t null_rows = 0;
  std::uint64_t out_of_order = 0;
  std::uint64_t evicted_active = 0;
  std::uint64_t evicted_keys = 0;
};

// hash128 over identity, rule, model digest and onset, as 32 hex digits. Stable across releases.
std::string alert_id(Id128 identity, std::string_view rule, std::string_view model_digest,
                     WallTime onset);

class AlarmMachine {
 public:
  static Result<std::unique_ptr<AlarmMachine>> create(AlarmOptions options);
  ~AlarmMachine();

  // One row; appends 0 to 3 events.
  void step(const AlarmRow& row, AlarmStats& stats, std::vector<AlarmEvent>& events);

  // All selected rows of a batch, keyed by Row::device. `raise` and `clear` are bool columns,
  // `score` any numeric one; `clear` and `score` may be null pointers.
  void process(const Batch& batch, const Column& raise, const Column* clear, const Column* score,
               AlarmStats& stats, std::vector<AlarmEvent>& events);

  // Event time has reached `now` for all devices: every row up to it has been stepped. Derive it
  // from rows (their highest event time), never from a clock, or a replay differs.
  void tick(WallTime now, AlarmStats& stats, std::vector<AlarmEvent>& events);

  std::size_t active() const;
  std::size_t keys() const;
  // Episodes that are raised and not cleared, as their kRaised events (row is kNoRow), oldest
  // first: for status pages and for re-announcing after a restart.
  std::vector<AlarmEvent> active_episodes() const;

  // restore() replaces the state; corrupt if the bytes are damaged (then nothing changes). The
  // options may have changed in between: running delays then follow the new ones.
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);

 private:
  class State;
  explicit AlarmMachine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace headwater
