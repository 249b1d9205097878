#include "compute/alarm.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "compute/alarm_state.h"
#include "compute/key_map.h"

namespace headwater {

using namespace alarm_state;  // NOLINT: what this file is made of

namespace {

constexpr std::uint8_t kStateVersion = 2;
constexpr std::uint32_t kMaxOf = 64;  // rows of "k of n" are bits of a word
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

std::int64_t plus(std::int64_t a, Nanos b) {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b.count(), &sum) ? kNever : sum;
}

void widen(double score, double& peak, double& lowest) {
  // Written so that the first score replaces NaN.
  if (!std::isnan(score)) {
    peak = score <= peak ? peak : score;
    lowest = score >= lowest ? lowest : score;
  }
}

bool by_count(const Delay& delay) {
  return delay.of > 1;
}

}  // namespace

class AlarmMachine::State {
 public:
  explicit State(AlarmOptions options) : options_(std::move(options)) {}

  void step(const AlarmRow& row, AlarmStats& stats, std::vector<AlarmEvent>& events);
  void tick(std::int64_t now, AlarmStats& stats, std::vector<AlarmEvent>& events);
  std::size_t active() const { return active_; }
  std::size_t keys() const { return keys_.size(); }
  std::vector<AlarmEvent> active_episodes() const;
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);
  const AlarmOptions& options() const { return options_; }

 private:
  using Keys = KeyMap<KeyState>;

  std::uint32_t take(std::string_view key, AlarmStats& stats);
  void run_out(std::uint32_t at, std::int64_t before, AlarmStats& stats,
               std::vector<AlarmEvent>& events);
  void step_normal(std::uint32_t at, const AlarmRow& row, Truth raise, std::int64_t now,
                   bool newest, AlarmStats& stats, std::vector<AlarmEvent>& events);
  void step_active(std::uint32_t at, const AlarmRow& row, Truth raise, Truth clear,
                   std::int64_t now, AlarmStats& stats, std::vector<AlarmEvent>& events);
  void raise(std::uint32_t at, const Episode& episode, std::int64_t time, const AlarmRow* row,
             AlarmStats& stats, std::vector<AlarmEvent>& events);
  void clear(std::uint32_t at, std::int64_t time, const AlarmRow* row, AlarmEvent::Reason reason,
             AlarmStats& stats, std::vector<AlarmEvent>& events);
  void end_run(KeyState& state, AlarmStats& stats) const;
  std::string id_of(const Episode& episode) const {
    return alert_id(episode.identity, options_.rule, options_.model_digest, {episode.onset});
  }
  AlarmEvent event(AlarmEvent::Kind kind, std::string_view key, std::string id,
                   const Episode& episode, std::int64_t time, const AlarmRow* row) const;
  std::uint32_t oldest_active() const;

  AlarmOptions options_;
  Keys keys_;
  std::size_t active_ = 0;
  std::uint64_t next_raise_ = 0;
};

AlarmEvent AlarmMachine::State::event(AlarmEvent::Kind kind, std::string_view key, std::string id,
                                      const Episode& episode, std::int64_t time,
                                      const AlarmRow* row) const {
  AlarmEvent made;
  made.kind = kind;
  made.id = std::move(id);
  made.key = key;
  made.onset_identity = episode.identity;
  made.onset.ns = episode.onset;
  made.time.ns = time;
  if (row != nullptr) {
    made.row = row->row;
    made.score = row->score;
  }
  made.peak = episode.peak;
  made.lowest = episode.lowest;
  made.duration = made.time - made.onset;
  made.count = episode.count;
  return made;
}

