// Zones from the system's database: TZif, RFC 8536. Debian's files carry transitions up to 2037;
// later moments use the rule in the file's footer (POSIX TZ, RFC 8536 section 3.3).
#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "expr/time_text.h"

namespace headwater::expr {
namespace {

constexpr std::int64_t kDaySeconds = 86'400;
constexpr std::size_t kMaxZones = 1024;  // more names than the database has
constexpr const char* kDatabase = "/usr/share/zoneinfo/";

class FixedZone final : public Zone {
 public:
  explicit FixedZone(std::int64_t offset) : offset_(offset) {}
  std::int64_t offset_at(std::int64_t /*unix_seconds*/) const override { return offset_; }

 private:
  std::int64_t offset_;
};

// Big-endian integers, with bounds.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }
  std::uint64_t integer(std::size_t width) {
    std::uint64_t value = 0;
    for (const char c : take(width)) {
      value = value << 8 | static_cast<unsigned char>(c);
    }
    return value;
  }
  std::string_view take(std::size_t count) {
    if (rest_.size() < count) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view part = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return part;
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// "EST5EDT,M3.2.0,M11.1.0/2" and kin; the Julian day forms (J60, 59) too.
class PosixRule {
 public:
  static std::optional<PosixRule> parse(std::string_view text) {
    PosixRule rule;
    rule.text_ = text;
    if (!rule.name() || !rule.time(rule.standard_)) {
      return std::nullopt;
    }
    rule.standard_ = -rule.standard_;  // POSIX counts west
    if (rule.text_.empty()) {
      return rule;
    }
    if (!rule.name()) {
      return std::nullopt;
    }
    rule.has_summer_ = true;
    rule.summer_ = rule.standard_ + 3600;
    if (!rule.text_.empty() && rule.text_.front() != ',') {
      if (!rule.time(rule.summer_)) {
        return std::nullopt;
      }
      rule.summer_ = -rule.summer_;
    }
    if (!rule.change(rule.begin_) || !rule.change(rule.end_) || !rule.text_.empty()) {
      return std::nullopt;
    }
    rule.text_ = {};
    return rule;
  }

  std::int64_t offset_at(std::int64_t unix_seconds) const {
    if (!has_summer_) {
      return standard_;
    }
    const CivilTime local = civil(Timestamp{WideNanos{unix_seconds + standard_} * 1'000'000'000});
    const std::int64_t begin = moment(begin_, local.year) - standard_;
    const std::int64_t end = moment(end_, local.year) - summer_;
    const bool inside = begin < end ? unix_seconds >= begin && unix_seconds < end
                                    : unix_seconds >= begin || unix_seconds < end;
    return inside ? summer_ : standard_;
  }

 private:
  struct Change {
    enum class Kind { kMonth, kJulian, kDay } kind = Kind::kMonth;
    std::int64_t month = 1;
    std::int64_t week = 1;
    std::int64_t day = 0;
    std::int64_t time = 7200;
  };

  bool name() {
    std::size_t length = 0;
    if (!text_.empty() && text_.front() == '<') {
      length = text_.find('>');
      if (length == text_.npos) {
        return false;
      }
      ++length;
    } else {
      while (length < text_.size() &&
             ((text_[length] | 0x20) >= 'a' && (text_[length] | 0x20) <= 'z')) {
        ++length;
      }
    }
    text_.remove_prefix(length);
    return length >= 3;
  }
  bool number(std::int64_t& value) {
    std::size_t digits = 0;
    value = 0;
    while (digits < text_.size() && digits < 3 && text_[digits] >= '0' && text_[digits] <= '9') {
      value = value * 10 + (text_[digits] - '0');
      ++digits;
    }
    text_.remove_prefix(digits);
    return digits > 0;
  }
  bool take(char c) {
    if (text_.empty() || text_.front() != c) {
      return false;
    }
    text_.remove_prefix(1);
    return true;
  }
  // [+-]h[h][:mm[:ss]] as seconds.
  bool time(std::int64_t& seconds) {
    const bool negative = take('-');
    if (!negative) {
      (void)take('+');
    }
    std::int64_t hours = 0;
    std::int64_t minutes = 0;
    std::int64_t rest = 0;
    if (!number(hours) || (take(':') && !number(minutes)) || (take(':') && !number(rest))) {
      return false;
    }
    seconds = (hours * 3600 + minutes * 60 + rest) * (negative ? -1 : 1);
    return true;
  }
  bool change(Change& out) {
    if (!take(',')) {
      return false;
    }
    if (take('M')) {
      if (!number(out.month) || !take('.') || !number(out.week) || !take('.') || !number(out.day) ||
          out.month < 1 || out.month > 12 || out.week < 1 || out.week > 5 || out.day > 6) {
        return false;
      }
    } else {
      out.kind = take('J') ? Change::Kind::kJulian : Change::Kind::kDay;
      if (!number(out.day) || out.day > 365) {
        return false;
      }
    }
    return !take('/') || time(out.time);
  }
  // Local wall-clock seconds since 1970.
  static std::int64_t moment(const Change& change, std::int64_t in_year) {
    using std::chrono::days;
    using std::chrono::sys_days;
    const std::chrono::year year{static_cast<int>(in_year)};
    sys_days day = year / std::chrono::January / 1;
    if (change.kind == Change::Kind::kMonth) {
      const auto month = year / std::chrono::month{static_cast<unsigned>(change.month)};
      const sys_days first = month / 1;
      const sys_days last = month / std::chrono::last;
      const int weekday = static_cast<int>(std::chrono::weekday{first}.c_encoding());
      day = first + days{(static_cast<int>(change.day) - weekday + 7) % 7 +
                         7 * static_cast<int>(change.week - 1)};
      if (day > last) {
        day -= days{7};
      }
    } else if (change.kind == Change::Kind::kJulian) {
      const bool after_leap_day = year.is_leap() && change.day >= 60;
      day += days{static_cast<int>(change.day) - 1 + (after_leap_day ? 1 : 0)};
    } else {
      day += days{static_cast<int>(change.day)};
    }
    return day.time_since_epoch().count() * kDaySeconds + change.time;
  }

  std::string_view text_;
  std::int64_t standard_ = 0;
  std::int64_t summer_ = 0;
  bool has_summer_ = false;
  Change begin_;
  Change end_;
};

class FileZone final : public Zone {
 public:
  // Null when the bytes are no TZif file of version 2 or later.
  static std::shared_ptr<const FileZone> parse(std::string_view bytes) {
    auto zone = std::make_shared<FileZone>();
    Reader in(bytes);
    Counts counts;
    if (!counts.read(in) || counts.version < '2') {
      return nullptr;
    }
    (void)in.take(counts.bytes(4));  // the block of version 1 has 32-bit times
    if (!counts.read(in)) {
      return nullptr;
    }
    for (std::size_t i = 0; in.ok() && i < counts.times; ++i) {
      zone->times_.push_back(static_cast<std::int64_t>(in.integer(8)));
    }
    const std::string_view kinds = in.take(counts.times);
    std::vector<std::int64_t> offsets;
    for (std::size_t i = 0; in.ok() && i < counts.types; ++i) {
      offsets.push_back(static_cast<std::int32_t>(in.integer(4)));
      (void)in.take(2);
    }
    (void)in.take(counts.characters + counts.leaps * 12 + counts.standard + counts.universal);
    if (!in.ok() || offsets.empty() || !std::is_sorted(zone->times_.begin(), zone->times_.end())) {
      return nullptr;
    }
    for (const char kind : kinds) {
      if (static_cast<unsigned char>(kind) >= offsets.size()) {
        return nullptr;
      }
      zone->offsets_.push_back(offsets[static_cast<unsigned char>(kind)]);
    }
    zone->before_ = offsets.front();
    const std::string_view footer = in.rest();
    if (footer.size() > 2 && footer.front() == '\n' && footer.back() == '\n') {
      zone->rule_ = PosixRule::parse(footer.substr(1, footer.size() - 2));
    }
    return zone;
  }

  std::int64_t offset_at(std::int64_t unix_seconds) const override {
    const auto next = std::upper_bound(times_.begin(), times_.end(), unix_seconds);
    if (next == times_.end() && rule_) {
      return rule_->offset_at(unix_seconds);
    }
    if (next == times_.begin()) {
      return before_;
    }
    return offsets_[static_cast<std::size_t>(next - times_.begin()) - 1];
  }

 private:
  struct Counts {
    char version = 0;
    std::size_t universal = 0;
    std::size_t standard = 0;
    std::size_t leaps = 0;
    std::size_t times = 0;
    std::size_t types = 0;
    std::size_t characters = 0;

    bool read(Reader& in) {
      if (in.take(4) != "TZif") {
        return false;
      }
      const std::string_view byte = in.take(1);
      version = byte.empty() ? '\0' : byte.front();
      (void)in.take(15);
      for (std::size_t* const field :
           {&universal, &standard, &leaps, &times, &types, &characters}) {
        *field = static_cast<std::size_t>(in.integer(4));
      }
      return in.ok();
    }
    std::size_t bytes(std::size_t time_width) const {
      return times * (time_width + 1) + types * 6 + characters + leaps * (time_width + 4) +
             standard + universal;
    }
  };

  std::vector<std::int64_t> times_;
  std::vector<std::int64_t> offsets_;  // from times_[i] on
  std::int64_t before_ = 0;
  std::optional<PosixRule> rule_;
};

std::optional<std::int64_t> fixed_offset(std::string_view name) {
  if (name == "UTC" || name == "Z" || name == "GMT") {
    return 0;
  }
  std::int64_t sign = 1;
  if (!name.empty() && (name.front() == '+' || name.front() == '-')) {
    sign = name.front() == '-' ? -1 : 1;
    name.remove_prefix(1);
  }
  const auto digit = [&](std::size_t at) -> std::int64_t {
    return name[at] >= '0' && name[at] <= '9' ? name[at] - '0' : 1'000'000;
  };
  if (name.size() != 5 || name[2] != ':') {
    return std::nullopt;
  }
  const std::int64_t hours = digit(0) * 10 + digit(1);
  const std::int64_t minutes = digit(3) * 10 + digit(4);
  if (hours > 23 || minutes > 59) {
    return std::nullopt;
  }
  return sign * (hours * 3600 + minutes * 60);
}

// "Area/City", with nothing that could leave the database's folder.
bool is_zone_name(std::string_view name) {
  if (name.empty() || name.size() > 64 || name.front() == '/') {
    return false;
  }
  for (const char c : name) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-' || c == '+' || c == '/';
    if (!fine) {
      return false;
    }
  }
  return true;
}

}  // namespace

Result<std::shared_ptr<const Zone>> Zone::find(std::string_view name) {
  static std::mutex mutex;
  static auto& zones = *new std::map<std::string, std::shared_ptr<const Zone>, std::less<>>();
  const std::lock_guard lock(mutex);
  if (const auto known = zones.find(name); known != zones.end()) {
    return known->second;
  }
  std::shared_ptr<const Zone> zone;
  if (const auto offset = fixed_offset(name)) {
    zone = std::make_shared<FixedZone>(*offset);
  } else if (is_zone_name(name)) {
    std::ifstream file(kDatabase + std::string(name), std::ios::binary);
    std::string bytes(64 * 1024, '\0');  // the largest file of the database has 4 KiB
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    zone = FileZone::parse(bytes);
  }
  if (zone == nullptr) {
    return Error::invalid(
        "unknown time zone '{}': write \"+02:00\", \"UTC\" or a name such as \"Europe/Berlin\" "
        "(package tzdata)",
        name.substr(0, 64));
  }
  if (zones.size() < kMaxZones) {
    zones.emplace(std::string(name), zone);
  }
  return zone;
}

}  // namespace headwater::expr
