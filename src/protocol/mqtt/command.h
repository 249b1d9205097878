// Command: a message of ours to those clients of the listener that subscribed to its topic.
//
// An action is for now: it is sent before `until` or never. Clients that are subscribed when it
// comes get it; if there is none, the first that subscribes or returns in time.
//
// Thread rule: shared by the threads of sender and listener. `state` is the one part that changes;
// the rest stands before the command is handed over.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "base/time.h"

namespace headwater::mqtt {

enum class CommandState : std::uint8_t {
  kWaiting,    // no client has been sent it
  kSent,       // QoS 1: a client has been sent it and has not answered
  kDelivered,  // QoS 0: given to a client's connection. QoS 1: a client has acknowledged it
  kRefused,    // by the client, or larger than it takes, or too many wait for it
  kExpired,
};

struct Command {
  std::string topic{};
  std::string payload{};
  std::string content_type{};  // for MQTT 5
  std::uint8_t qos = 0;        // 0 or 1; a client that subscribed with 0 gets 0
  MonoTime until;
  std::function<void()> on_end{};  // once, on any thread, when the listener has ended it
  std::atomic<CommandState> state{CommandState::kWaiting};

  bool open() const {
    const CommandState now = state.load();
    return now == CommandState::kWaiting || now == CommandState::kSent;
  }
  // The listener's: a client is about to be sent it. False: too late.
  bool begin() {
    CommandState was = CommandState::kWaiting;
    return state.compare_exchange_strong(was, CommandState::kSent) || was != CommandState::kExpired;
  }
  void end(CommandState with) {
    CommandState was = state.load();
    while (was == CommandState::kWaiting || was == CommandState::kSent) {
      if (state.compare_exchange_weak(was, with)) {
        if (on_end) {
          on_end();
        }
        return;
      }
    }
  }
  // The sender's: from now on no client is sent it. False: one has been, or it has ended.
  bool expire() {
    CommandState was = CommandState::kWaiting;
    return state.compare_exchange_strong(was, CommandState::kExpired);
  }
};

}  // namespace headwater::mqtt