void AlarmMachine::State::step(const AlarmRow& row, AlarmStats& stats,
                               std::vector<AlarmEvent>& events) {
  Truth clear = row.clear;
  if (!options_.has_clear) {
    clear = row.raise == Truth::kNull   ? Truth::kNull
            : row.raise == Truth::kTrue ? Truth::kFalse
                                        : Truth::kTrue;
  }
  if (row.raise == Truth::kNull || (options_.episodes && clear == Truth::kNull)) {
    ++stats.null_rows;
  }
  if (!options_.episodes) {
    if (row.raise == Truth::kTrue) {
      Episode once{row.identity, row.time.ns, row.score, row.score, 1};
      events.push_back(
          event(AlarmEvent::Kind::kRow, row.key, id_of(once), once, row.time.ns, &row));
      ++stats.raised;
    }
    return;
  }
  const std::uint32_t at = take(row.key, stats);
  KeyState& state = keys_.slot(at).value;
  const bool newest = !state.seen || row.time.ns >= state.newest;
  stats.out_of_order += newest ? 0 : 1;
  const std::int64_t now = newest ? row.time.ns : state.newest;
  if (options_.hold_last && state.seen) {
    run_out(at, now, stats, events);
  }
  state.seen = true;
  state.newest = now;
  if (state.active) {
    step_active(at, row, row.raise, newest ? clear : Truth::kNull, now, stats, events);
  } else {
    step_normal(at, row, row.raise, now, newest, stats, events);
  }
}

std::uint32_t AlarmMachine::State::take(std::string_view key, AlarmStats& stats) {
  std::uint32_t at = keys_.find(key);
  if (at != Keys::kNone) {
    keys_.touch(at);
    return at;
  }
  if (keys_.size() >= options_.max_keys) {
    std::uint32_t idle = keys_.oldest();
    while (idle != Keys::kNone && keys_.slot(idle).value.active) {
      idle = keys_.next(idle);
    }
    if (idle != Keys::kNone) {
      keys_.erase(idle);
      ++stats.evicted_keys;
    }
  }
  return keys_.insert(key, {});
}

// Fulfils the delays that end before `before`, as if the last condition had held since.
void AlarmMachine::State::run_out(std::uint32_t at, std::int64_t before, AlarmStats& stats,
                                  std::vector<AlarmEvent>& events) {
  KeyState& state = keys_.slot(at).value;
  if (!state.active && !by_count(options_.on_delay) && state.raise.holding) {
    const std::int64_t due =
        std::max(plus(state.raise.since, options_.on_delay.duration), state.cooldown_until);
    if (due < before) {
      const Episode episode = state.pending;
      raise(at, episode, due, nullptr, stats, events);
    }
  } else if (state.active && !by_count(options_.off_delay) && state.clear.holding) {
    const std::int64_t due = plus(state.clear.since, options_.off_delay.duration);
    if (due < before) {
      clear(at, due, nullptr, AlarmEvent::Reason::kCondition, stats, events);
    }
  }
}

void AlarmMachine::State::end_run(KeyState& state, AlarmStats& stats) const {
  stats.suppressed += state.held_back ? 1 : 0;
  state.held_back = false;
  state.raise = {};
  state.candidates.clear();
}

void AlarmMachine::State::step_normal(std::uint32_t at, const AlarmRow& row, Truth raise_if,
                                      std::int64_t now, bool newest, AlarmStats& stats,
                                      std::vector<AlarmEvent>& events) {
  KeyState& state = keys_.slot(at).value;
  if (raise_if == Truth::kNull || (raise_if == Truth::kFalse && !newest)) {
    return;
  }
  const bool held = raise_if == Truth::kTrue;
  if (state.disarmed) {
    state.disarmed = held;
    return;
  }
  const Delay& delay = options_.on_delay;
  bool fulfilled = false;
  Episode episode;
  if (!by_count(delay)) {
    if (!held) {
      end_run(state, stats);
      return;
    }
    if (!state.raise.holding) {
      state.raise.holding = true;
      state.raise.since = now;
      state.pending = {row.identity, row.time.ns, kNoScore, kNoScore, 0};
    }
    widen(row.score, state.pending.peak, state.pending.lowest);
    ++state.pending.count;
    fulfilled = now >= plus(state.raise.since, delay.duration);
    episode = state.pending;
  } else {
    state.candidates.push_back({row.identity, row.time.ns, row.score});
    if (state.candidates.size() > delay.of) {
      state.candidates.erase(state.candidates.begin());
    }
    const std::uint64_t mask =
        delay.of == kMaxOf ? ~std::uint64_t{0} : (std::uint64_t{1} << delay.of) - 1;
    state.raise.bits = ((state.raise.bits << 1) | (held ? 1 : 0)) & mask;
    // Raised by a row that matches, not by an old match that a row in between let through.
    const auto matches = static_cast<std::uint32_t>(std::popcount(state.raise.bits));
    fulfilled = held && matches >= delay.count;
    if (matches < delay.count && state.held_back) {
      ++stats.suppressed;
      state.held_back = false;
    }
    if (fulfilled) {
      const std::size_t rows = state.candidates.size();
      bool first = true;
      for (std::size_t i = 0; i < rows; ++i) {
        if (((state.raise.bits >> (rows - 1 - i)) & 1) == 0) {
          continue;
        }
        const Candidate& candidate = state.candidates[i];
        if (first) {
          episode = {candidate.identity, candidate.time, kNoScore, kNoScore, 0};
          first = false;
        }
        widen(candidate.score, episode.peak, episode.lowest);
        ++episode.count;
      }
    }
  }
  if (!fulfilled) {
    return;
  }
  if (now < state.cooldown_until) {
    state.held_back = true;
    return;
  }
  raise(at, episode, now, &row, stats, events);
}

