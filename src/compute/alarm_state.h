// What an alarm machine keeps of a key, and its parts as bytes. Internal to compute.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace headwater::alarm_state {

inline constexpr double kNoScore = std::numeric_limits<double>::quiet_NaN();

// A condition on its way to last long enough.
struct Run {
  // Duration: since when it has held.
  bool holding = false;
  std::int64_t since = 0;  // time of its first row, not before that of an older row
  std::uint64_t bits = 0;  // k of n: the last n rows, newest in bit 0
};

// The rows that may become the onset: those of the run, or the last n.
struct Candidate {
  Id128 identity;
  std::int64_t time = 0;
  double score = kNoScore;
};

struct Episode {
  Id128 identity;
  std::int64_t onset = 0;
  double peak = kNoScore;
  double lowest = kNoScore;
  std::uint64_t count = 0;
};

struct KeyState {
  bool seen = false;
  std::int64_t newest = 0;  // time of the newest row
  bool active = false;
  bool disarmed = false;  // its episode was evicted: a row that does not raise must come first
  std::uint64_t raised_as = 0;  // ordinal of the raise, while active
  std::int64_t cooldown_until = std::numeric_limits<std::int64_t>::min();
  Run raise;
  Run clear;
  // Duration mode: the episode as it would be raised. k of n: one candidate for each of the last n
  // rows (oldest first).
  Episode pending;
  std::vector<Candidate> candidates;
  bool held_back = false;  // the run fulfilled on_delay within the cooldown
  Episode episode;         // while active
  std::string id;          // of the raised message, while active: options may change meanwhile
};

inline void put_id(ByteWriter& out, Id128 id) {
  out.put(id.high);
  out.put(id.low);
}
inline Id128 get_id(ByteReader& in) {
  Id128 id;
  id.high = in.get<std::uint64_t>();
  id.low = in.get<std::uint64_t>();
  return id;
}
inline void put_episode(ByteWriter& out, const Episode& episode) {
  put_id(out, episode.identity);
  out.put(episode.onset);
  out.put(episode.peak);
  out.put(episode.lowest);
  out.put_varint(episode.count);
}
inline Episode get_episode(ByteReader& in) {
  Episode episode;
  episode.identity = get_id(in);
  episode.onset = in.get<std::int64_t>();
  episode.peak = in.get<double>();
  episode.lowest = in.get<double>();
  episode.count = in.get_varint();
  return episode;
}
inline void put_run(ByteWriter& out, const Run& run) {
  out.put(static_cast<std::uint8_t>(run.holding ? 1 : 0));
  out.put(run.since);
  out.put(run.bits);
}
inline Run get_run(ByteReader& in) {
  Run run;
  run.holding = in.get<std::uint8_t>() != 0;
  run.since = in.get<std::int64_t>();
  run.bits = in.get<std::uint64_t>();
  return run;
}

}  // namespace headwater::alarm_state
