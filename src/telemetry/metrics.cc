#include "telemetry/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

namespace headwater::telemetry {
namespace {

constexpr int kSubBits = 4;  // 16 buckets per power of two
constexpr std::size_t kSubBuckets = std::size_t{1} << kSubBits;
constexpr int kDoubleBias = 1023;
constexpr int kMantissaBits = 52;

// Lower bound of inner bucket `index` (0 is the first bucket of the range).
double lower_bound_of(int lowest_exponent, std::size_t index) {
  const double within =
      1.0 + static_cast<double>(index % kSubBuckets) / static_cast<double>(kSubBuckets);
  return std::ldexp(within, lowest_exponent + static_cast<int>(index / kSubBuckets));
}

bool is_word(std::string_view text) {
  return !text.empty() && text.front() >= 'a' && text.front() <= 'z' &&
         std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

std::string escape_help(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string render_labels(Labels labels) {
  std::ranges::sort(labels);
  std::string out;
  for (const auto& [name, value] : labels) {
    if (!out.empty()) {
      out += ',';
    }
    out += name;
    out += "=\"";
    for (const char c : value) {
      if (c == '\\' || c == '"') {
        out += '\\';
        out += c;
      } else if (c == '\n') {
        out += "\\n";
      } else {
        out += c;
      }
    }
    out += '"';
  }
  return out;
}

void append_value(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else if (value == std::floor(value) && std::fabs(value) < 1e15) {
    fmt::format_to(std::back_inserter(out), "{}", static_cast<std::int64_t>(value));
  } else {
    fmt::format_to(std::back_inserter(out), "{}", value);
  }
}

void append_sample(std::string& out, std::string_view name, std::string_view suffix,
                   std::string_view labels, std::string_view more_labels, double value) {
  out += name;
  out += suffix;
  if (!labels.empty() || !more_labels.empty()) {
    out += '{';
    out += labels;
    if (!labels.empty() && !more_labels.empty()) {
      out += ',';
    }
    out += more_labels;
    out += '}';
  }
  out += ' ';
  append_value(out, value);
  out += '\n';
}

void append_histogram(std::string& out, std::string_view name, std::string_view labels,
                      const HistogramSnapshot& values) {
  const std::size_t powers = (values.buckets.size() - 2) / kSubBuckets;
  std::uint64_t below = values.buckets.front();
  // The counts are read one by one while others record, so `count` may run ahead of the buckets:
  // +Inf and _count are the buckets' own total.
  for (std::size_t power = 0; power <= powers; ++power) {
    append_sample(
        out, name, "_bucket", labels,
        fmt::format("le=\"{}\"", std::ldexp(1.0, values.lowest_exponent + static_cast<int>(power))),
        static_cast<double>(below));
    if (power < powers) {
      for (std::size_t sub = 0; sub < kSubBuckets; ++sub) {
        below += values.buckets[1 + power * kSubBuckets + sub];
      }
    }
  }
  below += values.buckets.back();
  append_sample(out, name, "_bucket", labels, "le=\"+Inf\"", static_cast<double>(below));
  append_sample(out, name, "_sum", labels, {}, values.sum);
  append_sample(out, name, "_count", labels, {}, static_cast<double>(below));
}

std::string_view kind_name(Registry::Kind kind) {
  switch (kind) {
    case Registry::Kind::kCounter:
      return "counter";
    case Registry::Kind::kGauge:
      return "gauge";
    case Registry::Kind::kHistogram:
      return "histogram";
  }
  return "untyped";
}

}  // namespace

double HistogramSnapshot::quantile(double p) const {
  std::uint64_t total = 0;
  for (const auto bucket : buckets) {
    total += bucket;
  }
  if (total == 0) {
    return 0;
  }
  const double rank = std::clamp(p, 0.0, 1.0) * static_cast<double>(total);
  double seen = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    const auto here = static_cast<double>(buckets[i]);
    if (here > 0 && seen + here >= rank) {
      const double share = (rank - seen) / here;
      if (i == 0) {
        return std::ldexp(share, lowest_exponent);
      }
      const double low = lower_bound_of(lowest_exponent, i - 1);
      if (i + 1 == buckets.size()) {
        return low;
      }
      return low + share * (lower_bound_of(lowest_exponent, i) - low);
    }
    seen += here;
  }
  return lower_bound_of(lowest_exponent, buckets.size() - 2);
}

HistogramSnapshot HistogramSnapshot::minus(const HistogramSnapshot& earlier) const {
  HistogramSnapshot out = *this;
  for (std::size_t i = 0; i < std::min(out.buckets.size(), earlier.buckets.size()); ++i) {
    out.buckets[i] -= std::min(out.buckets[i], earlier.buckets[i]);
  }
  out.count -= std::min(out.count, earlier.count);
  out.sum -= earlier.sum;
  return out;
}

Histogram::Histogram(int lowest_exponent, int highest_exponent)
    : lowest_exponent_(lowest_exponent),
      bucket_count_(2 + kSubBuckets * static_cast<std::size_t>(
                                          std::max(highest_exponent - lowest_exponent, 1))),
      buckets_(std::make_unique<std::atomic<std::uint64_t>[]>(bucket_count_)) {}

void Histogram::record(double value, std::uint64_t times) {
  if (!std::isfinite(value) || times == 0) {
    return;
  }
  std::size_t bucket = 0;
  if (value > 0) {
    // The exponent and the top mantissa bits of the double are the bucket.
    const auto bits = std::bit_cast<std::uint64_t>(value);
    const auto position = static_cast<std::int64_t>(bits >> (kMantissaBits - kSubBits)) -
                          (static_cast<std::int64_t>(lowest_exponent_ + kDoubleBias) << kSubBits);
    if (position >= 0) {
      bucket = std::min(static_cast<std::size_t>(position) + 1, bucket_count_ - 1);
    }
  }
  buckets_[bucket].fetch_add(times, std::memory_order_relaxed);
  count_.fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
}

HistogramSnapshot Histogram::snapshot() const {
  HistogramSnapshot out;
  out.lowest_exponent = lowest_exponent_;
  out.buckets.resize(bucket_count_);
  for (std::size_t i = 0; i < bucket_count_; ++i) {
    out.buckets[i] = buckets_[i].load(std::memory_order_relaxed);
  }
  out.count = count();
  out.sum = sum();
  return out;
}

Registry::Callback& Registry::Callback::operator=(Callback&& other) noexcept {
  if (this != &other) {
    if (registry_ != nullptr) {
      registry_->remove(id_);
    }
    registry_ = std::exchange(other.registry_, nullptr);
    id_ = other.id_;
  }
  return *this;
}

Registry::Callback::~Callback() {
  if (registry_ != nullptr) {
    registry_->remove(id_);
  }
}

Status Registry::check_name(std::string_view name, Kind kind) {
  if (!is_word(name)) {
    return Error::invalid("metric '{}': only a-z, 0-9 and _", name);
  }
  if (name.find("__") != std::string_view::npos || name.ends_with('_')) {
    return Error::invalid("metric '{}': empty word between underscores", name);
  }
  if ((kind == Kind::kCounter) != name.ends_with("_total")) {
    return Error::invalid("metric '{}': counters, and only they, end in _total", name);
  }
  if (name.starts_with("process_")) {
    return {};
  }
  const auto words = std::ranges::count(name, '_') + 1;
  if (!name.starts_with("headwater_") || words < (kind == Kind::kCounter ? 4 : 3)) {
    return Error::invalid("metric '{}': must be headwater_<part>_<noun>_<unit>{}", name,
                          kind == Kind::kCounter ? "_total" : "");
  }
  for (const std::string_view unit :
       {"_milliseconds", "_ms", "_microseconds", "_us", "_nanoseconds", "_ns", "_kilobytes", "_kib",
        "_megabytes", "_mib", "_percent", "_minutes", "_hours"}) {
    std::string_view stem = name;
    if (stem.ends_with("_total")) {
      stem.remove_suffix(6);
    }
    if (stem.ends_with(unit)) {
      return Error::invalid("metric '{}': base units only: seconds, bytes, ratio", name);
    }
  }
  if (kind == Kind::kHistogram &&
      (name.ends_with("_count") || name.ends_with("_sum") || name.ends_with("_bucket"))) {
    return Error::invalid("metric '{}': _count, _sum and _bucket are a histogram's own", name);
  }
  return {};
}

Registry::Series& Registry::series(std::string_view name, std::string_view help, Labels labels,
                                   Kind kind) {
  const Status named = check_name(name, kind);
  HW_CHECK(named.ok(), named.ok() ? "" : named.error().text());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto& label = labels[i].first;
    HW_CHECK(is_word(label) && label != "le" && label != "quantile" && !label.starts_with("__"),
             fmt::format("metric '{}': label '{}' is not allowed", name, label));
  }
  auto found = families_.find(name);
  if (found == families_.end()) {
    HW_CHECK(!help.empty(), fmt::format("metric '{}': a help text is required", name));
    found = families_.emplace(std::string(name), Family{kind, std::string(help), {}}).first;
  }
  HW_CHECK(found->second.kind == kind,
           fmt::format("metric '{}' is registered as {} and as {}", name,
                       kind_name(found->second.kind), kind_name(kind)));
  return found->second.series[render_labels(std::move(labels))];
}

Counter& Registry::counter(std::string_view name, std::string_view help, Labels labels) {
  const std::lock_guard lock(mutex_);
  auto& slot = series(name, help, std::move(labels), Kind::kCounter);
  HW_CHECK(!slot.read, fmt::format("metric '{}' is registered with a callback", name));
  if (slot.counter == nullptr) {
    slot.counter = std::make_unique<Counter>();
  }
  return *slot.counter;
}

Gauge& Registry::gauge(std::string_view name, std::string_view help, Labels labels) {
  const std::lock_guard lock(mutex_);
  auto& slot = series(name, help, std::move(labels), Kind::kGauge);
  HW_CHECK(!slot.read, fmt::format("metric '{}' is registered with a callback", name));
  if (slot.gauge == nullptr) {
    slot.gauge = std::make_unique<Gauge>();
  }
  return *slot.gauge;
}

Histogram& Registry::histogram(std::string_view name, std::string_view help, Labels labels,
                               HistogramRange range) {
  const std::lock_guard lock(mutex_);
  auto& slot = series(name, help, std::move(labels), Kind::kHistogram);
  if (slot.histogram == nullptr) {
    slot.histogram = std::make_unique<Histogram>(range.lowest_exponent, range.highest_exponent);
  }
  return *slot.histogram;
}

Registry::Callback Registry::callback(std::string_view name, std::string_view help, Labels labels,
                                      Kind kind, std::function<double()> read) {
  const std::lock_guard lock(mutex_);
  auto& slot = series(name, help, std::move(labels), kind);
  HW_CHECK(slot.counter == nullptr && slot.gauge == nullptr && !slot.read,
           fmt::format("metric '{}' is registered twice with the same labels", name));
  slot.read = std::move(read);
  slot.id = next_id_++;
  return {this, slot.id};
}

Registry::Callback Registry::gauge_from(std::string_view name, std::string_view help, Labels labels,
                                        std::function<double()> read) {
  return callback(name, help, std::move(labels), Kind::kGauge, std::move(read));
}

Registry::Callback Registry::counter_from(std::string_view name, std::string_view help,
                                          Labels labels, std::function<double()> read) {
  return callback(name, help, std::move(labels), Kind::kCounter, std::move(read));
}

void Registry::remove(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  for (auto family = families_.begin(); family != families_.end(); ++family) {
    auto& all = family->second.series;
    for (auto one = all.begin(); one != all.end(); ++one) {
      if (one->second.id == id) {
        all.erase(one);
        if (all.empty()) {
          families_.erase(family);
        }
        return;
      }
    }
  }
}

std::string Registry::prometheus_text() const {
  std::string out;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, family] : families_) {
    fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name,
                   escape_help(family.help), name, kind_name(family.kind));
    for (const auto& [labels, one] : family.series) {
      if (one.histogram != nullptr) {
        append_histogram(out, name, labels, one.histogram->snapshot());
      } else if (one.counter != nullptr) {
        fmt::format_to(std::back_inserter(out), "{}{}{}{} {}\n", name, labels.empty() ? "" : "{",
                       labels, labels.empty() ? "" : "}", one.counter->value());
      } else {
        append_sample(out, name, {}, labels, {}, one.read ? one.read() : one.gauge->value());
      }
    }
  }
  return out;
}

std::string Registry::markdown() const {
  std::string out = "| metric | kind | labels | what it tells |\n|---|---|---|---|\n";
  const std::lock_guard lock(mutex_);
  for (const auto& [name, family] : families_) {
    // Label names of the first series: all of a family carry the same.
    std::string labels;
    bool in_value = false;
    for (std::size_t i = 0; !family.series.empty() && i < family.series.begin()->first.size();
         ++i) {
      const char c = family.series.begin()->first[i];
      if (in_value) {
        if (c == '\\') {
          ++i;
        } else if (c == '"') {
          in_value = false;
        }
      } else if (c == '"') {
        in_value = true;
      } else if (c == ',') {
        labels += ", ";
      } else if (c != '=') {
        labels += c;
      }
    }
    std::string help = family.help;
    std::ranges::replace(help, '\n', ' ');
    fmt::format_to(std::back_inserter(out), "| `{}` | {} | {} | {} |\n", name,
                   kind_name(family.kind), labels, help);
  }
  return out;
}

}  // namespace headwater::telemetry