void AlarmMachine::State::step_active(std::uint32_t at, const AlarmRow& row, Truth raise_if,
                                      Truth clear_if, std::int64_t now, AlarmStats& stats,
                                      std::vector<AlarmEvent>& events) {
  KeyState& state = keys_.slot(at).value;
  if (raise_if == Truth::kTrue) {
    ++state.episode.count;
  }
  if (raise_if != Truth::kNull) {
    widen(row.score, state.episode.peak, state.episode.lowest);
  }
  if (clear_if == Truth::kNull || raise_if == Truth::kNull) {
    return;
  }
  const bool held = clear_if == Truth::kTrue;
  const Delay& delay = options_.off_delay;
  bool fulfilled = false;
  if (!by_count(delay)) {
    if (!held) {
      state.clear = {};
      return;
    }
    if (!state.clear.holding) {
      state.clear.holding = true;
      state.clear.since = now;
    }
    fulfilled = now >= plus(state.clear.since, delay.duration);
  } else {
    const std::uint64_t mask =
        delay.of == kMaxOf ? ~std::uint64_t{0} : (std::uint64_t{1} << delay.of) - 1;
    state.clear.bits = ((state.clear.bits << 1) | (held ? 1 : 0)) & mask;
    fulfilled = held && static_cast<std::uint32_t>(std::popcount(state.clear.bits)) >= delay.count;
  }
  if (fulfilled) {
    clear(at, now, &row, AlarmEvent::Reason::kCondition, stats, events);
  }
}

std::uint32_t AlarmMachine::State::oldest_active() const {
  std::uint32_t oldest = Keys::kNone;
  for (std::uint32_t at = keys_.oldest(); at != Keys::kNone; at = keys_.next(at)) {
    const KeyState& state = keys_.slot(at).value;
    if (state.active &&
        (oldest == Keys::kNone || state.raised_as < keys_.slot(oldest).value.raised_as)) {
      oldest = at;
    }
  }
  return oldest;
}

void AlarmMachine::State::raise(std::uint32_t at, const Episode& episode, std::int64_t time,
                                const AlarmRow* row, AlarmStats& stats,
                                std::vector<AlarmEvent>& events) {
  if (active_ >= options_.max_active) {
    clear(oldest_active(), time, nullptr, AlarmEvent::Reason::kEvicted, stats, events);
    ++stats.evicted_active;
  }
  KeyState& state = keys_.slot(at).value;
  state.held_back = false;
  state.raise = {};
  state.candidates.clear();
  state.clear = {};
  state.active = true;
  state.raised_as = next_raise_++;
  state.episode = episode;
  state.id = id_of(episode);
  ++active_;
  ++stats.raised;
  events.push_back(
      event(AlarmEvent::Kind::kRaised, keys_.slot(at).key, state.id, episode, time, row));
}

