// Log: one line per event on stderr, as logfmt or JSON, with named values.
//
//   log::info("model loaded", {{"model", name}, {"digest", digest}, {"seconds", took}});
//   ts=2026-01-02T03:04:05.678Z level=info msg="model loaded" model=anomaly digest=9f… seconds=0.12
//
// What never goes into a log: secrets (passwords, tokens, keys, URLs with credentials) and payloads
// (message bytes, field values, whole readings). Log the place instead: source, lane, sequence,
// offset, size. There is no call that takes a payload; values are cut at 512 bytes, and control
// characters are escaped, so a hostile client id cannot forge a line.
//
// Warnings and errors are limited per call site: 10 in any 10 s, the rest is counted and reported
// as `suppressed=N` on the site's next line. Info and debug are not limited: do not log per message
// at info.
//
// Any thread. A call below the level costs one relaxed load (its arguments are still evaluated).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "base/time.h"

namespace headwater::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarn, kError, kOff };
enum class Format : std::uint8_t { kLogfmt, kJson };

// Text, number or truth; a text is a view that must live until the call returns.
class Value {
 public:
  enum class Kind : std::uint8_t { kText, kInt, kUint, kDouble, kBool };

  Value(std::string_view text) : kind_(Kind::kText), text_(text) {}    // NOLINT: implicit by design
  Value(const std::string& text) : kind_(Kind::kText), text_(text) {}  // NOLINT
  Value(const char* text) : kind_(Kind::kText), text_(text) {}         // NOLINT
  Value(bool value) : kind_(Kind::kBool), uint_(value ? 1 : 0) {}      // NOLINT
  template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) Value(T value)  // NOLINT
      : kind_(std::is_signed_v<T> ? Kind::kInt : Kind::kUint),
        uint_(static_cast<std::uint64_t>(value)) {}
  template <class T>
  requires(std::is_floating_point_v<T>) Value(T value)  // NOLINT
      : kind_(Kind::kDouble), double_(static_cast<double>(value)) {}
  // The error's text, which already carries its context.
  Value(const Error& error) : Value(std::string_view(error.text())) {}  // NOLINT

  Kind kind() const { return kind_; }
  std::string_view text() const { return text_; }
  std::int64_t as_int() const { return static_cast<std::int64_t>(uint_); }
  std::uint64_t as_uint() const { return uint_; }
  double as_double() const { return double_; }

 private:
  Kind kind_;
  std::string_view text_;
  std::uint64_t uint_ = 0;
  double double_ = 0;
};

struct Field {
  std::string_view key;  // snake_case
  Value value;
};
using Fields = std::initializer_list<Field>;

struct Options {
  Level level = Level::kInfo;
  Format format = Format::kLogfmt;
  // Tests: takes each finished line (without the newline) instead of stderr.
  std::function<void(std::string_view line)> sink = {};
  // Tests: the clock of `ts` and of the limit; nothing means the system's.
  std::function<WallTime()> clock = {};
};

// Replaces the settings (default: info, logfmt, stderr). Not while other threads log with a sink
// that dies.
void configure(Options options);
void set_level(Level severity);
// "debug", "info", "warn", "error", "off"; "logfmt", "json".
Result<Level> parse_level(std::string_view text);
Result<Format> parse_format(std::string_view text);

namespace detail {
extern std::atomic<Level> level;
void write(Level severity, std::string_view text, Fields fields, const char* file, int line);
}  // namespace detail

inline bool enabled(Level level) {
  return level >= detail::level.load(std::memory_order_relaxed);
}

// `text` says what happened in a few fixed words, lower case, no full stop; what varies is a field.
inline void debug(std::string_view text, Fields fields = {}) {
  if (enabled(Level::kDebug)) [[unlikely]] {
    detail::write(Level::kDebug, text, fields, nullptr, 0);
  }
}
inline void info(std::string_view text, Fields fields = {}) {
  if (enabled(Level::kInfo)) {
    detail::write(Level::kInfo, text, fields, nullptr, 0);
  }
}
inline void warn(std::string_view text, Fields fields = {}, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE()) {
  if (enabled(Level::kWarn)) {
    detail::write(Level::kWarn, text, fields, file, line);
  }
}
inline void error(std::string_view text, Fields fields = {}, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (enabled(Level::kError)) {
    detail::write(Level::kError, text, fields, file, line);
  }
}

// Lines written at a level, and lines held back by the limit, since start.
std::uint64_t lines(Level severity);
std::uint64_t suppressed();

}  // namespace headwater::log
