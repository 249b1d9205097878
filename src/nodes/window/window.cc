#include "nodes/window/window.h"

#include <utility>

#include "compute/window.h"
#include "nodes/expression.h"

namespace headwater {
namespace {

constexpr std::string_view kStateKey = "window";

class Window final : public Stage {
 public:
  Window(std::unique_ptr<SlidingWindow> window, telemetry::Counter& late)
      : window_(std::move(window)), late_(late) {}

  Status process(Batch batch, Outputs& out) override {
    stats_ = WindowStats{};
    const Status windowed = window_->process(batch, stats_);
    late_.add(stats_.late);
    HW_TRY(out.emit(std::move(batch)));
    return windowed;
  }

  void save(StateWriter& state) override {
    std::string blob;
    ByteWriter writer(blob);
    window_->save(writer);
    state.put(kStateKey, blob);
  }

  Status restore(const StateReader& state) override {
    const std::string blob = state.get(kStateKey);
    if (blob.empty()) {
      return {};
    }
    ByteReader reader(blob);
    return window_->restore(reader);
  }

 private:
  std::unique_ptr<SlidingWindow> window_;
  telemetry::Counter& late_;
  WindowStats stats_;
};

}  // namespace

std::unique_ptr<Stage> make_window(const WindowStepOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  bool good = true;
  ::headwater::WindowOptions window;
  window.by = options.by;
  window.last = options.last.value_or(Nanos{0});
  window.rows = options.rows.value_or(0);
  window.allowed_lateness = options.allowed_lateness;
  window.min_count = options.min_count;
  window.max_keys = options.max_keys;
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
  auto made = SlidingWindow::create(std::move(window));
  if (!made) {
    diagnostics.error(node, made.error().text());
    return nullptr;
  }
  auto& late =
      context.metrics->counter("headwater_window_late_rows_total",
                               "Rows too late for their window; they are stored all the same.",
                               {{"pipeline", context.pipeline}});
  return std::make_unique<Window>(std::move(*made), late);
}

}  // namespace headwater