void AlarmMachine::State::clear(std::uint32_t at, std::int64_t time, const AlarmRow* row,
                                AlarmEvent::Reason reason, AlarmStats& stats,
                                std::vector<AlarmEvent>& events) {
  KeyState& state = keys_.slot(at).value;
  state.active = false;
  state.clear = {};
  state.disarmed = reason == AlarmEvent::Reason::kEvicted;
  if (reason == AlarmEvent::Reason::kCondition) {
    state.cooldown_until = plus(time, options_.cooldown);
  }
  --active_;
  ++stats.cleared;
  events.push_back(event(AlarmEvent::Kind::kCleared, keys_.slot(at).key, std::move(state.id),
                         state.episode, time, row));
  events.back().reason = reason;
}

void AlarmMachine::State::tick(std::int64_t now, AlarmStats& stats,
                               std::vector<AlarmEvent>& events) {
  if (!options_.episodes || !options_.hold_last) {
    return;
  }
  const std::size_t before = events.size();
  for (std::uint32_t at = keys_.oldest(); at != Keys::kNone; at = keys_.next(at)) {
    run_out(at, now, stats, events);
  }
  std::stable_sort(events.begin() + static_cast<std::ptrdiff_t>(before), events.end(),
                   [](const AlarmEvent& a, const AlarmEvent& b) { return a.time < b.time; });
}

