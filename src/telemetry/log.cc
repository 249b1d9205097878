#include "telemetry/log.h"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>

#include "base/strings.h"

namespace headwater::log {
namespace detail {
std::atomic<Level> level{Level::kInfo};
}

namespace {

constexpr std::size_t kMaxValue = 512;
constexpr std::size_t kLevels = 5;
constexpr std::array<std::string_view, kLevels> kLevelNames{"debug", "info", "warn", "error",
                                                            "off"};

constexpr int kSiteBurst = 10;
constexpr Nanos kSiteWindow = std::chrono::seconds{10};
constexpr std::size_t kMaxSites = 256;  // call sites of warn and error remembered

struct Site {
  const char* file = nullptr;
  int line = 0;
  WallTime window_start;
  int in_window = 0;
  std::uint64_t held_back = 0;
};

struct State {
  std::mutex mutex;
  Options options;
  std::unique_ptr<spdlog::logger> logger;
  std::vector<Site> sites;
  std::string line;  // reused
  std::atomic<std::uint64_t> written[kLevels] = {};
  std::atomic<std::uint64_t> suppressed{0};
};

// Never destroyed: threads that outlive main may still log.
State& state() {
  static State* const kState = new State;
  return *kState;
}

WallTime now(const Options& options) {
  if (options.clock) {
    return options.clock();
  }
  return WallTime{
      std::chrono::duration_cast<Nanos>(std::chrono::system_clock::now().time_since_epoch())
          .count()};
}

// The longest prefix of at most kMaxValue bytes that does not end inside a UTF-8 sequence.
std::string_view cut(std::string_view text) {
  if (text.size() <= kMaxValue) {
    return text;
  }
  std::size_t end = kMaxValue;
  while (end > kMaxValue - 4 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {
    --end;
  }
  return text.substr(0, end);
}

void append_text_value(std::string& out, std::string_view text, Format format) {
  const bool long_text = text.size() > kMaxValue;
  const auto shown = cut(text);
  const bool bare = format == Format::kLogfmt && !long_text && !shown.empty() &&
                    std::ranges::all_of(shown, [](char c) {
                      return c > ' ' && c < 0x7F && c != '"' && c != '=' && c != '\\';
                    });
  if (bare) {
    out += shown;
  } else if (long_text) {
    append_json_string(out, std::string(shown) + "…");
  } else {
    append_json_string(out, shown);
  }
}

void append_value(std::string& out, const Value& value, Format format) {
  switch (value.kind()) {
    case Value::Kind::kText:
      append_text_value(out, value.text(), format);
      break;
    case Value::Kind::kInt:
      fmt::format_to(std::back_inserter(out), "{}", value.as_int());
      break;
    case Value::Kind::kUint:
      fmt::format_to(std::back_inserter(out), "{}", value.as_uint());
      break;
    case Value::Kind::kBool:
      out += value.as_uint() != 0 ? "true" : "false";
      break;
    case Value::Kind::kDouble:
      if (std::isfinite(value.as_double())) {
        fmt::format_to(std::back_inserter(out), "{:.6g}", value.as_double());
      } else {
        out += format == Format::kJson ? "null" : "nan";
      }
      break;
  }
}

void append_field(std::string& out, std::string_view key, const Value& value, Format format) {
  if (format == Format::kJson) {
    out += ',';
    append_json_string(out, key);
    out += ':';
  } else {
    out += ' ';
    out += key;
    out += '=';
  }
  append_value(out, value, format);
}

// The site's limit at this moment: whether to write, and how many lines were held back before.
std::pair<bool, std::uint64_t> admit(State& s, const char* file, int line, WallTime at) {
  auto found = std::ranges::find_if(
      s.sites, [&](const Site& site) { return site.file == file && site.line == line; });
  if (found == s.sites.end()) {
    if (s.sites.size() >= kMaxSites) {
      return {true, 0};
    }
    s.sites.push_back(Site{file, line, at, 0, 0});
    found = std::prev(s.sites.end());
  }
  // A clock that was set back starts a new window as well.
  if (at - found->window_start >= kSiteWindow || at < found->window_start) {
    found->window_start = at;
    found->in_window = 0;
  }
  if (found->in_window >= kSiteBurst) {
    ++found->held_back;
    s.suppressed.fetch_add(1, std::memory_order_relaxed);
    return {false, 0};
  }
  ++found->in_window;
  return {true, std::exchange(found->held_back, 0)};
}

// Always with three fraction digits, so that columns line up.
void append_time(std::string& out, WallTime at) {
  append_rfc3339(out, WallTime{at.ns - at.ns % 1'000'000});
  if (out[out.size() - 5] != '.') {
    out.back() = '.';
    out += "000Z";
  }
}

void append_line(std::string& out, Format format, WallTime at, Level severity,
                 std::string_view text, Fields fields, std::uint64_t held_back) {
  const auto level_name = kLevelNames[static_cast<std::size_t>(severity)];
  if (format == Format::kJson) {
    out += "{\"ts\":\"";
    append_time(out, at);
    fmt::format_to(std::back_inserter(out), "\",\"level\":\"{}\",\"msg\":", level_name);
    append_json_string(out, text);
  } else {
    out += "ts=";
    append_time(out, at);
    fmt::format_to(std::back_inserter(out), " level={} msg=", level_name);
    append_text_value(out, text, format);
  }
  for (const auto& field : fields) {
    append_field(out, field.key, field.value, format);
  }
  if (held_back > 0) {
    append_field(out, "suppressed", held_back, format);
  }
  if (format == Format::kJson) {
    out += '}';
  }
}

}  // namespace

namespace detail {

void write(Level severity, std::string_view text, Fields fields, const char* file, int line) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const WallTime at = now(s.options);
  std::uint64_t held_back = 0;
  if (file != nullptr) {
    const auto [admitted, before] = admit(s, file, line, at);
    if (!admitted) {
      return;
    }
    held_back = before;
  }
  s.line.clear();
  append_line(s.line, s.options.format, at, severity, text, fields, held_back);
  s.written[static_cast<std::size_t>(severity)].fetch_add(1, std::memory_order_relaxed);
  if (s.options.sink) {
    s.options.sink(s.line);
    return;
  }
  if (s.logger == nullptr) {
    // Not through spdlog's registry: it would build a second, coloured logger of its own.
    s.logger = std::make_unique<spdlog::logger>("headwater",
                                                std::make_shared<spdlog::sinks::stderr_sink_st>());
    s.logger->set_level(spdlog::level::trace);
    s.logger->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v"));
    s.logger->flush_on(spdlog::level::trace);
  }
  s.logger->log(spdlog::level::info, spdlog::string_view_t(s.line.data(), s.line.size()));
}

}  // namespace detail

void configure(Options options) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  detail::level.store(options.level, std::memory_order_relaxed);
  s.options = std::move(options);
  s.sites.clear();
}

void set_level(Level level) {
  detail::level.store(level, std::memory_order_relaxed);
}

Result<Level> parse_level(std::string_view text) {
  const auto found = std::ranges::find(kLevelNames, text);
  if (found == kLevelNames.end()) {
    return Error::invalid("log level '{}': use debug, info, warn, error or off", text);
  }
  return static_cast<Level>(found - kLevelNames.begin());
}

Result<Format> parse_format(std::string_view text) {
  if (text == "logfmt") {
    return Format::kLogfmt;
  }
  if (text == "json") {
    return Format::kJson;
  }
  return Error::invalid("log format '{}': use logfmt or json", text);
}

std::uint64_t lines(Level severity) {
  return state().written[static_cast<std::size_t>(severity)].load(std::memory_order_relaxed);
}

std::uint64_t suppressed() {
  return state().suppressed.load(std::memory_order_relaxed);
}

}  // namespace headwater::log
