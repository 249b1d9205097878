// Metrics: counters, gauges and histograms, and their Prometheus text (exposition format 0.0.4).
//
//   auto& rows = registry.counter("headwater_store_rows_total", "Rows committed to the spool.",
//                                 {{"lane", "readings"}});   // once, at start; it stays
//   rows.add(batch.rows());                                   // one relaxed add per batch
//
// Registering looks up under a lock; using a metric never does. References stay valid as long as
// the registry. The same name and labels give the same metric again, so two owners may share one.
//
// Names are `headwater_<part>_<noun>_<unit>`, lower case, counters end in `_total`, base units only
// (seconds, bytes, ratio; not milliseconds or kilobytes); `process_…` is left to process.h. A name
// or label that breaks the rule, or a name registered again as another kind, is a bug: it ends the
// process at registration, so the first test that constructs the owner finds it. Label values are
// any text, but come from the config (pipeline, lane, source name), never from messages: no device
// id, no topic.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace headwater::telemetry {

// Label names and values. Order does not matter: {a, b} and {b, a} are the same series.
using Labels = std::vector<std::pair<std::string, std::string>>;

// Only grows. Any thread.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// A level that goes up and down. Any thread.
class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double by) { value_.fetch_add(by, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// What a histogram held at one moment. `minus` an earlier snapshot gives the time between them.
struct HistogramSnapshot {
  int lowest_exponent = 0;             // bucket 1 starts at 2^lowest_exponent
  std::vector<std::uint64_t> buckets;  // first: all below; last: all at or above the range
  std::uint64_t count = 0;
  double sum = 0;

  // The value below which the share p (0 to 1) lies, within 3 % inside the range; 0 without values.
  // Above the range: the range's upper end.
  double quantile(double p) const;
  HistogramSnapshot minus(const HistogramSnapshot& earlier) const;
};

// Counts values in log-linear buckets: 16 per power of two, so a quantile is within 3 %. Any
// thread. One record costs two relaxed adds and one compare-and-swap, and the memory is 128 bytes
// per power of two of the range.
class Histogram {
 public:
  // Range [2^lowest, 2^highest). The defaults suit seconds: 0.95 µs to 64 s.
  explicit Histogram(int lowest_exponent = -20, int highest_exponent = 6);

  // NaN and infinities are ignored; values outside the range count in the end buckets.
  void record(double value) { record(value, 1); }
  void record(double value, std::uint64_t times);

  HistogramSnapshot snapshot() const;
  double quantile(double p) const { return snapshot().quantile(p); }
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  int lowest_exponent_;
  std::size_t bucket_count_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> buckets_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<double> sum_{0};
};

// The powers of two a histogram spans.
struct HistogramRange {
  int lowest_exponent = -20;
  int highest_exponent = 6;
};
inline constexpr HistogramRange kSeconds{-20, 6};  // 0.95 µs to 64 s
inline constexpr HistogramRange kRows{0, 16};      // 1 to 65,536
inline constexpr HistogramRange kBytes{4, 32};     // 16 B to 4 GiB

class Registry {
 public:
  // Unregisters its callback when it dies: from then on the callback is not running and will not
  // run. Keep it beside what the callback reads.
  class [[nodiscard]] Callback {
   public:
    Callback() = default;
    Callback(Callback&& other) noexcept
        : registry_(std::exchange(other.registry_, nullptr)), id_(other.id_) {}
    Callback& operator=(Callback&& other) noexcept;
    ~Callback();

   private:
    friend class Registry;
    Callback(Registry* registry, std::uint64_t id) : registry_(registry), id_(id) {}
    Registry* registry_ = nullptr;
    std::uint64_t id_ = 0;
  };

  Registry() = default;
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, Labels labels = {},
                       HistogramRange range = kSeconds);

  // Values asked for at each scrape, on the scraping thread, under the registry's lock: the
  // callback must be quick, must not block and must not call the registry. For what someone else
  // counts already. The registry outlives the returned Callback.
  Callback gauge_from(std::string_view name, std::string_view help, Labels labels,
                      std::function<double()> read);
  Callback counter_from(std::string_view name, std::string_view help, Labels labels,
                        std::function<double()> read);

  // The whole registry, families sorted by name, series by labels. Content type:
  // kPrometheusContentType. Histograms give one `le` per power of two (exact bounds).
  std::string prometheus_text() const;

  // All families as Markdown table rows for docs/reference/metrics.md: name, kind, labels, help.
  std::string markdown() const;

  // The naming rule, for tests and for names that come from elsewhere.
  enum class Kind : std::uint8_t { kCounter, kGauge, kHistogram };
  static Status check_name(std::string_view name, Kind kind);

 private:
  struct Series {
    std::uint64_t id = 0;  // of the callback; else 0
    std::unique_ptr<Counter> counter;
    std::unique_ptr<Gauge> gauge;
    std::unique_ptr<Histogram> histogram;
    std::function<double()> read;
  };
  struct Family {
    Kind kind = Kind::kCounter;
    std::string help;
    std::map<std::string, Series> series;  // by rendered label text: `lane="readings"`
  };

  Series& series(std::string_view name, std::string_view help, Labels labels, Kind kind);
  Callback callback(std::string_view name, std::string_view help, Labels labels, Kind kind,
                    std::function<double()> read);
  void remove(std::uint64_t id);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
  std::uint64_t next_id_ = 1;
};

inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

}  // namespace headwater::telemetry