std::vector<AlarmEvent> AlarmMachine::State::active_episodes() const {
  std::vector<std::pair<std::uint64_t, AlarmEvent>> found;
  for (std::uint32_t at = keys_.oldest(); at != Keys::kNone; at = keys_.next(at)) {
    const auto& slot = keys_.slot(at);
    if (slot.value.active) {
      found.emplace_back(slot.value.raised_as,
                         event(AlarmEvent::Kind::kRaised, slot.key, slot.value.id,
                               slot.value.episode, slot.value.newest, nullptr));
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<AlarmEvent> events;
  for (auto& [ordinal, made] : found) {
    events.push_back(std::move(made));
  }
  return events;
}

void AlarmMachine::State::save(ByteWriter& out) const {
  out.put(kStateVersion);
  out.put_varint(next_raise_);
  out.put_varint(keys_.size());
  for (std::uint32_t at = keys_.oldest(); at != Keys::kNone; at = keys_.next(at)) {
    const KeyState& state = keys_.slot(at).value;
    out.put_string(keys_.slot(at).key);
    out.put(static_cast<std::uint8_t>((state.seen ? 1 : 0) | (state.active ? 2 : 0) |
                                      (state.held_back ? 4 : 0) | (state.disarmed ? 8 : 0)));
    out.put(state.newest);
    out.put(state.cooldown_until);
    put_run(out, state.raise);
    put_run(out, state.clear);
    put_episode(out, state.pending);
    out.put_varint(state.candidates.size());
    for (const Candidate& candidate : state.candidates) {
      put_id(out, candidate.identity);
      out.put(candidate.time);
      out.put(candidate.score);
    }
    if (state.active) {
      out.put_varint(state.raised_as);
      put_episode(out, state.episode);
      out.put_string(state.id);
    }
  }
}

Status AlarmMachine::State::restore(ByteReader& in) {
  if (in.get<std::uint8_t>() != kStateVersion) {
    return Error::corrupt("alarm state: unknown version");
  }
  Keys keys;
  std::size_t active = 0;
  const std::uint64_t next_raise = in.get_varint();
  const std::uint64_t count = in.get_varint();
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    const std::string_view key = in.get_string();
    KeyState state;
    const auto flags = in.get<std::uint8_t>();
    state.seen = (flags & 1) != 0;
    state.active = (flags & 2) != 0;
    state.held_back = (flags & 4) != 0;
    state.disarmed = (flags & 8) != 0;
    state.newest = in.get<std::int64_t>();
    state.cooldown_until = in.get<std::int64_t>();
    state.raise = get_run(in);
    state.clear = get_run(in);
    state.pending = get_episode(in);
    const std::uint64_t candidates = in.get_varint();
    if (candidates > kMaxOf || keys.find(key) != Keys::kNone) {
      return Error::corrupt("alarm state: damaged at key {}", i);
    }
    for (std::uint64_t c = 0; c < candidates; ++c) {
      Candidate candidate;
      candidate.identity = get_id(in);
      candidate.time = in.get<std::int64_t>();
      candidate.score = in.get<double>();
      state.candidates.push_back(candidate);
    }
    if (state.active) {
      state.raised_as = in.get_varint();
      state.episode = get_episode(in);
      state.id = in.get_string();
      ++active;
    }
    // "k of n" of other options: the newest n rows count.
    while (state.candidates.size() > options_.on_delay.of) {
      state.candidates.erase(state.candidates.begin());
    }
    keys.insert(key, std::move(state));
  }
  if (!in.ok()) {
    return Error::corrupt("alarm state: cut off");
  }
  keys_ = std::move(keys);
  active_ = active;
  next_raise_ = next_raise;
  return {};
}

AlarmMachine::AlarmMachine(std::unique_ptr<State> state) : state_(std::move(state)) {}
AlarmMachine::~AlarmMachine() = default;

Result<std::unique_ptr<AlarmMachine>> AlarmMachine::create(AlarmOptions options) {
  if (options.max_active == 0 || options.max_active >= options.max_keys) {
    return Error::invalid("max_active ({}) is at least 1 and below max_keys ({})",
                          options.max_active, options.max_keys);
  }
  for (const Delay& delay : {options.on_delay, options.off_delay}) {
    if (delay.count == 0 || delay.count > delay.of || delay.of > kMaxOf ||
        delay.duration.count() < 0 || (delay.of > 1 && delay.duration.count() > 0)) {
      return Error::invalid("a delay is a duration or k of n with 1 <= k <= n <= {}", kMaxOf);
    }
  }
  if (options.cooldown.count() < 0) {
    return Error::invalid("cooldown is negative");
  }
  const bool has_delay = options.on_delay.duration.count() > 0 || options.on_delay.of > 1 ||
                         options.off_delay.duration.count() > 0 || options.off_delay.of > 1;
  if (!options.episodes && (options.has_clear || has_delay || options.cooldown.count() > 0)) {
    return Error::invalid("clear_when, delays and cooldown need episodes");
  }
  return std::unique_ptr<AlarmMachine>(
      new AlarmMachine(std::make_unique<State>(std::move(options))));
}

void AlarmMachine::step(const AlarmRow& row, AlarmStats& stats, std::vector<AlarmEvent>& events) {
  state_->step(row, stats, events);
}

void AlarmMachine::process(const Batch& batch, const Column& raise, const Column* clear,
                           const Column* score, AlarmStats& stats,
                           std::vector<AlarmEvent>& events) {
  const auto truth = [](const Column& column, std::size_t row) {
    if (column.type() != Type::kBool || !column.valid(row)) {
      return Truth::kNull;
    }
    return column.values<std::uint8_t>()[row] != 0 ? Truth::kTrue : Truth::kFalse;
  };
  for (const std::uint32_t index : batch.selection()) {
    const Row& row = batch.row(index);
    AlarmRow one;
    one.key = row.device;
    one.identity = row.identity;
    one.time = (row.flags & kRowTimeFuture) != 0 ? row.received : row.time;
    one.raise = truth(raise, index);
    one.clear = clear == nullptr ? Truth::kNull : truth(*clear, index);
    one.score = score == nullptr ? kNoScore : score->as_double(index);
    one.row = index;
    state_->step(one, stats, events);
  }
}

void AlarmMachine::tick(WallTime now, AlarmStats& stats, std::vector<AlarmEvent>& events) {
  state_->tick(now.ns, stats, events);
}
std::size_t AlarmMachine::active() const {
  return state_->active();
}
std::size_t AlarmMachine::keys() const {
  return state_->keys();
}
std::vector<AlarmEvent> AlarmMachine::active_episodes() const {
  return state_->active_episodes();
}
void AlarmMachine::save(ByteWriter& out) const {
  state_->save(out);
}
Status AlarmMachine::restore(ByteReader& in) {
  return state_->restore(in);
}

}  // namespace headwater
