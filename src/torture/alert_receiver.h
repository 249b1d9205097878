// AlertReceiver: takes the alerts of an http sink; slow when told: answers late, or with 503.
//
// Any thread but open().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "protocol/http/server.h"

namespace headwater::torture {

class AlertReceiver {
 public:
  Status open() {
    http::Router router;
    const auto take = [this](http::Request&& request, http::Responder answer) {
      const std::lock_guard lock(mutex_);
      if (slow_ && ++requests_ % 3 == 0) {
        answer.send(http::Response::text("busy", 503));
        return;
      }
      alerts_.push_back(std::move(request.body));
      if (slow_) {
        waiting_.push_back(answer);
      } else {
        answer.send(http::Response::text("ok"));
      }
    };
    HW_TRY(router.add("POST", "/alerts", take, {.max_body = kMostAlert}));
    server_ = HW_TRY(http::Server::open({.address = "127.0.0.1:0"}, std::move(router)));
    return {};
  }
  std::uint16_t port() const { return server_->port(); }
  void slow(bool slow) {
    const std::lock_guard lock(mutex_);
    slow_ = slow;
    if (!slow) {
      answer_waiting();
    }
  }
  void answer_late() {
    const std::lock_guard lock(mutex_);
    answer_waiting();
  }
  std::vector<std::string> alerts() {
    const std::lock_guard lock(mutex_);
    return alerts_;
  }

 private:
  static constexpr std::size_t kMostAlert = std::size_t{1} << 20;  // bytes
  void answer_waiting() {
    for (const http::Responder& answer : waiting_) {
      answer.send(http::Response::text("ok"));
    }
    waiting_.clear();
  }
  std::mutex mutex_;
  bool slow_ = false;
  std::size_t requests_ = 0;
  std::vector<std::string> alerts_;
  std::vector<http::Responder> waiting_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace headwater::torture
