#include "nodes/window/window.h"

#include <utility>

#include "compute/window.h"
#include "nodes/expression.h"
#include "pipeline/state_blob.h"

namespace headwater {
namespace {

// What the step counts; the workers of a pipeline share it.
struct WindowCounters {
  telemetry::Counter& late;
  telemetry::Counter& truncated;
  telemetry::Counter& evicted;
  telemetry::Counter& aged;
  telemetry::Counter& closed;
  telemetry::Counter& unreported;
  telemetry::Gauge& keys;

  WindowCounters(telemetry::Registry& metrics, const telemetry::Labels& pipeline)
      : late(metrics.counter("headwater_window_late_rows_total",
                             "Rows too late for their window; they are stored all the same.",
                             pipeline)),
        truncated(metrics.counter("headwater_window_truncated_rows_total",
                                  "Rows that left a window early because of max_rows.", pipeline)),
        evicted(forgotten(metrics, pipeline, "max_keys")),
        aged(forgotten(metrics, pipeline, "max_age")),
        closed(metrics.counter("headwater_window_closed_total",
                               "Tumbling windows with rows that have closed.", pipeline)),
        unreported(metrics.counter(
            "headwater_window_unreported_total",
            "Closed tumbling windows whose results no row carried, because a newer one closed with "
            "them.",
            pipeline)),
        keys(metrics.gauge("headwater_window_keys", "Keys that windows are kept of.", pipeline)) {}

 private:
  static telemetry::Counter& forgotten(telemetry::Registry& metrics, telemetry::Labels labels,
                                       std::string_view reason) {
    labels.emplace_back("reason", reason);
    return metrics.counter("headwater_window_forgotten_keys_total",
                           "Keys whose windows were forgotten, by the limit that was reached.",
                           std::move(labels));
  }
};

class WindowStage final : public Stage {
 public:
  WindowStage(std::unique_ptr<Window> window, WindowCounters counters)
      : window_(std::move(window)), counters_(counters) {}
  ~WindowStage() override { counters_.keys.add(-shown_keys_); }

  Status process(Batch batch, Outputs& out) override {
    WindowStats stats;
    const Status windowed = window_->process(batch, stats);
    counters_.late.add(stats.late);
    counters_.truncated.add(stats.truncated);
    counters_.evicted.add(stats.evicted_keys);
    counters_.aged.add(stats.aged_keys);
    counters_.closed.add(stats.closed);
    counters_.unreported.add(stats.unreported);
    show_keys();
    HW_TRY(out.emit(std::move(batch)));
    return windowed;
  }

  void save(StateWriter& state) override { save_blob(state, kStateKey, *window_); }
  Status restore(const StateReader& state) override {
    Status restored = restore_blob(state, kStateKey, *window_);
    show_keys();
    return restored;
  }

 private:
  static constexpr std::string_view kStateKey = "window";

  void show_keys() {
    const auto keys = static_cast<double>(window_->keys());
    counters_.keys.add(keys - shown_keys_);
    shown_keys_ = keys;
  }

  std::unique_ptr<Window> window_;
  WindowCounters counters_;
  double shown_keys_ = 0;
};

}  // namespace

std::unique_ptr<Stage> make_window(const WindowStepOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  bool good = true;
  WindowOptions window;
  window.by = options.by;
  window.last = options.last.value_or(Nanos{0});
  window.rows = options.rows.value_or(0);
  window.every = options.every.value_or(Nanos{0});
  window.start_column = options.start_column;
  window.allowed_lateness = options.allowed_lateness;
  window.min_count = options.min_count;
  window.max_keys = options.max_keys;
  window.max_age = options.max_age.value_or(Nanos{0});
  window.max_rows = options.max_rows;
  for (const auto& [column, text] : options.add) {
    Result<AggregateSpec> spec = parse_aggregate(column, text);
    if (!spec) {
      diagnostics.error(option_node(option_node(node, "add"), column), spec.error().text());
      good = false;
      continue;
    }
    context.known.set({column, aggregate_type(spec->kind), {}});
    window.aggregates.push_back(std::move(*spec));
  }
  if (!good) {
    return nullptr;
  }
  if (options.every && !options.start_column.empty()) {
    context.known.set({options.start_column, Type::kTimestamp, {}});
  }
  auto made = Window::create(std::move(window));
  if (!made) {
    diagnostics.error(node, made.error().text());
    return nullptr;
  }
  return std::make_unique<WindowStage>(
      std::move(*made), WindowCounters(*context.metrics, {{"pipeline", context.pipeline}}));
}

}  // namespace headwater
