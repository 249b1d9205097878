#include "api/tap.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace headwater::api {
namespace {

MonoTime now() {
  return MonoTime{
      std::chrono::duration_cast<Nanos>(std::chrono::steady_clock::now().time_since_epoch())
          .count()};
}

}  // namespace

// Refills the listener's rate; whether it is of this kind and pipeline.
bool TapHub::wants(Listener& listener, TapKind kind, std::string_view pipeline) {
  if (listener.options.kind != kind ||
      (!listener.options.pipeline.empty() && listener.options.pipeline != pipeline)) {
    return false;
  }
  const MonoTime at = now();
  const double seconds = std::chrono::duration<double>(at - listener.refilled).count();
  listener.refilled = at;
  listener.tokens = std::min(listener.tokens + seconds * listener.options.rate,
                             std::max(listener.options.rate, 1.0));
  return true;
}

bool TapHub::takes(TapKind kind, std::string_view pipeline) {
  if (!wanted(kind)) {
    return false;
  }
  const std::lock_guard lock(mutex_);
  bool any = false;
  for (auto& listener : listeners_) {
    any = (wants(listener, kind, pipeline) && listener.tokens >= 1) || any;
  }
  if (!any) {
    for (auto& listener : listeners_) {
      listener.skipped += wants(listener, kind, pipeline) ? 1 : 0;
    }
    sweep_locked();
  }
  return any;
}

void TapHub::publish(TapKind kind, std::string_view pipeline, std::string_view json_line) {
  if (!wanted(kind)) {
    return;
  }
  std::shared_ptr<const std::string> event;  // made once, for all that take it
  const std::lock_guard lock(mutex_);
  for (auto& listener : listeners_) {
    if (!wants(listener, kind, pipeline)) {
      continue;
    }
    if (listener.tokens < 1) {
      ++listener.skipped;
      continue;
    }
    listener.tokens -= 1;
    if (const auto skipped = std::exchange(listener.skipped, 0); skipped > 0) {
      listener.stream.push(
          http::format_event(fmt::format("{{\"skipped\":{}}}", skipped), "skipped"));
    }
    if (event == nullptr) {
      event = std::make_shared<const std::string>(
          http::format_event(json_line, kind == TapKind::kAlerts ? "alert" : "reading"));
    }
    listener.stream.push(event);
    if (++listener.shown == listener.options.limit) {
      listener.stream.push(
          http::format_event(fmt::format("{{\"shown\":{}}}", listener.shown), "end"));
      listener.stream.close();
    }
  }
  sweep_locked();
}

bool TapHub::has_room() {
  const std::lock_guard lock(mutex_);
  sweep_locked();
  return listeners_.size() < kMaxListeners;
}

void TapHub::add(TapOptions options, http::EventStream stream) {
  const std::lock_guard lock(mutex_);
  sweep_locked();
  if (listeners_.size() >= kMaxListeners) {
    stream.close();
    return;
  }
  Listener listener;
  listener.tokens = std::max(options.rate, 1.0);
  listener.refilled = now();
  listener.options = std::move(options);
  listener.stream = std::move(stream);
  listening_[static_cast<std::size_t>(listener.options.kind)].fetch_add(1,
                                                                        std::memory_order_relaxed);
  listeners_.push_back(std::move(listener));
}

void TapHub::sweep() {
  const std::lock_guard lock(mutex_);
  sweep_locked();
}

void TapHub::sweep_locked() {
  std::erase_if(listeners_, [this](const Listener& listener) {
    if (!listener.stream.closed()) {
      return false;
    }
    listening_[static_cast<std::size_t>(listener.options.kind)].fetch_sub(
        1, std::memory_order_relaxed);
    return true;
  });
}

}  // namespace headwater::api
