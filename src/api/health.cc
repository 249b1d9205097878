#include "api/health.h"

#include <utility>

#include "base/strings.h"
#include "protocol/http/server.h"

namespace headwater::api {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void append_member(std::string& out, std::string_view name, std::string_view text) {
  if (out.back() != '{') {
    out += ',';
  }
  append_json_string(out, name);
  out += ':';
  append_json_string(out, text);
}

}  // namespace

void HealthState::set_not_ready(std::string_view part, std::string_view reason) {
  const std::lock_guard lock(mutex_);
  const auto found = reasons_.find(part);
  if (reason.empty()) {
    if (found != reasons_.end()) {
      reasons_.erase(found);
    }
  } else if (found != reasons_.end()) {
    found->second = reason;
  } else {
    reasons_.emplace(part, reason);
  }
}

void HealthState::add_check(std::string part, std::function<std::string()> reason) {
  const std::lock_guard lock(mutex_);
  checks_.emplace_back(std::move(part), std::move(reason));
}

std::map<std::string, std::string, std::less<>> HealthState::reasons() const {
  const std::lock_guard lock(mutex_);
  auto all = reasons_;
  for (const auto& [part, check] : checks_) {
    if (std::string reason = check(); !reason.empty()) {
      all.insert_or_assign(part, std::move(reason));
    }
  }
  return all;
}

bool HealthState::ready() const {
  return started() && reasons().empty();
}

void HealthState::Heart::beat() {
  last_ns_.store(now_ns(), std::memory_order_relaxed);
}

HealthState::Heart& HealthState::watch(std::string_view name, std::chrono::milliseconds limit) {
  auto heart = std::make_unique<Heart>();
  heart->name_ = name;
  heart->limit_ = limit;
  heart->beat();
  const std::lock_guard lock(mutex_);
  hearts_.push_back(std::move(heart));
  return *hearts_.back();
}

bool HealthState::live() const {
  return live_answer().ok;
}

HealthState::Answer HealthState::startup_answer() const {
  const bool ok = started();
  return {ok, ok ? "{\"status\":\"started\"}\n" : "{\"status\":\"starting\"}\n"};
}

HealthState::Answer HealthState::ready_answer() const {
  std::string text = "{";
  bool ok = started();
  if (!ok) {
    append_member(text, "start", "not yet started");
  }
  for (const auto& [part, reason] : reasons()) {
    append_member(text, part, reason);
    ok = false;
  }
  return {ok, std::string("{\"status\":\"") + (ok ? "ready" : "not_ready") +
                  "\",\"reasons\":" + text + "}}\n"};
}

HealthState::Answer HealthState::live_answer() const {
  std::string reasons = "{";
  bool ok = true;
  {
    const std::lock_guard lock(mutex_);
    const auto now = now_ns();
    for (const auto& heart : hearts_) {
      const std::chrono::nanoseconds silent{now - heart->last_ns_.load(std::memory_order_relaxed)};
      if (silent > heart->limit_) {
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(silent).count();
        append_member(reasons, heart->name_, "silent for " + std::to_string(seconds) + " s");
        ok = false;
      }
    }
  }
  return {ok, std::string("{\"status\":\"") + (ok ? "live" : "hung") + "\",\"reasons\":" + reasons +
                  "}}\n"};
}

Status add_health_routes(http::Router& router, const HealthState& state,
                         const telemetry::Registry& registry) {
  const auto probe = [&](std::string_view path, HealthState::Answer (HealthState::*ask)() const) {
    return router.add(
        "GET", path, [&state, ask](http::Request&&, const http::Responder& responder) {
          auto answer = (state.*ask)();
          responder.send(http::Response::json(std::move(answer.json), answer.ok ? 200 : 503));
        });
  };
  HW_TRY(probe("/livez", &HealthState::live_answer));
  HW_TRY(probe("/readyz", &HealthState::ready_answer));
  HW_TRY(probe("/startupz", &HealthState::startup_answer));
  return router.add("GET", "/metrics",
                    [&registry](http::Request&&, const http::Responder& responder) {
                      http::Response response;
                      response.content_type = telemetry::kPrometheusContentType;
                      response.body = registry.prometheus_text();
                      responder.send(std::move(response));
                    });
}

}  // namespace headwater::api
